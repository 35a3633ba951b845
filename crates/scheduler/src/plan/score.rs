//! How good a host is for a worker: a struct whose derived order is the policy.

use std::{fmt, time::Duration};

use base::{ByteSize, Timestamp};
use serde::Serialize;
use types::{EndpointId, ErrorCode, HostId, Isolation, ModelKey, TenantId, WorkerId};

use super::draft::{Draft, Guest, HostView};
use crate::{
    fetch::FetchState,
    fleet::{Cordon, Desire, GpuPick, Link, WorkerNeed},
};

/// Whether a host has room for the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomWhen {
    /// It has, as far as is known when the models are there.
    Now,
    /// When others have left.
    Later,
}

/// A time to ready in geometric steps: each 12 % longer than the one before it, and at least 250 ms.
///
/// Times within a step count as equal, because rates are learned and not known that well; 250 ms is below what a
/// person notices of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TimeStep(pub u32);

/// How many steps there are: enough for ten years, the longest that anyone would wait.
const STEPS: usize = 176;

/// Where each step ends, in microseconds.
const STEP_ENDS: [u64; STEPS] = step_ends();

const fn step_ends() -> [u64; STEPS] {
    let mut ends = [0; STEPS];
    let mut end = 0;
    let mut at = 0;
    while at < STEPS {
        let width = end / 100 * 12;
        end += if width < 250_000 { 250_000 } else { width };
        ends[at] = end;
        at += 1;
    }
    ends
}

impl From<Duration> for TimeStep {
    fn from(time: Duration) -> Self {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let step = STEP_ENDS.partition_point(|end| *end <= micros);
        Self(u32::try_from(step).unwrap_or(u32::MAX))
    }
}

/// How good a host is, best first. The order of the fields is the policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Score {
    /// Whether there is room now. Waiting for others to leave has no known end, so it comes before time.
    pub room: RoomWhen,
    /// The place of its GPU type in the release's order.
    pub gpu_rank: u32,
    /// How long until the worker's process could start.
    pub time: TimeStep,
    /// What must be evicted first.
    pub evict: ByteSize,
    /// Workers of the same endpoint there.
    pub spread: u32,
    /// Workers of any endpoint there.
    pub crowd: u32,
    /// The last word, so that no two hosts are equal.
    pub host: HostId,
}

/// A host that could take a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// How good it is.
    pub score: Score,
    /// Whether every model is there, verified. A model may lack no byte and still be on its way to that.
    pub holds: bool,
    /// Bytes still to come.
    pub missing: ByteSize,
    /// The time behind the score's step.
    pub time_to_ready: Duration,
    /// The GPUs that the worker would get now; empty when it needs none or there is no room.
    pub gpus: Vec<String>,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Score { room, gpu_rank, time, evict, spread, crowd, host } = &self.score;
        let room = match room {
            RoomWhen::Now => "room now",
            RoomWhen::Later => "room later",
        };
        let seconds = self.time_to_ready.as_secs_f64();
        let missing = self.missing;
        write!(f, "{host}: {room}, gpu rank {gpu_rank}, ready in {seconds:.2} s (step {}), ", time.0)?;
        write!(f, "{missing} missing, evicts {evict}, beside {spread} of its own and {crowd} in all")
    }
}

/// Why a host can't take a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfit {
    /// Its agent is not connected.
    Away,
    /// It takes no new workers.
    Cordoned,
    /// It can't start workers of this kind.
    Launch,
    /// It keeps no workers apart and has some of another tenant.
    OtherTenant,
    /// It may run no worker.
    NoWorkers,
    /// It has no GPU of a kind that will do.
    GpuKind,
    /// It has fewer GPUs of one kind than a worker needs.
    GpuCount,
    /// It has less memory than a worker needs.
    Memory,
    /// Its cache is smaller than the models.
    CacheTooSmall,
    /// What fills its cache is in use.
    CacheInUse,
    /// Its disk failed to take the models, and the pause before the next try is not over.
    DiskFailing,
}

impl Unfit {
    /// Returns the words that people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Cordoned => "cordoned",
            Self::Launch => "can't start this kind of worker",
            Self::OtherTenant => "has workers of another tenant",
            Self::NoWorkers => "may run no worker",
            Self::GpuKind => "has no such GPU",
            Self::GpuCount => "has too few GPUs",
            Self::Memory => "has too little memory",
            Self::CacheTooSmall => "cache too small",
            Self::CacheInUse => "cache full of models in use",
            Self::DiskFailing => "disk failing",
        }
    }
}

/// What is to be placed.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) endpoint: &'a EndpointId,
    pub(super) tenant: &'a TenantId,
    pub(super) need: &'a WorkerNeed,
    /// The held start that is to be placed again; it does not stand in its own way.
    pub(super) itself: Option<&'a WorkerId>,
}

impl Wish<'_> {
    /// Returns whether a guest is the held start that is to be placed again.
    fn is_by(&self, guest: &Guest<'_>) -> bool {
        guest.worker.is_some() && guest.worker == self.itself
    }
}

