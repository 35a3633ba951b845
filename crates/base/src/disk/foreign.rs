//! A folder that another program fills, read as hostile: nothing outside it is ever opened, whatever its links say and
//! however they change meanwhile.
//!
//! The kernel keeps that promise (`openat2` with `RESOLVE_BENEATH`, Linux 5.6), so there is no moment between a check
//! and an open. Paths are relative texts; one that is absolute or leads out is refused like a link that does.

use std::{
    fmt,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{ffi::OsStringExt as _, fs::FileExt as _, fs::MetadataExt as _, fs::PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use super::{Advice, EntryKind, FolderEntry};

/// Opens that meet a concurrent rename are answered with "again" (openat2(2)). A folder that is renamed this often
/// while one name is opened is not worth waiting for.
const OPEN_TRIES: usize = 16;

/// Why a file of a foreign folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenForeignError {
    /// Nothing stands there, or a link leads to nothing.
    #[error("nothing stands there")]
    Missing,
    /// A link on the way leads out of the folder, or in a circle.
    #[error("a link leads out of the folder")]
    LeadsOut,
    /// What stands there is a folder, a device, a pipe or the like.
    #[error("it is no regular file")]
    NotAFile,
    /// The operating system refused.
    #[error("it can't be opened")]
    Failed(#[source] io::Error),
}

/// Whose a foreign file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOwner {
    /// The user of this process.
    Us,
    /// Another user.
    Another,
}

/// What is known of an open foreign file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignMeta {
    /// Its length in bytes.
    pub len: u64,
    /// Its permission bits.
    pub mode: u32,
    /// Whose it is.
    pub owner: FileOwner,
    /// Changes whenever its bytes, its length or its permissions do: the time of its last change, in nanoseconds.
    pub change: i128,
}

/// A folder that another program fills.
pub trait ForeignFolder: Send + Sync + fmt::Debug {
    /// Returns the path at which this very folder stands now, without links.
    ///
    /// # Errors
    /// The operating system's.
    fn path(&self) -> io::Result<PathBuf>;

    /// Lists a folder below this one, sorted by name; the empty path is this one. No part of the path may be a link.
    ///
    /// # Errors
    /// The operating system's.
    fn list(&self, folder: &str) -> io::Result<Vec<FolderEntry>>;

    /// Returns the text that a symbolic link holds. No folder on the way may be a link.
    ///
    /// # Errors
    /// The operating system's.
    fn read_link(&self, path: &str) -> io::Result<PathBuf>;

    /// Opens a regular file to read. Links are followed as long as they stay below this folder.
    ///
    /// # Errors
    /// [`OpenForeignError`] by condition.
    fn open(&self, path: &str) -> Result<Box<dyn ForeignFile>, OpenForeignError>;
}

/// An open file of a foreign folder. All calls mean this very file, whatever stands under its name by now.
pub trait ForeignFile: Send + Sync + fmt::Debug {
    /// Reads into `buffer` from `offset`; returns how many bytes, zero at the end.
    ///
    /// # Errors
    /// The operating system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns what is known of it now.
    ///
    /// # Errors
    /// The operating system's.
    fn meta(&self) -> io::Result<ForeignMeta>;

    /// Tells the system what this file's bytes are needed for next.
    ///
    /// # Errors
    /// The operating system's.
    fn advise(&self, advice: Advice, offset: u64, len: u64) -> io::Result<()>;

    /// Makes a new file that shares its bytes until either is written.
    ///
    /// # Errors
    /// `Unsupported` where the file system can't do that or the two are on different ones; nothing is left then.
    fn clone_to(&self, name: &Path) -> io::Result<()>;

    /// Gives it a further name, which must be free.
    ///
    /// # Errors
    /// `CrossesDevices` on another file system; else the operating system's.
    fn link_to(&self, name: &Path) -> io::Result<()>;

    /// Sets its permission bits.
    ///
    /// # Errors
    /// The operating system's.
    fn chmod(&self, mode: u32) -> io::Result<()>;

