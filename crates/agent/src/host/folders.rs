//! Released folders on their way: asked for, gathered part by part, unpacked.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use api::FolderPart;
use base::{ByteSize, Timestamp};
use data_encoding::BASE64;
use types::{Digest, ErrorCode, Fault};

use crate::converge::FolderStanding;

/// A folder of which nothing came for this long is asked for again: the link may have broken meanwhile. Parts of a
/// megabyte follow each other within a second also on a slow link.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A folder that could not be had is asked for again after this, when a worker needs it.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Folders that are asked for at once: they share one link, and the server answers in order.
const COMING_MAX: usize = 4;

/// The released folders of this host.
#[derive(Debug)]
pub(super) struct Folders {
    root: PathBuf,
    bytes_max: ByteSize,
    known: BTreeMap<Digest, Folder>,
}

#[derive(Debug)]
enum Folder {
    Coming { archive: Vec<u8>, heard_at: Timestamp },
    Unpacking,
    Here(PathBuf),
    Failed { fault: Fault, at: Timestamp },
}

impl Folders {
    pub(super) fn new(root: PathBuf, bytes_max: ByteSize) -> Self {
        Self { root, bytes_max, known: BTreeMap::new() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where each folder stands.
    pub(super) fn standings(&self) -> BTreeMap<Digest, FolderStanding> {
        let standing = |folder: &Folder| match folder {
            Folder::Coming { .. } | Folder::Unpacking => FolderStanding::Coming,
            Folder::Here(_) | Folder::Failed { .. } => FolderStanding::Settled,
        };
        self.known.iter().map(|(digest, folder)| (*digest, standing(folder))).collect()
    }

    /// Returns where a folder stands on the disk.
    ///
    /// # Errors
    /// Why it is not there.
    pub(super) fn path(&self, digest: &Digest) -> Result<PathBuf, Fault> {
        match self.known.get(digest) {
            Some(Folder::Here(path)) => Ok(path.clone()),
            Some(Folder::Failed { fault, .. }) => Err(fault.clone()),
            Some(Folder::Coming { .. } | Folder::Unpacking) | None => {
                Err(Fault::new(ErrorCode::FolderNotFound, "the released folder is not here yet"))
            }
        }
    }

    /// Notes that a folder is wanted. Returns whether the server is to be asked for it.
    pub(super) fn want(&mut self, digest: Digest, now: Timestamp) -> bool {
        let path = crate::folders::path(&self.root, &digest);
        if path.is_dir() {
            self.known.insert(digest, Folder::Here(path));
            return false;
        }
        let coming = self.known.values().filter(|folder| matches!(folder, Folder::Coming { .. })).count();
        // It is asked for in a later pass otherwise.
        let ask = coming < COMING_MAX;
        if ask {
            self.known.insert(digest, Folder::Coming { archive: Vec::new(), heard_at: now });
        }
        ask
    }

    /// Lets go of what nobody answered, and of failures that are old: they are asked for again when needed.
    pub(super) fn refresh(&mut self, now: Timestamp) {
        self.known.retain(|_, folder| match folder {
            Folder::Coming { heard_at, .. } => now.since(*heard_at) < SILENCE_MAX,
            Folder::Failed { at, .. } => now.since(*at) < RETRY_AFTER,
            Folder::Unpacking | Folder::Here(_) => true,
        });
    }

    /// Takes a part. Returns the archive when it is whole.
    pub(super) fn take_part(&mut self, part: &FolderPart, now: Timestamp) -> Option<Vec<u8>> {
        let Some(Folder::Coming { archive, heard_at }) = self.known.get_mut(&part.digest) else {
            return None;
        };
        *heard_at = now;
        if part.total == 0 {
            let fault = Fault::new(ErrorCode::FolderNotFound, "the server does not have the released folder")
                .with_hint("create the release again");
            self.known.insert(part.digest, Folder::Failed { fault, at: now });
            return None;
        }
        if part.total > self.bytes_max.bytes() {
            let fault = Fault::new(
                ErrorCode::FolderTooLarge,
                format!(
                    "the released folder has {}, the host takes {}",
                    ByteSize(part.total),
                    self.bytes_max
                ),
            );
            self.known.insert(part.digest, Folder::Failed { fault, at: now });
            return None;
        }
        if part.offset == 0 {
            archive.clear();
        }
        let bytes = BASE64.decode(part.bytes.as_bytes()).unwrap_or_default();
        // A gap means that parts of an older answer come in: the digest would not match, and it is asked for anew.
        if part.offset != archive.len() as u64 || archive.len() as u64 + bytes.len() as u64 > part.total {
            return None;
        }
        archive.extend_from_slice(&bytes);
        if (archive.len() as u64) < part.total {
            return None;
        }
        let archive = std::mem::take(archive);
        self.known.insert(part.digest, Folder::Unpacking);
        Some(archive)
    }

    /// Takes up the end of an unpacking.
    pub(super) fn settled(&mut self, digest: Digest, result: Result<PathBuf, Fault>, now: Timestamp) {
        let folder = match result {
            Ok(path) => Folder::Here(path),
            Err(fault) => Folder::Failed { fault, at: now },
        };
        self.known.insert(digest, folder);
    }
}
