//! How far a fetch is: figures that many streams add to, and what an onlooker sees of them.

mod rate;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base::{ByteSize, Clock, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use types::{Fault, ManifestFile, RepoPath};

use self::rate::RateMeter;

/// Onlookers are told of new bytes no more often: five times a second look smooth.
const PUBLISH_PERIOD: Duration = Duration::from_millis(200);
/// Files under way that are shown one by one: what fits a terminal. A fetch has rarely more than eight.
const FILES_SHOWN_MAX: usize = 16;
/// Sources that are named. A hub with its mirrors and a few peers are fewer.
const SOURCES_SHOWN_MAX: usize = 8;

/// How far a fetch is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchProgress {
    /// Files of the model.
    pub files_total: u64,
    /// Of these, files that are here and verified.
    pub files_done: u64,
    /// Bytes of the model.
    pub bytes_total: ByteSize,
    /// Of these, bytes that are here or have just arrived.
    pub bytes_done: ByteSize,
    /// Bytes a second over the last ten seconds.
    pub rate_bytes_per_second: u64,
    /// Time to the end at this rate, when there is one.
    pub eta: Option<Duration>,
    /// What it is doing.
    pub state: FetchState,
    /// Who has sent bytes of it, by the names of [`crate::Source::name`], sorted; at most eight.
    pub sources: Vec<String>,
    /// Large files that are under way, sorted by path; at most sixteen.
    pub files: Vec<FileProgress>,
}

/// How far one file of a fetch is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProgress {
    /// The file.
    pub path: RepoPath,
    /// Its bytes in all.
    pub bytes_total: ByteSize,
    /// Of these, bytes that are here or have just arrived.
    pub bytes_done: ByteSize,
}

/// What a fetch is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FetchState {
    /// For its turn, or for another fetch that brings the same file.
    Waiting,
    /// Bytes are coming.
    Fetching,
    /// Nothing is coming; the source is asked again.
    Retrying {
        /// What the source said last.
        fault: Fault,
        /// When it is asked again.
        at: Timestamp,
    },
    /// Files are checked and published.
    Verifying,
    /// The model is here.
    Done,
    /// It was given up.
    Failed {
        /// Why.
        fault: Fault,
    },
}

/// Collects the figures of one fetch and shows them.
#[derive(Debug)]
pub(crate) struct Tracker {
    clock: Clock,
    figures: Mutex<Figures>,
    shown: watch::Sender<FetchProgress>,
}

#[derive(Debug)]
struct Figures {
    files_total: u64,
    files_done: u64,
    bytes_total: u64,
    bytes_done: u64,
    bytes_fetched: u64,
    reading: u32,
    retrying: u32,
    verifying: u32,
    /// What the source said last, and when it is asked again.
    trouble: Option<(Fault, Timestamp)>,
    end: Option<FetchState>,
    rate: RateMeter,
    published_at: Timestamp,
    sources: BTreeSet<String>,
    /// Files under way: their bytes in all, and here.
    files: BTreeMap<RepoPath, (u64, u64)>,
}

/// While it is held, a file is shown as under way.
#[derive(Debug)]
pub(crate) struct UnderWay<'a> {
    tracker: &'a Tracker,
    path: RepoPath,
}

/// While it is held, a stream reads or waits to try again, or a file is verified.
#[derive(Debug)]
pub(crate) struct Busy<'a> {
    tracker: &'a Tracker,
    what: Activity,
}

#[derive(Clone, Copy, Debug)]
enum Activity {
    Reading,
    Retrying,
    Verifying,
}

impl Tracker {
    /// Makes a tracker and its onlooker's end.
    pub(crate) fn new(clock: Clock, files_total: u64, bytes_total: ByteSize) -> Self {
        let now = clock.now();
        let figures = Figures {
            files_total,
            files_done: 0,
            bytes_total: bytes_total.bytes(),
            bytes_done: 0,
            bytes_fetched: 0,
            reading: 0,
            retrying: 0,
            verifying: 0,
            trouble: None,
            end: None,
            rate: RateMeter::starting_at(now),
            published_at: now,
            sources: BTreeSet::new(),
            files: BTreeMap::new(),
        };
        let shown = watch::Sender::new(figures.shown(now));
        Self { clock, figures: Mutex::new(figures), shown }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<FetchProgress> {
        self.shown.subscribe()
    }

    /// Returns every byte that came from the source, wanted or not.
    pub(crate) fn bytes_fetched(&self) -> u64 {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).bytes_fetched
    }

    /// Notes bytes of a file from the source.
    pub(crate) fn received(&self, path: &RepoPath, bytes: u64) {
        let now = self.clock.now();
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.bytes_fetched += bytes;
        figures.bytes_done += bytes;
        if let Some((_, here)) = figures.files.get_mut(path) {
            *here += bytes;
        }
        if now.since(figures.published_at) >= PUBLISH_PERIOD {
            self.publish(&mut figures, now);
        }
    }

