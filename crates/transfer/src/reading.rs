//! Reads one range of one file from its sources, with retries at the byte where the last try ended.

use std::{future::Future, ops::Range, time::Duration};

use base::Timestamp;
use bytes::Bytes;
use futures::StreamExt;
use hub::Retry;
use types::{ErrorCode, Fault};

use crate::{
    FetchCancelled, FetchError, SourceError, SourceFailed,
    fetch::Fetch,
    patience::{Patience, StallMeter, Verdict},
    seat::Seat,
    source::{Asking, Choice, NeedsRanges, OpenFile, RangeStanding},
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

/// Takes the bytes of a whole file, from its first one, as often as a source has to begin anew.
pub(crate) trait WholeSink: Sink {
    /// Goes back to the first byte.
    fn begin(&mut self) -> impl Future<Output = ()> + Send;
}

/// How reading a range ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All of it came.
    Done,
    /// Not all of it came: the sources that are left give the file only as a whole.
    WholeOnly,
}

/// Why a try ended early.
enum Stop {
    /// The source failed; another try or another source may help.
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

/// Where reading stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    end: u64,
    /// How far reading has been before. At least `offset` where nothing is read twice.
    farthest: u64,
}

impl Place {
    fn left(self) -> u64 {
        self.end - self.offset
    }

    /// Returns how many of the next bytes lie beyond all that was read before.
    fn new_among(self, bytes: u64) -> u64 {
        (self.offset + bytes).saturating_sub(self.farthest).min(bytes)
    }

    fn advance(&mut self, bytes: u64) {
        self.offset += bytes;
        self.farthest = self.farthest.max(self.offset);
    }
}

/// How each source has done with one range.
struct Tries {
    patience: Vec<Patience>,
    standing: Vec<RangeStanding>,
    /// What each said last.
    faults: Vec<Option<Fault>>,
}

/// Reads a range into a sink, asking again, and asking others, as long as patience lasts.
pub(crate) async fn read(
    file: &OpenFile,
    range: Range<u64>,
    sink: &mut impl Sink,
    seat: &mut Seat<'_>,
) -> Result<Reading, FetchError> {
    let fetch = seat.fetch;
    let whole = range.start == 0 && range.end == file.file.size;
    let needs_ranges = if whole { NeedsRanges::No } else { NeedsRanges::Yes };
    let mut tries = Tries::new(file.sources().len());
    let mut offset = range.start;
    while offset < range.end {
        // What is left of a whole file is a part of it.
        let needs_ranges = if offset == range.start { needs_ranges } else { NeedsRanges::Yes };
        match file.choose(&tries.standing, needs_ranges) {
            Choice::Ask(index) => {
                let mut place = Place { offset, end: range.end, farthest: offset };
                let ended = attempt(seat, file, index, &mut place, sink, &mut tries.patience[index]).await;
                offset = place.offset;
                match ended {
                    Ok(()) => break,
                    Err(Stop::Source(error)) => tries.failed(fetch, file, index, error),
                    Err(Stop::Fetch(error)) => return Err(error),
                }
            }
            Choice::WaitFor(index, until) => {
                // Whoever waits leaves its connection to others.
                seat.release();
                tries.wait(fetch, file, index, until).await?;
            }
            Choice::WholeOnly(_) => return Ok(Reading::WholeOnly),
            Choice::Nobody => return Err(tries.nobody(file).into()),
        }
    }
    Ok(Reading::Done)
}