/// Returns how good a host is for a worker, or why it can't take it.
pub(super) fn assess(draft: &Draft<'_>, host: &HostView<'_>, wish: Wish<'_>) -> Result<Candidate, Unfit> {
    check_host(draft, host, wish)?;
    let bytes = count_bytes(host, wish.need, draft.now())?;
    let guests = || draft.guests(host).filter(|guest| !wish.is_by(guest));
    let held = guests().filter(|guest| guest.held).count();
    let mut net;
    let holds = host.holds(wish.need);
    let room = if !holds && held > 0 {
        // Starts that are held there already arrive before this one.
        net = host.room().clone();
        for guest in guests().filter(|guest| guest.held) {
            if let Some(pick) = net.fits(guest.need) {
                net.take(guest.need, &pick.uuids);
            }
        }
        &net
    } else {
        host.room()
    };
    let now = room.fits(wish.need);
    let (when, pick) = match (now, host.entry.whole.pick(&wish.need.gpu)) {
        (Some(pick), _) => (RoomWhen::Now, pick),
        (None, Some(pick)) => (RoomWhen::Later, GpuPick { uuids: Vec::new(), ..pick }),
        (None, None) => return Err(Unfit::GpuCount),
    };
    let load = host.room().load_tier(u32::try_from(held).unwrap_or(u32::MAX));
    let rate = host.entry.facts.hub_rate_bytes.unwrap_or(draft.policy().rate_unknown_bytes).max(1);
    let mut time_to_ready = draft.policy().load_tier_delay * load;
    if !holds {
        let micros = u128::from((bytes.missing + bytes.queue).0) * 1_000_000 / u128::from(rate);
        time_to_ready += draft.policy().fetch_overhead;
        time_to_ready += Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
    }
    let spread = guests().filter(|guest| guest.endpoint == wish.endpoint).count();
    let score = Score {
        room: when,
        gpu_rank: pick.rank,
        time: time_to_ready.into(),
        evict: bytes.evict,
        spread: u32::try_from(spread).unwrap_or(u32::MAX),
        crowd: u32::try_from(guests().count()).unwrap_or(u32::MAX),
        host: host.id.clone(),
    };
    Ok(Candidate { score, holds, missing: bytes.missing, time_to_ready, gpus: pick.uuids })
}

/// Whether the host could ever take the worker, whoever is there now.
fn check_host(draft: &Draft<'_>, host: &HostView<'_>, wish: Wish<'_>) -> Result<(), Unfit> {
    let facts = &host.entry.facts;
    let whole = &host.entry.whole;
    if matches!(facts.link, Link::Away { .. }) {
        return Err(Unfit::Away);
    }
    if facts.cordon == Cordon::Cordoned {
        return Err(Unfit::Cordoned);
    }
    if !facts.launches.contains(&wish.need.launch) {
        return Err(Unfit::Launch);
    }
    if facts.capacity.isolation == Isolation::None
        && draft.guests(host).any(|guest| guest.tenant != wish.tenant && !wish.is_by(&guest))
    {
        return Err(Unfit::OtherTenant);
    }
    if facts.capacity.workers_max == 0 {
        return Err(Unfit::NoWorkers);
    }
    if !whole.has_kind(&wish.need.gpu) {
        return Err(Unfit::GpuKind);
    }
    if !whole.has_memory(wish.need) {
        return Err(Unfit::Memory);
    }
    Ok(())
}

/// Bytes that a placement moves.
struct Bytes {
    /// Still to come for this worker.
    missing: ByteSize,
    /// Still to come for others before it.
    queue: ByteSize,
    /// To be removed first.
    evict: ByteSize,
}

fn count_bytes(host: &HostView<'_>, need: &WorkerNeed, now: Timestamp) -> Result<Bytes, Unfit> {
    let needed = |key: &ModelKey| need.models.iter().any(|model| model.key == *key);
    let (mut missing, mut new, mut total) = (ByteSize(0), ByteSize(0), ByteSize(0));
    for model in &need.models {
        let here = host.model(&model.key);
        let still = here.map_or(model.total, |here| here.state.missing(model.total));
        if here.and_then(|here| disk_pause(&here.state)).is_some_and(|retry_at| retry_at > now) {
            return Err(Unfit::DiskFailing);
        }
        total += model.total;
        missing += still;
        if host.desire(&model.key) == Desire::None {
            new += still;
        }
    }
    let mut reserved = ByteSize(0);
    let mut queue = ByteSize(0);
    for (key, still) in host.desired_missing() {
        reserved += still;
        if !needed(key) {
            queue += still;
        }
    }
    let cache = host.entry.facts.cache;
    let demanded = new + reserved;
    if total > host.entry.facts.capacity.cache_bytes_max {
        Err(Unfit::CacheTooSmall)
    } else if new > ByteSize(0) && demanded > cache.free + cache.evictable {
        Err(Unfit::CacheInUse)
    } else {
        let evict = if new > ByteSize(0) { demanded.0.saturating_sub(cache.free.0) } else { 0 };
        Ok(Bytes { missing, queue, evict: ByteSize(evict) })
    }
}

/// Returns when a host may be tried again whose disk failed to take the models of a need.
pub(super) fn disk_retry_at(draft: &Draft<'_>, host: &HostView<'_>, need: &WorkerNeed) -> Option<Timestamp> {
    let pauses = need.models.iter().filter_map(|model| disk_pause(&host.model(&model.key)?.state));
    pauses.filter(|retry_at| *retry_at > draft.now()).min()
}

/// Returns the end of the pause after a failed fetch, when the host itself, not the hub, is why it failed: another
/// host may do better.
fn disk_pause(state: &FetchState) -> Option<Timestamp> {
    match state {
        FetchState::Failed { fault, retry_at, .. } => {
            let is_local =
                matches!(fault.code, ErrorCode::DiskFull | ErrorCode::DiskError | ErrorCode::StoreLocked);
            is_local.then_some(*retry_at)
        }
        FetchState::Wanted { .. } | FetchState::Fetching { .. } | FetchState::Ready => None,
    }
}

#[cfg(test)]
mod tests;
