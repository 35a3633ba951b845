//! Reads the models of a worker that starts into the page cache, while its process still starts: a worker that imports its
//! libraries for two seconds then finds its weights in memory (docs/benchmarks.md has the figures).
//!
//! Best effort: it never delays a start, reads no more than a share of the free memory, and gives up when the host stops.
//! Its task belongs to the host; what a model's load order is, and what is in memory already, is the store's to know.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, Mutex, PoisonError},
};

use base::ByteSize;
use store::Store;
use tokio_util::sync::CancellationToken;
use types::ModelKey;

/// Models that are read at once. One disk streams one or two files at its full rate, and not more.
const WARMING_MAX: usize = 2;
/// The share of the free memory that one model may fill: the other half is for the worker itself and for others'.
const FREE_MEMORY_SHARE: u64 = 2;

/// Warms the page cache. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Warmer {
    store: Store,
    /// The models that are read now.
    warming: Arc<Mutex<BTreeSet<ModelKey>>>,
}

impl Warmer {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, warming: Arc::default() }
    }

    /// Reads models into the page cache, one after the other. One that is being read already is left out, as are all
    /// while enough others are.
    pub(crate) async fn warm(self, models: Vec<ModelKey>, until: CancellationToken) {
        let read = tokio::task::spawn_blocking(move || {
            for key in models {
                let Some(turn) = self.turn(&key) else { continue };
                let Some(limit) = free_memory() else { return };
                let warmed = self.store.warm(&key, limit, &|| !until.is_cancelled());
                tracing::debug!(
                    model = %key,
                    read = warmed.read.bytes(),
                    cached = warmed.cached.bytes(),
                    end = ?warmed.end,
                    "warmed the page cache"
                );
                drop(turn);
            }
        });
        if let Err(panic) = read.await {
            tracing::error!(%panic, "warming the page cache broke");
        }
    }

    fn turn(&self, key: &ModelKey) -> Option<Turn> {
        let mut warming = self.warming.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = warming.len() < WARMING_MAX;
        (has_room && warming.insert(key.clone()))
            .then(|| Turn { warming: Arc::clone(&self.warming), key: key.clone() })
    }
}

/// The right to read one model; dropping it gives it back.
#[derive(Debug)]
struct Turn {
    warming: Arc<Mutex<BTreeSet<ModelKey>>>,
    key: ModelKey,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.warming.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Returns what one model may fill of the memory that is free now.
fn free_memory() -> Option<ByteSize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    available(&text).map(|bytes| ByteSize(bytes / FREE_MEMORY_SHARE))
}

/// Reads what programs may still take without swapping (proc_meminfo(5)).
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use base::{Clock, RealDisk};
    use store::StoreOptions;
    use types::{Commit, RepoId, SelectionKey};

    use super::*;

    #[test]
    fn free_memory_is_read_from_the_system() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(available(text), expected, "{text}");
        check("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:    70 kB\n", Some(70 * 1024));
        check("MemTotal: 100 kB\n", None);
        check("MemAvailable: many kB\n", None);
        assert!(free_memory().is_some(), "this system tells");
    }

    fn key(number: u8) -> ModelKey {
        ModelKey {
            repo: RepoId { hub: "main".parse().unwrap(), name: "org/name".parse().unwrap() },
            commit: Commit::from_bytes([number; 20]),
            selection: SelectionKey::from_bytes([0; 32]),
        }
    }

    #[tokio::test]
    async fn a_model_is_read_once_at_a_time_and_few_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Arc::new(RealDisk), Clock::System, StoreOptions::at(folder.path())).unwrap();
        let warmer = Warmer::new(store);
        let first = warmer.turn(&key(1)).expect("nothing is read yet");
        assert!(warmer.turn(&key(1)).is_none(), "it is being read");
        let second = warmer.turn(&key(2)).expect("there is room for another");
        assert!(warmer.turn(&key(3)).is_none(), "enough are read");
        drop((first, second));
        // A model that is not here is nothing to read, and its turn ends.
        warmer.clone().warm(vec![key(1), key(4)], CancellationToken::new()).await;
        assert_eq!(*warmer.warming.lock().unwrap(), BTreeSet::new());
    }
}
