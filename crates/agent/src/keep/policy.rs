//! From what the store tells to what the policy asks, and from its answer to words. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use base::{ByteSize, Timestamp};
use scheduler::eviction::{self, BlobIndex, EvictionPlan, Held, Shelved, Standing, Uses};
use store::{ModelFacts, NeverFits, Provenance, RoomLimits, Shelf, Shortfall};
use types::{Digest, ErrorCode, Fault, ModelKey};

/// The store stands above its high mark beyond this part of what it may take.
const HIGH_PERCENT: u64 = 98;
/// Then models go until it takes no more than this. Deleting is quick beside any fetch, so that a deeper reserve would
/// only cost hits.
const LOW_PERCENT: u64 = 95;
/// Below the floor of free room, models go until there is a quarter more, or whoever fills the disk would have one model
/// go at a time.
const FLOOR_PARTS: u64 = 4;
/// How fast a model is thought to come again when nobody knows: a gigabit line.
const REFETCH_RATE_BYTES: u64 = 100_000_000;
/// Below this a rate says more of round trips than of the line.
const RATED_BYTES_MIN: u64 = 8_000_000;
/// Models that a message names for each reason; more would hide the reasons.
const NAMED_MAX: usize = 3;

/// What is wanted on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Models that must not go: desired ones, those of workers, those that are being brought.
    pub(crate) wanted: BTreeSet<ModelKey>,
    /// How many other hosts hold each.
    pub(crate) copies: BTreeMap<ModelKey, u32>,
}

impl Wishes {
    pub(crate) fn wants(&self, key: &ModelKey) -> bool {
        self.wanted.contains(key)
    }
}

/// Returns whether a model may go. What came or was used within `spared` counts as wanted.
pub(super) fn standing(
    facts: &ModelFacts,
    wishes: &Wishes,
    spared: Option<Duration>,
    now: Timestamp,
) -> Standing {
    let touched = facts.uses.as_ref().map_or(facts.since, |uses| uses.last_at().max(facts.since));
    if facts.leases > 0 {
        Standing::Leased
    } else if facts.pin.is_some() {
        Standing::Pinned
    } else if wishes.wants(&facts.key) || spared.is_some_and(|spared| now.since(touched) < spared) {
        Standing::Wanted
    } else {
        Standing::Free
    }
}

/// Lines the models of a shelf up for the policy.
pub(super) fn lineup(shelf: &Shelf, wishes: &Wishes, spared: Option<Duration>) -> eviction::Shelf<ModelKey> {
    let mut lineup = eviction::Shelf::new();
    let mut known: HashMap<Digest, BlobIndex> = HashMap::new();
    for facts in &shelf.models {
        let blobs = facts.blobs.iter().map(|blob| {
            // What somebody outside holds as well frees nothing.
            let bytes = if blob.held_elsewhere { ByteSize(0) } else { blob.bytes };
            *known.entry(blob.digest).or_insert_with(|| lineup.blob(bytes))
        });
        let blobs = blobs.collect();
        lineup.model(Shelved {
            key: facts.key.clone(),
            blobs,
            standing: standing(facts, wishes, spared, shelf.at),
            uses: facts.uses.clone().unwrap_or_else(|| Uses::first(facts.since)),
            refetch_rate_bytes: refetch_rate_bytes(facts.provenance.as_ref()),
            copies_elsewhere: wishes.copies.get(&facts.key).copied().unwrap_or(0),
        });
    }
    lineup
}

/// Returns how fast a model is thought to come again: as fast as it came, where that says something.
pub(super) fn refetch_rate_bytes(provenance: Option<&Provenance>) -> u64 {
    let rated = provenance.filter(|came| came.bytes.bytes() >= RATED_BYTES_MIN);
    rated.and_then(Provenance::rate_bytes_per_second).unwrap_or(REFETCH_RATE_BYTES)
}

/// Returns how many bytes have to go so that the store stands at its low mark; none while it is below the high one.
pub(super) fn surplus(taken: ByteSize, available: ByteSize, limits: &RoomLimits) -> ByteSize {
    let part = |percent| limits.cache_bytes_max.bytes() / 100 * percent;
    let beyond = match taken.bytes() > part(HIGH_PERCENT) {
        true => taken.bytes() - part(LOW_PERCENT),
        false => 0,
    };
    let floor = limits.disk_free_min.bytes();
    let below = match available.bytes() < floor {
        true => floor + floor / FLOOR_PARTS - available.bytes(),
        false => 0,
    };
    ByteSize(beyond.max(below))
}

/// Says what holds the bytes that a fetch needs.
pub(super) fn no_room(
    key: &ModelKey,
    shortfall: Shortfall,
    plan: &EvictionPlan<ModelKey>,
    shelf: &Shelf,
    wishes: &Wishes,
) -> Fault {
    let name = &key.repo.name;
    let mut reasons = Vec::new();
    let mut tell = |held: Held, of: Standing, words: &str| {
        if held.models > 0 {
            let own = shelf.models.iter().filter(|facts| standing(facts, wishes, None, shelf.at) == of);
            reasons.push(format!("{} {words} ({})", held.bytes, names(own)));
        }
    };
    tell(plan.kept.leased, Standing::Leased, "are in use");
    tell(plan.kept.pinned, Standing::Pinned, "are pinned");
    tell(plan.kept.wanted, Standing::Wanted, "are about to be used");
    if shelf.reserved.bytes() > 0 {
        reasons.push(format!("running fetches need {}", shelf.reserved));
    }
    let reasons = if reasons.is_empty() { "others fill the disk".to_owned() } else { reasons.join(", ") };
    Fault::new(
        ErrorCode::CacheFull,
        format!("{name} needs {} to go from this host, and {} can: {reasons}", shortfall.bytes, plan.freed),
    )
    .with_hint("stop workers or unpin models, or raise --cache-bytes-max; it is tried again by itself")
}

/// Says why a model does not fit whatever goes.
pub(super) fn never_fits(key: &ModelKey, never: &NeverFits) -> Fault {
    let fault = Fault::from_error(ErrorCode::CacheFull, never);
    let message = format!("{} does not fit on this host: {}", key.repo.name, fault.message);
    Fault::new(fault.code, message).with_hint(match never {
        NeverFits::Cache(_) => "raise --cache-bytes-max, choose a smaller variant, or use another host",
        NeverFits::Disk(_) => "free room on the disk, lower --disk-free-min, or use a larger disk",
    })
}

/// Says that what was evicted did not become free.
pub(super) fn not_freed(key: &ModelKey, last: Option<Shortfall>) -> Fault {
    let bytes = last.map_or(ByteSize(0), |shortfall| shortfall.bytes);
    let message = format!(
        "{} needs {bytes} more on this host: models went, and others took their room or still hold their bytes",
        key.repo.name
    );
    Fault::new(ErrorCode::CacheFull, message)
        .with_hint("see what else fills the disk; it is tried again by itself")
}

fn names<'a>(models: impl Iterator<Item = &'a ModelFacts>) -> String {
    let names: BTreeSet<String> = models.map(|facts| facts.key.repo.name.to_string()).collect();
    let shown: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
