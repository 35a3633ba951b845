//! Reads one range of one file from its source, with retries at the byte where the last try ended.

use std::{future::Future, ops::Range};

use bytes::Bytes;
use futures::StreamExt;
use hub::Retry;
use types::{ErrorCode, Fault, ManifestFile, RepoPath};

use crate::{
    FetchCancelled, FetchError, SourceError, SourceFailed, SourceFile,
    fetch::Fetch,
    patience::{Patience, StallMeter, Verdict},
};

/// Takes the bytes of a range in order.
pub(crate) trait Sink: Send {
    /// Takes some bytes. They are never more than the range has left.
    fn take(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), FetchError>> + Send;
}

impl Sink for Vec<u8> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Why a try ended early.
enum Stop {
    /// The source failed; another try may help.
    Source(SourceError),
    /// The fetch can't go on.
    Fetch(FetchError),
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<FetchCancelled> for Stop {
    fn from(error: FetchCancelled) -> Self {
        Self::Fetch(error.into())
    }
}

/// Reads a range into a sink, asking again as long as patience lasts.
pub(crate) async fn read(
    fetch: &Fetch,
    file: &ManifestFile,
    source: &dyn SourceFile,
    range: Range<u64>,
    sink: &mut impl Sink,
) -> Result<(), FetchError> {
    let options = &fetch.shared.options;
    let mut patience = Patience::default();
    let mut offset = range.start;
    while offset < range.end {
        fetch.wait_for_pause().await?;
        let error =
            match attempt(fetch, (&file.path, source), &mut offset, range.end, sink, &mut patience).await {
                Ok(()) => break,
                Err(Stop::Source(error)) => error,
                Err(Stop::Fetch(error)) => return Err(error),
            };
        let now = fetch.shared.clock.now();
        let wait = match patience.failed(error.retry, options, fetch.shared.entropy.number()) {
            Verdict::TryAfter(wait) => wait,
            Verdict::PauseFor(pause) => {
                fetch.pause_until(now + pause);
                pause
            }
            Verdict::GiveUp => {
                let (name, path) = (fetch.source.name(), file.path.clone());
                return Err(SourceFailed { name, path, fault: error.fault }.into());
            }
        };
        tracing::debug!(path = %file.path, offset, fault = %error.fault, ?wait, "trying a range again");
        let _retrying = fetch.tracker.retrying(error.fault, now + wait);
        fetch.unless_cancelled(fetch.shared.clock.sleep_until(now + wait)).await?;
    }
    Ok(())
}

/// Asks once for all that is left of a range and takes what comes.
async fn attempt(
    fetch: &Fetch,
    (path, source): (&RepoPath, &dyn SourceFile),
    offset: &mut u64,
    end: u64,
    sink: &mut impl Sink,
    patience: &mut Patience,
) -> Result<(), Stop> {
    let options = &fetch.shared.options;
    let _connection = fetch
        .unless_cancelled(fetch.shared.connections.acquire())
        .await?
        .expect("the semaphore is never closed");
    let _reading = fetch.tracker.reading();
    let mut meter = StallMeter::new(options);
    let asked = source.read_range(*offset, end - *offset);
    let mut chunks = timed(fetch, &mut meter, asked, |_| 0).await??;
    fetch.tracker.sent_by(&fetch.source.name());
    while *offset < end {
        let chunk = timed(fetch, &mut meter, chunks.next(), brought).await?;
        let chunk = chunk.ok_or_else(|| ended_early(*offset, end))??;
        let bytes = chunk.len() as u64;
        if bytes > end - *offset {
            return Err(too_many(fetch).into());
        }
        fetch.tracker.received(path, bytes);
        patience.progressed(bytes, options);
        sink.take(&chunk).await.map_err(Stop::Fetch)?;
        *offset += bytes;
    }
    Ok(())
}

/// Waits for the source, but not beyond a stall and not beyond the fetch's end.
async fn timed<T>(
    fetch: &Fetch,
    meter: &mut StallMeter,
    wait: impl Future<Output = T>,
    bytes_of: impl Fn(&T) -> u64,
) -> Result<T, Stop> {
    let clock = &fetch.shared.clock;
    let began = clock.now();
    let deadline = began + meter.left();
    let value = tokio::select! {
        // A dropped wait ends its connection; the bytes that it may have held are asked for again.
        value = wait => Some(value),
        () = clock.sleep_until(deadline) => None,
        () = fetch.token.cancelled() => return Err(FetchCancelled.into()),
    };
    let bytes = value.as_ref().map_or(0, bytes_of);
    let is_stalled = meter.is_stalled_after(clock.now().since(began), bytes);
    match value {
        Some(value) if !is_stalled => Ok(value),
        Some(_) | None => Err(stalled(fetch).into()),
    }
}

fn brought(chunk: &Option<Result<Bytes, SourceError>>) -> u64 {
    match chunk {
        Some(Ok(bytes)) => bytes.len() as u64,
        Some(Err(_)) | None => 0,
    }
}

fn stalled(fetch: &Fetch) -> SourceError {
    let options = &fetch.shared.options;
    let message = format!(
        "{} sent less than {} in {} s",
        fetch.source.name(),
        options.progress_bytes_min,
        options.stall_window.as_secs()
    );
    SourceError { fault: Fault::new(ErrorCode::HubStalled, message), retry: Retry::Soon }
}

fn ended_early(offset: u64, end: u64) -> SourceError {
    let message = format!("the bytes ended {} before the end of their range", end - offset);
    SourceError { fault: Fault::new(ErrorCode::HubConnectionLost, message), retry: Retry::Soon }
}

fn too_many(fetch: &Fetch) -> SourceError {
    let message = format!("{} sent more bytes than were asked for", fetch.source.name());
    SourceError { fault: Fault::new(ErrorCode::HubAnswerInvalid, message), retry: Retry::Never }
}
