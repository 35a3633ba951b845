//! Single-flight of small files: each is read by one fetch at a time; the others look again when it is done.
//!
//! Large files have this from the store. Small ones are not claimed there, because a claim costs syncs.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use store::{HubStanding, Supplier};
use tokio::sync::watch;
use types::{Digest, TenantId};

/// What is being read: a digest, and for whom. Fetches from trusted hubs work for each other.
type Key = (Digest, Option<TenantId>);

/// The small files that are being read.
#[derive(Debug)]
pub(crate) struct Flight {
    reading: Mutex<BTreeSet<Key>>,
    /// Counts the releases.
    released: watch::Sender<u64>,
}

/// The right to read some small files; dropping it lets others have them.
#[derive(Debug)]
pub(crate) struct Boarded {
    flight: Arc<Flight>,
    keys: Vec<Key>,
}

impl Flight {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { reading: Mutex::new(BTreeSet::new()), released: watch::Sender::new(0) })
    }

    /// Takes those of the digests that nobody reads. Tells by a receiver, marked as seen before the look, when others
    /// are worth another look.
    pub(crate) fn board(
        self: &Arc<Self>,
        digests: impl Iterator<Item = Digest>,
        supplier: &Supplier,
    ) -> (Boarded, watch::Receiver<u64>) {
        let released = self.released.subscribe();
        let whose = match supplier.standing {
            HubStanding::Trusted => None,
            HubStanding::Untrusted => Some(supplier.tenant.clone()),
        };
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let keys =
            digests.map(|digest| (digest, whose.clone())).filter(|key| reading.insert(key.clone())).collect();
        (Boarded { flight: self.clone(), keys }, released)
    }
}

impl Boarded {
    /// Returns whether this digest is among those taken.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.keys.iter().any(|(taken, _)| taken == digest)
    }
}

impl Drop for Boarded {
    fn drop(&mut self) {
        let mut reading = self.flight.reading.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &self.keys {
            reading.remove(key);
        }
        drop(reading);
        self.flight.released.send_modify(|count| *count += 1);
    }
}
