//! What is here and why, model by model: for listings, for the policy of eviction, and for who asks afterwards.

use std::{collections::BTreeMap, sync::Arc};

use base::{ByteSize, Timestamp};
use scheduler::eviction::Uses;
use types::{Digest, ModelKey};

use crate::{Arrival, Departure, Pin, Provenance, StoredModel, index::Wholeness, notes::Notes, store::Inner};

/// Everything that is on the shelf.
#[derive(Clone, Debug, PartialEq)]
pub struct Shelf {
    /// The models on record, sorted by key.
    pub models: Vec<ModelFacts>,
    /// Bytes of what no model names and no fetch needs: the first to go.
    pub strays: ByteSize,
    /// Bytes of damaged blobs that were moved aside.
    pub quarantined: ByteSize,
    /// Bytes that running fetches have yet to find room for.
    pub reserved: ByteSize,
    /// Bytes that blobs, partial files and quarantine take.
    pub taken: ByteSize,
    /// When this was so.
    pub at: Timestamp,
}

/// What is known of a model on record.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFacts {
    /// The model.
    pub key: ModelKey,
    /// Since when it is whole.
    pub since: Timestamp,
    /// Whether it can be used.
    pub condition: Condition,
    /// Its distinct blobs.
    pub blobs: Vec<BlobFacts>,
    /// How many leases hold a view of it.
    pub leases: usize,
    /// Whether somebody keeps it.
    pub pin: Option<Pin>,
    /// How it was used, its arrival included, where that is known.
    pub uses: Option<Uses>,
    /// How it came, where that is known.
    pub provenance: Option<Provenance>,
    /// When the least recently verified of its blobs was verified: when it came, or by a scrub.
    pub verified_at: Timestamp,
}

/// Whether a model can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All its files are here.
    Whole,
    /// It lacks files that were damaged or lost.
    Damaged,
}

/// What is known of a blob of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobFacts {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub bytes: ByteSize,
    /// How many models on record name it, this one included.
    pub named_by: usize,
    /// Whether somebody outside the store holds the same bytes, so that removing it frees nothing.
    pub held_elsewhere: bool,
}

impl ModelFacts {
    /// Returns the bytes of its blobs.
    pub fn bytes(&self) -> ByteSize {
        self.blobs.iter().map(|blob| blob.bytes).sum()
    }

    /// Returns the bytes that the disk has free when only this model goes.
    pub fn frees(&self) -> ByteSize {
        let own = self.blobs.iter().filter(|blob| blob.named_by == 1 && !blob.held_elsewhere);
        own.map(|blob| blob.bytes).sum()
    }
}

/// What is known of a model that is or was here.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// It is here.
    Here(ModelFacts),
    /// It was here; this is how it left, the last time.
    Gone(Departure),
}

impl Inner {
    pub(crate) fn shelf(&self) -> Shelf {
        let strays = self.stray_bytes();
        let recorded: Vec<_> = self.index().recorded().map(|(model, is)| (model.clone(), is)).collect();
        let models = self.facts(&recorded);
        let quarantined = self.index().quarantined_bytes();
        let (reserved, taken) = (self.reserved_bytes(), self.taken());
        Shelf { models, strays, quarantined, reserved, taken, at: self.clock.now() }
    }

    pub(crate) fn why(&self, key: &ModelKey) -> Option<Why> {
        let recorded = self.index().record(key).map(|(model, is)| (model.clone(), is));
        let here = recorded.and_then(|recorded| self.facts(&[recorded]).pop());
        here.map(Why::Here).or_else(|| self.publication().history.last(key).cloned().map(Why::Gone))
    }

    fn facts(&self, models: &[(Arc<StoredModel>, Wholeness)]) -> Vec<ModelFacts> {
        let leases = self.views.leases();
        let (named, names) = {
            let index = self.index();
            (index.named_blobs(), index.name_counts())
        };
        let verified = self.verified();
        let facts = models.iter().map(|(model, wholeness)| {
            let key = model.manifest.key();
            let Notes { provenance, uses, pin } = self.notes().get(key);
            let digests: BTreeMap<Digest, u64> =
                model.manifest.files().iter().map(|file| (file.digest, file.size)).collect();
            let is_linked = provenance.as_ref().is_some_and(is_linked);
            let blobs = digests.iter().filter(|(digest, _)| named.contains_key(digest));
            let blobs = blobs.map(|(digest, size)| BlobFacts {
                digest: *digest,
                bytes: ByteSize(*size),
                named_by: names.get(digest).copied().unwrap_or(0),
                held_elsewhere: (is_linked || self.linked.contains(digest)) && self.has_other_names(digest),
            });
            let blobs = blobs.collect();
            let verified_at =
                digests.keys().filter_map(|digest| verified.at(digest, named.get(digest)?)).min();
            ModelFacts {
                key: key.clone(),
                since: model.published_at,
                condition: match wholeness {
                    Wholeness::Whole => Condition::Whole,
                    Wholeness::Damaged => Condition::Damaged,
                },
                blobs,
                leases: leases.get(key).copied().unwrap_or(0),
                pin,
                uses,
                provenance,
                verified_at: verified_at.unwrap_or(model.published_at),
            }
        });
        facts.collect()
    }

    /// Returns whether a blob has names beside its own; those of views go when nobody uses them.
    fn has_other_names(&self, digest: &Digest) -> bool {
        self.disk.metadata(&self.layout.blob(digest)).is_ok_and(|meta| meta.links > 1)
    }
}

pub(crate) fn is_linked(provenance: &Provenance) -> bool {
    match provenance.arrival {
        Arrival::Linked { .. } => true,
        Arrival::Fetched { .. } | Arrival::Imported { .. } => false,
    }
}