    /// Makes its bytes and permission bits durable.
    ///
    /// # Errors
    /// The operating system's.
    fn sync(&self) -> io::Result<()>;
}

/// Opens a folder of this machine.
pub(super) fn open(folder: &Path) -> io::Result<Box<dyn ForeignFolder>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Box::new(RealForeignFolder(rustix::fs::open(folder, flags, Mode::empty())?)))
}

#[derive(Debug)]
struct RealForeignFolder(OwnedFd);

impl RealForeignFolder {
    fn open_below(&self, path: &str, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            tries += 1;
            match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN) if tries < OPEN_TRIES => {}
                answer => return answer,
            }
        }
    }
}

impl ForeignFolder for RealForeignFolder {
    fn path(&self) -> io::Result<PathBuf> {
        std::fs::read_link(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<FolderEntry>> {
        let path = if folder.is_empty() { "." } else { folder };
        let open = self.open_below(path, OFlags::RDONLY | OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&open)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems don't tell in the listing.
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&open, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                known => known,
            };
            entries.push(FolderEntry { name: name.to_string_lossy().into_owned(), kind: kind_of(kind) });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn read_link(&self, path: &str) -> io::Result<PathBuf> {
        // With these flags the descriptor is the link itself, in the last step only (openat2(2)).
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let link = self.open_below(path, flags, ResolveFlags::NO_SYMLINKS)?;
        let text = rustix::fs::readlinkat(&link, "", Vec::new())?;
        Ok(PathBuf::from(std::ffi::OsString::from_vec(text.into_bytes())))
    }

    fn open(&self, path: &str) -> Result<Box<dyn ForeignFile>, OpenForeignError> {
        // A pipe without a writer would hold a plain open for ever; a terminal could become ours.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = self.open_below(path, flags, ResolveFlags::empty()).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => OpenForeignError::Missing,
            Errno::XDEV | Errno::LOOP => OpenForeignError::LeadsOut,
            // A socket, or a device without a driver.
            Errno::NXIO | Errno::NODEV | Errno::ISDIR => OpenForeignError::NotAFile,
            other => OpenForeignError::Failed(other.into()),
        })?;
        let file = File::from(open);
        let meta = file.metadata().map_err(OpenForeignError::Failed)?;
        if meta.is_file() { Ok(Box::new(RealForeignFile(file))) } else { Err(OpenForeignError::NotAFile) }
    }
}

fn kind_of(file_type: FileType) -> EntryKind {
    match file_type {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Folder,
        FileType::Symlink => EntryKind::Link,
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => EntryKind::Other,
    }
}

#[derive(Debug)]
struct RealForeignFile(File);

impl ForeignFile for RealForeignFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn meta(&self) -> io::Result<ForeignMeta> {
        let meta = self.0.metadata()?;
        let ours = meta.uid() == rustix::process::geteuid().as_raw();
        Ok(ForeignMeta {
            len: meta.len(),
            mode: meta.mode() & 0o7777,
            owner: if ours { FileOwner::Us } else { FileOwner::Another },
            change: i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec()),
        })
    }

    fn advise(&self, advice: Advice, offset: u64, len: u64) -> io::Result<()> {
        super::real::advise(&self.0, advice, offset, len)
    }

    fn clone_to(&self, name: &Path) -> io::Result<()> {
        let new = File::options().read(true).write(true).create_new(true).open(name)?;
        rustix::fs::ioctl_ficlone(&new, &self.0).map_err(|errno| {
            // The name was made a line above; should it not go away, whoever empties the folder removes it.
            let _ = std::fs::remove_file(name);
            match errno {
                Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS => {
                    io::ErrorKind::Unsupported.into()
                }
                other => other.into(),
            }
        })
    }

    fn link_to(&self, name: &Path) -> io::Result<()> {
        // By its descriptor, so that it is this file that gets the name and no other that took its place.
        let open = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, open, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    fn chmod(&self, mode: u32) -> io::Result<()> {
        self.0.set_permissions(std::fs::Permissions::from_mode(mode))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

#[cfg(test)]
mod tests;
