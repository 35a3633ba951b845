//! What this host has learnt of how models are used: `scheduler`'s value, kept in a file.
//!
//! Models are told apart by their largest file: revisions and selections with the same weights are one to a disk. Losing
//! it costs hits, never correctness: a file that is missing or can't be understood begins anew.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base::{ByteSize, Disk, Timestamp, write_durably};
use scheduler::eviction::{EvictionPolicy, Experience, Outlook, Used};
use types::{Digest, Manifest};

/// Four times what is remembered at most, which is 16,384 models of half a kilobyte as text.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What was learnt, and where it is kept.
#[derive(Debug)]
pub(crate) struct Learnt {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    experience: Mutex<Experience<Digest>>,
    is_saved: AtomicBool,
}

impl Learnt {
    /// Reads what was learnt before.
    pub(crate) fn read(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        let experience = match disk.read(&path, FILE_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "what was learnt of the uses of models is not understood and begins anew");
                Experience::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Experience::default(),
            Err(error) => {
                tracing::warn!(%error, "what was learnt of the uses of models can't be read and begins anew");
                Experience::default()
            }
        };
        Self { disk, path, experience: Mutex::new(experience), is_saved: AtomicBool::new(true) }
    }

    /// Returns how past uses are best read on this host.
    pub(super) fn outlook(&self) -> Outlook {
        self.experience().outlook()
    }

    /// Learns from a use of a model, which would come again at such a rate.
    pub(super) fn record(&self, manifest: &Manifest, rate_bytes: u64, capacity: ByteSize, now: Timestamp) {
        let Some(largest) = manifest.files().iter().max_by_key(|file| (file.size, file.digest)) else {
            return;
        };
        let bytes = manifest.bytes();
        let moving = Duration::from_millis(bytes.bytes().saturating_mul(1000) / rate_bytes.max(1));
        let used = Used { bytes, fetch_time: EvictionPolicy::default().fetch_overhead + moving };
        self.experience().record(&largest.digest, used, capacity, now);
        self.is_saved.store(false, Ordering::Relaxed);
    }

    /// Writes what was learnt since the last time.
    pub(super) fn save(&self) -> io::Result<()> {
        if self.is_saved.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&*self.experience()).map_err(io::Error::other)?;
        write_durably(&self.disk, &self.path, &bytes)
            .inspect_err(|_| self.is_saved.store(false, Ordering::Relaxed))
    }

    fn experience(&self) -> MutexGuard<'_, Experience<Digest>> {
        self.experience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use base::{Access, FaultyDisk};
    use types::{Commit, ManifestFile, ModelKey, SelectionKey};

    use super::*;

    fn manifest(revision: u8) -> Manifest {
        let key = ModelKey {
            repo: types::RepoId { hub: "huggingface".parse().unwrap(), name: "org/name".parse().unwrap() },
            commit: Commit::from_bytes([revision; 20]),
            selection: SelectionKey::from_bytes([revision; 32]),
        };
        let file = |path: &str, size, digest: u8| ManifestFile {
            path: path.parse().unwrap(),
            size,
            digest: Digest::Sha256([digest; 32]),
        };
        let files = vec![file("config.json", 10, revision), file("model.safetensors", 1_000_000, 9)];
        Manifest::new(key, files, BTreeSet::new()).unwrap()
    }

    #[test]
    fn what_was_learnt_outlives_the_agent_and_what_rots_begins_anew() {
        let faulty = FaultyDisk::new(1);
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        let path = PathBuf::from("/experience.json");
        let weights = Digest::Sha256([9; 32]);
        let learnt = Learnt::read(disk.clone(), path.clone());
        // Two revisions with the same weights are one model to the disk.
        for revision in [1, 2] {
            learnt.record(&manifest(revision), 1000, ByteSize(2_000_000), Timestamp::from_millis(5));
        }
        learnt.save().unwrap();
        let found: Arc<dyn Disk> = Arc::new(faulty.lose_power_and_all_unsynced());
        let again = Learnt::read(found.clone(), path.clone());
        assert_eq!(again.experience().uses(&weights).unwrap().count(), 2);
        found.open(&path, Access::Write).unwrap().write_all_at(b"no", 0).unwrap();
        assert!(Learnt::read(found, path).experience().uses(&weights).is_none());
    }
}
