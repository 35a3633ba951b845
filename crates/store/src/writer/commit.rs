//! Makes extents durable, those that end at about the same time together: whoever comes first syncs for all who
//! have come by the time it begins, so that many streams cost few syncs.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::{DiskTrouble, PartialPoisoned, WriteExtentError, writer::ExtentIndex};

/// An extent that is written, and the crc32c to record for it.
pub(super) type Record = (ExtentIndex, u32);

/// The extents of one file that wait to be made durable.
#[derive(Debug, Default)]
pub(super) struct Commits {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Those of the round that has not begun.
    waiting: Vec<Record>,
    /// How many rounds have begun.
    begun: u64,
    /// How many rounds have ended.
    ended: u64,
    /// The round that failed. None begins after it.
    failed: Option<u64>,
}

impl Commits {
    /// Waits until an extent is durable. `sync` makes those that it is given durable; it runs in one thread at a time,
    /// and after it has failed once, never again.
    pub(super) fn commit(
        &self,
        record: Record,
        sync: impl Fn(&[Record]) -> Result<(), DiskTrouble>,
    ) -> Result<(), WriteExtentError> {
        let mut state = self.state();
        state.waiting.push(record);
        let round = state.begun + 1;
        loop {
            if state.failed.is_some_and(|failed| failed <= round) {
                return Err(PartialPoisoned.into());
            }
            if state.ended >= round {
                return Ok(());
            }
            if state.begun > state.ended {
                state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let records = std::mem::take(&mut state.waiting);
            state.begun += 1;
            drop(state);
            let synced = sync(&records);
            state = self.state();
            state.ended += 1;
            if synced.is_err() {
                state.failed = Some(round);
            }
            self.ended.notify_all();
            synced?;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