/// Reads a file from its first byte to its last into a sink that skips what it has, from sources that give no
/// ranges. After a break it begins anew, so only bytes beyond the farthest place make up for failures.
pub(crate) async fn read_whole(
    file: &OpenFile,
    sink: &mut impl WholeSink,
    seat: &mut Seat<'_>,
) -> Result<(), FetchError> {
    let fetch = seat.fetch;
    let end = file.file.size;
    let mut tries = Tries::new(file.sources().len());
    let mut farthest = 0;
    loop {
        match file.choose(&tries.standing, NeedsRanges::No) {
            Choice::Ask(index) => {
                sink.begin().await;
                let mut place = Place { offset: 0, end, farthest };
                let ended = attempt(seat, file, index, &mut place, sink, &mut tries.patience[index]).await;
                farthest = place.farthest;
                match ended {
                    Ok(()) => return Ok(()),
                    Err(Stop::Source(error)) => tries.failed(fetch, file, index, error),
                    Err(Stop::Fetch(error)) => return Err(error),
                }
            }
            Choice::WaitFor(index, until) => {
                // Whoever waits leaves its connection to others.
                seat.release();
                tries.wait(fetch, file, index, until).await?;
            }
            Choice::WholeOnly(_) | Choice::Nobody => return Err(tries.nobody(file).into()),
        }
    }
}

impl Tries {
    fn new(sources: usize) -> Self {
        Self {
            patience: vec![Patience::default(); sources],
            standing: vec![RangeStanding::default(); sources],
            faults: vec![None; sources],
        }
    }

    /// Takes up the failure of a source.
    fn failed(&mut self, fetch: &Fetch, file: &OpenFile, index: usize, error: SourceError) {
        let SourceError { fault, retry } = error;
        let (options, now) = (&fetch.shared.options, fetch.shared.clock.now());
        tracing::debug!(path = %file.file.path, source = file.name(index), %fault, ?retry, "a source failed");
        let lanes = &fetch.shared.lanes;
        let mut is_spent = false;
        match retry {
            Retry::Never => file.refused(index, fault.clone()),
            Retry::Whole => file.whole_only(index),
            Retry::Soon => {
                is_spent = file.failed(index, options);
                lanes.failed(file.name(index));
            }
            Retry::After(pause) => {
                file.sources().paused(index, now + pause, &fault);
                lanes.refused(file.name(index));
            }
        }
        match self.patience[index].failed(retry, options, fetch.shared.entropy.number()) {
            Verdict::TryAfter(wait) if !is_spent => self.standing[index].ready_at = now + wait,
            Verdict::TryAfter(_) | Verdict::GiveUp => self.standing[index].gave_up = true,
        }
        self.faults[index] = Some(fault);
    }

    /// Waits until a source may be asked again, and shows why.
    async fn wait(
        &self,
        fetch: &Fetch,
        file: &OpenFile,
        index: usize,
        until: Timestamp,
    ) -> Result<(), FetchCancelled> {
        let paused = file.sources().pause(index).map(|(_, fault)| fault);
        let fault = self.faults[index].clone().or(paused).unwrap_or_else(|| {
            Fault::new(ErrorCode::Unavailable, format!("{} asks for a pause", file.name(index)))
        });
        tracing::debug!(path = %file.file.path, source = file.name(index), %fault, "waiting for a source");
        let _retrying = fetch.tracker.retrying(fault, until);
        fetch.unless_cancelled(fetch.shared.clock.sleep_until(until)).await
    }

    /// Says why the range can't be had, in the words of the last source of the list: the hub knows best.
    fn nobody(&mut self, file: &OpenFile) -> SourceFailed {
        let own = self.faults.iter_mut().enumerate().rev().find_map(|(at, fault)| Some((at, fault.take()?)));
        let told = match (own, file.last_refusal()) {
            (Some(own), Some(refusal)) if refusal.0 > own.0 => Some(refusal),
            (Some(own), _) => Some(own),
            (None, refusal) => refusal,
        };
        let (index, fault) = told.unwrap_or_else(|| {
            (0, Fault::new(ErrorCode::Unavailable, "no source gives the file any more".to_owned()))
        });
        SourceFailed { name: file.name(index).to_owned(), path: file.file.path.clone(), fault }
    }
}

