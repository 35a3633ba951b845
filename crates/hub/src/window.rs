//! How often a hub may be asked: what its answers tell of windows and pauses, obeyed before the hub has to say no.
//!
//! All questions of one client go through one [`Windows`], so all fetches of an agent keep to them together. Nothing
//! here waits: a question that should not be asked yet is refused with the time until it may be, as the hub itself
//! would have refused it; whoever asks decides how to wait.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use base::{Redacted, Timestamp};
use reqwest::{
    StatusCode,
    header::{DATE, HeaderMap, RETRY_AFTER},
};
use sha2::{Digest as _, Sha256};

use crate::answer::header;

/// The wait when a hub asks for a pause and does not say how long.
const PAUSE_DEFAULT: Duration = Duration::from_secs(10);
/// A pause that is told to be over at once would be no pause.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// No hub makes us wait longer: its windows are of five minutes, so three of them are beyond sense.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// One part in so many of a window is left to others who share it: other hosts with the same token or address.
/// Of the public hub's 3,000 anonymous requests in five minutes that is 15.
const QUOTA_PARTS_LEFT: u64 = 200;
/// Callers that are kept count of; beyond it those whose windows are over go, then all. An agent has one for each
/// token, and one for each storage server.
const CALLERS_MAX: usize = 1024;

/// What a hub counts apart from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bucket {
    /// Questions about repositories.
    Api,
    /// Questions for files.
    Files,
}

/// Whose questions are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    /// Who asks the hub itself: with a token, known by its hash, or by this host's address.
    Home { token: Option<[u8; 32]>, bucket: Bucket },
    /// Who asks another origin, known by host and port.
    Elsewhere(String),
}

impl Caller {
    pub(crate) fn home(token: Option<&Redacted<String>>, bucket: Bucket) -> Self {
        let token = token.map(|token| Sha256::digest(token.expose()).into());
        Self::Home { token, bucket }
    }
}

/// What an answer tells about further questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Questions left in the window.
    left: Option<u64>,
    /// Questions in a whole window.
    quota: Option<u64>,
    /// When the window ends.
    ends_in: Option<Duration>,
    /// How long nothing may be asked at all.
    pause: Option<Duration>,
}

impl Told {
    /// Reads the status and headers of an answer that came at `now`.
    pub(crate) fn read(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
        let pause = match status {
            StatusCode::TOO_MANY_REQUESTS => Some(pause(headers, now)),
            StatusCode::SERVICE_UNAVAILABLE => retry_after(headers, now),
            _ => None,
        };
        let (left, ends_in) = window(headers).unzip();
        Self { left, quota: quota(headers), ends_in, pause }
    }
}

/// How one caller stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    /// Questions left in the window, in so far as the hub has told; falls with each question.
    left: Option<u64>,
    /// Of these, so many are not used.
    reserve: u64,
    ends_at: Timestamp,
    paused_until: Timestamp,
    /// Questions without an answer so far: those that the hub has not counted yet when it told what is left.
    in_flight: u64,
}

