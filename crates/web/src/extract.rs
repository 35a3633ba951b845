//! Parts of an address, parsed; what cannot be parsed is answered as a problem.

use axum::extract::{FromRequestParts, path::ErrorKind, rejection::PathRejection};
use http::request::Parts;
use serde::de::DeserializeOwned;
use types::{ErrorCode, Fault};

use crate::ProblemResponse;

/// The variable segments of an address. Like axum's own, but what cannot be parsed is a problem answer.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(path_problem(&rejection)),
        }
    }
}

/// The parameters behind the question mark. Like axum's own, but what cannot be parsed is a problem answer.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let message = innermost(&rejection);
                let fault = Fault::new(
                    ErrorCode::FieldInvalid,
                    format!("a parameter of the address is wrong: {message}"),
                );
                let response = ProblemResponse::new(fault);
                // The parser puts the name before the first colon: "wait: invalid digit found in string".
                Err(match message.split_once(": ") {
                    Some((field, reason)) if !field.contains(' ') => response.with_field(field, reason),
                    Some(_) | None => response,
                })
            }
        }
    }
}

fn path_problem(rejection: &PathRejection) -> ProblemResponse {
    let invalid = |field: Option<&str>, reason: String| {
        let fault = Fault::new(ErrorCode::FieldInvalid, format!("a part of the address is wrong: {reason}"));
        match field {
            Some(field) => ProblemResponse::new(fault).with_field(field, reason),
            None => ProblemResponse::new(fault),
        }
    };
    let PathRejection::FailedToDeserializePathParams(failed) = rejection else {
        return ProblemResponse::new(Fault::from_error(ErrorCode::Internal, rejection));
    };
    // axum's enum, open to new kinds: those read well as they print themselves.
    match failed.kind() {
        ErrorKind::ParseErrorAtKey { key, value, expected_type } => {
            invalid(Some(key), format!("{value:?} is not of type {expected_type}"))
        }
        ErrorKind::DeserializeError { key, message, value: _ } => invalid(Some(key), message.clone()),
        ErrorKind::InvalidUtf8InPathParam { key } => invalid(Some(key), "it is not UTF-8".to_owned()),
        other => invalid(None, other.to_string()),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
