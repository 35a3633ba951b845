//! Answers about a file: whole, in part, unchanged, or not at all. Where its bytes come from is the caller's matter.

use axum::{body::Body, response::Response};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
        X_CONTENT_TYPE_OPTIONS,
    },
};

use crate::range::{self, Wanted};

/// What is told of a file.
#[derive(Clone, Debug)]
pub struct FileFacts {
    /// Its length in bytes.
    pub len: u64,
    /// Its etag: hex digits, without quotes.
    pub etag: String,
    /// What its bytes are called.
    pub content_type: &'static str,
    /// Further headers of every answer about it.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Whether a request's `Range` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// It does.
    Served,
    /// Every answer is the whole file, as of a server that knows no ranges.
    Ignored,
}

/// Answers a GET or HEAD for a file. `body` makes the body of so many bytes (the second number, never zero) from an
/// offset (the first); it is not called where the answer has none.
pub fn answer_file(
    method: &Method,
    request: &HeaderMap,
    facts: &FileFacts,
    ranges: Ranges,
    body: impl FnOnce(u64, u64) -> Body,
) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(ETAG, header(&format!("\"{}\"", facts.etag)));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.extend(facts.headers.iter().cloned());
    if is_unchanged(request, &facts.etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(facts.content_type));
    // A browser that is led here must not take weights for a page.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let len = facts.len;
    let wanted = match ranges {
        Ranges::Served => wanted_part(request, facts),
        Ranges::Ignored => Wanted::Whole,
    };
    let (first, count) = match wanted {
        Wanted::Whole => (0, len),
        Wanted::Part { first, last } => {
            headers.insert(CONTENT_RANGE, header(&format!("bytes {first}-{last}/{len}")));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            (first, last - first + 1)
        }
        Wanted::Unsatisfiable => {
            headers.insert(CONTENT_RANGE, header(&format!("bytes */{len}")));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return response;
        }
    };
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(count));
    if method != Method::HEAD && count > 0 {
        *response.body_mut() = body(first, count);
    }
    response
}

/// Returns whether the client has this state of a file already. The etag is given without its quotes.
pub fn is_unchanged(request: &HeaderMap, etag: &str) -> bool {
    let listed = request.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    listed.is_some_and(|listed| {
        listed.split(',').map(str::trim).any(|one| one == "*" || bare_etag(one) == etag)
    })
}

fn bare_etag(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

fn wanted_part(request: &HeaderMap, facts: &FileFacts) -> Wanted {
    let text = |name: HeaderName| request.get(name).and_then(|value| value.to_str().ok());
    // A part of another state than the client has the beginning of would be of no use to it.
    if text(IF_RANGE).is_some_and(|etag| bare_etag(etag) != facts.etag) {
        return Wanted::Whole;
    }
    range::wanted(text(RANGE), facts.len)
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("etags are hex and the rest is numbers: it holds only ASCII")
}

#[cfg(test)]
mod tests;
