//! Which fetch brings a large file that others wait for, so that it is as urgent as the most urgent of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use types::Digest;

/// The fetches that bring large files, by digest. Fetches that must not share bytes may bring the same digest, each
/// for itself.
#[derive(Debug, Default)]
pub(crate) struct Bringers(Mutex<HashMap<Digest, Vec<u64>>>);

/// While it is held, a fetch brings a file.
#[derive(Debug)]
pub(crate) struct Bringing {
    bringers: Arc<Bringers>,
    digest: Digest,
    fetch: u64,
}

impl Bringers {
    /// Notes that a fetch brings a file.
    pub(crate) fn enter(self: &Arc<Self>, digest: Digest, fetch: u64) -> Bringing {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(digest).or_default().push(fetch);
        Bringing { bringers: self.clone(), digest, fetch }
    }

    /// Returns the fetches that bring a file.
    pub(crate) fn of(&self, digest: &Digest) -> Vec<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned().unwrap_or_default()
    }
}

impl Drop for Bringing {
    fn drop(&mut self) {
        let mut bringers = self.bringers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetches) = bringers.get_mut(&self.digest) {
            if let Some(at) = fetches.iter().position(|fetch| *fetch == self.fetch) {
                fetches.swap_remove(at);
            }
            if fetches.is_empty() {
                bringers.remove(&self.digest);
            }
        }
    }
}
