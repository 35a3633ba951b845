//! The transfer as others see it: a handle to ask for fetches, a service that owns their tasks.

use std::{sync::Arc, time::Duration};

use base::{ByteSize, Clock, Entropy, TaskScope};
use store::{Store, Supplier};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use types::Manifest;

use crate::{
    FetchAbandoned, FetchCancelled, FetchError, FetchPriority, FetchProgress, FetchState, SourceList,
    SourceUse, TransferFull, TransferOptions,
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
    /// How urgent it is beside other fetches.
    pub priority: FetchPriority,
    /// What becomes of it when nobody waits for it any more.
    pub on_last_leave: OnLastLeave,
}

impl FetchRequest {
    /// Makes a request as somebody asks for it, who gives it up by leaving.
    pub fn new(manifest: Arc<Manifest>, sources: impl Into<SourceList>, supplier: Supplier) -> Self {
        Self {
            manifest,
            sources: sources.into(),
            supplier,
            priority: FetchPriority::default(),
            on_last_leave: OnLastLeave::default(),
        }
    }
}

/// What becomes of a fetch whose handle is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLastLeave {
    /// It ends; what it brought is kept.
    #[default]
    Cancel,
    /// It goes on with the connections that others leave, until somebody else waits for what it brings.
    Demote,
}

/// A running fetch. Dropping it leaves the fetch, which then goes on or ends as its request says.
#[derive(Debug)]
pub struct FetchHandle {
    progress: watch::Receiver<FetchProgress>,
    result: oneshot::Receiver<Result<FetchReport, FetchError>>,
    interest: Interest,
}

/// That somebody waits for a fetch.
#[derive(Debug)]
struct Interest {
    shared: Arc<Shared>,
    number: u64,
    token: CancellationToken,
    on_last_leave: OnLastLeave,
}

impl Drop for Interest {
    fn drop(&mut self) {
        match self.on_last_leave {
            OnLastLeave::Cancel => self.token.cancel(),
            OnLastLeave::Demote => self.shared.lanes.demote(self.number),
        }
    }
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
    number: u64,
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
        let shared = self.shared.clone();
        let number = shared.lanes.enter(request.priority);
        let interest =
            Interest { shared, number, token: token.clone(), on_last_leave: request.on_last_leave };
        let handle = FetchHandle { progress: tracker.watch(), result, interest };
        let refused = match self.queue.try_send(Queued { number, request, tracker, token, result: sender }) {
            Ok(()) => return handle,
            Err(mpsc::error::TrySendError::Full(queued)) => {
                let waiting_max = self.shared.options.fetches_waiting_max;
                (queued, FetchError::from(TransferFull { waiting_max }))
            }
            Err(mpsc::error::TrySendError::Closed(queued)) => (queued, FetchAbandoned.into()),
        };
        let (queued, error) = refused;
        self.shared.lanes.leave(queued.number);
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
        while let Ok(Queued { number, tracker, result, .. }) = self.queue.try_recv() {
            self.shared.lanes.leave(number);
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
    let Queued { number, request, tracker, token, result: sender } = queued;
    let token = token.child_token();
    let fetch = Arc::new(Fetch::new(shared.clone(), number, request, tracker.clone(), token.clone()));
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
    shared.lanes.leave(number);
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
    /// Dropping the future drops the handle, and so leaves the fetch.
    pub async fn join(self) -> Result<FetchReport, FetchError> {
        let Self { result, interest, .. } = self;
        let result = result.await.unwrap_or(Err(FetchAbandoned.into()));
        drop(interest);
        result
    }

    /// Stops the fetch and waits until it has ended. What was brought is kept.
    ///
    /// # Errors
    /// [`FetchError`] when it had failed before; a fetch that this call stopped is no error.
    pub async fn cancel(self) -> Result<Option<FetchReport>, FetchError> {
        let Self { result, interest, .. } = self;
        interest.token.cancel();
        match result.await.unwrap_or(Err(FetchAbandoned.into())) {
            Ok(report) => Ok(Some(report)),
            Err(FetchError::Cancelled(FetchCancelled) | FetchError::Abandoned(FetchAbandoned)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
