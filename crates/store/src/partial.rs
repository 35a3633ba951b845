//! A partial file on the disk: the reserved data file and, above one extent, its journal. No hashing, no publishing.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use base::{Access, BLOCK_BYTES, ByteSize, Disk, DiskFile, EntryKind, is_whole_blocks};
use types::{Digest, ManifestFile};

use crate::{
    DiskFull, DiskTrouble, ExtentBytes,
    index::PartialProgress,
    journal::{self, Header, Journal},
    layout::{JOURNAL_SUFFIX, Layout, PartialOwner},
};

/// An open partial file.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) file: Box<dyn DiskFile>,
    direct: Option<DirectFile>,
    /// Files of one extent have none: all that a journal could save is that extent.
    pub(crate) journal: Option<Journal>,
    pub(crate) extent_bytes: ExtentBytes,
    paths: PartialPaths,
}

/// The same file, written past the page cache.
#[derive(Debug)]
struct DirectFile {
    file: Box<dyn DiskFile>,
    /// Whether a write was refused: some file systems tell only then that they can't.
    is_refused: AtomicBool,
}

/// Where a partial file and its journal stand.
#[derive(Clone, Debug)]
pub(crate) struct PartialPaths {
    pub(crate) folder: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) journal: PathBuf,
}

impl PartialPaths {
    pub(crate) fn new(layout: &Layout, owner: &PartialOwner, digest: &Digest) -> Self {
        Self {
            folder: layout.partial_folder(owner),
            data: layout.partial(owner, digest),
            journal: layout.journal(owner, digest),
        }
    }

    /// Removes both files. A missing one is no error.
    pub(crate) fn discard(&self, disk: &Arc<dyn Disk>) -> Result<(), DiskTrouble> {
        remove_if_there(disk, &self.journal)?;
        remove_if_there(disk, &self.data)
    }
}

/// A partial file and the crc32c of the extents that are there.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) partial: Partial,
    pub(crate) extents: Vec<Option<u32>>,
}

impl Opened {
    /// Returns how many bytes of the file are there.
    pub(crate) fn present_bytes(&self, file_bytes: u64) -> u64 {
        self.partial.extent_bytes.present(file_bytes, &self.extents)
    }
}

impl Partial {
    pub(crate) fn data_path(&self) -> &Path {
        &self.paths.data
    }

    pub(crate) fn journal_path(&self) -> &Path {
        &self.paths.journal
    }

    /// Writes whole blocks of the file: past the page cache where the file system can, which saves most of what a write
    /// costs (DESIGN.md, "Direct writes").
    pub(crate) fn write_blocks(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(direct) = &self.direct
            && is_whole_blocks(bytes, offset)
            && !direct.is_refused.load(Ordering::Relaxed)
        {
            match direct.file.write_all_at(bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    direct.is_refused.store(true, Ordering::Relaxed);
                }
                written => return written,
            }
        }
        self.file.write_all_at(bytes, offset)
    }

    /// Reads some of the file into a buffer that begins on a block: past the page cache when that is how it is written,
    /// because what is not in the cache costs more to bring there than to read. Zero bytes are the file's end.
    pub(crate) fn read_blocks(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(direct) = &self.direct
            && is_whole_blocks(buffer, offset)
            && !direct.is_refused.load(Ordering::Relaxed)
        {
            match direct.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    direct.is_refused.store(true, Ordering::Relaxed);
                }
                read => return read,
            }
        }
        self.file.read_at(buffer, offset)
    }

    /// Opens what is there of a file, or begins it anew. Its folder is there and durable.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        paths: &PartialPaths,
        file: &ManifestFile,
        extent_bytes: ExtentBytes,
    ) -> Result<Opened, DiskTrouble> {
        if let Some(opened) = Self::resume(disk, paths, file)? {
            return Ok(opened);
        }
        paths.discard(disk)?;
        let begun = Self::begin(disk, paths, file, extent_bytes);
        if begun.is_err()
            && let Err(error) = paths.discard(disk)
        {
            tracing::warn!(%error, "a partial file that could not be begun stays until the next claim");
        }
        begun
    }

    fn resume(
        disk: &Arc<dyn Disk>,
        paths: &PartialPaths,
        file: &ManifestFile,
    ) -> Result<Option<Opened>, DiskTrouble> {
        let recorded = match journal::read(disk, &paths.journal) {
            Ok(Some(recorded)) => recorded,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskTrouble::new("reading", &paths.journal, error)),
        };
        if recorded.header.digest != file.digest || recorded.header.size != file.size {
            return Ok(None);
        }
        match disk.metadata(&paths.data) {
            Ok(meta) if meta.kind == EntryKind::File => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskTrouble::new("looking at", &paths.data, error)),
        }
        // A finish that was cut short left it read-only.
        disk.chmod(&paths.data, 0o600).map_err(|error| DiskTrouble::new("opening", &paths.data, error))?;
        let data = disk
            .open(&paths.data, Access::Write)
            .map_err(|error| DiskTrouble::new("opening", &paths.data, error))?;
        // A power loss may have cut it; where it did not, this changes nothing.
        reserve(disk, &*data, &paths.data, file.size)?;
        let journal = Journal::open(disk, &paths.journal)
            .map_err(|error| DiskTrouble::new("opening", &paths.journal, error))?;
        // Whoever made these names may have been killed before they were durable.
        disk.sync_folder(&paths.folder).map_err(|error| DiskTrouble::new("syncing", &paths.folder, error))?;
        let partial = Self {
            file: data,
            direct: open_direct(disk, paths, file.size),
            journal: Some(journal),
            extent_bytes: recorded.header.extent_bytes,
            paths: paths.clone(),
        };
        Ok(Some(Opened { partial, extents: recorded.extents }))
    }

    fn begin(
        disk: &Arc<dyn Disk>,
        paths: &PartialPaths,
        file: &ManifestFile,
        extent_bytes: ExtentBytes,
    ) -> Result<Opened, DiskTrouble> {
        let header = Header { digest: file.digest, size: file.size, extent_bytes };
        if !journal::can_hold(&header) {
            let refused =
                io::Error::new(io::ErrorKind::FileTooLarge, "the file has more extents than a journal holds");
            return Err(DiskTrouble::new("reserving", &paths.data, refused));
        }
        let data = disk
            .open(&paths.data, Access::CreateNew)
            .map_err(|error| DiskTrouble::new("making", &paths.data, error))?;
        reserve(disk, &*data, &paths.data, file.size)?;
        let count = extent_bytes.count(file.size);
        let journal = if count > 1 {
            let journal = Journal::create(disk, &paths.journal, &header)
                .map_err(|error| DiskTrouble::new("writing", &paths.journal, error))?;
            disk.sync_folder(&paths.folder)
                .map_err(|error| DiskTrouble::new("syncing", &paths.folder, error))?;
            Some(journal)
        } else {
            None
        };
        let extents = vec![None; usize::try_from(count).expect("a journal's limit fits into memory")];
        let direct = open_direct(disk, paths, file.size);
        Ok(Opened {
            partial: Self { file: data, direct, journal, extent_bytes, paths: paths.clone() },
            extents,
        })
    }

    pub(crate) fn discard(&self, disk: &Arc<dyn Disk>) -> Result<(), DiskTrouble> {
        self.paths.discard(disk)
    }
}

