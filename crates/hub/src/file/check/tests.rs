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
