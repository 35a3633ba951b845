//! The key that a request carries: read once, held redacted.

use base::Redacted;
use http::{HeaderMap, header::AUTHORIZATION};

/// Returns the key in `Authorization`, written `Bearer KEY` or, as some clients do, `KEY` alone.
///
/// `None` also when the header is there in another scheme, twice, or not as text: none of these is a key.
pub fn key_of(headers: &HeaderMap) -> Option<Redacted<String>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let text = value.to_str().ok()?.trim();
    let key = match text.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
        Some(_) => return None,
        None => text,
    };
    // "Bearer" with nothing behind it is an empty variable in somebody's script, not a key.
    let is_key = !key.is_empty() && !key.contains(' ') && !key.eq_ignore_ascii_case("bearer");
    is_key.then(|| Redacted::new(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::key_of;

    #[test]
    fn a_key_is_read_with_and_without_its_scheme() {
        let check = |values: &[&[u8]], expected: Option<&str>| {
            let mut headers = http::HeaderMap::new();
            for value in values {
                headers.append("authorization", HeaderValue::from_bytes(value).unwrap());
            }
            let key = key_of(&headers);
            assert_eq!(key.as_ref().map(|key| key.expose().as_str()), expected, "{values:?}");
        };
        check(&[], None);
        check(&[b"Bearer lk_1"], Some("lk_1"));
        check(&[b"bearer  lk_1 "], Some("lk_1"));
        check(&[b"lk_1"], Some("lk_1"));
        check(&[b"Bearer"], None);
        check(&[b"Bearer "], None);
        check(&[b""], None);
        check(&[b"Basic dXNlcg=="], None);
        check(&[b"Bearer a b"], None);
        check(&[b"\xff\xfe"], None);
        check(&[b"Bearer a", b"Bearer b"], None);
    }
}