    /// Sets what is here at the start of a round of looking what is missing.
    pub(crate) fn begin_round(&self, files_done: u64, bytes_done: u64) {
        self.change(|figures| {
            figures.files_done = files_done;
            figures.bytes_done = bytes_done;
        });
    }

    /// Shows onlookers all bytes noted so far: an extent is on the disk.
    pub(crate) fn wrote(&self) {
        self.change(|_| {});
    }

    /// Notes bytes that were here already.
    pub(crate) fn found(&self, bytes: u64) {
        self.change(|figures| figures.bytes_done += bytes);
    }

    /// Notes bytes that are to be brought once more.
    pub(crate) fn lost(&self, bytes: u64) {
        self.change(|figures| figures.bytes_done = figures.bytes_done.saturating_sub(bytes));
    }

    /// Notes bytes of a file that came and were not wanted.
    pub(crate) fn discarded(&self, path: &RepoPath, bytes: u64) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.bytes_done = figures.bytes_done.saturating_sub(bytes);
        if let Some((_, here)) = figures.files.get_mut(path) {
            *here = here.saturating_sub(bytes);
        }
    }

    pub(crate) fn files_done(&self, files: u64) {
        self.change(|figures| figures.files_done += files);
    }

    /// Notes that the source failed and is asked again at a moment.
    pub(crate) fn retrying(&self, fault: Fault, at: Timestamp) -> Busy<'_> {
        self.change(|figures| {
            figures.retrying += 1;
            figures.trouble = Some((fault, at));
        });
        Busy { tracker: self, what: Activity::Retrying }
    }

    /// Names a source that sends bytes.
    pub(crate) fn sent_by(&self, source: &str) {
        self.change(|figures| {
            if figures.sources.len() < SOURCES_SHOWN_MAX && !figures.sources.contains(source) {
                figures.sources.insert(source.to_owned());
            }
        });
    }

    /// Shows a file, of which so many bytes are here, as under way until the guard is dropped.
    pub(crate) fn under_way(&self, file: &ManifestFile, bytes_here: u64) -> UnderWay<'_> {
        self.change(|figures| {
            figures.files.insert(file.path.clone(), (file.size, bytes_here));
        });
        UnderWay { tracker: self, path: file.path.clone() }
    }

    pub(crate) fn reading(&self) -> Busy<'_> {
        self.change(|figures| figures.reading += 1);
        Busy { tracker: self, what: Activity::Reading }
    }

    pub(crate) fn verifying(&self) -> Busy<'_> {
        self.change(|figures| figures.verifying += 1);
        Busy { tracker: self, what: Activity::Verifying }
    }

    pub(crate) fn end(&self, end: FetchState) {
        self.change(|figures| figures.end = Some(end));
    }

    fn change(&self, change: impl FnOnce(&mut Figures)) {
        let now = self.clock.now();
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut figures);
        self.publish(&mut figures, now);
    }

    fn publish(&self, figures: &mut Figures, now: Timestamp) {
        figures.published_at = now;
        figures.rate.note(now, figures.bytes_fetched);
        self.shown.send_replace(figures.shown(now));
    }
}

impl Figures {
    fn shown(&self, now: Timestamp) -> FetchProgress {
        let rate = self.rate.per_second(now);
        let left = self.bytes_total.saturating_sub(self.bytes_done);
        FetchProgress {
            files_total: self.files_total,
            files_done: self.files_done,
            bytes_total: ByteSize(self.bytes_total),
            bytes_done: ByteSize(self.bytes_done.min(self.bytes_total)),
            rate_bytes_per_second: rate,
            eta: (rate > 0).then(|| Duration::from_secs(left.div_ceil(rate))),
            state: self.state(),
            sources: self.sources.iter().cloned().collect(),
            files: self.files_shown(),
        }
    }

    fn files_shown(&self) -> Vec<FileProgress> {
        let shown = self.files.iter().take(FILES_SHOWN_MAX).map(|(path, (total, here))| FileProgress {
            path: path.clone(),
            bytes_total: ByteSize(*total),
            bytes_done: ByteSize((*here).min(*total)),
        });
        shown.collect()
    }

    fn state(&self) -> FetchState {
        if let Some(end) = &self.end {
            return end.clone();
        }
        match &self.trouble {
            _ if self.reading > 0 => FetchState::Fetching,
            Some((fault, at)) if self.retrying > 0 => FetchState::Retrying { fault: fault.clone(), at: *at },
            Some(_) | None if self.verifying > 0 => FetchState::Verifying,
            Some(_) | None => FetchState::Waiting,
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.tracker.change(|figures| {
            figures.files.remove(&self.path);
        });
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.tracker.change(|figures| match self.what {
            Activity::Reading => figures.reading -= 1,
            Activity::Retrying => figures.retrying -= 1,
            Activity::Verifying => figures.verifying -= 1,
        });
    }
}

#[cfg(test)]
mod tests;
