//! Answers that are errors: `application/problem+json` from a [`Fault`].

use std::time::Duration;

use api::{FieldProblem, PROBLEM_MEDIA_TYPE, Problem};
use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use types::{ErrorCode, Fault};

/// An error as the answer to a request.
///
/// A handler returns `Result<T, ProblemResponse>`; `?` turns a [`Fault`] into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProblemResponse {
    problem: Problem,
    retry_after: Option<Duration>,
}

impl ProblemResponse {
    /// Makes the answer for a fault, with the status of its code.
    pub fn new(fault: Fault) -> Self {
        Self { problem: Problem::from(fault), retry_after: None }
    }

    /// Names a field at fault.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.problem.errors.push(FieldProblem { field: field.into(), message: message.into() });
        self
    }

    /// Answers with another status than the code's own, where a protocol wants it.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.problem.status = status.as_u16();
        self
    }

    /// Tells the client how long to wait, rounded up to whole seconds.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Returns the body of the answer.
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl From<Fault> for ProblemResponse {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

impl From<ErrorCode> for ProblemResponse {
    fn from(code: ErrorCode) -> Self {
        Self::new(Fault::new(code, code.title()))
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem).expect("a problem holds only text and numbers");
        let status =
            StatusCode::from_u16(self.problem.status).expect("codes carry statuses between 400 and 599");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
