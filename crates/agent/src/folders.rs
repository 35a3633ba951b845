//! Released folders: the archive that the server keeps, unpacked once on this host under its digest.
//!
//! An archive comes from whoever may make endpoints, so it is read as hostile: only files and folders, only below
//! their place, within limits. What stands under a digest is whole: it is unpacked beside it and renamed. Synchronous.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use base::ByteSize;
use sha2::{Digest as _, Sha256};
use types::{Digest, ErrorCode, Fault};

/// Files and folders of one archive. The command line packs at most 20,000.
const ENTRIES_MAX: usize = 40_000;
/// Folders above a file. Deeper than any source tree seen; bounds the folders that one entry makes.
const DEPTH_MAX: usize = 64;

/// A released folder could not be brought here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("the released folder {digest} came with other bytes")]
    Mismatch { digest: Digest },
    #[error("the released folder has an entry {path:?} that is refused: {reason}")]
    Refused { path: String, reason: &'static str },
    #[error("the released folder holds more than {limit}")]
    TooLarge { limit: ByteSize },
    #[error("the released folder holds more than {ENTRIES_MAX} files")]
    TooMany,
    #[error("the released folder could not be unpacked")]
    Io(#[from] io::Error),
}

impl UnpackError {
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Mismatch { .. } => Fault::from_error(ErrorCode::FolderUnreadable, self)
                .with_hint("create the release again; if it repeats, the server's disk is damaged"),
            Self::Refused { .. } => Fault::from_error(ErrorCode::FolderUnreadable, self)
                .with_hint("a released folder holds plain files and folders only"),
            Self::TooLarge { .. } | Self::TooMany => Fault::from_error(ErrorCode::FolderTooLarge, self)
                .with_hint("models and data do not belong in it; name what to leave out in .larderignore"),
            Self::Io(source) if source.kind() == io::ErrorKind::StorageFull => {
                Fault::from_error(ErrorCode::DiskFull, self).with_hint("free some room on the host")
            }
            Self::Io(_) => Fault::from_error(ErrorCode::DiskError, self)
                .with_hint("look at the room and health of the host's disk"),
        }
    }
}

/// Returns where a folder stands when it is here.
pub(crate) fn path(folders: &Path, digest: &Digest) -> PathBuf {
    folders.join(digest.to_string())
}

/// Checks an archive against its digest and unpacks it. One that is here already is left as it is.
///
/// # Errors
/// [`UnpackError`] by condition; nothing stands under the digest then.
pub(crate) fn unpack(
    folders: &Path,
    digest: &Digest,
    archive: &[u8],
    limit: ByteSize,
) -> Result<PathBuf, UnpackError> {
    if *digest != Digest::Sha256(Sha256::digest(archive).into()) {
        return Err(UnpackError::Mismatch { digest: *digest });
    }
    let target = path(folders, digest);
    if target.is_dir() {
        return Ok(target);
    }
    fs::create_dir_all(folders)?;
    let beside = folders.join(format!("{digest}.tmp"));
    remove(&beside)?;
    make_folder(&beside)?;
    let unpacked = unpack_into(&beside, archive, limit);
    match unpacked {
        Ok(()) => {
            fs::rename(&beside, &target)?;
            fs::File::open(folders)?.sync_all()?;
            Ok(target)
        }
        Err(error) => {
            remove(&beside)?;
            Err(error)
        }
    }
}

fn unpack_into(root: &Path, archive: &[u8], limit: ByteSize) -> Result<(), UnpackError> {
    let mut entries = 0;
    let mut room = limit.bytes();
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        entries += 1;
        if entries > ENTRIES_MAX {
            return Err(UnpackError::TooMany);
        }
        let relative = safe_path(&entry.path()?)?;
        let target = root.join(&relative);
        match entry.header().entry_type() {
            tar::EntryType::Directory => make_folders(root, &relative)?,
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                if let Some(parent) = relative.parent() {
                    make_folders(root, parent)?;
                }
                let executable = entry.header().mode().unwrap_or(0) & 0o111 != 0;
                let size = entry.size();
                if size > room {
                    return Err(UnpackError::TooLarge { limit });
                }
                room -= size;
                write_file(&target, &mut entry.by_ref().take(size), executable)?;
            }
            // The crate's enum, open; every other kind is a link, a device or unknown.
            _ => return Err(refused(&relative, "it is neither a file nor a folder")),
        }
    }
    Ok(())
}

/// Returns the path of an entry when it names something below its root.
fn safe_path(path: &Path) -> Result<PathBuf, UnpackError> {
    let mut safe = PathBuf::new();
    let mut depth = 0;
    for component in path.components() {
        match component {
            Component::Normal(name) => safe.push(name),
            Component::CurDir => continue,
            Component::ParentDir => return Err(refused(path, "it leads to another folder")),
            Component::RootDir | Component::Prefix(_) => return Err(refused(path, "it is absolute")),
        }
        depth += 1;
        if depth > DEPTH_MAX {
            return Err(refused(path, "it is too deep"));
        }
    }
    Ok(safe)
}

fn refused(path: &Path, reason: &'static str) -> UnpackError {
    UnpackError::Refused { path: path.display().to_string().chars().take(200).collect(), reason }
}

fn make_folders(root: &Path, relative: &Path) -> Result<(), UnpackError> {
    let mut folder = root.to_owned();
    for component in relative.components() {
        folder.push(component);
        match fs::symlink_metadata(&folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(refused(relative, "a file stands where a folder is needed")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_folder(&folder)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes a folder that every worker may read, whatever the umask.
fn make_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

fn write_file(path: &Path, content: &mut impl Read, executable: bool) -> Result<(), UnpackError> {
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(refused(path, "it is there twice"));
        }
        Err(error) => return Err(error.into()),
    };
    io::copy(content, &mut file)?;
    file.set_permissions(fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
    file.sync_all()?;
    Ok(())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
