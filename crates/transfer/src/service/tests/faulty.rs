//! A source in memory that fails as it is told, and counts.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use types::{ManifestFile, RepoPath};

use crate::{Source, SourceBytes, SourceError, SourceFile};

/// An error to fail with.
#[derive(Clone, Debug)]
pub(super) struct Fails(pub(super) SourceError);

/// What happens to one question.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    /// All bytes, as they are.
    Whole,
    /// All bytes, in small pieces with other tasks in between.
    Slow,
    /// An error instead of bytes.
    Refuse(Fails),
    /// An error, or a mere end, after so many bytes.
    BreakAfter(u64, Option<Fails>),
    /// Silence after so many bytes.
    StallAfter(u64),
    /// Silence after so many bytes; the same as a stall for a test that cancels before one is noticed.
    HangAfter(u64),
    /// One bit is wrong.
    Flip,
    /// More bytes than asked for.
    TooMuch,
}

/// A question, as far as plans depend on it.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) path: String,
    pub(super) offset: u64,
    /// How often this offset of this file has been asked for before.
    pub(super) nth: u32,
    /// How many questions there were before.
    pub(super) asked_before: u32,
}

type Planner = Arc<dyn Fn(&Ask) -> Plan + Send + Sync>;

/// The files that sources are made of.
#[derive(Clone)]
pub(super) struct Files(pub(super) Arc<BTreeMap<RepoPath, Bytes>>);

/// The source.
pub(super) struct FaultySource {
    files: Files,
    plan: Planner,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    given: AtomicU64,
    asked: AtomicU32,
    open: AtomicU32,
    most_open: AtomicU32,
    at_offset: Mutex<BTreeMap<(RepoPath, u64), u32>>,
}

impl Files {
    /// Makes a source that never fails.
    pub(super) fn plain(&self) -> Arc<FaultySource> {
        self.planned(|_| Plan::Whole)
    }

    /// Makes a source that does as planned.
    pub(super) fn planned(&self, plan: impl Fn(&Ask) -> Plan + Send + Sync + 'static) -> Arc<FaultySource> {
        Arc::new(FaultySource { files: self.clone(), plan: Arc::new(plan), counts: Arc::default() })
    }
}

impl FaultySource {
    pub(super) fn plain(&self) -> Arc<Self> {
        self.files.plain()
    }

    pub(super) fn bytes_given(&self) -> u64 {
        self.counts.given.load(Ordering::SeqCst)
    }

    pub(super) fn asked(&self) -> u32 {
        self.counts.asked.load(Ordering::SeqCst)
    }

    /// Returns whether no connection has bytes left to give: whatever is waited for then, it is not this source.
    pub(super) fn has_given_all(&self) -> bool {
        self.counts.open.load(Ordering::SeqCst) == 0
    }

    pub(super) fn most_at_once(&self) -> u32 {
        self.counts.most_open.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for FaultySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultySource")
    }
}

impl Source for FaultySource {
    fn name(&self) -> String {
        "test source".to_owned()
    }

    fn open(&self, file: &ManifestFile) -> Arc<dyn SourceFile> {
        Arc::new(FaultyFile {
            path: file.path.clone(),
            bytes: self.files.0[&file.path].clone(),
            plan: self.plan.clone(),
            counts: self.counts.clone(),
        })
    }
}

struct FaultyFile {
    path: RepoPath,
    bytes: Bytes,
    plan: Planner,
    counts: Arc<Counts>,
}

impl fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyFile({})", self.path)
    }
}

/// Counts an open connection while it lives.
struct Open(Arc<Counts>);

impl Open {
    fn new(counts: &Arc<Counts>) -> Self {
        let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
        counts.most_open.fetch_max(open, Ordering::SeqCst);
        Self(counts.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl SourceFile for FaultyFile {
    fn read_range(&self, offset: u64, len: u64) -> BoxFuture<'_, Result<SourceBytes, SourceError>> {
        let nth = {
            let mut at_offset = self.counts.at_offset.lock().unwrap_or_else(PoisonError::into_inner);
            let count = at_offset.entry((self.path.clone(), offset)).or_default();
            *count += 1;
            *count - 1
        };
        let asked_before = self.counts.asked.fetch_add(1, Ordering::SeqCst);
        let plan = (self.plan)(&Ask { path: self.path.to_string(), offset, nth, asked_before });
        let range = usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap();
        let wanted = self.bytes.slice(range);
        let answer = self.answer(plan, &wanted);
        async move { answer }.boxed()
    }
}

impl FaultyFile {
    fn answer(&self, plan: Plan, wanted: &Bytes) -> Result<SourceBytes, SourceError> {
        let cut = |bytes: u64| wanted.slice(..wanted.len().min(usize::try_from(bytes).unwrap()));
        let first = |bytes: Bytes| vec![Ok(bytes)];
        let (items, hangs): (Vec<Result<Bytes, SourceError>>, bool) = match plan {
            Plan::Whole => (first(wanted.clone()), false),
            Plan::Slow => {
                (wanted.chunks(1000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect(), false)
            }
            Plan::Refuse(Fails(error)) => return Err(error),
            Plan::BreakAfter(bytes, error) => {
                let error = error.map(|Fails(error)| Err(error));
                (first(cut(bytes)).into_iter().chain(error).collect(), false)
            }
            Plan::StallAfter(bytes) | Plan::HangAfter(bytes) => (first(cut(bytes)), true),
            Plan::Flip => {
                let mut bytes = wanted.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                (first(bytes.into()), false)
            }
            Plan::TooMuch => (first([&**wanted, b"x"].concat().into()), false),
        };
        let (open, counts) = (Open::new(&self.counts), self.counts.clone());
        let given = stream::iter(items).then(move |item| {
            let counts = counts.clone();
            let _ = &open;
            async move {
                tokio::task::yield_now().await;
                if let Ok(bytes) = &item {
                    counts.given.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                }
                item
            }
        });
        // What has given its last byte counts as open no more, also while it hangs.
        let end = stream::pending().take(if hangs { usize::MAX } else { 0 });
        Ok(given.chain(end).boxed())
    }
}
