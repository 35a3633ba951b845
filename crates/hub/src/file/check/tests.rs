//! Headers that describe a range.

use super::*;

#[test]
fn content_ranges_are_read_strictly() {
    let check = |text: &str, expected: Option<(u64, u64, Option<u64>)>| {
        assert_eq!(parse_content_range(text), expected, "{text:?}");
    };
    check("bytes 0-9/100", Some((0, 9, Some(100))));
    check("bytes 5-5/*", Some((5, 5, None)));
    check("bytes */100", None);
    check("items 0-9/100", None);
    check("bytes 0-/100", None);
    check("bytes 0-9/x", None);
    check("bytes -1-9/10", None);
    check("", None);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(testkit::cases(1000)))]

    #[test]
    fn an_answer_that_fits_is_within_the_range_asked_for(
        status in proptest::sample::select(vec![200u16, 204, 206, 301, 404, 416]),
        told in "(bytes |items |)[0-9*]{0,4}-?[0-9]{0,4}/?[0-9*]{0,4}",
        etag in "[ -~]{0,70}",
        encoding in proptest::option::of("(identity|gzip|[a-z]{0,4})"),
        length in proptest::option::of(0u64..2000),
        offset in 0u64..900,
        len in 1u64..100,
    ) {
        let mut headers = HeaderMap::new();
        for (name, text) in [("content-range", Some(told)), ("etag", Some(etag)), ("content-encoding", encoding)] {
            if let Some(value) = text.and_then(|text| text.parse().ok()) {
                headers.insert(name, value);
            }
        }
        let status = StatusCode::from_u16(status).unwrap();
        let range = ByteRange { offset, len };
        let fits = fit(RangeAnswer { status, headers: &headers, length }, range, 1000).is_ok();
        if fits {
            proptest::prop_assert!(matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT));
            if status == StatusCode::PARTIAL_CONTENT {
                let told = header(&headers, "content-range").and_then(parse_content_range);
                let (first, last, size) = told.unwrap();
                proptest::prop_assert!(first == offset && last < offset + len && size.is_none_or(|size| size == 1000));
            }
        }
        let file = ManifestFile { path: "a".parse().unwrap(), size: 1000, digest: Digest::Sha256([7; 32]) };
        let _ = check_home_tag(&"test".parse().unwrap(), &file, &headers);
    }
}
