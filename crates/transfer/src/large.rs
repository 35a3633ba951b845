//! Brings one large file: claims it, reads runs of its missing extents over several connections, has it checked.
//!
//! A stream takes the next run, asks for it as one range, and writes each extent as soon as it is whole, so that
//! at most one extent of each stream is lost when everything ends at once.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use base::TaskScope;
use store::{BlobWriter, Claim, ExtentIndex, FinishError};

use crate::{
    ContentRefused, FetchError,
    fetch::{Fetch, Wanted, blocking},
    reading::{Reading, read},
    seat::Seat,
    sink::ExtentSink,
    source::{AfterWrong, OpenFile},
    whole,
};

/// A file is fetched again this often when its bytes were wrong and no source of this fetch gave any of them: an
/// earlier fetch left them, and they went with it.
const REFETCHES_UNBLAMED_MAX: u32 = 1;
/// A file is finished again this often when the store finds extents damaged on the disk.
const REPAIRS_MAX: u32 = 2;

/// A file that streams are bringing.
#[derive(Debug)]
struct Bringing {
    fetch: Arc<Fetch>,
    writer: Arc<BlobWriter>,
    file: Arc<OpenFile>,
    /// By which the connections know the file.
    number: usize,
    /// Whether the sources that are left give the file only as a whole, so that streams are of no use.
    is_whole_only: AtomicBool,
    /// Extents that no stream has taken yet, in order.
    queue: Mutex<VecDeque<ExtentIndex>>,
}

/// What became of the bytes that streams brought.
enum Finished {
    Published,
    /// They were wrong, and are gone.
    Wrong(store::ContentMismatch),
    /// Some are missing or damaged.
    Incomplete(FinishError),
}

/// Brings a file, unless it is here or another fetch brings it.
pub(crate) async fn bring(fetch: &Arc<Fetch>, wanted: &Wanted) -> Result<(), FetchError> {
    let size = wanted.file.size;
    let open = fetch.sources.open(&wanted.file);
    let (mut refetches, mut unblamed, mut repairs) = (0, 0, 0);
    // How many of the file's bytes the progress counts.
    let mut credited = 0;
    loop {
        fetch.check()?;
        let (store, file, supplier) =
            (fetch.shared.store.clone(), wanted.file.clone(), fetch.supplier.clone());
        let writer = match blocking(move || store.claim(&file, &supplier)).await? {
            Claim::Present => {
                fetch.tracker.found(wanted.bytes() - credited);
                if refetches == 0 && repairs == 0 {
                    fetch.bytes_reused.fetch_add(wanted.bytes(), Ordering::Relaxed);
                }
                fetch.tracker.files_done(wanted.copies);
                return Ok(());
            }
            Claim::Busy(waiter) => {
                fetch.hurry_those_who_bring(&wanted.file.digest);
                fetch.unless_cancelled(waiter.released()).await?;
                continue;
            }
            Claim::Write(writer) => writer,
        };
        let here = size - writer.missing_bytes().bytes();
        fetch.tracker.lost(credited);
        fetch.tracker.found(here);
        let _shown = fetch.tracker.under_way(&wanted.file, here);
        if refetches == 0 && repairs == 0 {
            fetch.bytes_reused.fetch_add(here + size * (wanted.copies - 1), Ordering::Relaxed);
        }
        let extents = u64::from(writer.extent_count());
        match stream_and_finish(fetch, &open, writer).await? {
            Finished::Published => {
                fetch.tracker.found(size * (wanted.copies - 1));
                fetch.tracker.files_done(wanted.copies);
                return Ok(());
            }
            Finished::Wrong(mismatch) => {
                fetch.tracker.lost(size);
                credited = 0;
                tracing::warn!(%mismatch, refetches, "a file was thrown away for its bytes");
                match open.blame() {
                    AfterWrong::Nobody(name) => return Err(ContentRefused { name, source: mismatch }.into()),
                    AfterWrong::Unblamed if unblamed == REFETCHES_UNBLAMED_MAX => {
                        return Err(FinishError::Mismatch(mismatch).into());
                    }
                    AfterWrong::Unblamed => unblamed += 1,
                    AfterWrong::Again => {}
                }
                refetches += 1;
                fetch.extents_refetched.fetch_add(extents, Ordering::Relaxed);
            }
            Finished::Incomplete(error) if repairs == REPAIRS_MAX => return Err(error.into()),
            Finished::Incomplete(_) => {
                credited = size;
                repairs += 1;
            }
        }
    }
}