/// Lists what can be continued in the folder of one owner, and removes the rest.
pub(crate) fn sweep(
    disk: &Arc<dyn Disk>,
    layout: &Layout,
    owner: &PartialOwner,
) -> Result<BTreeMap<Digest, Arc<PartialProgress>>, DiskTrouble> {
    let folder = layout.partial_folder(owner);
    let entries = disk.list(&folder).map_err(|error| DiskTrouble::new("listing", &folder, error))?;
    let mut kept = BTreeMap::new();
    let mut unread = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        let Ok(digest) = entry.name.parse::<Digest>() else { continue };
        let path = layout.journal(owner, &digest);
        match journal::read(disk, &path) {
            Ok(Some(recorded)) if recorded.header.digest == digest => {
                let present = recorded.present_bytes().into();
                kept.insert(digest, Arc::new(PartialProgress { reserved: recorded.header.size, present }));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a journal can't be read and is left alone");
                unread.insert(digest);
            }
        }
    }
    for entry in &entries {
        let name = entry.name.strip_suffix(JOURNAL_SUFFIX).unwrap_or(&entry.name);
        let keep = name.parse().is_ok_and(|digest| kept.contains_key(&digest) || unread.contains(&digest));
        let path = folder.join(&entry.name);
        match (keep, entry.kind) {
            (true, _) => {}
            (false, EntryKind::Folder) => {
                tracing::warn!(path = %path.display(), "a folder that is not the store's");
            }
            (false, EntryKind::File | EntryKind::Link | EntryKind::Other) => remove_if_there(disk, &path)?,
        }
    }
    Ok(kept)
}

/// Opens a partial file to be written past the page cache. Where that can't be, it is written through it.
fn open_direct(disk: &Arc<dyn Disk>, paths: &PartialPaths, file_bytes: u64) -> Option<DirectFile> {
    if file_bytes < BLOCK_BYTES as u64 {
        return None;
    }
    match disk.open(&paths.data, Access::Direct) {
        Ok(file) => Some(DirectFile { file, is_refused: AtomicBool::new(false) }),
        Err(error) => {
            tracing::debug!(path = %paths.data.display(), %error, "writing through the page cache");
            None
        }
    }
}

fn reserve(disk: &Arc<dyn Disk>, file: &dyn DiskFile, path: &Path, len: u64) -> Result<(), DiskTrouble> {
    file.allocate(len).map_err(|error| match DiskTrouble::new("reserving", path, error) {
        DiskTrouble::Full(full) => DiskTrouble::Full(DiskFull {
            wanted: Some(ByteSize(len)),
            available: path
                .parent()
                .and_then(|folder| disk.space(folder).ok())
                .map(|space| ByteSize(space.available)),
            ..full
        }),
        DiskTrouble::Failed(failed) => DiskTrouble::Failed(failed),
    })
}

/// Removes a file; one that is not there is no error.
pub(crate) fn remove_if_there(disk: &Arc<dyn Disk>, path: &Path) -> Result<(), DiskTrouble> {
    match disk.remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DiskTrouble::new("removing", path, error)),
    }
}
