//! The management API. Errors are `application/problem+json`.

pub(crate) mod models;

use api::{
    CreateEndpoint, EndpointList, EndpointView, FolderView, HostList, HostView, JobView, LogList, Problem,
    UpdateEndpoint, UsageView, WorkerList, WorkerView,
};
use axum::{Json, extract::State, http::StatusCode};
use base::Timestamp;
use serde::Deserialize;
use types::Fault;
use web::{BytesBody, JsonBody, Path, ProblemResponse, Query};

use crate::{caller::Caller, router::Faces};

/// A released folder is at most this long as an archive: handlers and their code, not weights.
const FOLDER_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Lines of a log when the client names no number: Runpod's default.
const TAIL_DEFAULT: u32 = 100;
/// The most lines of a log: Runpod's limit.
const TAIL_MAX: u32 = 5000;

pub(crate) type Answer<T> = Result<Json<T>, ProblemResponse>;

/// Turns the control plane's problem into an answer.
pub(crate) fn answer(problem: Problem) -> ProblemResponse {
    let errors = problem.errors.clone();
    errors.into_iter().fold(ProblemResponse::new(Fault::from(problem)), |response, error| {
        response.with_field(error.field, error.message)
    })
}

pub(crate) async fn list_endpoints(
    State(faces): State<Faces>,
    Caller(caller): Caller,
) -> Answer<EndpointList> {
    Ok(Json(faces.control.endpoints(&caller).await.map_err(answer)?))
}

pub(crate) async fn create_endpoint(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    JsonBody(body): JsonBody<CreateEndpoint>,
) -> Result<(StatusCode, Json<EndpointView>), ProblemResponse> {
    let view = faces.control.create_endpoint(&caller, body).await.map_err(answer)?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(crate) async fn get_endpoint(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Path(endpoint): Path<String>,
) -> Answer<EndpointView> {
    Ok(Json(faces.control.endpoint(&caller, &endpoint).await.map_err(answer)?))
}

pub(crate) async fn update_endpoint(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Path(endpoint): Path<String>,
    JsonBody(body): JsonBody<UpdateEndpoint>,
) -> Answer<EndpointView> {
    Ok(Json(faces.control.update_endpoint(&caller, &endpoint, body).await.map_err(answer)?))
}

pub(crate) async fn delete_endpoint(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Path(endpoint): Path<String>,
) -> Result<StatusCode, ProblemResponse> {
    faces.control.delete_endpoint(&caller, &endpoint).await.map_err(answer)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn list_endpoint_workers(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Path(endpoint): Path<String>,
) -> Answer<WorkerList> {
    Ok(Json(faces.control.workers(&caller, Some(&endpoint)).await.map_err(answer)?))
}

pub(crate) async fn get_job(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Path((endpoint, job)): Path<(String, String)>,
) -> Answer<JobView> {
    Ok(Json(faces.control.job(&caller, &endpoint, &job).await.map_err(answer)?))
}

pub(crate) async fn list_workers(State(faces): State<Faces>, Caller(caller): Caller) -> Answer<WorkerList> {
    Ok(Json(faces.control.workers(&caller, None).await.map_err(answer)?))
}

pub(crate) async fn get_worker(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Path(worker): Path<String>,
) -> Answer<WorkerView> {
    Ok(Json(faces.control.worker(&caller, &worker).await.map_err(answer)?))
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct TailQuery {
    tail: Option<u32>,
}

pub(crate) async fn worker_logs(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Path(worker): Path<String>,
    Query(query): Query<TailQuery>,
) -> Answer<LogList> {
    let tail = query.tail.unwrap_or(TAIL_DEFAULT).min(TAIL_MAX);
    Ok(Json(faces.control.worker_logs(&caller, &worker, tail).await.map_err(answer)?))
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct UsageQuery {
    endpoint: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
}

/// Answers what was used between two moments (milliseconds since the epoch; everything when left out).
pub(crate) async fn usage(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Query(query): Query<UsageQuery>,
) -> Answer<UsageView> {
    let from = Timestamp::from_millis(query.from.unwrap_or(0));
    let to = query.to.map_or_else(|| faces.clock.now(), Timestamp::from_millis);
    let mut view = faces.control.usage(&caller, from, to).await.map_err(answer)?;
    if let Some(endpoint) = query.endpoint {
        view.records
            .retain(|record| record.endpoint_id.as_str() == endpoint || record.endpoint_name == endpoint);
    }
    Ok(Json(view))
}

pub(crate) async fn list_hosts(State(faces): State<Faces>, Caller(caller): Caller) -> Answer<HostList> {
    Ok(Json(faces.control.hosts(&caller).await.map_err(answer)?))
}

pub(crate) async fn get_host(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Path(host): Path<String>,
) -> Answer<HostView> {
    Ok(Json(faces.control.host(&caller, &host).await.map_err(answer)?))
}

pub(crate) async fn get_folder(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Path(digest): Path<String>,
) -> Answer<FolderView> {
    Ok(Json(faces.control.folder(&caller, &digest).await.map_err(answer)?))
}

pub(crate) async fn put_folder(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Path(digest): Path<String>,
    BytesBody(bytes): BytesBody<FOLDER_BYTES_MAX>,
) -> Answer<FolderView> {
    Ok(Json(faces.control.put_folder(&caller, &digest, bytes).await.map_err(answer)?))
}
