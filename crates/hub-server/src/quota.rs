//! How many requests a caller may make in a fixed window, and the headers that say so.
//!
//! As on the public Hub: two buckets, fixed windows, anonymous callers by address, others by user.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};

/// So many callers are counted at once; when more come within one window, the newcomers share a count. A caller
/// costs about 100 bytes, so this is a megabyte.
const CALLERS_MAX: usize = 10_000;

/// How many requests each caller may make in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Requests below `/api/`.
    pub api: u32,
    /// Requests for files.
    pub resolvers: u32,
    /// How long a window is. At least one second.
    pub window: Duration,
}

impl Default for Quotas {
    /// The public Hub's window, with counts that only a runaway client reaches.
    fn default() -> Self {
        Self { api: 1_000_000, resolvers: 1_000_000, window: Duration::from_secs(300) }
    }
}

/// What a request counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bucket {
    Api,
    Resolvers,
}

/// Whose requests are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    Address(IpAddr),
    User(String),
    /// Whoever came when the table was full.
    Others,
}

/// How a caller stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    bucket: Bucket,
    quota: u32,
    remaining: u32,
    window_seconds: u64,
    /// Seconds until the next window.
    pub(crate) reset_seconds: u64,
    /// Whether the request is one too many.
    pub(crate) exceeded: bool,
}

impl Standing {
    /// Writes the two headers that every answer carries.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let bucket = match self.bucket {
            Bucket::Api => "api",
            Bucket::Resolvers => "resolvers",
        };
        let standing = format!("\"{bucket}\";r={};t={}", self.remaining, self.reset_seconds);
        let policy = format!("\"fixed window\";\"{bucket}\";q={};w={}", self.quota, self.window_seconds);
        for (name, text) in [("ratelimit", standing), ("ratelimit-policy", policy)] {
            let value = HeaderValue::from_str(&text).expect("it holds only ASCII");
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Counts requests.
#[derive(Debug)]
pub(crate) struct QuotaBook {
    quotas: Quotas,
    counts: Mutex<HashMap<(Counted, Bucket), Count>>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    window: i64,
    used: u32,
}

impl QuotaBook {
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self { quotas, counts: Mutex::new(HashMap::new()) }
    }

    /// Counts a request and tells how its caller stands.
    pub(crate) fn take(&self, caller: Counted, bucket: Bucket, now: Timestamp) -> Standing {
        let window_seconds = self.quotas.window.as_secs().max(1);
        let now_seconds = now.as_micros().div_euclid(1_000_000);
        let length = i64::try_from(window_seconds).unwrap_or(i64::MAX);
        let window = now_seconds.div_euclid(length);
        let reset_seconds = (length - now_seconds.rem_euclid(length)).unsigned_abs();
        let quota = match bucket {
            Bucket::Api => self.quotas.api,
            Bucket::Resolvers => self.quotas.resolvers,
        };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (caller, bucket);
        if counts.len() >= CALLERS_MAX && !counts.contains_key(&key) {
            counts.retain(|_, count| count.window == window);
            if counts.len() >= CALLERS_MAX {
                key.0 = Counted::Others;
            }
        }
        let count = counts.entry(key).or_insert(Count { window, used: 0 });
        if count.window != window {
            *count = Count { window, used: 0 };
        }
        let exceeded = count.used >= quota;
        count.used = count.used.saturating_add(1);
        let remaining = quota.saturating_sub(count.used);
        Standing { bucket, quota, remaining, window_seconds, reset_seconds, exceeded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_runs_out_and_a_new_one_begins() {
        let book = QuotaBook::new(Quotas { api: 2, resolvers: 1, window: Duration::from_secs(300) });
        let check = |who: &str, bucket, second: i64, expected: &str| {
            let standing =
                book.take(Counted::User(who.into()), bucket, Timestamp::from_millis(second * 1000));
            let mut headers = HeaderMap::new();
            standing.write(&mut headers);
            let text = format!(
                "{} | {} | {}",
                headers["ratelimit"].to_str().unwrap(),
                headers["ratelimit-policy"].to_str().unwrap(),
                if standing.exceeded { "too many" } else { "ok" }
            );
            assert_eq!(text, expected);
        };
        let policy = "\"fixed window\";\"api\";q=2;w=300";
        check("a", Bucket::Api, 300, &format!("\"api\";r=1;t=300 | {policy} | ok"));
        check("a", Bucket::Api, 310, &format!("\"api\";r=0;t=290 | {policy} | ok"));
        check("a", Bucket::Api, 599, &format!("\"api\";r=0;t=1 | {policy} | too many"));
        check("b", Bucket::Api, 599, &format!("\"api\";r=1;t=1 | {policy} | ok"));
        check(
            "a",
            Bucket::Resolvers,
            599,
            "\"resolvers\";r=0;t=1 | \"fixed window\";\"resolvers\";q=1;w=300 | ok",
        );
        check("a", Bucket::Api, 600, &format!("\"api\";r=1;t=300 | {policy} | ok"));
    }

    #[test]
    fn the_table_of_callers_stays_bounded() {
        let book = QuotaBook::new(Quotas::default());
        for number in 0..CALLERS_MAX + 50 {
            book.take(Counted::User(number.to_string()), Bucket::Api, Timestamp::EPOCH);
        }
        assert_eq!(book.counts.lock().unwrap().len(), CALLERS_MAX + 1);
    }
}
