//! The job API in Runpod's shapes.
//!
//! Every success is exactly 200, because the JavaScript client takes any other 2xx for an error; every answer is
//! `application/json`, because the asyncio client refuses others. Errors are `{"error": text}` with our code and hint
//! beside it.

use std::time::Duration;

use api::{Acknowledged, ChunkView, HealthView, JobBody, JobView, Problem, PurgeView, StreamView};
use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use types::JobRoute;
use web::{BytesBody, Path, ProblemResponse, Query, parse_json};

use crate::{caller::JobCaller, router::Faces};

/// Runpod's documented limit for `/run`.
const RUN_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Runpod's documented limit for `/runsync`.
const RUN_SYNC_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Bodies of cancel, retry and purge are ignored; `{}` is what clients send.
const IGNORED_BYTES_MAX: usize = 64 * 1024;
/// Runpod's documented bounds of `wait`, in milliseconds.
const WAIT_RANGE: std::ops::RangeInclusive<u64> = 1000..=300_000;
/// Runpod's documented default of `wait` on `/runsync`, in milliseconds.
const SYNC_WAIT_DEFAULT: u64 = 90_000;
/// The Python client gives up on `/stream` after 10 s; two seconds are left for the way.
const STREAM_WAIT_DEFAULT: u64 = 8000;

/// An error of the job API.
#[derive(Debug)]
pub(crate) struct JobApiError(Problem);

#[derive(Serialize)]
struct JobApiErrorBody {
    error: String,
    code: types::ErrorCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<api::FieldProblem>,
}

impl From<ProblemResponse> for JobApiError {
    fn from(response: ProblemResponse) -> Self {
        Self(response.problem().clone())
    }
}

impl From<Problem> for JobApiError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for JobApiError {
    fn into_response(self) -> Response {
        let Problem { status, detail, code, hint, errors, .. } = self.0;
        // Runpod answers 400 where our own API says 422; its clients know only the former.
        let status = if status == 422 { 400 } else { status };
        let status = StatusCode::from_u16(status).expect("codes carry statuses between 400 and 599");
        let mut response =
            (status, Json(JobApiErrorBody { error: detail, code, hint, errors })).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

type Answer<T> = Result<Json<T>, JobApiError>;

/// Shows a job as Runpod's clients know it: attempts belong to our own routes.
fn shown(view: JobView) -> Json<JobView> {
    Json(JobView { attempts: Vec::new(), ..view })
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct WaitQuery {
    wait: Option<u64>,
}

impl WaitQuery {
    fn duration(&self, default: u64) -> Duration {
        Duration::from_millis(self.wait.unwrap_or(default).clamp(*WAIT_RANGE.start(), *WAIT_RANGE.end()))
    }
}

pub(crate) async fn run(
    State(faces): State<Faces>,
    JobCaller(caller): JobCaller,
    Path(endpoint): Path<String>,
    body: Result<BytesBody<RUN_BYTES_MAX>, ProblemResponse>,
) -> Answer<Acknowledged> {
    let body: JobBody = parse_json(&body?.0).map_err(ProblemResponse::from)?;
    Ok(Json(faces.control.submit(&caller, &endpoint, JobRoute::Async, body).await?))
}

pub(crate) async fn run_sync(
    State(faces): State<Faces>,
    JobCaller(caller): JobCaller,
    Path(endpoint): Path<String>,
    query: Result<Query<WaitQuery>, ProblemResponse>,
    body: Result<BytesBody<RUN_SYNC_BYTES_MAX>, ProblemResponse>,
) -> Answer<JobView> {
    let deadline = faces.clock.now() + query?.0.duration(SYNC_WAIT_DEFAULT);
    let body: JobBody = parse_json(&body?.0).map_err(ProblemResponse::from)?;
    let job = faces.control.submit(&caller, &endpoint, JobRoute::Sync, body).await?;
    Ok(shown(faces.control.wait_job(&caller, &endpoint, job.id.as_str(), deadline).await?))
}

pub(crate) async fn status(
    State(faces): State<Faces>,
    JobCaller(caller): JobCaller,
    Path((endpoint, job)): Path<(String, String)>,
) -> Answer<JobView> {
    Ok(shown(faces.control.job(&caller, &endpoint, &job).await?))
}

pub(crate) async fn status_sync(
    State(faces): State<Faces>,
    JobCaller(caller): JobCaller,
    Path((endpoint, job)): Path<(String, String)>,
    query: Result<Query<WaitQuery>, ProblemResponse>,
) -> Answer<JobView> {
    let deadline = faces.clock.now() + query?.0.duration(SYNC_WAIT_DEFAULT);
    Ok(shown(faces.control.wait_job(&caller, &endpoint, &job, deadline).await?))
}

pub(crate) async fn stream(
    State(faces): State<Faces>,
    JobCaller(caller): JobCaller,
    Path((endpoint, job)): Path<(String, String)>,
    query: Result<Query<WaitQuery>, ProblemResponse>,
) -> Answer<StreamView> {
    let deadline = faces.clock.now() + query?.0.duration(STREAM_WAIT_DEFAULT);
    let read = faces.control.stream(&caller, &endpoint, &job, deadline).await?;
    let stream = read.chunks.into_iter().map(|output| ChunkView { output }).collect();
    Ok(Json(StreamView { status: read.status, stream }))
}

pub(crate) async fn cancel(
    State(faces): State<Faces>,
    JobCaller(caller): JobCaller,
    Path((endpoint, job)): Path<(String, String)>,
    _ignored: BytesBody<IGNORED_BYTES_MAX>,
) -> Answer<Acknowledged> {
    Ok(Json(faces.control.cancel_job(&caller, &endpoint, &job).await?))
}

pub(crate) async fn retry(
    State(faces): State<Faces>,
    JobCaller(caller): JobCaller,
    Path((endpoint, job)): Path<(String, String)>,
    _ignored: BytesBody<IGNORED_BYTES_MAX>,
) -> Answer<Acknowledged> {
    Ok(Json(faces.control.retry_job(&caller, &endpoint, &job).await?))
}

pub(crate) async fn purge_queue(
    State(faces): State<Faces>,
    JobCaller(caller): JobCaller,
    Path(endpoint): Path<String>,
    _ignored: BytesBody<IGNORED_BYTES_MAX>,
) -> Answer<PurgeView> {
    Ok(Json(faces.control.purge_queue(&caller, &endpoint).await?))
}

pub(crate) async fn health(
    State(faces): State<Faces>,
    JobCaller(caller): JobCaller,
    Path(endpoint): Path<String>,
) -> Answer<HealthView> {
    Ok(Json(faces.control.health(&caller, &endpoint).await?))
}
