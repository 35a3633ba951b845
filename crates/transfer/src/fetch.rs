//! One fetch: look what is missing, bring it, record the model; look again if something was removed meanwhile.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use base::{ByteSize, Clock, Entropy};
use futures::{StreamExt, future, stream};
use store::{PublishModelError, ReorderBudget, Store, Supplier};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use types::{Digest, Manifest, ManifestFile};

use crate::{
    FetchCancelled, FetchError, FetchReport, FetchRequest, NoRoom, TransferOptions,
    bringers::Bringers,
    flight::Flight,
    lanes::Lanes,
    large,
    memory::Memory,
    progress::Tracker,
    small,
    source::{Board, FetchSources},
    throttle::Throttle,
};

/// How often a fetch looks what is missing: files vanish under it only when models are removed, so twice is much.
const ROUNDS_MAX: u32 = 3;

/// What all fetches of a transfer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: TransferOptions,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) throttle: Throttle,
    pub(crate) memory: Memory,
    /// The part of the memory that may hold bytes until their turn to be hashed comes.
    pub(crate) reorder: Arc<ReorderBudget>,
    pub(crate) flight: Arc<Flight>,
    pub(crate) bringers: Arc<Bringers>,
    pub(crate) board: Arc<Board>,
}

/// One fetch.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) shared: Arc<Shared>,
    /// By which the connections know it.
    pub(crate) number: u64,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) sources: Arc<FetchSources>,
    pub(crate) supplier: Supplier,
    pub(crate) tracker: Arc<Tracker>,
    /// Ends this fetch and all of its streams.
    pub(crate) token: CancellationToken,
    /// The error that ended it, if one did.
    failure: Mutex<Option<FetchError>>,
    pub(crate) bytes_reused: AtomicU64,
    pub(crate) extents_refetched: AtomicU64,
    /// Large files that are being brought, and so share its connections.
    pub(crate) files_open: AtomicUsize,
    /// The number of the next file among its connections.
    pub(crate) next_file: AtomicUsize,
}

/// While it is held, a large file counts as being brought.
#[derive(Debug)]
pub(crate) struct FileOpen<'a>(&'a AtomicUsize);

impl Drop for FileOpen<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file to bring, and how many files of the model have its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) file: ManifestFile,
    pub(crate) copies: u64,
}

impl Wanted {
    /// Returns the bytes of all its copies.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.size.saturating_mul(self.copies)
    }
}

impl Shared {
    pub(crate) fn new(options: TransferOptions, store: Store, clock: Clock, entropy: Entropy) -> Self {
        Self {
            lanes: Lanes::new(clock.clone(), options.connections_first, options.connections_max),
            throttle: Throttle::new(clock.clone(), options.rate_max),
            bringers: Arc::default(),
            memory: Memory::new(options.memory_bytes_max),
            // Half, so that streams can always take what comes next, whatever waits for its turn.
            reorder: ReorderBudget::new(ByteSize(options.memory_bytes_max.bytes() / 2)),
            flight: Flight::new(),
            board: Arc::default(),
            options,
            store,
            clock,
            entropy,
        }
    }
}

impl Fetch {
    pub(crate) fn new(
        shared: Arc<Shared>,
        number: u64,
        request: FetchRequest,
        tracker: Arc<Tracker>,
        token: CancellationToken,
    ) -> Self {
        let FetchRequest { manifest, sources, supplier, priority: _, on_last_leave: _ } = request;
        let sources = FetchSources::new(&sources, shared.board.clone(), shared.clock.clone());
        Self {
            shared,
            number,
            files_open: AtomicUsize::new(0),
            next_file: AtomicUsize::new(1),
            manifest,
            sources: Arc::new(sources),
            supplier,
            tracker,
            token,
            failure: Mutex::new(None),
            bytes_reused: AtomicU64::new(0),
            extents_refetched: AtomicU64::new(0),
        }
    }

    /// Brings the model and records it as whole.
    pub(crate) async fn run(self: &Arc<Self>) -> Result<FetchReport, FetchError> {
        let began = self.shared.clock.now();
        let result = self.rounds().await;
        // A stream's error cancels the others, whose own end then says less than the first.
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (failure, result) {
            (Some(error), _) | (None, Err(error)) => Err(error),
            (None, Ok(())) => Ok(FetchReport {
                bytes_fetched: ByteSize(self.tracker.bytes_fetched()),
                bytes_reused: ByteSize(self.bytes_reused.load(Ordering::Relaxed)),
                duration: self.shared.clock.now().since(began),
                extents_refetched: self.extents_refetched.load(Ordering::Relaxed),
                sources: self.sources.uses(),
            }),
        }
    }

