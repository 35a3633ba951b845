//! The other origin: bytes behind signed links. It knows no token and no repository, only links.
//!
//! As on the public Hub, its `ETag` is not the content's hash, and its errors are XML.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use data_encoding::HEXLOWER;
use http::{
    HeaderValue, Method, StatusCode,
    header::{CONTENT_TYPE, RANGE},
    request::Parts,
};
use sha2::{Digest as _, Sha256};
use web::FileFacts;

use crate::{
    faults::Hit,
    hub::{Hub, record},
    record::Origin,
    send::{self, Outgoing},
};

/// Why a link gives nothing.
enum Denied {
    Method,
    Link,
    Gone,
    WholeFile,
}

/// Answers a request to the origin of the bytes.
pub(crate) async fn handle(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let (parts, _body) = request.into_parts();
    let now = hub.clock.now();
    let response = match hub.fail(Hit::Bytes) {
        Ok(()) => serve(&hub, &parts).await.unwrap_or_else(IntoResponse::into_response),
        Err(refusal) => refusal.into_response(),
    };
    hub.requests.push(record(Origin::Cdn, now, &parts, response.status()));
    response
}

async fn serve(hub: &Hub, parts: &Parts) -> Result<Response, Denied> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Denied::Method);
    }
    let query = parts.uri.query().unwrap_or_default();
    let link = hub.signer.open(parts.uri.path(), query, hub.clock.now()).map_err(|why| {
        tracing::debug!(?why, "refused a link");
        Denied::Link
    })?;
    let (file, len) = hub.open_unchanged(&link.place, link.digest).await.map_err(|error| {
        tracing::debug!(%error, "a link led to a file that is gone");
        Denied::Gone
    })?;
    let faults = hub.faults.faults();
    let too_large = faults.whole_file_bytes_max.is_some_and(|limit| len > limit.bytes());
    if too_large && !parts.headers.contains_key(RANGE) {
        return Err(Denied::WholeFile);
    }
    let etag = HEXLOWER.encode(&Sha256::digest(format!("an etag of {}", link.digest)));
    let facts = FileFacts { len, etag, content_type: "application/octet-stream", headers: Vec::new() };
    let outgoing = Outgoing { file, facts };
    let manner = hub.manner(&faults, &link.place);
    Ok(send::answer(&parts.method, &parts.headers, outgoing, manner))
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "Method not allowed"),
            Self::Link => (StatusCode::FORBIDDEN, "AccessDenied", "Access denied"),
            Self::Gone => {
                (StatusCode::NOT_FOUND, "NoSuchKey", "The file has changed since the link was made")
            }
            Self::WholeFile => (
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "The file is too large for a request without a range",
            ),
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        let mut response = (status, body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        response
    }
}
