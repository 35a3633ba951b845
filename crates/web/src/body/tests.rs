//! Bodies at, over and below their limits, and what is said of broken JSON.

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use base::ByteSize;
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;

use super::{BodyError, parse_json, read_body};
use crate::ProblemResponse;

fn chunked(chunks: &[&'static str]) -> Body {
    let chunks: Vec<Result<Bytes, Infallible>> = chunks.iter().map(|chunk| Ok(Bytes::from(*chunk))).collect();
    Body::from_stream(stream::iter(chunks))
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit() {
    let check = async |body: Body, expected: Result<&str, &str>| {
        let read = read_body(body, ByteSize(6)).await;
        let shown = read.as_ref().map(|bytes| str::from_utf8(bytes).unwrap()).map_err(ToString::to_string);
        assert_eq!(shown, expected.map_err(str::to_owned));
    };
    let too_large = Err("the body holds more than 6 B, which is the limit here");
    check(Body::empty(), Ok("")).await;
    check(Body::from("abcdef"), Ok("abcdef")).await;
    check(Body::from("abcdefg"), too_large).await;
    check(chunked(&["abc", "", "def"]), Ok("abcdef")).await;
    check(chunked(&["abc", "def", "g"]), too_large).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_given_up() {
    let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let begun = tokio::time::Instant::now();
    let error = read_body(body, ByteSize(6)).await.unwrap_err();
    assert_eq!(error.to_string(), "the body stopped coming for 30 s");
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
    assert_eq!(ProblemResponse::from(error).problem().status, 408);
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only its shape matters")]
struct Shape {
    input: Inner,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only its shape matters")]
struct Inner {
    count: u8,
}

#[test]
fn what_is_wrong_with_json_is_said_with_its_place() {
    let check = |text: &str, message: &str, field: &str| {
        let error = parse_json::<Shape>(text.as_bytes()).unwrap_err();
        let BodyError::NotJson { field: found, .. } = &error else { panic!("{error}") };
        let of = "the body is not the JSON that is needed: ";
        assert_eq!((error.to_string(), found.as_str()), (format!("{of}{message}"), field), "{text}");
    };
    check("", "EOF while parsing a value (line 1, column 0)", "");
    check("{\n  \"input\": nope}", "expected ident (line 2, column 13)", "input");
    check("{}", "missing field `input` (line 1, column 2)", "");
    check(
        "{\"input\":{\"count\":300}}",
        "invalid value: integer `300`, expected u8 (line 1, column 21)",
        "input.count",
    );
    check("{\"input\":{\"count\":3}} x", "trailing characters (line 1, column 23)", "");
}
