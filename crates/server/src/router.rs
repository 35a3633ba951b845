//! The one table of public addresses.

use axum::{
    Router,
    http::StatusCode,
    routing::{MethodRouter, get, post},
};
use base::{Clock, Entropy};
use control::Handle;

use crate::{
    explain, jobs,
    manage::{self, models},
};

/// What every handler gets.
#[derive(Clone)]
pub(crate) struct Faces {
    pub(crate) control: Handle,
    pub(crate) clock: Clock,
}

/// Makes the router of all public addresses.
///
/// `/livez` and `/readyz` take no key and tell nothing but their status.
pub fn router(control: Handle, clock: Clock, entropy: Entropy) -> Router {
    let faces = Faces { control, clock: clock.clone() };
    let router = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(live))
        .route("/docs/errors/{code}", get(explain::error))
        .nest("/api/v2", management())
        .nest("/v2", job_api())
        .with_state(faces);
    web::observed(web::problem_fallbacks(router), clock, entropy)
}

async fn live() -> StatusCode {
    StatusCode::OK
}

fn management() -> Router<Faces> {
    Router::new()
        .route("/serverless", get(manage::list_endpoints).post(manage::create_endpoint))
        .route(
            "/serverless/{endpoint}",
            get(manage::get_endpoint).patch(manage::update_endpoint).delete(manage::delete_endpoint),
        )
        .route("/serverless/{endpoint}/workers", get(manage::list_endpoint_workers))
        .route("/jobs/{endpoint}/{job}", get(manage::get_job))
        .route("/workers", get(manage::list_workers))
        .route("/workers/{worker}", get(manage::get_worker))
        .route("/workers/{worker}/logs", get(manage::worker_logs))
        .route("/models", get(models::list).delete(models::remove))
        .route("/models/pull", post(models::pull))
        .route("/models/offer", post(models::offer))
        .route("/models/events", get(models::watch_events))
        .route("/models/cancel", post(models::cancel))
        .route("/models/pin", post(models::pin).delete(models::unpin))
        .route("/models/path", get(models::path))
        .route("/models/verify", post(models::verify))
        .route("/models/import", post(models::import))
        .route("/models/why", get(models::why))
        .route("/usage", get(manage::usage))
        .route("/hosts", get(manage::list_hosts))
        .route("/hosts/{host}", get(manage::get_host))
        .route("/folders/{digest}", get(manage::get_folder).put(manage::put_folder))
}

/// Routes that Runpod's clients send as GET or as POST, depending on the language.
fn either<H, T>(handler: H) -> MethodRouter<Faces>
where
    H: axum::handler::Handler<T, Faces> + Clone,
    T: 'static,
{
    get(handler.clone()).post(handler)
}

fn job_api() -> Router<Faces> {
    Router::new()
        .route("/{endpoint}/run", post(jobs::run))
        .route("/{endpoint}/runsync", post(jobs::run_sync))
        .route("/{endpoint}/status/{job}", either(jobs::status))
        .route("/{endpoint}/status-sync/{job}", either(jobs::status_sync))
        .route("/{endpoint}/stream/{job}", either(jobs::stream))
        .route("/{endpoint}/cancel/{job}", post(jobs::cancel))
        .route("/{endpoint}/retry/{job}", post(jobs::retry))
        .route("/{endpoint}/purge-queue", post(jobs::purge_queue))
        .route("/{endpoint}/health", get(jobs::health))
}