/// Brings all missing extents and has the whole checked.
async fn stream_and_finish(
    fetch: &Arc<Fetch>,
    file: &Arc<OpenFile>,
    mut writer: BlobWriter,
) -> Result<Finished, FetchError> {
    writer.keep_early(fetch.shared.reorder.clone());
    let _brings = fetch.shared.bringers.enter(file.file.digest, fetch.number);
    let queue: VecDeque<ExtentIndex> = writer.missing_extents().into();
    let streams = fetch.shared.options.connections_max.clamp(1, queue.len().max(1));
    let bringing = Arc::new(Bringing {
        fetch: fetch.clone(),
        file: file.clone(),
        is_whole_only: AtomicBool::new(false),
        number: fetch.next_file.fetch_add(1, Ordering::Relaxed),
        writer: Arc::new(writer),
        queue: Mutex::new(queue),
    });
    let _open = fetch.open_file();
    let mut scope = TaskScope::new(&fetch.token);
    for _ in 0..streams {
        let bringing = bringing.clone();
        scope.spawn("fetch stream", async move {
            if let Err(error) = bring_runs(&bringing).await {
                bringing.fetch.fail(error);
            }
        });
    }
    while let Some(ended) = scope.join_next().await {
        if let Err(error) = ended {
            fetch.fail(error.into());
        }
    }
    fetch.check()?;
    if bringing.is_whole_only.load(Ordering::Relaxed) {
        whole::bring(fetch, file, &bringing.writer).await?;
    }
    let bringing = Arc::into_inner(bringing).expect("every stream has ended and let go");
    let writer = Arc::into_inner(bringing.writer).expect("every write has ended and let go");
    let _verifying = fetch.tracker.verifying();
    match blocking(move || writer.finish()).await {
        Ok(_) => Ok(Finished::Published),
        Err(FinishError::Mismatch(mismatch)) => Ok(Finished::Wrong(mismatch)),
        Err(error @ (FinishError::Missing(_) | FinishError::Poisoned(_))) => Ok(Finished::Incomplete(error)),
        Err(error @ FinishError::Disk(_)) => Err(error.into()),
    }
}

/// One stream: takes runs until none are left.
async fn bring_runs(bringing: &Bringing) -> Result<(), FetchError> {
    let Bringing { fetch, writer, file, .. } = bringing;
    let mut seat = Seat::new(fetch, bringing.number);
    loop {
        // The connection first: whoever waits for one holds nothing that another could bring.
        let source = file.name(file.likely()).to_owned();
        let _ = seat.take(&source).await?;
        let Some((first, last)) = bringing.take_run(&source) else { break };
        let range = writer.extent_range(first).start..writer.extent_range(last).end;
        let mut sink = ExtentSink::new(fetch, writer.clone(), first);
        let ended = read(file, range, &mut sink, &mut seat).await;
        // Given back after each range, so that others have their turn, and before the disk is waited for, so that the
        // connection is not.
        seat.release();
        let settled = sink.settle().await;
        match ended? {
            Reading::Done => drop(settled?),
            Reading::WholeOnly => {
                bringing.is_whole_only.store(true, Ordering::Relaxed);
                break;
            }
        }
    }
    Ok(())
}

impl Bringing {
    /// Takes the next run of neighbouring extents: short, so that little has to wait for its turn to be hashed and
    /// another stream uses the connection while the disk is waited for, but long enough that asking costs little
    /// beside it. Towards the end all are short, so that all streams end together.
    fn take_run(&self, source: &str) -> Option<(ExtentIndex, ExtentIndex)> {
        if self.is_whole_only.load(Ordering::Relaxed) {
            return None;
        }
        let (options, lanes) = (&self.fetch.shared.options, &self.fetch.shared.lanes);
        let streams = lanes.expected(source, self.fetch.files_open.load(Ordering::Relaxed));
        let bytes = lanes.range_bytes_worthwhile(source).min(options.range_bytes_max.bytes());
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let extents = usize::try_from(bytes.div_ceil(self.writer.extent_bytes())).unwrap_or(usize::MAX);
        let wanted = extents.min(queue.len() / (2 * streams)).max(1);
        let first = queue.pop_front()?;
        let mut last = first;
        for _ in 1..wanted {
            match queue.front() {
                Some(next) if next.0 == last.0 + 1 => last = *next,
                Some(_) | None => break,
            }
            queue.pop_front();
        }
        Some((first, last))
    }
}
