//! Views: read-only folders in the Hugging Face cache layout, made of hard links, shared by leases.
//!
//! ```text
//!            lease                        built              last lease dropped
//! (nothing) ───────▶ building ───────────────▶ ready(leases) ───────────────────▶ going ──▶ (nothing)
//!                       ▲  checked, or rebuilt                                      ▲
//!                       └────────────────────── found at open ─────────sweep────────┘
//! ```
//! Whoever needs a view that is building or going waits. No call to the disk is made under the table's lock.

mod build;
mod lease;
mod plan;

use std::{
    collections::{BTreeSet, HashMap},
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use base::{Disk, EntryKind};
use serde::{Deserialize, Serialize};
use types::{Digest, ModelKey, Revision};

use crate::{
    DiskTrouble, ModelInUse, ModelNotHere, RemoveModelError, ViewError, hash::short_id, layout::Layout,
    store::Inner,
};

pub use lease::ViewLease;
use plan::{HUB_FOLDER, SPEC_BYTES_MAX, SPEC_NAME, ViewPlan};

/// What a view shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewSpec {
    /// The model.
    pub key: ModelKey,
    /// The refs that lead to its commit, besides `main`, which always does.
    pub refs: BTreeSet<Revision>,
}

impl ViewSpec {
    /// Returns the identity of what this shows.
    pub fn id(&self) -> ViewId {
        let ModelKey { repo, commit, selection } = &self.key;
        // No name holds a line break, so that no two specs have one text.
        let mut text = format!("view 1\n{}\n{}\n{commit}\n{selection}\n", repo.hub, repo.name);
        for revision in &self.refs {
            text.push_str(revision.as_str());
            text.push('\n');
        }
        ViewId(short_id(&text))
    }
}

/// The identity of a view: a hash of what it shows, the same after every restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewId([u8; 16]);

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no view's identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a view's identity: it must be 32 lower-case hex digits")]
pub struct ParseViewIdError {
    /// The text as given.
    pub text: String,
}

impl FromStr for ViewId {
    type Err = ParseViewIdError;

    fn from_str(text: &str) -> Result<Self, ParseViewIdError> {
        let bytes =
            data_encoding::HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| ParseViewIdError { text: text.chars().take(80).collect() })
    }
}

#[derive(Debug)]
struct Slot {
    key: ModelKey,
    state: SlotState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotState {
    /// It stood here when the store was opened, or was left in place: it may be in use by a worker we don't know.
    Found,
    /// One caller makes or checks it.
    Building,
    /// It is there.
    Ready { leases: usize },
    /// One caller removes it.
    Going,
}

impl SlotState {
    /// Returns how many hold the view, or may.
    const fn leases(self) -> usize {
        match self {
            Self::Found | Self::Building => 1,
            Self::Ready { leases } => leases,
            Self::Going => 0,
        }
    }
}

/// Which views there are and who holds them.
#[derive(Debug)]
pub(crate) struct ViewTable {
    slots: Mutex<HashMap<ViewId, Slot>>,
    changed: Condvar,
    left_in_place: AtomicBool,
}

/// What the caller of [`ViewTable::enter`] has to do.
enum Entry {
    /// Nothing: the view is there and leased.
    Leased,
    /// Make it.
    Build,
    /// Check what stands there, and make it anew when it is not right.
    Check,
}

impl ViewTable {
    pub(crate) fn new(found: Vec<ViewSpec>) -> Self {
        let slot = |spec: ViewSpec| (spec.id(), Slot { key: spec.key, state: SlotState::Found });
        Self {
            slots: Mutex::new(found.into_iter().map(slot).collect()),
            changed: Condvar::new(),
            left_in_place: AtomicBool::new(false),
        }
    }

    /// Returns how many leases hold each model; a view that may be in use by a worker that we don't know counts as one.
    pub(crate) fn leases(&self) -> HashMap<ModelKey, usize> {
        let mut leases = HashMap::new();
        for slot in self.slots().values() {
            *leases.entry(slot.key.clone()).or_default() += slot.state.leases();
        }
        leases
    }

