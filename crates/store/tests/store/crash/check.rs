//! What a store that was just opened is held to, and what it must still be able to do.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use base::{ByteSize, Disk, EntryKind};
use store::{Claim, FinishError, Store, Supplier, ViewLease, ViewSpec};
use types::{Digest, Manifest, ModelKey};

use super::{ROOT, World};
use crate::pool::{self, Algorithm, Sample};

impl World {
    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.spare(|| self.disk.read(path, 1 << 20))
    }

    pub(super) fn check_view(&self, lease: &ViewLease, manifest: &Manifest) {
        let commit = manifest.key().commit.to_string();
        for name in lease.spec().refs.iter().map(types::Revision::as_str).chain(["main"]) {
            assert_eq!(self.read(&lease.path().join("refs").join(name)).unwrap(), commit.as_bytes());
        }
        for file in manifest.files() {
            let link = lease.path().join("snapshots").join(&commit).join(file.path.as_str());
            let target = self.disk.spare(|| self.disk.read_link(&link)).unwrap();
            assert_eq!(target, PathBuf::from(format!("../../blobs/{}", file.digest)));
            let bytes = self.read(&lease.path().join("blobs").join(file.digest.to_string())).unwrap();
            assert_eq!(pool::digest(algorithm_of(&file.digest), &bytes), file.digest);
        }
    }

    pub(super) fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        let name = digest.to_string();
        self.read(&Path::new(ROOT).join("blobs").join(&name[..2]).join(&name)).ok()
    }

    /// Checks everything that must hold of a store that was just opened.
    pub(super) fn check(&self) {
        let store = self.store();
        let mut here = BTreeSet::new();
        for fan in self.disk.list(&Path::new(ROOT).join("blobs")).unwrap() {
            let folder = Path::new(ROOT).join("blobs").join(fan.name);
            for entry in self.disk.list(&folder).unwrap() {
                let digest: Digest = entry.name.parse().expect("only blobs stand among blobs");
                let bytes = self.read(&folder.join(&entry.name)).unwrap();
                let meta = self.disk.metadata(&folder.join(&entry.name)).unwrap();
                assert_eq!(pool::digest(algorithm_of(&digest), &bytes), digest, "a wrong blob is visible");
                assert_eq!((entry.kind, meta.mode), (EntryKind::File, 0o444));
                here.insert(digest);
            }
        }
        assert!(self.known.blobs.is_subset(&here), "published blobs are lost");
        let listed: BTreeSet<ModelKey> =
            store.list().iter().map(|model| model.manifest.key().clone()).collect();
        assert!(self.known.models.is_subset(&listed), "published models are lost");
        assert!(self.known.gone.is_disjoint(&listed), "removed models are back");
        for key in &listed {
            assert!(store.verify(key).unwrap().is_sound(), "{key} is not sound");
        }
        for (digest, supplier) in &self.known.suppliers {
            let sample = self.samples.iter().find(|sample| sample.file.digest == *digest).unwrap();
            let one = pool::manifest("huggingface!org/any", 9, &[sample]);
            assert!(
                store.missing(&one, supplier).files.is_empty(),
                "{supplier:?} has to bring {digest} again"
            );
        }
        self.check_notes();
        for scratch in ["building", "trash"] {
            assert_eq!(self.disk.list(&Path::new(ROOT).join(scratch)).unwrap(), []);
        }
    }

    /// A store that came through all this can still do its work, and gives everything back.
    pub(super) fn bring_everything(&mut self) {
        while !self.disk.has_power() {
            self.lose_power();
        }
        self.disk = self.disk.kill_process();
        self.writers.clear();
        self.leases.clear();
        self.store = None;
        self.disk.set_capacity(ByteSize(u64::MAX));
        self.reopen();
        let store = self.store();
        store.sweep_views(&BTreeSet::new()).unwrap();
        self.unpin_everything();
        let supplier = self.suppliers[0].clone();
        for manifest in self.manifests.clone() {
            for sample in &self.samples {
                match store.claim(&sample.file, &supplier).unwrap() {
                    Claim::Present => continue,
                    Claim::Busy(_) => panic!("nobody writes"),
                    Claim::Write(writer) => drop(writer),
                }
                bring_despite_spoils(&store, sample, &supplier);
            }
            store.publish_model(&manifest, &supplier).unwrap();
        }
        for manifest in &self.manifests {
            drop(store.view(&ViewSpec { key: manifest.key().clone(), refs: BTreeSet::new() }).unwrap());
            store.remove(manifest.key()).unwrap();
        }
        assert_eq!(store.disk_usage().unwrap().blobs, store.disk_usage().unwrap().unreferenced);
        assert_eq!(store.disk_usage().unwrap().quarantined, ByteSize(0));
        assert_eq!(self.disk.list(&Path::new(ROOT).join("views")).unwrap(), []);
    }
}

/// Brings a file whose partial bytes may be wrong: these are refused once, then it begins anew.
fn bring_despite_spoils(store: &Store, sample: &Sample, supplier: &Supplier) {
    for _ in 0..3 {
        let writer = pool::writer(store, sample, supplier);
        for index in writer.missing_extents() {
            writer.write_extent(index, sample.extent(&writer, index)).unwrap();
        }
        match writer.finish() {
            Ok(_) => return,
            Err(FinishError::Mismatch(_) | FinishError::Missing(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{} can't be brought", sample.file.path);
}

fn algorithm_of(digest: &Digest) -> Algorithm {
    match digest {
        Digest::Sha256(_) => Algorithm::Sha256,
        Digest::GitSha1(_) => Algorithm::GitSha1,
    }
}
