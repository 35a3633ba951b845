//! The sources of one fetch: a list, what each has done, and the files that are read from them.
//!
//! A file is read from whichever source [`super::choice`] says, range by range; bytes go on where they stopped, also at
//! another source. Every file is checked against its digest as a whole, so no source needs to be trusted.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use base::{Clock, Timestamp};
use types::{ErrorCode, Fault, ManifestFile};

use super::{
    Source, SourceFile,
    board::Board,
    choice::{Candidate, STRIKES_MAX, choose},
    usage::{SourceUse, Usage},
};

pub(crate) use super::choice::Choice;
use crate::{SourceFailed, TransferOptions};

/// Where the bytes of a model come from, the first choice first. Never empty.
#[derive(Clone, Debug)]
pub struct SourceList(Arc<[Arc<dyn Source>]>);

impl SourceList {
    /// Makes a list of one source.
    pub fn one(source: Arc<dyn Source>) -> Self {
        Self(Arc::new([source]))
    }

    /// Makes a list of sources to ask first, in their order, and one whose word the digests are: the hub.
    pub fn new(first: impl IntoIterator<Item = Arc<dyn Source>>, last: Arc<dyn Source>) -> Self {
        Self(first.into_iter().chain([last]).collect())
    }
}

impl SourceList {
    /// Returns the names of the sources, in their order.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|source| source.name()).collect()
    }
}

impl From<Arc<dyn Source>> for SourceList {
    fn from(source: Arc<dyn Source>) -> Self {
        Self::one(source)
    }
}

/// The sources of one fetch.
#[derive(Debug)]
pub(crate) struct FetchSources {
    members: Vec<Member>,
    board: Arc<Board>,
    clock: Clock,
}

/// A source as one fetch sees it.
#[derive(Debug)]
struct Member {
    name: String,
    source: Arc<dyn Source>,
    usage: Mutex<Usage>,
    /// Until when it has asked not to be asked, and its words.
    pause: Mutex<Option<(Timestamp, Fault)>>,
}

/// A file, as its sources give it.
pub(crate) struct OpenFile {
    /// The entry of the manifest.
    pub(crate) file: ManifestFile,
    sources: Arc<FetchSources>,
    handles: Vec<OnceLock<Arc<dyn SourceFile>>>,
    sides: Mutex<Vec<Side>>,
}

/// How a source stands with one file.
#[derive(Clone, Debug, Default)]
struct Side {
    /// Why it gives nothing of the file, for good.
    refusal: Option<Fault>,
    is_whole_only: bool,
    strikes: u32,
    /// Bytes of the file since it was begun, or begun anew.
    bytes: u64,
    /// Failures since bytes came, counted once for all ranges that fail together.
    failures: u32,
    /// A failure before this is one of those that were counted.
    counts_from: Timestamp,
}

/// What comes after wrong bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AfterWrong {
    /// The file may be fetched again.
    Again,
    /// The same, and no source of this fetch gave any of them.
    Unblamed,
    /// Every source that has it has given wrong bytes too often: these.
    Nobody(String),
}

/// How a source stands with one range, beyond what all ranges share.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RangeStanding {
    pub(crate) gave_up: bool,
    pub(crate) ready_at: Timestamp,
}

impl FetchSources {
    pub(crate) fn new(list: &SourceList, board: Arc<Board>, clock: Clock) -> Self {
        let members = list.0.iter().map(|source| Member {
            name: source.name(),
            source: source.clone(),
            usage: Mutex::default(),
            pause: Mutex::default(),
        });
        Self { members: members.collect(), board, clock }
    }

    /// Opens a file. Asks nobody yet.
    pub(crate) fn open(self: &Arc<Self>, file: &ManifestFile) -> Arc<OpenFile> {
        let count = self.members.len();
        Arc::new(OpenFile {
            file: file.clone(),
            sources: self.clone(),
            handles: (0..count).map(|_| OnceLock::new()).collect(),
            sides: Mutex::new(vec![Side::default(); count]),
        })
    }

    /// Returns how many sources there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        &self.members[index].name
    }

    /// Returns what each source has done for the fetch so far.
    pub(crate) fn uses(&self) -> Vec<SourceUse> {
        let now = self.clock.now();
        self.members.iter().map(|member| lock(&member.usage).shown(&member.name, now)).collect()
    }

    /// Returns until when a source has asked not to be asked, and in what words.
    pub(crate) fn pause(&self, index: usize) -> Option<(Timestamp, Fault)> {
        lock(&self.members[index].pause).clone()
    }

    /// Notes that a source asked not to be asked for a while. All streams of the fetch keep it.
    pub(crate) fn paused(&self, index: usize, until: Timestamp, fault: &Fault) {
        let mut pause = lock(&self.members[index].pause);
        if pause.as_ref().is_none_or(|(known, _)| *known < until) {
            *pause = Some((until, fault.clone()));
        }
    }
}

/// One question to one source, from asking to its last byte.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    file: &'a OpenFile,
    index: usize,
    bytes: u64,
}

impl OpenFile {
    /// Chooses the source for the next question about a range.
    pub(crate) fn choose(&self, range: &[RangeStanding], needs_ranges: NeedsRanges) -> Choice {
        let now = self.sources.clock.now();
        let sides = lock(&self.sides);
        let candidates: Vec<Candidate> = (self.sources.members.iter().zip(&*sides).zip(range))
            .map(|((member, side), range)| {
                let health = self.sources.board.health(&member.name);
                let paused_until = lock(&member.pause).as_ref().map_or(Timestamp::EPOCH, |(until, _)| *until);
                Candidate {
                    is_out: range.gave_up || side.refusal.is_some(),
                    is_whole_only: side.is_whole_only && needs_ranges == NeedsRanges::Yes,
                    strikes: side.strikes,
                    ready_at: range.ready_at.max(paused_until),
                    shaky_until: health.shaky_until,
                    rate: health.rate(now),
                }
            })
            .collect();
        choose(&candidates, now)
    }