    /// Returns the views of a model that stand, once none of them is being made or removed.
    pub(crate) fn standing(&self, key: &ModelKey) -> Vec<ViewId> {
        let mut slots = self.slots();
        let is_moving = |slot: &Slot| match slot.state {
            SlotState::Building | SlotState::Going => slot.key == *key,
            SlotState::Found | SlotState::Ready { .. } => false,
        };
        while slots.values().any(is_moving) {
            slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
        slots.iter().filter(|(_, slot)| slot.key == *key).map(|(id, _)| *id).collect()
    }

    pub(crate) fn leave(&self) {
        self.left_in_place.store(true, Ordering::Relaxed);
    }

    /// Runs `take`, which ends the model, while no view of it is there or can begin.
    pub(crate) fn refuse_if_leased<T>(
        &self,
        key: &ModelKey,
        take: impl FnOnce() -> Result<T, RemoveModelError>,
    ) -> Result<T, RemoveModelError> {
        let slots = self.slots();
        let own = slots.values().filter(|slot| slot.key == *key);
        let leases: usize = own.map(|slot| slot.state.leases()).sum();
        if leases > 0 {
            return Err(ModelInUse { key: key.clone(), leases }.into());
        }
        take()
    }

    /// Leases a view that is there, or takes the right to make it. `is_here` tells whether its model is.
    fn enter(&self, id: ViewId, spec: &ViewSpec, is_here: impl Fn() -> bool) -> Result<Entry, ModelNotHere> {
        let mut slots = self.slots();
        loop {
            match slots.get_mut(&id).map(|slot| &mut slot.state) {
                // A model that was found damaged is shown to nobody new.
                Some(SlotState::Ready { leases }) if is_here() => {
                    *leases += 1;
                    return Ok(Entry::Leased);
                }
                Some(SlotState::Building | SlotState::Going) => {
                    slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner);
                }
                Some(state @ SlotState::Found) if is_here() => {
                    *state = SlotState::Building;
                    return Ok(Entry::Check);
                }
                None if is_here() => {
                    slots.insert(id, Slot { key: spec.key.clone(), state: SlotState::Building });
                    return Ok(Entry::Build);
                }
                Some(SlotState::Found | SlotState::Ready { .. }) | None => {
                    return Err(ModelNotHere { key: spec.key.clone() });
                }
            }
        }
    }

    /// Ends what [`ViewTable::enter`] or a removal began; `None` when nothing stands there any more.
    fn settle(&self, id: ViewId, state: Option<SlotState>) {
        let mut slots = self.slots();
        match state {
            Some(state) => {
                slots.entry(id).and_modify(|slot| slot.state = state);
            }
            None => {
                slots.remove(&id);
            }
        }
        self.changed.notify_all();
    }

    /// Gives a lease back. Returns whether the caller has to remove the view.
    fn give_back(&self, id: ViewId) -> bool {
        let mut slots = self.slots();
        let Some(Slot { state: SlotState::Ready { leases }, .. }) = slots.get_mut(&id) else { return false };
        *leases -= 1;
        if *leases > 0 {
            return false;
        }
        let left = self.left_in_place.load(Ordering::Relaxed);
        let state = if left { SlotState::Found } else { SlotState::Going };
        slots.entry(id).and_modify(|slot| slot.state = state);
        !left
    }

