//! What every request gets, whoever answers it: an id, a span, an answer when its handler panics.
//!
//! Logged are the method, the route as it was declared (or the path, where none matched), the status and the time
//! taken. Never the query, which can hold signatures, and never a header, which can hold keys.

use std::{any::Any, fmt, sync::Arc};

use axum::{
    Router,
    extract::{FromRequestParts, MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base::{Clock, Entropy};
use http::{HeaderValue, Method, Uri, request::Parts};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use types::{ErrorCode, Fault};

use crate::ProblemResponse;

/// The header of an answer that names its request in our logs.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// Names one request: in the header of its answer and in every log line about it.
///
/// Always made here. What a client sends in that header is ignored: some send an older request's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    fn generate(entropy: &Entropy) -> Self {
        // 80 random bits: no two requests in one log share an id.
        let bytes: String = entropy.bytes::<10>().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("rq_{bytes}").into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ProblemResponse> {
        parts.extensions.get().cloned().ok_or_else(|| {
            ProblemResponse::new(Fault::new(ErrorCode::Internal, "the router was served without `observed`"))
        })
    }
}

/// Answers addresses without a route, and routes without the method, as problems.
///
/// Call it when all routes are there. It replaces a fallback of the router's own.
pub fn problem_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.fallback(route_not_found).method_not_allowed_fallback(method_not_allowed)
}

/// Gives every request an id and a span, logs its end, and turns a panic of a handler into an answer.
///
/// Call it last: it covers the routes and fallbacks that the router has by then.
pub fn observed(router: Router, clock: Clock, entropy: Entropy) -> Router {
    let observer = Observer { clock, entropy };
    router
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(axum::middleware::from_fn_with_state(observer, observe))
}

#[derive(Clone)]
struct Observer {
    clock: Clock,
    entropy: Entropy,
}

async fn observe(State(observer): State<Observer>, mut request: Request, next: Next) -> Response {
    let id = RequestId::generate(&observer.entropy);
    let started = observer.clock.now();
    let path = match request.extensions().get::<MatchedPath>() {
        Some(matched) => matched.as_str().to_owned(),
        None => request.uri().path().to_owned(),
    };
    let span = tracing::info_span!("request", id = %id, method = %request.method(), path);
    request.extensions_mut().insert(id.clone());
    let answer = async {
        let response = next.run(request).await;
        let taken = observer.clock.now().since(started);
        tracing::debug!(
            status = response.status().as_u16(),
            milliseconds = taken.as_millis() as u64,
            "answered"
        );
        response
    };
    let mut response = answer.instrument(span).await;
    let value = HeaderValue::from_str(id.as_str()).expect("an id holds only letters and digits");
    response.headers_mut().insert(REQUEST_ID_HEADER, value);
    response
}

async fn route_not_found(method: Method, uri: Uri) -> ProblemResponse {
    let message = format!("there is nothing at {} {}", method, uri.path());
    Fault::new(ErrorCode::RouteNotFound, message).with_hint("check the address for a spelling mistake").into()
}

async fn method_not_allowed(method: Method, uri: Uri) -> ProblemResponse {
    let message = format!("{} does not take {}", uri.path(), method);
    Fault::new(ErrorCode::MethodNotAllowed, message)
        .with_hint("the header Allow of this answer names the methods that it takes")
        .into()
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over by value")]
fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned());
    tracing::error!(panic = message, "a request handler panicked");
    let fault = Fault::new(ErrorCode::Internal, "the request met a mistake in Larder")
        .with_hint("report it with the id in the header X-Request-Id and the log lines that carry it");
    ProblemResponse::new(fault).into_response()
}

#[cfg(test)]
mod tests;