impl Standing {
    /// Counts a question, or says how long to wait instead.
    fn ask(&mut self, now: Timestamp) -> Result<(), Duration> {
        if self.ends_at <= now {
            self.left = None;
        }
        let is_used_up = self.left.is_some_and(|left| left <= self.reserve);
        let until = if is_used_up { self.paused_until.max(self.ends_at) } else { self.paused_until };
        if until > now {
            return Err(until.since(now));
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.in_flight += 1;
        Ok(())
    }

    fn answered(&mut self, told: Told, now: Timestamp) {
        if let Some(pause) = told.pause {
            self.paused_until = self.paused_until.max(now + pause);
        }
        if let (Some(left), Some(ends_in)) = (told.left, told.ends_in) {
            // This answer's own question is still among those in flight.
            self.left = Some(left.saturating_sub(self.in_flight.saturating_sub(1)));
            self.ends_at = now + ends_in;
            self.reserve = told.quota.unwrap_or(0) / QUOTA_PARTS_LEFT;
        }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.in_flight == 0 && self.ends_at <= now && self.paused_until <= now
    }
}

/// How all callers of a client stand.
#[derive(Debug, Default)]
pub(crate) struct Windows(Mutex<HashMap<Caller, Standing>>);

/// One question, until it is answered or given up.
#[derive(Debug)]
pub(crate) struct Asking {
    windows: Arc<Windows>,
    caller: Caller,
}

impl Windows {
    /// Counts a question.
    ///
    /// # Errors
    /// How long to wait, when it should not be asked yet.
    pub(crate) fn ask(self: &Arc<Self>, caller: Caller, now: Timestamp) -> Result<Asking, Duration> {
        let mut standings = self.lock();
        if standings.len() >= CALLERS_MAX && !standings.contains_key(&caller) {
            standings.retain(|_, standing| !standing.is_over(now));
            if standings.len() >= CALLERS_MAX {
                standings.clear();
            }
        }
        standings.entry(caller.clone()).or_default().ask(now)?;
        drop(standings);
        Ok(Asking { windows: self.clone(), caller })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Caller, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking {
    /// Takes up what the answer tells.
    pub(crate) fn answered(self, told: Told, now: Timestamp) {
        if let Some(standing) = self.windows.lock().get_mut(&self.caller) {
            standing.answered(told, now);
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(standing) = self.windows.lock().get_mut(&self.caller) {
            standing.in_flight = standing.in_flight.saturating_sub(1);
        }
    }
}

/// Returns how long an answer of status 429 asks to wait: until its window ends when that is used up, else as it
/// says.
pub(crate) fn pause(headers: &HeaderMap, now: Timestamp) -> Duration {
    let used_up = window(headers).filter(|(left, _)| *left == 0).map(|(_, ends_in)| ends_in);
    used_up.or_else(|| retry_after(headers, now)).unwrap_or(PAUSE_DEFAULT)
}

/// Reads `Retry-After`: seconds, or a moment, which is compared with the answer's own clock where that is told.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = header(headers, RETRY_AFTER.as_str())?.trim();
    let pause = if text.starts_with(|first: char| first.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let sent_at = header(headers, DATE.as_str()).and_then(moment).unwrap_or(now);
        moment(text)?.since(sent_at)
    };
    Some(pause.clamp(PAUSE_MIN, PAUSE_MAX))
}

/// Reads a date as HTTP writes it, in any of its three forms.
fn moment(text: &str) -> Option<Timestamp> {
    let since_epoch = httpdate::parse_http_date(text.trim()).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::EPOCH + since_epoch)
}

/// Reads `RateLimit: "resolvers";r=12;t=217`: 12 requests left, 217 s to the next window. Of several windows the
/// one with the fewest requests left counts.
fn window(headers: &HeaderMap) -> Option<(u64, Duration)> {
    let windows = header(headers, "ratelimit")?.split(',').filter_map(|item| {
        // One second more than told, as the hub's own client waits: the window's end is rounded down.
        let seconds = parameter(item, "t")?.saturating_add(1);
        Some((parameter(item, "r")?, Duration::from_secs(seconds).clamp(PAUSE_MIN, PAUSE_MAX)))
    });
    windows.min_by_key(|(left, ends_in)| (*left, std::cmp::Reverse(*ends_in)))
}

/// Reads `RateLimit-Policy: "fixed window";"resolvers";q=3000;w=300`: 3,000 requests in each window.
fn quota(headers: &HeaderMap) -> Option<u64> {
    header(headers, "ratelimit-policy")?.split(',').filter_map(|item| parameter(item, "q")).min()
}

fn parameter(item: &str, name: &str) -> Option<u64> {
    item.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=')?.trim().parse().ok())
}

#[cfg(test)]
mod tests;
