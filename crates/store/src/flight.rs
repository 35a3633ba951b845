//! Single-flight: one writer per blob and owner, the others wait.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use types::Digest;

use crate::layout::PartialOwner;

pub(crate) type FlightKey = (PartialOwner, Digest);

/// Which blobs are being written.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<FlightKey, watch::Sender<()>>>);

impl Flights {
    /// Takes the right to write a blob, or gives what waits for whoever has it.
    pub(crate) fn enter(self: &Arc<Self>, key: FlightKey) -> Result<FlightGuard, BlobWaiter> {
        let mut flights = self.lock();
        match flights.get(&key) {
            Some(sender) => Err(BlobWaiter(sender.subscribe())),
            None => {
                flights.insert(key.clone(), watch::Sender::new(()));
                Ok(FlightGuard { flights: Arc::clone(self), key })
            }
        }
    }

    /// Returns whether somebody writes a blob.
    pub(crate) fn is_under_way(&self, key: &FlightKey) -> bool {
        self.lock().contains_key(key)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FlightKey, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to write one blob; dropping it wakes those who wait.
#[derive(Debug)]
pub(crate) struct FlightGuard {
    flights: Arc<Flights>,
    key: FlightKey,
}

impl FlightGuard {
    pub(crate) const fn owner(&self) -> &PartialOwner {
        &self.key.0
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

/// Waits for another's writer of the same blob.
#[derive(Debug)]
pub struct BlobWaiter(watch::Receiver<()>);

impl BlobWaiter {
    /// Waits until the other writer has finished or was dropped; then claim again.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn released(mut self) {
        // Nothing is ever sent; the sender's end is the signal.
        while self.0.changed().await.is_ok() {}
    }
}
