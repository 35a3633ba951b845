//! Keeping the right models on this host: room for those that come, and watch over those that stay.
//!
//! ```text
//!  fetch ──▶ admit ──fits──▶ reserved ──▶ (the fetch runs)
//!              ▲ │needs
//!              │ ▼
//!            evict: strays, damaged models that nobody wants, then what the policy chooses
//! ```
//! What goes is `scheduler::eviction`'s decision, what is freed the store's to tell: after each eviction it is asked again.
//! [`Keeper::run`] is the background of it: strays, watermarks, notes; [`mod@scrub`] verifies. Both are the agent's tasks.

mod experience;
mod policy;
mod report;
mod scrub;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{ByteSize, Clock};
use scheduler::eviction::{self, EvictionPlan, EvictionPolicy};
use store::{
    Admission, Condition, EvictionReason, RemoveModelError, Reservation, RoomLimits, STRAY_AGE_MAX, Store,
    Supplier, Use,
};
use tokio_util::sync::CancellationToken;
use types::{Fault, Manifest, ModelKey};

pub(crate) use experience::Learnt;
pub(crate) use policy::Wishes;
pub(crate) use scrub::scrub;

/// How often the background looks: a disk that others fill at a gigabyte a second loses ten of them meanwhile, which is
/// what the default floor has.
const TIDY_PERIOD: Duration = Duration::from_secs(10);
/// How often uses are written: what a crash may lose of them.
const FLUSH_PERIOD: Duration = Duration::from_secs(60);
/// How often room is made for one fetch before it is told that there is none. One round mostly does; each further one
/// means that somebody else took what was freed, or that it was not really free.
const ROUNDS_MAX: u32 = 8;
/// Background evictions spare what came or was used within this time: a pull that just fits must not undo itself.
const SPARED: Duration = Duration::from_secs(600);

/// Keeps the models of this host. Cheap to clone; its calls block.
#[derive(Clone, Debug)]
pub(crate) struct Keeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    limits: RoomLimits,
    pace: ScrubPace,
    experience: Learnt,
    /// Not known until the server has spoken; until then nothing goes without need.
    wishes: Mutex<Option<Wishes>>,
    /// One at a time makes room, or two would evict for the same bytes.
    making_room: Mutex<()>,
    /// One at a time changes pins, or a pin that is taken off for a removal comes back before it.
    pinning: Mutex<()>,
    counts: Counts,
}

/// What was evicted since the agent was opened.
#[derive(Debug, Default)]
struct Counts {
    evictions: AtomicU64,
    evicted_bytes: AtomicU64,
    /// Microseconds since the epoch; zero for never.
    scrub_completed_at: AtomicU64,
}

/// How fast and how often bytes at rest are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPace {
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// How often each blob is verified.
    pub periods: store::ScrubPeriods,
}

impl Default for ScrubPace {
    fn default() -> Self {
        Self { bytes_per_second: store::SCRUB_RATE_BYTES, periods: store::ScrubPeriods::default() }
    }
}

/// Why room could not be made.
#[derive(Debug)]
enum NoRoom {
    /// Too much of what is here may not go.
    Short(Box<Shortage>),
    /// The disk.
    Failed(Fault),
}

/// What may not go, for those who ask.
#[derive(Debug)]
struct Shortage {
    shelf: store::Shelf,
    plan: EvictionPlan<ModelKey>,
}

