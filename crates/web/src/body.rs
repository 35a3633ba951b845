//! Bodies of requests: read within a limit and a pace, parsed as JSON whatever they call themselves.
//!
//! The limit is part of the handler's signature: `JsonBody<RunBody, { 10 * 1024 * 1024 }>`.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use base::ByteSize;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use types::{ErrorCode, Fault};

use crate::ProblemResponse;

/// A sender that gives nothing for this long has gone away or means harm; slow links still send something.
const BODY_STALL_MAX: Duration = Duration::from_secs(30);
/// So much of a refused body is read and thrown away, so that a client that is still sending sees the answer instead
/// of a broken connection: three times the largest body that any route takes.
const REFUSED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A refused body that pauses for this long is not waited for.
const REFUSED_PAUSE_MAX: Duration = Duration::from_millis(500);
/// The largest body where a handler names no other limit: management calls are a few kilobytes.
const BODY_BYTES_DEFAULT: usize = 1024 * 1024;

/// Why a body could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than allowed.
    #[error("the body holds more than {limit}, which is the limit here")]
    TooLarge {
        /// The limit.
        limit: ByteSize,
    },
    /// It is no JSON, or not JSON of the shape that is needed.
    #[error("the body is not the JSON that is needed: {reason} (line {line}, column {column})")]
    NotJson {
        /// The field where it was found, with dots; empty for the body as a whole.
        field: String,
        /// What the parser found, without the place.
        reason: String,
        /// The line, from 1; 0 where there is none.
        line: usize,
        /// The column, from 1; 0 where there is none.
        column: usize,
    },
    /// Nothing came for a while.
    #[error("the body stopped coming for {} s", waited.as_secs())]
    Stalled {
        /// How long nothing came.
        waited: Duration,
    },
    /// The connection ended inside it.
    #[error("the body could not be read")]
    Broken(#[source] axum::Error),
}

impl BodyError {
    /// Returns the error as a user sees it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::TooLarge { limit } => Fault::from_error(ErrorCode::BodyTooLarge, self)
                .with_hint(format!("send at most {limit}, or a link to the bytes instead of the bytes")),
            Self::NotJson { .. } => Fault::from_error(ErrorCode::BodyNotJson, self),
            Self::Stalled { .. } | Self::Broken(_) => {
                Fault::from_error(ErrorCode::Timeout, self).with_hint("send the request again")
            }
        }
    }
}

impl From<BodyError> for ProblemResponse {
    fn from(error: BodyError) -> Self {
        let response = Self::new(error.fault());
        match error {
            BodyError::TooLarge { .. } => response,
            BodyError::NotJson { field, .. } if field.is_empty() => response,
            BodyError::NotJson { field, reason, .. } => response.with_field(field, reason),
            // It is the client's clock that ran out, not one of ours.
            BodyError::Stalled { .. } | BodyError::Broken(_) => {
                response.with_status(http::StatusCode::REQUEST_TIMEOUT)
            }
        }
    }
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        ProblemResponse::from(self).into_response()
    }
}

/// Reads a body of at most `limit`.
///
/// A length announced above the limit is refused at once; what still comes of it is thrown away, within bounds.
///
/// # Errors
/// [`BodyError`] by condition; never `NotJson`.
pub async fn read_body(body: Body, limit: ByteSize) -> Result<Bytes, BodyError> {
    let too_large = || BodyError::TooLarge { limit };
    let bytes_max = usize::try_from(limit.bytes()).unwrap_or(usize::MAX);
    let announced = axum::body::HttpBody::size_hint(&body).lower();
    let mut body = std::pin::pin!(body);
    if announced > limit.bytes() {
        throw_away(body).await;
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut gathered = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(BODY_STALL_MAX, body.frame())
            .await
            .map_err(|_| BodyError::Stalled { waited: BODY_STALL_MAX })?;
        let Some(frame) = frame else { break };
        let Ok(chunk) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
        if first.len() + gathered.len() + chunk.len() > bytes_max {
            throw_away(body).await;
            return Err(too_large());
        }
        // Most bodies come as one chunk, which is then handed on without a copy.
        if first.is_empty() && gathered.is_empty() {
            first = chunk;
        } else {
            gathered.extend_from_slice(&std::mem::take(&mut first));
            gathered.extend_from_slice(&chunk);
        }
    }
    Ok(if gathered.is_empty() { first } else { gathered.freeze() })
}

/// Reads what still comes of a refused body, up to a bound.
async fn throw_away(mut body: std::pin::Pin<&mut Body>) {
    let mut read = 0;
    while read < REFUSED_BYTES_MAX {
        let Ok(Some(Ok(frame))) = tokio::time::timeout(REFUSED_PAUSE_MAX, body.frame()).await else { return };
        read += frame.data_ref().map_or(0, |chunk| chunk.len() as u64);
    }
}

/// Parses JSON and names the place of what is wrong with it.
///
/// # Errors
/// [`BodyError::NotJson`], for broken JSON and for JSON of another shape alike.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BodyError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        // "." stands for the root, and the path of broken JSON for where the parser was.
        let field = error.path().to_string();
        not_json(error.inner(), if field == "." { String::new() } else { field })
    })?;
    deserializer.end().map_err(|error| not_json(&error, String::new()))?;
    Ok(value)
}

fn not_json(error: &serde_json::Error, field: String) -> BodyError {
    let text = error.to_string();
    // The parser ends its text with the place, which has fields of its own here.
    let reason = text.rfind(" at line ").map_or(text.as_str(), |at| &text[..at]).to_owned();
    BodyError::NotJson { field, reason, line: error.line(), column: error.column() }
}

/// A body's bytes, at most `BYTES_MAX` of them.
#[derive(Clone, Debug)]
pub struct BytesBody<const BYTES_MAX: usize = BODY_BYTES_DEFAULT>(pub Bytes);

impl<S: Sync, const BYTES_MAX: usize> FromRequest<S> for BytesBody<BYTES_MAX> {
    type Rejection = ProblemResponse;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ProblemResponse> {
        Ok(Self(read_body(request.into_body(), ByteSize(BYTES_MAX as u64)).await?))
    }
}

/// A body that is JSON, at most `BYTES_MAX` bytes, whatever its content type says: `curl -d` says "form".
#[derive(Clone, Debug)]
pub struct JsonBody<T, const BYTES_MAX: usize = BODY_BYTES_DEFAULT>(pub T);

impl<S: Sync, T: DeserializeOwned, const BYTES_MAX: usize> FromRequest<S> for JsonBody<T, BYTES_MAX> {
    type Rejection = ProblemResponse;

    async fn from_request(request: Request, state: &S) -> Result<Self, ProblemResponse> {
        let BytesBody(bytes) = BytesBody::<BYTES_MAX>::from_request(request, state).await?;
        Ok(Self(parse_json(&bytes)?))
    }
}

/// A body that is JSON as [`JsonBody`] takes it, or nothing but white space.
#[derive(Clone, Debug)]
pub struct OptionalJsonBody<T, const BYTES_MAX: usize = BODY_BYTES_DEFAULT>(pub Option<T>);

impl<S: Sync, T: DeserializeOwned, const BYTES_MAX: usize> FromRequest<S> for OptionalJsonBody<T, BYTES_MAX> {
    type Rejection = ProblemResponse;

    async fn from_request(request: Request, state: &S) -> Result<Self, ProblemResponse> {
        let BytesBody(bytes) = BytesBody::<BYTES_MAX>::from_request(request, state).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(None));
        }
        Ok(Self(Some(parse_json(&bytes)?)))
    }
}

#[cfg(test)]
mod tests;
