//! Which bytes of a file a request wants (RFC 9110, section 14).

/// What a `Range` header comes to, for a file of a known length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The whole file.
    Whole,
    /// The bytes from `first` to `last`, both included.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// Bytes that the file does not have.
    Unsatisfiable,
}

/// Reads a `Range` header.
///
/// Several ranges in one header, other units and broken headers are answered with the whole file, as the RFC allows.
pub(crate) fn wanted(header: Option<&str>, len: u64) -> Wanted {
    let Some(spec) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else { return Wanted::Whole };
    match (parse(first), parse(last)) {
        (Number::Absent, Number::Value(suffix)) => match (suffix, len) {
            (0, _) | (_, 0) => Wanted::Unsatisfiable,
            (suffix, len) => Wanted::Part { first: len.saturating_sub(suffix), last: len - 1 },
        },
        (Number::Value(first), Number::Absent) => part(first, u64::MAX, len),
        (Number::Value(first), Number::Value(last)) if first <= last => part(first, last, len),
        (Number::Value(_), Number::Value(_))
        | (Number::Absent, Number::Absent)
        | (Number::Broken, _)
        | (_, Number::Broken) => Wanted::Whole,
    }
}

enum Number {
    Absent,
    Value(u64),
    Broken,
}

fn parse(text: &str) -> Number {
    match text {
        "" => Number::Absent,
        // More digits than a u64 holds are a number past the end of any file.
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Number::Value(digits.parse().unwrap_or(u64::MAX))
        }
        _ => Number::Broken,
    }
}

fn part(first: u64, last: u64, len: u64) -> Wanted {
    if first >= len { Wanted::Unsatisfiable } else { Wanted::Part { first, last: last.min(len - 1) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_as_the_rfc_says() {
        let check = |header: Option<&str>, len: u64, expected: Wanted| {
            assert_eq!(wanted(header, len), expected, "{header:?} of {len}");
        };
        let part = |first, last| Wanted::Part { first, last };
        check(None, 10, Wanted::Whole);
        check(Some("bytes=0-3"), 10, part(0, 3));
        check(Some("bytes=4-"), 10, part(4, 9));
        check(Some("bytes=-3"), 10, part(7, 9));
        check(Some("bytes=-30"), 10, part(0, 9));
        check(Some("bytes=8-99"), 10, part(8, 9));
        check(Some("bytes=9-99999999999999999999999"), 10, part(9, 9));
        check(Some("bytes=10-"), 10, Wanted::Unsatisfiable);
        check(Some("bytes=99999999999999999999999-"), 10, Wanted::Unsatisfiable);
        check(Some("bytes=-0"), 10, Wanted::Unsatisfiable);
        check(Some("bytes=0-"), 0, Wanted::Unsatisfiable);
        check(Some("bytes=-1"), 0, Wanted::Unsatisfiable);
        for ignored in
            ["bytes=3-1", "bytes=0-1,4-5", "bytes=a-b", "bytes=-", "bytes=", "lines=0-1", "bytes=+1-2", ""]
        {
            check(Some(ignored), 10, Wanted::Whole);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_part_is_always_inside_the_file(header in "bytes=[0-9]{0,21}-[0-9]{0,21}", len in 0u64..100) {
            if let Wanted::Part { first, last } = wanted(Some(&header), len) {
                proptest::prop_assert!(first <= last && last < len);
            }
        }
    }
}
