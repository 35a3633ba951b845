//! Errors on our own API: `application/problem+json` (RFC 9457), with the stable code and a hint.

use serde::{Deserialize, Serialize};
use types::{ErrorCode, Fault};

/// The media type of a [`Problem`] (RFC 9457, section 3).
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where the code is explained, relative to the server.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's title: the same sentence every time.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What failed this time, and why.
    pub detail: String,
    /// The stable code.
    pub code: ErrorCode,
    /// What to do, when there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The fields at fault, when the request had some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

/// One field at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldProblem {
    /// Where it stands in the body, with dots.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self {
            kind: format!("/docs/errors/{}", fault.code),
            title: fault.code.title().to_owned(),
            status: fault.code.http_status(),
            detail: fault.message,
            code: fault.code,
            hint: fault.hint,
            errors: Vec::new(),
        }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self { code: problem.code, message: problem.detail, hint: problem.hint }
    }
}