    /// Takes the right to remove every view that nobody holds and nobody wants kept.
    fn take_unheld(&self, keep: &BTreeSet<ViewId>) -> Vec<ViewId> {
        let mut slots = self.slots();
        let unheld =
            slots.iter_mut().filter(|(id, slot)| slot.state == SlotState::Found && !keep.contains(id));
        unheld
            .map(|(id, slot)| {
                slot.state = SlotState::Going;
                *id
            })
            .collect()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<ViewId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lists the views that stand here, and removes whatever else does: a process that ended in the middle, or a power loss.
pub(crate) fn find(disk: &Arc<dyn Disk>, layout: &Layout) -> Result<Vec<ViewSpec>, DiskTrouble> {
    let folder = layout.views();
    let entries = disk.list(&folder).map_err(|error| DiskTrouble::new("listing", &folder, error))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = folder.join(&entry.name);
        let spec = match disk.read(&path.join(SPEC_NAME), SPEC_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice::<ViewSpec>(&bytes).ok(),
            Err(error) if is_no_view(&error) => None,
            // A worker may be using it.
            Err(error) => return Err(DiskTrouble::new("reading", path, error)),
        };
        let spec = spec.filter(|spec| spec.id().to_string() == entry.name);
        match (spec, entry.kind) {
            (Some(spec), _) => found.push(spec),
            (None, EntryKind::Folder) => {
                disk.remove_tree(&path).map_err(|error| DiskTrouble::new("removing", path, error))?;
            }
            (None, EntryKind::File | EntryKind::Link | EntryKind::Other) => {
                disk.remove_file(&path).map_err(|error| DiskTrouble::new("removing", path, error))?;
            }
        }
    }
    Ok(found)
}

fn is_no_view(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::FileTooLarge
    )
}

/// Returns where a view has a model's blob.
pub(crate) fn blob_path(view: &Path, key: &ModelKey, digest: &Digest) -> PathBuf {
    view.join(HUB_FOLDER).join(key.repo.name.cache_folder()).join("blobs").join(digest.to_string())
}

/// Leases a view, made or checked first where that is needed.
pub(crate) fn lease(store: &Arc<Inner>, spec: &ViewSpec) -> Result<ViewLease, ViewError> {
    let id = spec.id();
    let entry = store.views.enter(id, spec, || store.index().model(&spec.key).is_some())?;
    let made = match entry {
        Entry::Leased => Ok(()),
        Entry::Build => make(store, id, spec, SlotState::Going),
        Entry::Check => make(store, id, spec, SlotState::Found),
    };
    made.map(|()| ViewLease::new(Arc::clone(store), id, spec.clone()))
}

/// Makes a view that this caller has the right to make. When that fails, the slot goes back to what it was:
/// `Found`, or (given as `Going`) nothing.
fn make(store: &Inner, id: ViewId, spec: &ViewSpec, before: SlotState) -> Result<(), ViewError> {
    let made = make_on_disk(store, id, spec, before);
    let after = match (&made, before) {
        (Ok(()), _) => Some(SlotState::Ready { leases: 1 }),
        (Err(_), SlotState::Found) => Some(SlotState::Found),
        (Err(_), SlotState::Building | SlotState::Ready { .. } | SlotState::Going) => None,
    };
    store.views.settle(id, after);
    made
}

fn make_on_disk(store: &Inner, id: ViewId, spec: &ViewSpec, before: SlotState) -> Result<(), ViewError> {
    let model = store.index().model(&spec.key).cloned();
    // The slot keeps the model from being removed since it was looked up.
    let model = model.ok_or_else(|| ModelNotHere { key: spec.key.clone() })?;
    let plan = ViewPlan::new(spec, &model.manifest)?;
    let path = store.layout.view(id);
    if before == SlotState::Found {
        if build::stands(&store.disk, &path, &plan)? {
            return Ok(());
        }
        tracing::warn!(view = %id, "a view has holes, as after a power loss, and is made anew");
        if let Some(trash) = take_away(store, id)? {
            delete(store, &trash);
        }
    }
    Ok(build::build(store, &path, &plan)?)
}

/// Removes the views that stood here at open and that nobody holds.
pub(crate) fn sweep(store: &Inner, keep: &BTreeSet<ViewId>) -> Result<usize, DiskTrouble> {
    let ids = store.views.take_unheld(keep);
    let outcomes: Vec<_> = ids.into_iter().map(|id| remove(store, id)).collect();
    let count = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(count)
}

/// Removes a view that this caller has the right to remove. Who waits for its place has it before all is deleted.
fn remove(store: &Inner, id: ViewId) -> Result<(), DiskTrouble> {
    let taken = take_away(store, id);
    store.views.settle(id, taken.is_err().then_some(SlotState::Found));
    if let Some(trash) = taken? {
        delete(store, &trash);
    }
    Ok(())
}

/// Moves a view out of its place, if it is there, and returns where to.
fn take_away(store: &Inner, id: ViewId) -> Result<Option<PathBuf>, DiskTrouble> {
    let path = store.layout.view(id);
    let trash = store.scratch(&store.layout.trash());
    match store.disk.rename(&path, &trash) {
        Ok(()) => Ok(Some(trash)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DiskTrouble::new("removing", path, error)),
    }
}

fn delete(store: &Inner, trash: &Path) {
    if let Err(error) = store.disk.remove_tree(trash) {
        tracing::warn!(path = %trash.display(), %error, "a view that is gone takes room until the next open");
    }
}
