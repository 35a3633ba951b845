//! Operations on whole models and their views, and what is known after each.

use std::{collections::BTreeSet, path::Path};

use base::Disk;
use store::{RemoveModelError, Supplier, ViewError, ViewSpec};
use types::{Digest, Manifest, ModelKey};

use super::{ROOT, World};

impl World {
    pub(super) fn bring_model(&mut self) {
        let manifest = self.manifests[self.pick(self.manifests.len())].clone();
        let supplier = self.suppliers[self.pick(self.suppliers.len())].clone();
        for file in self.store().missing(&manifest, &supplier).files {
            let place = self.samples.iter().position(|sample| sample.file == file).unwrap();
            self.bring(place, &supplier);
        }
        self.publish_model_for(&manifest, &supplier);
    }

    pub(super) fn publish_model(&mut self) {
        let manifest = self.manifests[self.pick(self.manifests.len())].clone();
        let supplier = self.suppliers[self.pick(self.suppliers.len())].clone();
        self.publish_model_for(&manifest, &supplier);
    }

    pub(super) fn publish_model_for(&mut self, manifest: &Manifest, supplier: &Supplier) {
        let missing = self.store().missing(manifest, supplier);
        let outcome = self.store().publish_model(manifest, supplier);
        self.known.gone.remove(manifest.key());
        match outcome {
            Ok(model) => {
                assert!(missing.files.is_empty(), "a model was published without {:?}", missing.files);
                assert_eq!(model.manifest, *manifest);
                self.known.models.insert(manifest.key().clone());
                self.known.shaky.remove(manifest.key());
                self.known.blobs.extend(manifest.files().iter().map(|file| file.digest));
                self.tally.models += 1;
            }
            Err(store::PublishModelError::Missing(_)) => assert!(!missing.files.is_empty()),
            Err(store::PublishModelError::Disk(_)) => self.tally.failed += 1,
        }
    }

    pub(super) fn remove_model(&mut self) {
        let key = self.manifests[self.pick(self.manifests.len())].key().clone();
        let leased = self.leases.iter().any(|lease| lease.spec().key == key);
        match self.store().remove(&key) {
            Ok(_) => {
                assert!(!leased, "a leased model was removed");
                assert!(!self.known.pinned.contains(&key), "a pinned model was removed");
                self.forget_model(&key);
                self.known.gone.insert(key);
                self.tally.removed += 1;
            }
            Err(RemoveModelError::NotHere(_)) => assert!(!self.known.models.contains(&key)),
            Err(RemoveModelError::InUse(_)) => {}
            // A pin that could not be cleared, or notes that could not be read.
            Err(RemoveModelError::Pinned(_)) => {}
            Err(RemoveModelError::Disk(_)) => {
                self.tally.failed += 1;
                self.forget_model(&key);
                self.known.shaky.insert(key);
            }
        }
    }

    /// Nothing is sure any more of a model and of what it alone names.
    pub(super) fn forget_model(&mut self, key: &ModelKey) {
        self.known.models.remove(key);
        self.known.pinned.remove(key);
        self.known.provenance.remove(key);
        let named = |manifest: &&Manifest| self.known.models.contains(manifest.key());
        let kept: BTreeSet<Digest> = self
            .manifests
            .iter()
            .filter(named)
            .flat_map(|manifest| manifest.files().iter().map(|file| file.digest))
            .collect();
        let manifest = self.manifests.iter().find(|manifest| manifest.key() == key).unwrap();
        for digest in manifest.files().iter().map(|file| file.digest).filter(|digest| !kept.contains(digest))
        {
            self.known.blobs.remove(&digest);
            self.known.suppliers.retain(|(known, _)| *known != digest);
        }
    }

    pub(super) fn view(&mut self) {
        let manifest = self.manifests[self.pick(self.manifests.len())].clone();
        let mut spec = ViewSpec { key: manifest.key().clone(), refs: BTreeSet::new() };
        if self.below(2) == 0 {
            spec.refs.insert("v1/stable".parse().unwrap());
        }
        let folder = Path::new(ROOT).join("views").join(spec.id().to_string());
        let stood = self.disk.spare(|| self.disk.metadata(&folder)).is_ok();
        match self.store().view(&spec) {
            Ok(lease) => {
                self.tally.views += 1;
                self.tally.views_found_again += u64::from(stood);
                if self.disk.has_power() {
                    self.check_view(&lease, &manifest);
                }
                self.leases.push(lease);
            }
            Err(ViewError::NotHere(_)) => assert!(!self.known.models.contains(manifest.key())),
            Err(ViewError::Disk(_)) => self.tally.failed += 1,
            Err(ViewError::Refs(clash)) => panic!("{clash}"),
        }
    }

    pub(super) fn drop_lease(&mut self) {
        if !self.leases.is_empty() {
            let at = self.pick(self.leases.len());
            drop(self.leases.swap_remove(at));
        }
    }
}
