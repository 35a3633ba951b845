//! The transfer as others see it: a handle to ask for fetches, a service that owns their tasks.

use std::{sync::Arc, time::Duration};

use base::{ByteSize, Clock, Entropy, TaskScope};
use store::{Store, Supplier};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use types::Manifest;

use crate::{
    FetchAbandoned, FetchCancelled, FetchError, FetchProgress, FetchState, SourceList, SourceUse,
    TransferFull, TransferOptions,
    fetch::{Fetch, Shared},
    progress::Tracker,
};

/// Asks for fetches. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Transfer {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Queued>,
}

/// Runs the fetches that are asked for; owns their tasks.
#[derive(Debug)]
pub struct TransferService {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Queued>,
}

/// What to bring, from where, for whom.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The model.
    pub manifest: Arc<Manifest>,
    /// Where its bytes come from, the first choice first.
    pub sources: SourceList,
    /// The hub and tenant that the bytes are brought for, and whether the operator trusts that hub.
    pub supplier: Supplier,
}

/// A running fetch. Dropping it cancels the fetch; what was brought is kept.
#[derive(Debug)]
pub struct FetchHandle {
    progress: watch::Receiver<FetchProgress>,
    result: oneshot::Receiver<Result<FetchReport, FetchError>>,
    guard: DropGuard,
}

/// What a fetch did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchReport {
    /// Bytes that came from the source, those thrown away included.
    pub bytes_fetched: ByteSize,
    /// Bytes of the model that were here already or that another fetch brought.
    pub bytes_reused: ByteSize,
    /// From start to end.
    pub duration: Duration,
    /// Extents (and small files) fetched again because their bytes were wrong.
    pub extents_refetched: u64,
    /// What each source did, in the order of the request.
    pub sources: Vec<SourceUse>,
}

#[derive(Debug)]
struct Queued {
    request: FetchRequest,
    tracker: Arc<Tracker>,
    token: CancellationToken,
    result: oneshot::Sender<Result<FetchReport, FetchError>>,
}

impl Transfer {
    /// Makes a transfer into a store. Nothing happens until the service runs.
    pub fn new(
        options: TransferOptions,
        store: Store,
        clock: Clock,
        entropy: Entropy,
    ) -> (Self, TransferService) {
        let (sender, receiver) = mpsc::channel(options.fetches_waiting_max.max(1));
        let shared = Arc::new(Shared::new(options, store, clock, entropy));
        (Self { shared: shared.clone(), queue: sender }, TransferService { shared, queue: receiver })
    }

    /// Starts a fetch. One that can't be started fails at once: [`FetchHandle::join`] tells why.
    pub fn fetch(&self, request: FetchRequest) -> FetchHandle {
        let manifest = &request.manifest;
        let tracker = Arc::new(Tracker::new(
            self.shared.clock.clone(),
            manifest.files().len() as u64,
            manifest.bytes(),
        ));
        let token = CancellationToken::new();
        let (sender, result) = oneshot::channel();
        let handle = FetchHandle { progress: tracker.watch(), result, guard: token.clone().drop_guard() };
        let refused = match self.queue.try_send(Queued { request, tracker, token, result: sender }) {
            Ok(()) => return handle,
            Err(mpsc::error::TrySendError::Full(queued)) => {
                let waiting_max = self.shared.options.fetches_waiting_max;
                (queued, FetchError::from(TransferFull { waiting_max }))
            }
            Err(mpsc::error::TrySendError::Closed(queued)) => (queued, FetchAbandoned.into()),
        };
        let (queued, error) = refused;
        end(&queued.tracker, queued.result, Err(error));
        handle
    }
}

impl TransferService {
    /// Runs fetches until the token is cancelled; then stops them, keeping what they brought.
    pub async fn run(mut self, token: CancellationToken) {
        let mut scope = TaskScope::new(&token);
        loop {
            let has_room = scope.len() < self.shared.options.fetches_at_once.max(1);
            tokio::select! {
                () = token.cancelled() => break,
                // Receiving from a channel loses nothing when dropped.
                queued = self.queue.recv(), if has_room => match queued {
                    Some(queued) => {
                        let work = run_one(self.shared.clone(), queued, scope.token());
                        scope.spawn("fetch", work);
                    }
                    None if scope.is_empty() => break,
                    // Every handle is gone; the fetches that run are waited for.
                    None => Self::joined(scope.join_next().await),
                },
                // Joining loses no task when dropped.
                ended = scope.join_next(), if !scope.is_empty() => Self::joined(ended),
            }
        }
        self.queue.close();
        while let Ok(Queued { tracker, result, .. }) = self.queue.try_recv() {
            end(&tracker, result, Err(FetchAbandoned.into()));
        }
        if let Err(error) = scope.shutdown().await {
            tracing::error!(%error, "a fetch panicked");
        }
    }

    fn joined(ended: Option<Result<&'static str, base::TaskError>>) {
        if let Some(Err(error)) = ended {
            tracing::error!(%error, "a fetch panicked");
        }
    }
}

/// Runs one fetch to its end, which is also that of its handle's interest or of the service.
async fn run_one(shared: Arc<Shared>, queued: Queued, service: CancellationToken) {
    let Queued { request, tracker, token, result: sender } = queued;
    let token = token.child_token();
    let fetch = Arc::new(Fetch::new(shared, request, tracker.clone(), token.clone()));
    let work = fetch.run();
    tokio::pin!(work);
    let result = tokio::select! {
        result = &mut work => result,
        () = service.cancelled() => {
            token.cancel();
            // Not dropped: it ends in order, with its last extents written.
            work.await
        }
    };
    end(&tracker, sender, result);
}

/// Tells onlookers and whoever waits how a fetch ended.
fn end(
    tracker: &Tracker,
    sender: oneshot::Sender<Result<FetchReport, FetchError>>,
    result: Result<FetchReport, FetchError>,
) {
    tracker.end(match &result {
        Ok(_) => FetchState::Done,
        Err(error) => FetchState::Failed { fault: error.fault() },
    });
    // Nobody may be waiting any more.
    let _ = sender.send(result);
}

impl FetchHandle {
    /// Returns a view of the fetch's progress, which outlives the handle.
    pub fn progress(&self) -> watch::Receiver<FetchProgress> {
        self.progress.clone()
    }

    /// Waits for the end of the fetch.
    ///
    /// # Errors
    /// [`FetchError`] by condition.
    ///
    /// # Cancel safety
    /// Dropping the future drops the handle, and so cancels the fetch.
    pub async fn join(self) -> Result<FetchReport, FetchError> {
        let Self { result, guard, .. } = self;
        let result = result.await.unwrap_or(Err(FetchAbandoned.into()));
        drop(guard);
        result
    }

    /// Stops the fetch and waits until it has ended. What was brought is kept.
    ///
    /// # Errors
    /// [`FetchError`] when it had failed before; a fetch that this call stopped is no error.
    pub async fn cancel(self) -> Result<Option<FetchReport>, FetchError> {
        let Self { result, guard, .. } = self;
        drop(guard);
        match result.await.unwrap_or(Err(FetchAbandoned.into())) {
            Ok(report) => Ok(Some(report)),
            Err(FetchError::Cancelled(FetchCancelled) | FetchError::Abandoned(FetchAbandoned)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
