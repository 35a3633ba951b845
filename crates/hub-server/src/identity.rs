//! What a file is named by: git's blob id, or SHA-256 for files in large-file storage; hashed once per state.
//!
//! The rule for large-file storage, as the public Hub's default attributes have it: a file that is not empty, and is
//! 10 MB (10,000,000 bytes) or larger or has a suffix of weights or archives ([`LFS_SUFFIXES`]).

use std::{
    collections::HashMap,
    fs::File,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, TryStreamExt};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use types::{Digest, RepoPath};

use crate::{
    folder::{FileStamp, Folder, FoundFile},
    git::{self, ObjectId},
};

/// Files of this size or larger are in large-file storage whatever they are called: the public Hub refuses larger
/// ones as plain git blobs.
const LFS_BYTES_MIN: u64 = 10_000_000;
/// The suffixes of the public Hub's default `.gitattributes`, and those of newer weight formats.
const LFS_SUFFIXES: [&str; 34] = [
    "7z",
    "arrow",
    "bin",
    "bz2",
    "ckpt",
    "ftz",
    "gguf",
    "gz",
    "h5",
    "joblib",
    "mlmodel",
    "model",
    "msgpack",
    "npy",
    "npz",
    "onnx",
    "onnx_data",
    "ot",
    "parquet",
    "pb",
    "pickle",
    "pkl",
    "pt",
    "pth",
    "rar",
    "safetensors",
    "tar",
    "tflite",
    "tgz",
    "wasm",
    "xz",
    "zip",
    "zst",
    "zstandard",
];
/// Bytes read at a time while hashing: large enough that the calls cost nothing beside the hash.
const READ_BYTES: usize = 1024 * 1024;
/// Files hashed at once. A core hashes about 1.5 GB/s and a disk reads 0.4 to 7: more than a few help nobody, and
/// requests need cores too.
const HASHERS_MAX: usize = 4;

/// What a file is named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A git blob.
    Blob(ObjectId),
    /// A file in large-file storage; git holds a pointer to it.
    Lfs { sha256: [u8; 32], pointer: ObjectId, pointer_size: u64 },
}

impl Identity {
    /// Returns the name that git has in its tree.
    pub(crate) const fn blob_id(&self) -> ObjectId {
        match self {
            Self::Blob(id) => *id,
            Self::Lfs { pointer, .. } => *pointer,
        }
    }

    /// Returns what the bytes hash to.
    pub(crate) const fn digest(&self) -> Digest {
        match self {
            Self::Blob(id) => Digest::GitSha1(*id),
            Self::Lfs { sha256, .. } => Digest::Sha256(*sha256),
        }
    }
}

/// Returns whether a file is in large-file storage.
pub(crate) fn is_lfs(path: &RepoPath, size: u64) -> bool {
    let name = path.file_name().to_ascii_lowercase();
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    size > 0 && (size >= LFS_BYTES_MIN || LFS_SUFFIXES.contains(&suffix) || name.contains("tfevents"))
}

/// How far the hashing of files has come. Totals grow when files appear or change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HashProgress {
    /// Files to hash in all.
    pub files: u64,
    /// Files hashed.
    pub files_done: u64,
    /// Bytes to hash in all.
    pub bytes: u64,
    /// Bytes hashed.
    pub bytes_done: u64,
    /// Whether every file that was there at the start has been hashed.
    pub finished: bool,
}

/// The identities of files, kept by place and state.
#[derive(Debug)]
pub(crate) struct Identities {
    folder: Arc<Folder>,
    known: Mutex<HashMap<RepoPath, (FileStamp, Known)>>,
    progress: watch::Sender<HashProgress>,
}

#[derive(Clone, Copy, Debug)]
enum Known {
    /// Counted in the totals, not hashed yet.
    Announced,
    Hashed(Identity),
}

impl Identities {
    pub(crate) fn new(folder: Arc<Folder>) -> Self {
        Self { folder, known: Mutex::default(), progress: watch::Sender::default() }
    }

    pub(crate) fn progress(&self) -> watch::Receiver<HashProgress> {
        self.progress.subscribe()
    }

    /// Says that everything there at the start has been hashed.
    pub(crate) fn finish(&self) {
        self.progress.send_modify(|progress| progress.finished = true);
    }