/// Asks one source once for all that is left of a range and takes what comes.
async fn attempt(
    seat: &mut Seat<'_>,
    file: &OpenFile,
    index: usize,
    place: &mut Place,
    sink: &mut impl Sink,
    patience: &mut Patience,
) -> Result<(), Stop> {
    let fetch = seat.fetch;
    let lane = seat.take(file.name(index)).await?;
    let _busy = fetch.tracker.reading();
    let (asking, source) = file.ask(index);
    let mut exchange =
        Exchange { fetch, meter: StallMeter::new(&fetch.shared.options), waited: Duration::ZERO, asking };
    let asked = source.read_range(place.offset, place.left());
    let mut chunks = exchange.timed(asked, |_| 0).await??;
    lane.answered(exchange.waited);
    fetch.tracker.sent_by(exchange.asking.name());
    while place.left() > 0 {
        let chunk = exchange.timed(chunks.next(), brought).await?;
        let chunk = chunk.ok_or_else(|| ended_early(place.left()))??;
        let bytes = chunk.len() as u64;
        if bytes > place.left() {
            return Err(too_many(exchange.asking.name()).into());
        }
        exchange.asking.received(bytes, &fetch.shared.options);
        fetch.tracker.received(&file.file.path, bytes);
        patience.progressed(place.new_among(bytes), &fetch.shared.options);
        lane.received(bytes, fetch.shared.clock.now());
        sink.take(&chunk).await.map_err(Stop::Fetch)?;
        place.advance(bytes);
        fetch.unless_cancelled(fetch.shared.throttle.take(bytes)).await?;
    }
    Ok(())
}

/// One question and its answer, with the time that was spent waiting for it.
struct Exchange<'a> {
    fetch: &'a Fetch,
    meter: StallMeter,
    waited: Duration,
    asking: Asking<'a>,
}

impl Exchange<'_> {
    /// Waits for the source, but not beyond a stall and not beyond the fetch's end.
    async fn timed<T>(
        &mut self,
        wait: impl Future<Output = T>,
        bytes_of: impl Fn(&T) -> u64,
    ) -> Result<T, Stop> {
        let clock = &self.fetch.shared.clock;
        let began: Timestamp = clock.now();
        let deadline = began + self.meter.left();
        let value = tokio::select! {
            // A dropped wait ends its connection; the bytes that it may have held are asked for again.
            value = wait => Some(value),
            () = clock.sleep_until(deadline) => None,
            () = self.fetch.token.cancelled() => return Err(FetchCancelled.into()),
        };
        let bytes = value.as_ref().map_or(0, bytes_of);
        let waited = clock.now().since(began);
        self.waited += waited;
        let is_stalled = self.meter.is_stalled_after(waited, bytes);
        match value {
            Some(value) if !is_stalled => Ok(value),
            Some(_) | None => Err(stalled(self.fetch, self.asking.name()).into()),
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.asking.waited(self.waited);
    }
}

fn brought(chunk: &Option<Result<Bytes, SourceError>>) -> u64 {
    match chunk {
        Some(Ok(bytes)) => bytes.len() as u64,
        Some(Err(_)) | None => 0,
    }
}

fn stalled(fetch: &Fetch, name: &str) -> SourceError {
    let options = &fetch.shared.options;
    let message = format!(
        "{name} sent less than {} in {} s",
        options.progress_bytes_min,
        options.stall_window.as_secs()
    );
    SourceError { fault: Fault::new(ErrorCode::HubStalled, message), retry: Retry::Soon }
}

fn ended_early(left: u64) -> SourceError {
    let message = format!("the bytes ended {left} before the end of their range");
    SourceError { fault: Fault::new(ErrorCode::HubConnectionLost, message), retry: Retry::Soon }
}

fn too_many(name: &str) -> SourceError {
    let message = format!("{name} sent more bytes than were asked for");
    SourceError { fault: Fault::new(ErrorCode::HubAnswerInvalid, message), retry: Retry::Never }
}
