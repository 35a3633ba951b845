//! The disk as a seam: the few file calls that durable places make, so that tests can lose, tear and refuse them.
//!
//! Calls block; async callers run them on the blocking pool. Paths given here are already trusted: whoever takes a
//! path from outside has parsed it into a type that cannot leave its folder.

mod block;
mod faulty;
mod foreign;
mod real;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use block::{BLOCK_BYTES, BlockBuffer, is_whole_blocks};
pub use faulty::{DiskCall, FaultyDisk};
pub use foreign::{FileOwner, ForeignFile, ForeignFolder, ForeignMeta, OpenForeignError};
pub use real::RealDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A file that must not exist yet, to read and write.
    CreateNew,
    /// A file to read and write, made when missing, kept when there.
    CreateOrKeep,
    /// An existing file, to read and write past the page cache. Every call must be of whole blocks
    /// ([`is_whole_blocks`]). A file system that can't do that refuses to open it so, or the first write.
    Direct,
}

/// What a file's bytes are needed for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// They are read once, in order.
    Sequential,
    /// They are not read for a while: memory that holds them may be used for others.
    DontNeed,
}

/// What a folder entry is. Links are never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// Anything else: a device, a socket, a pipe.
    Other,
}

/// What a file call tells of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// What it is.
    pub kind: EntryKind,
    /// Its length in bytes.
    pub len: u64,
    /// How many names it has.
    pub links: u64,
    /// Its permission bits.
    pub mode: u32,
    /// Bytes that it takes on the disk.
    pub allocated: u64,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderEntry {
    /// Its name in the folder. Names that are no UTF-8 are listed with replacement characters and can't be opened.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// Room on the file system of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that this process may still write.
    pub available: u64,
}

/// Holds an exclusive lock; dropping it lets go.
pub struct DiskLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Send + Sync>);

impl DiskLock {
    /// Wraps whatever holds the lock.
    pub fn new(holder: impl Send + Sync + 'static) -> Self {
        Self(Box::new(holder))
    }
}

impl fmt::Debug for DiskLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskLock")
    }
}

/// The file calls of durable places. Every error is the operating system's.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Opens a file; never follows a link in the last step.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// Returns what stands at a path, without following a link.
    fn metadata(&self, path: &Path) -> io::Result<FileMeta>;

    /// Lists a folder, sorted by name.
    fn list(&self, folder: &Path) -> io::Result<Vec<FolderEntry>>;

    /// Makes a folder and those above it; one that is there already is no error.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;

    /// Renames atomically, replacing a file that stands at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives an existing file a further name, which must be free.
    fn link(&self, existing: &Path, name: &Path) -> io::Result<()>;

    /// Makes a symbolic link that holds `target` as text.
    fn symlink(&self, target: &Path, name: &Path) -> io::Result<()>;

    /// Returns the text that a symbolic link holds.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;

    /// Removes a file or link.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;

    /// Sets permission bits.
    fn chmod(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Makes a folder's entries durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Makes everything durable that was written to the file system of a folder: for many small files far cheaper than
    /// a sync of each.
    fn sync_file_system(&self, folder: &Path) -> io::Result<()>;

    /// Takes an exclusive lock on a file (made when missing), or returns `None` when another holds it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<DiskLock>>;

    /// Returns the room on the file system of a folder.
    fn space(&self, folder: &Path) -> io::Result<DiskSpace>;

    /// Opens a folder that another program fills, to read it as hostile.
    ///
    /// # Errors
    /// `Unsupported` when this disk has none; else the operating system's.
    fn foreign(&self, _folder: &Path) -> io::Result<Box<dyn ForeignFolder>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a folder with all that is in it; a missing one is no error. Links are removed, not followed.
    fn remove_tree(&self, folder: &Path) -> io::Result<()> {
        let entries = match self.list(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = folder.join(&entry.name);
            match entry.kind {
                EntryKind::Folder => self.remove_tree(&path)?,
                EntryKind::File | EntryKind::Link | EntryKind::Other => self.remove_file(&path)?,
            }
        }
        self.remove_folder(folder)
    }

    /// Reads a whole file of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// `FileTooLarge` when it is longer; else the operating system's.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, Access::Read)?;
        let len = file.len()?;
        if len > bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the file holds {len} bytes, the limit is {bytes_max}"),
            ));
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "a length that can fail has no useful is_empty")]
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads into `buffer` from `offset`; returns how many bytes, zero at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reserves room for `len` bytes from the start, so that a later write cannot lack it. The length becomes `len`.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts or extends the file to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns the length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Makes contents and length durable.
    fn sync(&self) -> io::Result<()>;

    /// Makes contents durable, and of the rest only what is needed to read them again.
    fn sync_contents(&self) -> io::Result<()> {
        self.sync()
    }

    /// Tells the system what a range is needed for next. A disk without such a call ignores it.
    fn advise(&self, _advice: Advice, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    /// Returns whether the byte at an offset is in memory, so that reading it would not touch the disk. `false` where the
    /// system can't tell.
    fn is_cached(&self, _offset: u64) -> io::Result<bool> {
        Ok(false)
    }
}

/// Writes a small file durably: a temporary beside it, sync, rename, sync of the folder.
///
/// # Errors
/// The operating system's. The old file, if any, then still stands.
pub fn write_durably(disk: &Arc<dyn Disk>, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(disk, path, bytes, None)
}

/// Writes a small file durably that only its owner may read: the permission bits stand before the first byte does,
/// whatever the process's umask.
///
/// # Errors
/// The operating system's. The old file, if any, then still stands.
pub fn write_privately(disk: &Arc<dyn Disk>, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(disk, path, bytes, Some(0o600))
}

fn write_with_mode(disk: &Arc<dyn Disk>, path: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    match disk.remove_file(temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = disk.open(temporary, Access::CreateNew)?;
    if let Some(mode) = mode {
        disk.chmod(temporary, mode)?;
    }
    file.write_all_at(bytes, 0)?;
    file.sync()?;
    disk.rename(temporary, path)?;
    disk.sync_folder(folder)
}