impl Keeper {
    /// Makes a keeper. What it learnt before stands in a file.
    pub(crate) fn new(
        store: Store,
        clock: Clock,
        limits: RoomLimits,
        pace: ScrubPace,
        experience: Learnt,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            clock,
            limits,
            pace,
            experience,
            wishes: Mutex::default(),
            making_room: Mutex::default(),
            pinning: Mutex::default(),
            counts: Counts::default(),
        }))
    }

    /// Notes that a worker starts with a model.
    pub(crate) fn used(&self, key: &ModelKey) {
        self.0.store.note_use(key, Use::Begins);
        self.learn(key);
    }

    /// Learns from a use, or from the wish to have a model here. The store counts the latter by itself.
    pub(crate) fn learn(&self, key: &ModelKey) {
        let Some(model) = self.0.store.get(key) else { return };
        let rate = policy::refetch_rate_bytes(self.0.store.provenance(key).as_ref());
        let capacity = self.0.limits.cache_bytes_max;
        self.0.experience.record(&model.manifest, rate, capacity, self.0.clock.now());
    }

    /// Takes up what is wanted here: those models are not evicted.
    pub(crate) fn wish(&self, wishes: Wishes) {
        *self.present_wishes() = Some(wishes);
    }

    /// Reserves room for a model, evicting what may go where that is needed. Blocks.
    ///
    /// # Errors
    /// A fault that names what holds the bytes.
    pub(crate) fn room_for(
        &self,
        manifest: &Arc<Manifest>,
        supplier: &Supplier,
    ) -> Result<Reservation, Fault> {
        let _alone = self.0.making_room.lock().unwrap_or_else(PoisonError::into_inner);
        let key = manifest.key();
        let mut last = None;
        for _ in 0..ROUNDS_MAX {
            let admission = self.0.store.admit(manifest, supplier, &self.0.limits);
            match admission.map_err(|error| error.fault())? {
                Admission::Fits(reservation) => return Ok(reservation),
                Admission::Never(never) => return Err(policy::never_fits(key, &never)),
                Admission::Needs(shortfall) => {
                    last = Some(shortfall);
                    let reason = EvictionReason::RoomFor(key.clone());
                    self.free(shortfall.bytes, &reason).map_err(|no_room| match no_room {
                        NoRoom::Failed(fault) => fault,
                        NoRoom::Short(short) => {
                            policy::no_room(key, shortfall, &short.plan, &short.shelf, &self.wishes())
                        }
                    })?;
                }
            }
        }
        Err(policy::not_freed(key, last))
    }

    /// Frees so many bytes: strays, damaged models that nobody wants, then what the policy chooses. When all that may
    /// go is not enough, no model goes but those that are of no use.
    fn free(&self, bytes: ByteSize, reason: &EvictionReason) -> Result<(), NoRoom> {
        let store = &self.0.store;
        let failed = |error: store::DiskTrouble| NoRoom::Failed(error.fault());
        let swept = store.sweep_strays(Duration::ZERO, bytes).map_err(failed)?;
        let mut needed = ByteSize(bytes.bytes().saturating_sub(swept.freed.bytes()));
        if needed.bytes() == 0 {
            return Ok(());
        }
        let spared = match reason {
            EvictionReason::RoomFor(_) => None,
            EvictionReason::AboveMark => Some(SPARED),
        };
        let shelf = store.shelf();
        for facts in shelf.models.iter().filter(|facts| facts.condition == Condition::Damaged) {
            if needed.bytes() > 0 && self.may_go(facts) {
                let score = "it was damaged, and nobody wanted it".to_owned();
                let freed = self.evict(&facts.key, reason.clone(), score)?;
                needed = ByteSize(needed.bytes().saturating_sub(freed.bytes()));
            }
        }
        if needed.bytes() == 0 {
            return Ok(());
        }
        let shelf = store.shelf();
        let lineup = policy::lineup(&shelf, &self.wishes(), spared);
        let policy = EvictionPolicy { outlook: self.0.experience.outlook(), ..EvictionPolicy::default() };
        let plan = eviction::choose(&lineup, needed, shelf.at, &policy);
        let must_do = match reason {
            EvictionReason::RoomFor(_) => plan.short_by.bytes() == 0,
            // Less is better than nothing when nobody waits for the rest.
            EvictionReason::AboveMark => true,
        };
        if !must_do {
            return Err(NoRoom::Short(Box::new(Shortage { shelf, plan })));
        }
        for victim in &plan.victims {
            // Somebody may have come to want it while the others went.
            let is_wanted = self.present_wishes().as_ref().is_some_and(|wishes| wishes.wants(&victim.key));
            if !is_wanted {
                self.evict(&victim.key, reason.clone(), victim.grounds.to_string())?;
            }
        }
        Ok(())
    }

    fn may_go(&self, facts: &store::ModelFacts) -> bool {
        policy::standing(facts, &self.wishes(), None, self.0.clock.now()) == eviction::Standing::Free
    }

    /// Evicts a model, unless somebody has just begun to use it.
    fn evict(&self, key: &ModelKey, reason: EvictionReason, score: String) -> Result<ByteSize, NoRoom> {
        tracing::info!(model = %key, ?reason, score, "a model is evicted");
        match self.0.store.evict(key, reason, score) {
            Ok(removed) => {
                self.0.counts.evictions.fetch_add(1, Ordering::Relaxed);
                self.0.counts.evicted_bytes.fetch_add(removed.freed.bytes(), Ordering::Relaxed);
                tracing::info!(model = %key, freed = %removed.freed, held = %removed.held, "it is gone");
                Ok(removed.freed)
            }
            Err(
                error @ (RemoveModelError::InUse(_)
                | RemoveModelError::Pinned(_)
                | RemoveModelError::NotHere(_)),
            ) => {
                tracing::info!(model = %key, %error, "it stays");
                Ok(ByteSize(0))
            }
            Err(error @ RemoveModelError::Disk(_)) => Err(NoRoom::Failed(error.fault())),
        }
    }

    /// Keeps order without being asked, until cancelled; then writes what was noted.
    pub(crate) async fn run(self, token: CancellationToken) {
        let clock = self.0.clock.clone();
        let mut flush_at = clock.now() + FLUSH_PERIOD;
        while !token.is_cancelled() {
            tokio::select! {
                // Cancel-safe: a token stays cancelled, and waiting on a clock loses nothing.
                () = token.cancelled() => {}
                () = clock.sleep(TIDY_PERIOD) => {}
            }
            let keeper = self.clone();
            let is_last = token.is_cancelled();
            let flush = is_last || clock.now() >= flush_at;
            let work = move || {
                if !is_last {
                    keeper.tidy();
                }
                if flush {
                    keeper.flush();
                }
            };
            if let Err(panic) = tokio::task::spawn_blocking(work).await {
                std::panic::resume_unwind(panic.into_panic());
            }
            if flush {
                flush_at = clock.now() + FLUSH_PERIOD;
            }
        }
    }

    fn flush(&self) {
        if let Err(error) = self.0.store.flush() {
            tracing::warn!(reason = %error.fault(), "the uses of models could not be written");
        }
        if let Err(error) = self.0.experience.save() {
            tracing::warn!(%error, "what was learnt of the uses of models could not be written");
        }
    }

    /// Removes old strays, and evicts down to the low mark when the store stands above the high one.
    fn tidy(&self) {
        let store = &self.0.store;
        let swept = store.sweep_strays(STRAY_AGE_MAX, ByteSize(u64::MAX));
        match swept {
            Ok(swept) if swept.freed.bytes() > 0 => {
                tracing::info!(?swept, "removed what fetches left behind and nobody took up");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(reason = %error.fault(), "what fetches left behind could not be removed");
            }
        }
        let usage = match store.disk_usage() {
            Ok(usage) => usage,
            Err(error) => return tracing::warn!(reason = %error.fault(), "the disk could not be looked at"),
        };
        let taken = usage.blobs + usage.partial + usage.quarantined;
        let surplus = policy::surplus(taken, usage.available, &self.0.limits);
        if surplus.bytes() == 0 || self.present_wishes().is_none() {
            return;
        }
        let _alone = self.0.making_room.lock().unwrap_or_else(PoisonError::into_inner);
        match self.free(surplus, &EvictionReason::AboveMark) {
            Ok(()) => {}
            Err(NoRoom::Failed(fault)) => tracing::warn!(reason = %fault, "models could not be evicted"),
            Err(NoRoom::Short(_)) => unreachable!("what is short is left out in the background"),
        }
    }

    fn wishes(&self) -> Wishes {
        self.present_wishes().clone().unwrap_or_default()
    }

    fn present_wishes(&self) -> MutexGuard<'_, Option<Wishes>> {
        self.0.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
