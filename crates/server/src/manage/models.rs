//! Models: bringing, watching, keeping, checking and removing them.

use api::{
    DamagedFiles, ImportModels, ModelList, ModelOffer, ModelPathView, ModelView, OfferModel, PullModel,
    RemovedView, WhyView,
};
use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use control::Retention;
use serde::Deserialize;
use tokio::sync::watch;
use web::{JsonBody, ProblemResponse, Query, Stopping};

use super::{Answer, answer};
use crate::{caller::Caller, events, router::Faces};

#[derive(Debug, Deserialize)]
pub(crate) struct ReferenceQuery {
    reference: String,
}

pub(crate) async fn list(State(faces): State<Faces>, Caller(caller): Caller) -> Answer<ModelList> {
    Ok(Json(faces.control.models(&caller).await.map_err(answer)?))
}

pub(crate) async fn pull(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    JsonBody(body): JsonBody<PullModel>,
) -> Answer<ModelView> {
    Ok(Json(faces.control.pull_model(&caller, body).await.map_err(answer)?))
}

pub(crate) async fn offer(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    JsonBody(body): JsonBody<OfferModel>,
) -> Answer<ModelOffer> {
    Ok(Json(faces.control.offer_model(&caller, body).await.map_err(answer)?))
}

/// Answers with a stream of where a model stands, until there is nothing more to see.
pub(crate) async fn watch_events(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Query(query): Query<ReferenceQuery>,
    stopping: Stopping,
) -> Result<Response, ProblemResponse> {
    let now = faces.clock.now();
    let first = faces.control.watch_model(&caller, &query.reference, None, now).await.map_err(answer)?;
    Ok(events::of_model(faces, caller, query.reference, first, stopping))
}

pub(crate) async fn cancel(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Query(query): Query<ReferenceQuery>,
) -> Answer<ModelView> {
    Ok(Json(faces.control.cancel_pull(&caller, &query.reference).await.map_err(answer)?))
}

pub(crate) async fn pin(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Query(query): Query<ReferenceQuery>,
) -> Answer<ModelView> {
    let kept = faces.control.retain_model(&caller, &query.reference, Retention::Pinned).await;
    Ok(Json(kept.map_err(answer)?))
}

pub(crate) async fn unpin(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Query(query): Query<ReferenceQuery>,
) -> Answer<ModelView> {
    let kept = faces.control.retain_model(&caller, &query.reference, Retention::Evictable).await;
    Ok(Json(kept.map_err(answer)?))
}

pub(crate) async fn remove(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Query(query): Query<ReferenceQuery>,
) -> Answer<RemovedView> {
    Ok(Json(faces.control.remove_model(&caller, &query.reference).await.map_err(answer)?))
}

pub(crate) async fn path(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Query(query): Query<ReferenceQuery>,
) -> Answer<ModelPathView> {
    Ok(Json(faces.control.model_path(&caller, &query.reference).await.map_err(answer)?))
}

#[derive(Debug, Deserialize)]
pub(crate) struct VerifyQuery {
    reference: String,
    #[serde(default)]
    repair: bool,
}

/// Answers when the files were read; a client that takes events is told meanwhile how far that is.
pub(crate) async fn verify(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Query(query): Query<VerifyQuery>,
    stopping: Stopping,
    headers: HeaderMap,
) -> Result<Response, ProblemResponse> {
    let shown = watch::Sender::new(None);
    let progress = shown.subscribe();
    let control = faces.control.clone();
    let damaged = if query.repair { DamagedFiles::Quarantine } else { DamagedFiles::Report };
    let work = async move { control.verify_model(&caller, &query.reference, damaged, &shown).await };
    if events::are_taken(&headers) {
        return Ok(events::of_work(faces, work, progress, stopping));
    }
    Ok(Json(work.await.map_err(answer)?).into_response())
}

/// Answers when the cache was taken over; a client that takes events is told meanwhile how far that is.
pub(crate) async fn import(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    stopping: Stopping,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ImportModels>,
) -> Result<Response, ProblemResponse> {
    let shown = watch::Sender::new(None);
    let progress = shown.subscribe();
    let control = faces.control.clone();
    let work = async move { control.import_models(&caller, body, &shown).await };
    if events::are_taken(&headers) {
        return Ok(events::of_work(faces, work, progress, stopping));
    }
    Ok(Json(work.await.map_err(answer)?).into_response())
}

pub(crate) async fn why(
    State(faces): State<Faces>,
    Caller(caller): Caller,
    Query(query): Query<ReferenceQuery>,
) -> Answer<WhyView> {
    Ok(Json(faces.control.why_model(&caller, &query.reference).await.map_err(answer)?))
}