    async fn rounds(self: &Arc<Self>) -> Result<(), FetchError> {
        let mut round = 1;
        loop {
            self.bring_missing(round).await?;
            let (store, manifest, supplier) =
                (self.shared.store.clone(), self.manifest.clone(), self.supplier.clone());
            let _verifying = self.tracker.verifying();
            match blocking(move || store.publish_model(&manifest, &supplier)).await {
                Ok(_) => return Ok(()),
                Err(PublishModelError::Missing(missing)) if round < ROUNDS_MAX => {
                    tracing::info!(model = %self.manifest.key(), %missing, "files went away during a fetch");
                    round += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn bring_missing(self: &Arc<Self>, round: u32) -> Result<(), FetchError> {
        let wanted = self.look().await?;
        if round == 1 {
            let total = self.manifest.bytes().bytes();
            let absent: u64 = wanted.iter().map(Wanted::bytes).sum();
            self.bytes_reused.store(total.saturating_sub(absent), Ordering::Relaxed);
        }
        let (small, mut large): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|wanted| wanted.file.size <= self.shared.options.small_file_bytes_max.bytes());
        // The largest first, so that no long file is left to one connection at the end.
        large.sort_by_key(|wanted| std::cmp::Reverse(wanted.file.size));
        let bring_large = stream::iter(large.into_iter().map(|wanted| bring_large(self.clone(), wanted)))
            .buffer_unordered(self.shared.options.files_at_once.max(1))
            .for_each(future::ready);
        let bring_small = async { self.note(small::bring(self, small).await) };
        tokio::join!(bring_large, bring_small);
        self.check()
    }

    /// Looks what is missing, tells the tracker what is not, and whether the rest has room.
    async fn look(&self) -> Result<Vec<Wanted>, FetchError> {
        let (store, manifest, supplier) =
            (self.shared.store.clone(), self.manifest.clone(), self.supplier.clone());
        let (missing, usage) =
            blocking(move || (store.missing(&manifest, &supplier), store.disk_usage())).await;
        let usage = usage?;
        // Room that partial files have reserved may be for these very files, so it counts as there. What is
        // too little even so is told before the first byte.
        let room = usage.available + usage.partial;
        if missing.bytes > room {
            return Err(NoRoom { missing: missing.bytes, room }.into());
        }
        let mut copies: BTreeMap<Digest, u64> = BTreeMap::new();
        for file in self.manifest.files() {
            *copies.entry(file.digest).or_default() += 1;
        }
        let wanted: Vec<Wanted> = missing
            .files
            .into_iter()
            .map(|file| Wanted { copies: copies.get(&file.digest).copied().unwrap_or(1), file })
            .collect();
        let absent: u64 = wanted.iter().map(Wanted::bytes).sum();
        let absent_files: u64 = wanted.iter().map(|wanted| wanted.copies).sum();
        self.tracker.begin_round(
            (self.manifest.files().len() as u64).saturating_sub(absent_files),
            self.manifest.bytes().bytes().saturating_sub(absent),
        );
        Ok(wanted)
    }

    /// Counts a large file as being brought.
    pub(crate) fn open_file(&self) -> FileOpen<'_> {
        self.files_open.fetch_add(1, Ordering::Relaxed);
        FileOpen(&self.files_open)
    }

    /// Makes those who bring a file that this fetch waits for at least as urgent as it is.
    pub(crate) fn hurry_those_who_bring(&self, digest: &Digest) {
        let lanes = &self.shared.lanes;
        let ours = lanes.priority(self.number);
        for other in self.shared.bringers.of(digest) {
            if lanes.priority(other) < ours {
                lanes.set_priority(other, ours);
            }
        }
    }

    /// Keeps the first error and ends the rest of the fetch with it.
    pub(crate) fn fail(&self, error: FetchError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() && !self.token.is_cancelled() {
            *failure = Some(error);
        }
        drop(failure);
        self.token.cancel();
    }

    fn note(&self, result: Result<(), FetchError>) {
        if let Err(error) = result {
            self.fail(error);
        }
    }

    /// Returns an error when the fetch has been ended.
    pub(crate) fn check(&self) -> Result<(), FetchError> {
        if self.token.is_cancelled() { Err(FetchCancelled.into()) } else { Ok(()) }
    }

    /// Waits for something, but not beyond the fetch's end.
    pub(crate) async fn unless_cancelled<T>(
        &self,
        wait: impl Future<Output = T>,
    ) -> Result<T, FetchCancelled> {
        tokio::select! {
            // Every wait given here (a semaphore, a clock, a watch) can be dropped without loss.
            value = wait => Ok(value),
            () = self.token.cancelled() => Err(FetchCancelled),
        }
    }
}

async fn bring_large(fetch: Arc<Fetch>, wanted: Wanted) {
    fetch.note(large::bring(&fetch, &wanted).await);
}

/// Runs a blocking call of the store on the blocking pool; its panic is the caller's.
pub(crate) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    joined(tokio::task::spawn_blocking(call)).await
}

/// Waits for a blocking call; its panic is the caller's.
pub(crate) async fn joined<T>(handle: JoinHandle<T>) -> T {
    match handle.await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is being shut down, and this task with it.
        Err(_) => std::future::pending().await,
    }
}
