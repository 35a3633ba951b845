//! Answers about a file of ten bytes, by the headers of the request.

use super::*;

fn check(method: &Method, request: &[(HeaderName, &str)], ranges: Ranges, expected: &str) {
    let request: HeaderMap =
        request.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
    let facts = FileFacts {
        len: 10,
        etag: "abc".to_owned(),
        content_type: "text/plain",
        headers: vec![(HeaderName::from_static("x-more"), HeaderValue::from_static("1"))],
    };
    let mut body = "no body".to_owned();
    let response = answer_file(method, &request, &facts, ranges, |first, count| {
        body = format!("{count} from {first}");
        Body::empty()
    });
    let shown = |name: HeaderName| response.headers().get(name).map_or("-", |value| value.to_str().unwrap());
    assert_eq!((shown(ETAG), shown(HeaderName::from_static("x-more"))), ("\"abc\"", "1"), "{request:?}");
    let status = response.status().as_u16();
    let answer = format!("{status} {} {} {body}", shown(CONTENT_LENGTH), shown(CONTENT_RANGE));
    assert_eq!(answer, expected, "{method} {request:?}");
}

#[test]
fn an_answer_is_what_the_request_asks_for() {
    let served = Ranges::Served;
    check(&Method::GET, &[], served, "200 10 - 10 from 0");
    check(&Method::HEAD, &[], served, "200 10 - no body");
    check(&Method::GET, &[(RANGE, "bytes=2-4")], served, "206 3 bytes 2-4/10 3 from 2");
    check(&Method::HEAD, &[(RANGE, "bytes=2-4")], served, "206 3 bytes 2-4/10 no body");
    check(&Method::GET, &[(RANGE, "bytes=10-")], served, "416 - bytes */10 no body");
    check(&Method::GET, &[(RANGE, "bytes=2-4")], Ranges::Ignored, "200 10 - 10 from 0");
    check(&Method::GET, &[(IF_NONE_MATCH, "\"x\", W/\"abc\"")], served, "304 - - no body");
    check(&Method::GET, &[(IF_NONE_MATCH, "*")], served, "304 - - no body");
    check(&Method::GET, &[(IF_NONE_MATCH, "\"x\"")], served, "200 10 - 10 from 0");
    let conditional = |etag| [(RANGE, "bytes=2-4"), (IF_RANGE, etag)];
    check(&Method::GET, &conditional("\"abc\""), served, "206 3 bytes 2-4/10 3 from 2");
    check(&Method::GET, &conditional("\"other\""), served, "200 10 - 10 from 0");
}
