//! Takes over an existing Hugging Face cache: every file verified, none fetched again.
//!
//! ```text
//! cache ──scan──▶ snapshots ──each file──▶ aside: linked, cloned or copied, hashed ──batch──▶ blobs ──▶ model records
//! ```
//! The cache is another's and read as hostile (`base::Disk::foreign`): nothing outside it is opened, names are parsed
//! before they are used, and what is hashed is what is kept. DESIGN.md, "Import", argues trust and links. Calls block;
//! progress is told by a callback, which may also end the import. It owns no task.

mod attributes;
mod batch;
mod carry;
mod error;
mod layout;
mod listing;
mod report;
mod scan;
pub(crate) mod whole;

use std::{
    collections::{BTreeSet, HashSet},
    ops::ControlFlow,
    path::PathBuf,
};

use base::{ByteSize, EntryKind};
use types::{Digest, RepoPath};

use crate::{Store, Supplier};

pub use error::{CacheUnreadable, ImportError, InsideStore, LinkAcross, NoCache};
pub use report::{
    FileFlaw, FileProblem, ImportBytes, ImportEnd, ImportReport, ImportedSnapshot, LeftOut, Skipped,
    SnapshotOutcome,
};

use carry::{Carrier, Stop};
use layout::Cache;

/// How bytes come from a cache into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportMode {
    /// Files of their own: cloned where the file system shares blocks, else copied.
    Copy,
    /// A further name of the same file, made read-only. Takes no room and no time but the check; what another name
    /// writes later changes the model, so such blobs are marked.
    Link,
}

/// What is to be taken over.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// The cache: the folder with `models--…`, or the one above it that holds it as `hub`.
    pub folder: PathBuf,
    /// On whose word: the hub that the cache came from, the tenant that imports, and what the operator thinks of the hub.
    pub supplier: Supplier,
    /// How bytes come.
    pub mode: ImportMode,
    /// Optional files that loaders ask for. Those that the listing of a commit lacks are noted as absent.
    pub probed: BTreeSet<RepoPath>,
}

/// How far an import is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportProgress {
    /// Snapshots of the cache.
    pub snapshots_total: u64,
    /// Snapshots that are done with, whatever came of them.
    pub snapshots_done: u64,
    /// Bytes of all files of the cache, each content once.
    pub bytes_total: ByteSize,
    /// Bytes that are done with.
    pub bytes_done: ByteSize,
    /// The snapshot that is read now, as `org/name@commit`.
    pub snapshot: Option<String>,
}

/// Told how far an import is; ends it by answering with a break.
pub type ImportObserver<'a> = dyn FnMut(&ImportProgress) -> ControlFlow<()> + 'a;

/// Takes over a cache.
pub(crate) fn run(
    store: &Store,
    request: &ImportRequest,
    observer: &mut ImportObserver<'_>,
) -> Result<ImportReport, ImportError> {
    let begun = store.inner().clock.now();
    let cache = Cache::open(store.inner(), &request.folder)?;
    let contents = cache.contents().map_err(|source| cache.unreadable(source))?;
    let mut carrier = Carrier::new(store, request, &cache, observer);
    carrier.progress.snapshots_total = contents.snapshots.len() as u64;
    carrier.progress.bytes_total = total(&cache, &contents);
    let stopped = contents.snapshots.iter().try_for_each(|snapshot| carrier.snapshot(snapshot));
    let (mut report, stopped) = carrier.finish(stopped);
    report.end = match stopped {
        Ok(()) => ImportEnd::Finished,
        Err(Stop::Cancelled) => ImportEnd::Cancelled,
        Err(Stop::Disk(trouble)) => ImportEnd::Stopped(trouble.fault()),
        Err(Stop::Across) => return Err(LinkAcross { folder: request.folder.clone() }.into()),
    };
    report.skipped = contents.skipped;
    report.duration = store.inner().clock.now().since(begun);
    Ok(report)
}

/// Returns the bytes of the files of a cache, each content once. What can't be read counts nothing.
fn total(cache: &Cache, contents: &layout::Contents) -> ByteSize {
    let mut seen: HashSet<Digest> = HashSet::new();
    let files = contents.snapshots.iter().flat_map(|snapshot| scan::scan(cache, snapshot).files);
    files
        .filter(|file| file.named.is_none_or(|digest| seen.insert(digest)))
        .map(|file| ByteSize(file.size))
        .sum()
}

/// Returns whether an entry is a folder, and not a link to one.
fn is_folder(kind: EntryKind) -> bool {
    match kind {
        EntryKind::Folder => true,
        EntryKind::File | EntryKind::Link | EntryKind::Other => false,
    }
}
