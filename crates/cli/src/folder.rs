//! Packs the folder of a release: the same files give the same archive, byte for byte, wherever they are packed.
//!
//! What `.gitignore` and `.larderignore` name stays out, and so do `.git` and `__pycache__`. Links inside the folder
//! become copies; a link that leads out is refused, because nobody can see from its name what it would give away.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base::ByteSize;
use ignore::WalkBuilder;
use sha2::{Digest as _, Sha256};
use types::{ErrorCode, Fault};

/// The largest folder, as an archive. Models do not belong in it; code and small files do.
pub const FOLDER_BYTES_MAX: ByteSize = ByteSize(100_000_000);
/// The most files and folders in it. A walk into somebody's home ends here, and soon.
const FOLDER_ENTRIES_MAX: usize = 20_000;
/// The time of every entry: 1980-01-01, the oldest that ZIP files (and Python's, of these files) can hold.
const ENTRY_TIME_SECONDS: u64 = 315_532_800;
/// Never wanted: the history, and byte code that Python makes again.
const NEVER_PACKED: [&str; 2] = [".git", "__pycache__"];
/// Users keep what must not be packed in a file of this name.
const IGNORE_FILE: &str = ".larderignore";

/// A folder as an archive.
#[derive(Clone, PartialEq, Eq)]
pub struct PackedFolder {
    /// The SHA-256 of the archive, in hex.
    pub digest: String,
    /// The archive: a tar.
    pub archive: Vec<u8>,
    /// How many files are in it.
    pub files: usize,
}

impl std::fmt::Debug for PackedFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedFolder")
            .field("digest", &self.digest)
            .field("bytes", &self.archive.len())
            .field("files", &self.files)
            .finish()
    }
}

/// Why a folder can't be packed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Something in it can't be read.
    #[error("{} can't be read", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder can't be walked.
    #[error("{} can't be listed", path.display())]
    Unlisted {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: ignore::Error,
    },
    /// It is no folder.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// What was named.
        path: PathBuf,
    },
    /// A link leads out of the folder, or nowhere.
    #[error("the link {} leads out of the folder", path.display())]
    LinkLeadsOut {
        /// The link.
        path: PathBuf,
    },
    /// A socket, a device, a link to a folder, or the like.
    #[error("{} is no plain file", path.display())]
    NotAFile {
        /// What.
        path: PathBuf,
    },
    /// There is too much in it.
    #[error("{} is larger than {FOLDER_BYTES_MAX}; most of it is in {}", path.display(), largest.display())]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// The largest of its entries, as far as they were read.
        largest: PathBuf,
    },
    /// There are too many things in it.
    #[error("{} holds more than {FOLDER_ENTRIES_MAX} files", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
}

impl FolderError {
    /// Returns what the user sees.
    pub fn fault(&self) -> Fault {
        let (code, hint) = match self {
            Self::Unreadable { .. } | Self::Unlisted { .. } | Self::NotAFolder { .. } => {
                (ErrorCode::FolderUnreadable, "name a folder that you can read with --dir, or give --no-dir")
            }
            Self::LinkLeadsOut { .. } | Self::NotAFile { .. } => {
                (ErrorCode::FolderUnreadable, "take it out of the folder, or name it in .larderignore")
            }
            Self::TooLarge { .. } | Self::TooMany { .. } => (
                ErrorCode::FolderTooLarge,
                "name what workers do not need in .larderignore, or another folder with --dir; \
                 models come with --model, Python packages with --python",
            ),
        };
        Fault::from_error(code, self).with_hint(hint)
    }
}

/// Packs a folder.
///
/// # Errors
/// [`FolderError`] by condition.
pub fn pack(folder: &Path) -> Result<PackedFolder, FolderError> {
    let unreadable = |source| FolderError::Unreadable { path: folder.to_owned(), source };
    let root = fs::canonicalize(folder).map_err(unreadable)?;
    if !root.is_dir() {
        return Err(FolderError::NotAFolder { path: folder.to_owned() });
    }
    let mut archive = tar::Builder::new(Vec::new());
    let mut files = 0;
    let mut sizes: Vec<(PathBuf, u64)> = Vec::new();
    for path in list(&root)? {
        let inside = path.strip_prefix(&root).expect("the walk stays below its root");
        if append(&mut archive, &root, &path, inside)? == Appended::File {
            files += 1;
        }
        let top = PathBuf::from(inside.components().next().expect("an entry has a name").as_os_str());
        let before: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
        let now = archive.get_ref().len() as u64;
        match sizes.iter_mut().find(|(name, _)| *name == top) {
            Some((_, bytes)) => *bytes += now - before,
            None => sizes.push((top, now - before)),
        }
        if now > FOLDER_BYTES_MAX.bytes() {
            let largest = sizes.into_iter().max_by_key(|(_, bytes)| *bytes).expect("one was just counted").0;
            return Err(FolderError::TooLarge { path: folder.to_owned(), largest });
        }
    }
    let archive = archive.into_inner().map_err(unreadable)?;
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&archive));
    Ok(PackedFolder { digest, archive, files })
}

/// Lists what is to be packed, in an order that does not depend on the disk.
fn list(root: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let walk = WalkBuilder::new(root)
        .hidden(false)
        .ignore(false)
        .git_global(false)
        .git_exclude(false)
        .parents(false)
        .require_git(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .filter_entry(|entry| !NEVER_PACKED.iter().any(|never| entry.file_name() == *never))
        .build();
    let mut paths = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|source| FolderError::Unlisted { path: root.to_owned(), source })?;
        if entry.depth() > 0 {
            paths.push(entry.into_path());
        }
        if paths.len() > FOLDER_ENTRIES_MAX {
            return Err(FolderError::TooMany { path: root.to_owned() });
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

#[derive(PartialEq, Eq)]
enum Appended {
    File,
    Folder,
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    root: &Path,
    path: &Path,
    inside: &Path,
) -> Result<Appended, FolderError> {
    use std::os::unix::fs::PermissionsExt as _;

    let unreadable = |source| FolderError::Unreadable { path: path.to_owned(), source };
    let is_link = fs::symlink_metadata(path).map_err(unreadable)?.is_symlink();
    let target = if is_link {
        match fs::canonicalize(path) {
            Ok(target) if target.starts_with(root) => target,
            Ok(_) | Err(_) => return Err(FolderError::LinkLeadsOut { path: path.to_owned() }),
        }
    } else {
        path.to_owned()
    };
    let meta = fs::metadata(&target).map_err(unreadable)?;
    let mut header = tar::Header::new_gnu();
    header.set_mtime(ENTRY_TIME_SECONDS);
    if meta.is_dir() && !is_link {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        archive.append_data(&mut header, inside, io::empty()).map_err(unreadable)?;
        return Ok(Appended::Folder);
    }
    if !meta.is_file() {
        return Err(FolderError::NotAFile { path: path.to_owned() });
    }
    if meta.len() > FOLDER_BYTES_MAX.bytes() {
        return Err(FolderError::TooLarge { path: root.to_owned(), largest: inside.to_owned() });
    }
    let content = fs::read(&target).map_err(unreadable)?;
    let is_program = meta.permissions().mode() & 0o100 != 0;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(if is_program { 0o755 } else { 0o644 });
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, inside, content.as_slice()).map_err(unreadable)?;
    Ok(Appended::File)
}

#[cfg(test)]
mod tests;