    /// Counts the files that are not hashed yet, so that the totals are known before the work begins.
    pub(crate) fn announce(&self, files: &[FoundFile]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files {
            let current = known.get(&file.place).is_some_and(|(stamp, _)| *stamp == file.stamp);
            if !current {
                known.insert(file.place.clone(), (file.stamp, Known::Announced));
                self.progress.send_modify(|progress| {
                    progress.files += 1;
                    progress.bytes += file.stamp.len;
                });
            }
        }
    }

    /// Forgets files of a branch's folder that are there no more.
    pub(crate) fn forget_others(&self, branch_folder: &str, files: &[FoundFile]) {
        let there: std::collections::HashSet<&RepoPath> = files.iter().map(|file| &file.place).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|place, _| {
            let of_branch =
                place.as_str().strip_prefix(branch_folder).is_some_and(|rest| rest.starts_with('/'));
            !of_branch || there.contains(place)
        });
    }

    /// Returns the identity of each file, hashing those that are new or changed.
    ///
    /// # Errors
    /// The system's, and `ResourceBusy` when a file changes while it is read.
    ///
    /// # Cancel safety
    /// Files hashed so far stay known.
    pub(crate) async fn of_all(self: &Arc<Self>, files: &[FoundFile]) -> io::Result<Vec<Identity>> {
        self.announce(files);
        futures::stream::iter(files.iter().cloned())
            .map(|file| {
                let identities = Arc::clone(self);
                async move {
                    match identities.known(&file.place, file.stamp) {
                        Some(identity) => Ok(identity),
                        None => tokio::task::spawn_blocking(move || identities.hash(&file))
                            .await
                            .map_err(io::Error::other)?,
                    }
                }
            })
            .buffered(HASHERS_MAX)
            .try_collect()
            .await
    }

    /// Returns the identity of the file at a place, if it has been hashed in the state that the stamp tells of.
    pub(crate) fn known(&self, place: &RepoPath, stamp: FileStamp) -> Option<Identity> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(place) {
            Some((hashed, Known::Hashed(identity))) if *hashed == stamp => Some(*identity),
            Some((_, Known::Hashed(_) | Known::Announced)) | None => None,
        }
    }

    fn hash(&self, file: &FoundFile) -> io::Result<Identity> {
        let (open, stamp) = self.folder.open_file(&file.place)?;
        if stamp != file.stamp {
            return Err(changed(&file.place));
        }
        let identity = if is_lfs(&file.path, stamp.len) {
            let mut hasher = Sha256::new();
            self.read_all(&open, |bytes| hasher.update(bytes))?;
            let sha256: [u8; 32] = hasher.finalize().into();
            let pointer = git::lfs_pointer(&sha256, stamp.len);
            let pointer_size = pointer.len() as u64;
            Identity::Lfs { sha256, pointer: git::blob_id(pointer.as_bytes()), pointer_size }
        } else {
            let mut hasher = git::blob_hasher(stamp.len);
            self.read_all(&open, |bytes| sha1::Digest::update(&mut hasher, bytes))?;
            Identity::Blob(sha1::Digest::finalize(hasher).into())
        };
        // A writer that was at work meanwhile has moved the time or the length.
        if self.folder.open_file(&file.place)?.1 != stamp {
            return Err(changed(&file.place));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(file.place.clone(), (stamp, Known::Hashed(identity)));
        drop(known);
        self.progress.send_modify(|progress| progress.files_done += 1);
        Ok(identity)
    }

    fn read_all(&self, file: &File, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        use std::os::unix::fs::FileExt;

        let mut buffer = vec![0; READ_BYTES];
        let mut offset = 0;
        loop {
            let read = file.read_at(&mut buffer, offset)?;
            if read == 0 {
                return Ok(());
            }
            take(&buffer[..read]);
            offset += read as u64;
            self.progress.send_modify(|progress| progress.bytes_done += read as u64);
        }
    }
}

fn changed(place: &RepoPath) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, format!("{place} changed while it was read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_large_files_are_in_large_file_storage() {
        let check = |path: &str, size: u64, expected: bool| {
            assert_eq!(is_lfs(&path.parse().unwrap(), size), expected, "{path} of {size}");
        };
        check("model.safetensors", 1, true);
        check("a/Model.SAFETENSORS", 1, true);
        check("model.q4.gguf", 1, true);
        check("pytorch_model.bin", 1, true);
        check("spiece.model", 1, true);
        check("tokenizer.json", 9_999_999, false);
        check("tokenizer.json", 10_000_000, true);
        check("config.json", 600, false);
        check("README", 600, false);
        check("bin", 600, false);
        check("empty.bin", 0, false);
        check("events.out.tfevents.1", 5, true);
    }
}
