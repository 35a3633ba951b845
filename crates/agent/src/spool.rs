//! The spool: the agent's durable place for what workers have handed over and the server has not yet committed.
//!
//! | what | where | why | rebuilt from |
//! |---|---|---|---|
//! | final results | `spool/*.events`, synced before the worker is told | a worker drops a result once it was answered | nothing: it is the only copy |
//! | chunks of streams | the same files, synced with the result | a chunk without its result is worth nothing | nothing |
//! | which numbers are given | the segments' names | the server takes a number that it has seen as a repeat | nothing |
//! | relay secrets and assignments of workers | `workers/<worker>.json` ([`crate::records`]) | a worker outlives the agent and goes on asking | pings, in part |
//! | host id, incarnation | `agent.json` | the server knows the host by it | nothing |
//!
//! Not here: which events are acknowledged (the server says so when it is dialled), and jobs (the server's).
//!
//! One task owns the files. It gathers whatever waits, writes it, syncs once, and answers: a group commit. When the
//! disk is full, or the spool holds all that it may, writes fail; the relay then keeps the result in memory and the
//! worker's request open, and tries again each second. What is in memory that way is bounded by what workers have
//! in flight: each posts at most one result for each job that it holds, of at most the limit of a body.

mod segments;

use std::{io, path::PathBuf, sync::Arc};

use base::Disk;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use segments::Segments;
pub(crate) use segments::{Found, Place};

/// Requests that wait for the files. Senders wait when it is full; each worker request holds at most one.
const QUEUE_MAX: usize = 1024;
/// The most that one group commit gathers: bounds the memory of a burst, not its rate.
const GROUP_MAX: usize = 256;

/// Whether a record must survive a power cut when its write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It survives the end of the agent, and a power cut once something later was synced.
    Written,
    /// It survives a power cut.
    Synced,
}

/// The spool is gone, or the disk refused.
#[derive(Debug, thiserror::Error)]
#[error("the spool could not take a record")]
pub(crate) struct SpoolError(#[from] io::Error);

/// The service: owns the files. [`Spool::run`] ends when it is cancelled and nothing waits any more.
#[derive(Debug)]
pub(crate) struct Spool {
    segments: Segments,
    requests: mpsc::Receiver<Request>,
}

/// Reaches the spool. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SpoolHandle {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
enum Request {
    Write { number: u64, payload: Bytes, durability: Durability, answer: oneshot::Sender<io::Result<Place>> },
    Read { place: Place, answer: oneshot::Sender<io::Result<Vec<u8>>> },
    Trim { acknowledged: u64 },
}

/// The spool, open.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) spool: Spool,
    pub(crate) handle: SpoolHandle,
    pub(crate) first_number: u64,
}

impl Spool {
    /// Opens the spool in a folder and hands over each record that is in it.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        bytes_max: u64,
        visit: impl FnMut(Found),
    ) -> io::Result<Opened> {
        let segments = Segments::open(disk, folder, bytes_max, visit)?;
        let (sender, requests) = mpsc::channel(QUEUE_MAX);
        let first_number = segments.first_number();
        Ok(Opened {
            spool: Self { segments, requests },
            handle: SpoolHandle { requests: sender },
            first_number,
        })
    }

    /// Serves requests until cancelled; what was asked before that is still done.
    pub(crate) async fn run(self, token: CancellationToken) {
        let Self { mut segments, mut requests } = self;
        loop {
            let mut group = Vec::new();
            tokio::select! {
                // Cancel-safe: messages that were not received stay in the channel.
                received = requests.recv_many(&mut group, GROUP_MAX) => if received == 0 { return },
                // Cancel-safe: a token stays cancelled. The channel is closed, so the loop ends when it is empty.
                () = token.cancelled(), if !requests.is_closed() => { requests.close(); continue }
            }
            let served = tokio::task::spawn_blocking(move || {
                serve(&mut segments, group);
                segments
            });
            segments = match served.await {
                Ok(segments) => segments,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
        }
    }
}

impl SpoolHandle {
    /// Writes a record.
    ///
    /// # Errors
    /// [`SpoolError`]; the record may be tried again.
    pub(crate) async fn write(
        &self,
        number: u64,
        payload: Bytes,
        durability: Durability,
    ) -> Result<Place, SpoolError> {
        self.ask(|answer| Request::Write { number, payload, durability, answer }).await
    }

    /// Reads a record again.
    ///
    /// # Errors
    /// [`SpoolError`] when it is gone or damaged.
    pub(crate) async fn read(&self, place: Place) -> Result<Vec<u8>, SpoolError> {
        self.ask(|answer| Request::Read { place, answer }).await
    }

    /// Lets go of records up to a number, some time soon.
    pub(crate) fn trim(&self, acknowledged: u64) {
        // Full means that writes wait; the next acknowledgement trims as well.
        let _ = self.requests.try_send(Request::Trim { acknowledged });
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Request,
    ) -> Result<T, SpoolError> {
        let gone = || SpoolError(io::Error::new(io::ErrorKind::BrokenPipe, "the spool is closed"));
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| gone())?;
        Ok(answered.await.map_err(|_| gone())??)
    }
}

fn serve(segments: &mut Segments, group: Vec<Request>) {
    let mut written = Vec::new();
    let mut sync_wanted = false;
    let mut acknowledged = None;
    for request in group {
        match request {
            Request::Write { number, payload, durability, answer } => match segments.append(number, &payload)
            {
                Ok(place) => {
                    sync_wanted |= durability == Durability::Synced;
                    written.push((place, durability, answer));
                }
                Err(error) => drop(answer.send(Err(error))),
            },
            Request::Read { place, answer } => drop(answer.send(segments.read(place))),
            Request::Trim { acknowledged: number } => acknowledged = acknowledged.max(Some(number)),
        }
    }
    let synced = if sync_wanted { segments.sync() } else { Ok(()) };
    for (place, durability, answer) in written {
        // Whoever asked may be gone by now; the record is stored all the same.
        let _ = answer.send(match (&synced, durability) {
            (Ok(()), _) | (Err(_), Durability::Written) => Ok(place),
            (Err(error), Durability::Synced) => Err(io::Error::new(error.kind(), error.to_string())),
        });
    }
    if let Some(acknowledged) = acknowledged
        && let Err(error) = segments.trim(acknowledged)
    {
        tracing::warn!(%error, "acknowledged results could not be removed from the spool yet");
    }
}
