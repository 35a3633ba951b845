//! What one snapshot of a cache consists of: where each file's bytes stand, and what names them.
//!
//! Layouts of `huggingface_hub`: relative links into `blobs/` (the usual one), plain files (without links), blobs that
//! are themselves links into a store shared by all repositories (since 1.32).

use std::{collections::BTreeSet, io};

use base::{EntryKind, FileOwner, ForeignFolder, OpenForeignError};
use types::{Digest, RepoPath};

use super::{
    FileFlaw, FileProblem,
    layout::{Cache, SnapshotPlace},
    listing::{LISTING_BYTES_MAX, Listing},
};

/// Entries of one snapshot, folders among them: as many files as a hub's listing may have.
const ENTRIES_MAX: usize = 100_000;
/// Markers of files that are known to be missing. Loaders ask for about a dozen.
const ABSENT_MAX: usize = 1000;

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundFile {
    pub(super) path: RepoPath,
    /// Where its bytes are opened, below the cache.
    pub(super) at: String,
    pub(super) size: u64,
    pub(super) owner: FileOwner,
    /// What the cache says that its bytes hash to.
    pub(super) named: Option<Digest>,
}

/// What a snapshot consists of.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<FoundFile>,
    pub(super) flaws: Vec<FileFlaw>,
    pub(super) listing: Option<Listing>,
    /// Files that the cache knows to be missing from the commit.
    pub(super) absent: BTreeSet<RepoPath>,
}

/// Looks at a snapshot, and reads no file of it.
pub(super) fn scan(cache: &Cache, place: &SnapshotPlace) -> Found {
    let listing = cache.read(&place.tree(), LISTING_BYTES_MAX).and_then(|bytes| Listing::parse(&bytes));
    let mut found = Found { listing, ..Found::default() };
    let root = place.snapshot();
    let walked = walk(&*cache.folder, &root, ENTRIES_MAX, &mut |path, kind| match file(
        cache,
        place,
        path,
        kind,
        found.listing.as_ref(),
    ) {
        Ok(file) => found.files.push(file),
        Err(problem) => {
            let path = path[root.len() + 1..].chars().take(200).collect();
            found.flaws.push(FileFlaw { path, problem });
        }
    });
    if let Err(error) = walked {
        found
            .flaws
            .push(FileFlaw { path: ".".to_owned(), problem: FileProblem::Unreadable(error.to_string()) });
    }
    found.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    found.absent = absent(cache, place);
    found
}

/// Calls `take` with the path and kind of everything below a folder that is no folder itself. Links are not followed.
fn walk(
    folder: &dyn ForeignFolder,
    root: &str,
    entries_max: usize,
    take: &mut dyn FnMut(&str, EntryKind),
) -> io::Result<()> {
    let mut folders = vec![root.to_owned()];
    let mut entries = 0;
    while let Some(at) = folders.pop() {
        for entry in folder.list(&at)? {
            entries += 1;
            if entries > entries_max {
                return Err(io::Error::other(format!("it has more than {entries_max} entries")));
            }
            let path = format!("{at}/{}", entry.name);
            match entry.kind {
                // A folder that no file's path may pass is not entered: its depth and length are bounded with it.
                EntryKind::Folder if path[root.len() + 1..].parse::<RepoPath>().is_ok() => folders.push(path),
                kind @ (EntryKind::Folder | EntryKind::File | EntryKind::Link | EntryKind::Other) => {
                    take(&path, kind);
                }
            }
        }
    }
    Ok(())
}

fn file(
    cache: &Cache,
    place: &SnapshotPlace,
    at: &str,
    kind: EntryKind,
    listing: Option<&Listing>,
) -> Result<FoundFile, FileProblem> {
    let name = &at[place.snapshot().len() + 1..];
    let path: RepoPath = name
        .parse()
        .map_err(|error: types::RepoPathError| FileProblem::NameRefused(error.reason.to_owned()))?;
    let (at, blob) = match kind {
        EntryKind::File => (at.to_owned(), None),
        EntryKind::Link => follow(cache, place, at)?,
        EntryKind::Folder | EntryKind::Other => return Err(FileProblem::NotAFile),
    };
    let open = cache.folder.open(&at).map_err(|error| match error {
        OpenForeignError::Missing => FileProblem::Dangling,
        OpenForeignError::LeadsOut => FileProblem::LeadsOut,
        OpenForeignError::NotAFile => FileProblem::NotAFile,
        OpenForeignError::Failed(source) => FileProblem::Unreadable(source.to_string()),
    })?;
    let meta = open.meta().map_err(|error| FileProblem::Unreadable(error.to_string()))?;
    let listed = listing.and_then(|listing| listing.get(&path));
    let named = match (blob, listed) {
        (Some(blob), Some(listed)) if blob != listed.digest => return Err(FileProblem::NotAsListed),
        (Some(blob), _) => Some(blob),
        (None, Some(listed)) => Some(listed.digest),
        (None, None) => None,
    };
    if listed.is_some_and(|listed| listed.size != meta.len) {
        return Err(FileProblem::NotAsListed);
    }
    Ok(FoundFile { path, at, size: meta.len, owner: meta.owner, named })
}

/// Returns where a link leads, and the digest by which the repository names what stands there.
fn follow(cache: &Cache, place: &SnapshotPlace, at: &str) -> Result<(String, Option<Digest>), FileProblem> {
    let text = cache.folder.read_link(at).map_err(|error| FileProblem::Unreadable(error.to_string()))?;
    let target = cache.target(at, &text).ok_or(FileProblem::LeadsOut)?;
    let blob = target.strip_prefix(&place.folder).and_then(|rest| rest.strip_prefix("/blobs/"));
    let digest = blob.and_then(|name| name.parse().ok());
    Ok((target, digest))
}

/// Returns the files that the cache knows to be missing from the commit.
fn absent(cache: &Cache, place: &SnapshotPlace) -> BTreeSet<RepoPath> {
    let root = place.no_exist();
    let mut absent = BTreeSet::new();
    // What can't be listed says nothing.
    let _ = walk(&*cache.folder, &root, ABSENT_MAX, &mut |path, kind| match kind {
        EntryKind::File => absent.extend(path[root.len() + 1..].parse::<RepoPath>().ok()),
        EntryKind::Folder | EntryKind::Link | EntryKind::Other => {}
    });
    absent
}
