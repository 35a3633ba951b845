//! Times and durations in words.

use std::time::Duration;

use api::FetchView;
use base::{ByteSize, Timestamp};

/// Returns how long ago a moment in RFC 3339 was, or the text itself when it is no such moment.
pub fn ago(moment: &str, now: Timestamp) -> String {
    let Ok(parsed) = moment.parse::<jiff::Timestamp>() else {
        return moment.to_owned();
    };
    let then = Timestamp::from_micros(parsed.as_microsecond());
    let past = now.since(then);
    if past < Duration::from_secs(1) && then.since(now) >= Duration::from_secs(1) {
        return format!("in {}", coarse(then.since(now)));
    }
    format!("{} ago", coarse(past))
}

/// Returns a duration to two digits or so: "350 ms", "3.2 s", "2 min 5 s", "3 h 4 min", "5 days".
pub fn for_people(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration < Duration::from_secs(1) {
        return format!("{} ms", duration.as_millis());
    }
    match seconds {
        0..60 => {
            let tenths = duration.as_millis() / 100;
            if tenths.is_multiple_of(10) {
                format!("{seconds} s")
            } else {
                format!("{}.{} s", tenths / 10, tenths % 10)
            }
        }
        60..3600 => two_units(seconds / 60, "min", seconds % 60, "s"),
        3600..172_800 => two_units(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Returns milliseconds as a duration in words.
pub fn millis(count: u64) -> String {
    for_people(Duration::from_millis(count))
}

/// Returns the rate of a fetch and the time it has left, as the end of a sentence. Both are gone once every byte is
/// here: what is left then is to publish.
pub(crate) fn fetch_tail(fetch: &FetchView) -> String {
    if fetch.bytes_done >= fetch.bytes_total && fetch.bytes_total > 0 {
        return ", publishing".to_owned();
    }
    let rate = match fetch.bytes_per_second {
        0 => String::new(),
        rate => format!(" at {}/s", ByteSize(rate)),
    };
    let left = fetch.eta.map_or_else(String::new, |eta| format!(", {} left", millis(eta)));
    format!("{rate}{left}")
}

/// Returns who sends the bytes of a fetch, as the end of a phrase.
pub(crate) fn sources(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" from {}", names.join(", ")) }
}

/// Returns a duration in its largest unit only.
fn coarse(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn two_units(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large} {large_unit}")
    } else {
        format!("{large} {large_unit} {small} {small_unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let check = |count: u64, expected: &str| assert_eq!(millis(count), expected);
        check(0, "0 ms");
        check(999, "999 ms");
        check(1000, "1 s");
        check(3249, "3.2 s");
        check(59_999, "59.9 s");
        check(60_000, "1 min");
        check(125_000, "2 min 5 s");
        check(3_600_000, "1 h");
        check(86_400_000, "24 h");
        check(432_000_000, "5 days");
    }

    #[test]
    fn moments_are_told_from_now() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let check = |moment: &str, expected: &str| assert_eq!(ago(moment, now), expected);
        check("2023-11-14T22:13:20.000Z", "0 s ago");
        check("2023-11-14T22:13:08.100Z", "11 s ago");
        check("2023-11-14T22:10:20Z", "3 min ago");
        check("2023-11-11T22:10:20Z", "3 days ago");
        check("2023-11-14T22:13:50Z", "in 30 s");
        check("yesterday", "yesterday");
    }
}