    /// Returns the source that would be asked now, if any may be; else the first.
    pub(crate) fn likely(&self) -> usize {
        let fresh = vec![RangeStanding::default(); self.sources.len()];
        match self.choose(&fresh, NeedsRanges::Yes) {
            Choice::Ask(index) | Choice::WaitFor(index, _) => index,
            Choice::WholeOnly(index) => index,
            Choice::Nobody => 0,
        }
    }

    /// Begins a question to a source.
    pub(crate) fn ask(&self, index: usize) -> (Asking<'_>, Arc<dyn SourceFile>) {
        let member = &self.sources.members[index];
        let now = self.sources.clock.now();
        self.sources.board.asked(&member.name, now);
        lock(&member.usage).began(now);
        let handle = self.handles[index].get_or_init(|| member.source.open(&self.file)).clone();
        (Asking { file: self, index, bytes: 0 }, handle)
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        self.sources.name(index)
    }

    pub(crate) fn sources(&self) -> &FetchSources {
        &self.sources
    }

    /// Notes that a source failed in a way that may pass. Returns whether it has failed for so long, with no byte in
    /// between, that no range of the file need wait for it: however many ranges take turns, they fail with the first.
    pub(crate) fn failed(&self, index: usize, options: &TransferOptions) -> bool {
        let (member, now) = (&self.sources.members[index], self.sources.clock.now());
        lock(&member.usage).failed();
        self.sources.board.failed(&member.name, now);
        let side = &mut lock(&self.sides)[index];
        if now >= side.counts_from {
            side.failures += 1;
            side.counts_from = now + options.backoff.after(side.failures);
        }
        side.failures > options.failures_max
    }

    /// Notes that a source will never give the file.
    pub(crate) fn refused(&self, index: usize, fault: Fault) {
        lock(&self.sources.members[index].usage).failed();
        lock(&self.sides)[index].refusal = Some(fault);
    }

    /// Notes that a source gives the file only as a whole.
    pub(crate) fn whole_only(&self, index: usize) {
        lock(&self.sides)[index].is_whole_only = true;
    }

    /// Returns why nobody gives the file: in the words of the last source of the list that has any.
    pub(crate) fn last_refusal(&self) -> Option<(usize, Fault)> {
        let sides = lock(&self.sides);
        sides.iter().enumerate().rev().find_map(|(index, side)| Some((index, side.refusal.clone()?)))
    }

    /// Says that sources which give the file only as a whole broke off too often.
    pub(crate) fn broke_off(&self) -> SourceFailed {
        let sides = lock(&self.sides);
        let index = sides.iter().rposition(|side| side.is_whole_only).unwrap_or_default();
        let fault = Fault::new(
            ErrorCode::HubConnectionLost,
            format!("{} gives no byte ranges and broke off too often", self.name(index)),
        );
        SourceFailed { name: self.name(index).to_owned(), path: self.file.path.clone(), fault }
    }

    /// Blames whoever gave bytes of the file since it was begun: they were wrong as a whole.
    pub(crate) fn blame(&self) -> AfterWrong {
        let mut sides = lock(&self.sides);
        if sides.iter().all(|side| side.bytes == 0) {
            return AfterWrong::Unblamed;
        }
        for (member, side) in self.sources.members.iter().zip(sides.iter_mut()) {
            let bytes = std::mem::take(&mut side.bytes);
            if bytes > 0 {
                side.strikes += 1;
                lock(&member.usage).wrong(bytes);
                tracing::warn!(source = member.name, path = %self.file.path, bytes, "wrong bytes were thrown away");
            }
        }
        let is_left = |side: &Side| side.refusal.is_none() && side.strikes < STRIKES_MAX;
        if sides.iter().any(is_left) {
            return AfterWrong::Again;
        }
        let blamed = self.sources.members.iter().zip(&*sides).filter(|(_, side)| side.strikes > 0);
        let names: Vec<&str> = blamed.map(|(member, _)| member.name.as_str()).collect();
        AfterWrong::Nobody(names.join(", "))
    }
}

/// Whether a range can only be had by asking for a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NeedsRanges {
    /// It is a part of its file.
    Yes,
    /// It is all of its file.
    No,
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenFile({})", self.file.path)
    }
}

impl Asking<'_> {
    pub(crate) fn name(&self) -> &str {
        self.file.name(self.index)
    }

    /// Notes bytes that came.
    pub(crate) fn received(&mut self, bytes: u64, options: &TransferOptions) {
        self.bytes += bytes;
        let side = &mut lock(&self.file.sides)[self.index];
        side.bytes += bytes;
        if self.bytes >= options.progress_bytes_min.bytes() {
            side.failures = 0;
        }
        lock(&self.file.sources.members[self.index].usage).received(bytes);
    }

    /// Notes for how long its bytes were waited for.
    pub(crate) fn waited(&self, waited: std::time::Duration) {
        if self.bytes > 0 {
            let sources = &self.file.sources;
            sources.board.gave(self.name(), self.bytes, waited, sources.clock.now());
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let sources = &self.file.sources;
        lock(&sources.members[self.index].usage).ended(sources.clock.now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
