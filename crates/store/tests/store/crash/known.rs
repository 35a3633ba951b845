//! What must hold of a store, whatever happened since it was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use store::{ExtentIndex, HubStanding, Supplier};
use types::{Digest, ModelKey};

/// The key under which partial bytes are shared.
pub(super) type PartialKey = (Option<String>, Digest);

pub(super) fn partial_key(supplier: &Supplier, digest: Digest) -> PartialKey {
    match supplier.standing {
        HubStanding::Trusted => (None, digest),
        HubStanding::Untrusted => (Some(supplier.tenant.to_string()), digest),
    }
}

/// What must hold, whatever happened since.
#[derive(Default)]
pub(super) struct Known {
    pub(super) blobs: BTreeSet<Digest>,
    pub(super) suppliers: BTreeSet<(Digest, Supplier)>,
    pub(super) models: BTreeSet<ModelKey>,
    pub(super) gone: BTreeSet<ModelKey>,
    pub(super) pinned: BTreeSet<ModelKey>,
    /// Models of which it was noted how they came.
    pub(super) provenance: BTreeSet<ModelKey>,
    /// Models whose record may be gone although they are listed: their removal failed half-way.
    pub(super) shaky: BTreeSet<ModelKey>,
    /// Blobs that were let rot and perhaps not moved aside.
    pub(super) rotten: BTreeSet<Digest>,
    pub(super) extents: BTreeMap<PartialKey, BTreeSet<ExtentIndex>>,
    /// Partial files that hold wrong bytes for sure: whoever finishes them must be told.
    pub(super) wrong: BTreeSet<PartialKey>,
    /// Partial files that may hold wrong bytes.
    pub(super) perhaps_wrong: BTreeSet<PartialKey>,
}

impl Known {
    pub(super) fn holds_none_of(&self, key: &PartialKey, missing: &[ExtentIndex]) -> bool {
        self.extents.get(key).is_none_or(|extents| missing.iter().all(|index| !extents.contains(index)))
    }

    /// Nothing is sure any more of a partial file.
    pub(super) fn forget_partial(&mut self, key: &PartialKey) {
        self.extents.remove(key);
        self.wrong.remove(key);
    }
}
