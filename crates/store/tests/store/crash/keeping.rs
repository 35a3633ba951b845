//! Operations on what is known of models, on strays and on damaged blobs, and what is known after each.

use std::{collections::BTreeSet, path::Path, time::Duration};

use base::ByteSize;
use store::{Arrival, KeepModelError, PinnedBy, Provenance, Use};
use types::{Digest, ModelKey};

use super::{ROOT, World};

impl World {
    pub(super) fn keep(&mut self) {
        match self.below(5) {
            0 => self.pin(),
            1 => self.unpin(),
            2 => self.note(),
            3 => self.sweep(),
            _ => self.rot(),
        }
    }

    fn pin(&mut self) {
        let key = self.manifests[self.pick(self.manifests.len())].key().clone();
        self.forget_doubtful(&key);
        match self.store().pin(&key) {
            Ok(()) => {
                self.tally.pins += 1;
                if !self.known.shaky.contains(&key) {
                    self.known.pinned.insert(key);
                }
            }
            Err(KeepModelError::NotHere(_)) => assert!(!self.known.models.contains(&key)),
            Err(KeepModelError::Disk(_)) => self.tally.failed += 1,
        }
    }

    /// Notes that could not be read are written over by whoever pins or unpins.
    fn forget_doubtful(&mut self, key: &ModelKey) {
        if self.store().pinned(key).is_some_and(|pin| pin.by == PinnedBy::Doubt) {
            self.known.provenance.remove(key);
        }
    }

    fn unpin(&mut self) {
        let key = self.manifests[self.pick(self.manifests.len())].key().clone();
        self.forget_doubtful(&key);
        // Whether it was written or not: nothing is sure of it from now on.
        self.known.pinned.remove(&key);
        match self.store().unpin(&key) {
            Ok(()) => {}
            Err(KeepModelError::NotHere(_)) => assert!(!self.known.models.contains(&key)),
            Err(KeepModelError::Disk(_)) => self.tally.failed += 1,
        }
    }

    fn note(&mut self) {
        let manifest = self.manifests[self.pick(self.manifests.len())].clone();
        self.store().note_use(manifest.key(), Use::Begins);
        let provenance = Provenance {
            arrival: Arrival::Imported { from: "/somewhere".to_owned() },
            arrived_at: base::Timestamp::EPOCH,
            bytes: manifest.bytes(),
            millis: 1,
            supplier: self.suppliers[0].clone(),
        };
        match self.store().note_provenance(manifest.key(), provenance) {
            Ok(()) if self.known.shaky.contains(manifest.key()) => {}
            Ok(()) => drop(self.known.provenance.insert(manifest.key().clone())),
            Err(KeepModelError::NotHere(_)) => assert!(!self.known.models.contains(manifest.key())),
            Err(KeepModelError::Disk(_)) => self.tally.failed += 1,
        }
        if self.store().flush().is_err() {
            self.tally.failed += 1;
        }
    }

    /// Removes what no model names. What was only brought, and not recorded, is sure no more.
    fn sweep(&mut self) {
        match self.store().sweep_strays(Duration::ZERO, ByteSize(u64::MAX)) {
            Ok(swept) => self.tally.swept += swept.blobs + swept.partials,
            Err(_) => self.tally.failed += 1,
        }
        let named: BTreeSet<Digest> = self
            .manifests
            .iter()
            .filter(|manifest| self.known.models.contains(manifest.key()))
            .flat_map(|manifest| manifest.files().iter().map(|file| file.digest))
            .collect();
        self.known.blobs.retain(|digest| named.contains(digest));
        self.known.suppliers.retain(|(digest, _)| named.contains(digest));
        // Partial files that are being written stay.
        let written: Vec<_> = self
            .writers
            .iter()
            .map(|open| super::partial_key(&open.supplier, open.writer.file().digest))
            .collect();
        self.known.extents.retain(|key, _| written.contains(key));
        self.known.wrong.retain(|key| written.contains(key));
    }

    /// Lets a blob rot, and has it moved aside.
    fn rot(&mut self) {
        let sample = self.samples[self.pick(self.samples.len())].clone();
        let digest = sample.file.digest;
        // What can't be read back counts as damaged by itself; an empty file has nothing to rot.
        if sample.bytes.is_empty() || self.blob(&digest).is_none() || !self.disk.has_power() {
            return;
        }
        let name = digest.to_string();
        let path = Path::new(ROOT).join("blobs").join(&name[..2]).join(&name);
        self.disk.damage(&path, 0).unwrap();
        let outcome = self.store().quarantine(&[digest]);
        self.known.blobs.remove(&digest);
        self.known.suppliers.retain(|(known, _)| *known != digest);
        for manifest in &self.manifests {
            if manifest.files().iter().any(|file| file.digest == digest) {
                self.known.models.remove(manifest.key());
            }
        }
        match outcome {
            Ok(outcome) => self.tally.quarantined += outcome.blobs.len() as u64,
            Err(_) => self.tally.failed += 1,
        }
        self.known.rotten.insert(digest);
    }

    /// Ends the rot of blobs that stand under their own names still: whoever tidied up was stopped in the middle. One
    /// that a killed process moved aside may be back after a power loss, so none is ever forgotten.
    pub(super) fn end_rot(&mut self) {
        for digest in self.known.rotten.clone() {
            let name = digest.to_string();
            let path = Path::new(ROOT).join("blobs").join(&name[..2]).join(&name);
            let bytes =
                self.samples.iter().find(|sample| sample.file.digest == digest).map(|sample| &sample.bytes);
            match self.blob(&digest) {
                Some(found) if Some(&found[..]) != bytes.map(|bytes| &bytes[..]) => {
                    self.disk.damage(&path, 0).unwrap();
                }
                Some(_) | None => {}
            }
        }
    }

    /// Checks what must be known of models that are here.
    pub(super) fn check_notes(&self) {
        let store = self.store();
        let recorded: BTreeSet<_> = store.shelf().models.into_iter().map(|facts| facts.key).collect();
        for key in self.known.pinned.intersection(&recorded) {
            assert!(store.pinned(key).is_some(), "the pin of {key} is lost");
        }
        for key in self.known.provenance.intersection(&recorded) {
            assert!(store.provenance(key).is_some() || store.pinned(key).is_some(), "how {key} came is lost");
        }
        assert!(self.known.pinned.is_subset(&recorded), "a pinned model is gone");
    }

    pub(super) fn unpin_everything(&mut self) {
        for manifest in &self.manifests {
            if self.store().pinned(manifest.key()).is_some() {
                self.store().unpin(manifest.key()).unwrap();
            }
        }
        self.known.pinned.clear();
    }
}
