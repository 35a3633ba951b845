//! The operating system's files.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, FlockOperation, OFlags},
    io::Errno,
};

use super::{
    Access, Advice, Disk, DiskFile, DiskLock, DiskSpace, EntryKind, FileMeta, FolderEntry, ForeignFolder,
};

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let passing_cache = if access == Access::Direct { OFlags::DIRECT } else { OFlags::empty() };
        options.read(true).custom_flags((OFlags::NOFOLLOW | passing_cache).bits().cast_signed());
        match access {
            Access::Read => &mut options,
            Access::Write | Access::Direct => options.write(true),
            Access::CreateNew => options.write(true).create_new(true),
            Access::CreateOrKeep => options.write(true).create(true),
        };
        Ok(Box::new(RealFile(options.open(path)?)))
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMeta> {
        let meta = fs::symlink_metadata(path)?;
        Ok(FileMeta {
            kind: kind_of(meta.file_type()),
            len: meta.len(),
            links: meta.nlink(),
            mode: meta.mode() & 0o7777,
            // POSIX: st_blocks counts units of 512 bytes.
            allocated: meta.blocks() * 512,
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<FolderEntry>> {
        let mut entries = fs::read_dir(folder)?
            .map(|entry| {
                let entry = entry?;
                let kind = kind_of(entry.file_type()?);
                Ok(FolderEntry { name: entry.file_name().to_string_lossy().into_owned(), kind })
            })
            .collect::<io::Result<Vec<_>>>()?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, existing: &Path, name: &Path) -> io::Result<()> {
        fs::hard_link(existing, name)
    }

    fn symlink(&self, target: &Path, name: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, name)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        fs::remove_dir(folder)
    }

    fn chmod(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn sync_file_system(&self, folder: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(folder)?)?)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(DiskLock::new(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn space(&self, folder: &Path) -> io::Result<DiskSpace> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(DiskSpace { total: stat.f_blocks * stat.f_frsize, available: stat.f_bavail * stat.f_frsize })
    }

    fn foreign(&self, folder: &Path) -> io::Result<Box<dyn ForeignFolder>> {
        super::foreign::open(folder)
    }
}

fn kind_of(file_type: fs::FileType) -> EntryKind {
    if file_type.is_file() {
        EntryKind::File
    } else if file_type.is_dir() {
        EntryKind::Folder
    } else if file_type.is_symlink() {
        EntryKind::Link
    } else {
        EntryKind::Other
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(&self.0, bytes, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // A file system without preallocation still stores the file; only the early refusal is lost.
            Err(Errno::OPNOTSUPP) => self.0.set_len(len),
            Err(error) => Err(error.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn sync_contents(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn advise(&self, advice: Advice, offset: u64, len: u64) -> io::Result<()> {
        advise(&self.0, advice, offset, len)
    }

    fn is_cached(&self, offset: u64) -> io::Result<bool> {
        let mut byte = [0];
        let wanted = &mut [io::IoSliceMut::new(&mut byte)];
        match rustix::io::preadv2(&self.0, wanted, offset, rustix::io::ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == 1),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

pub(super) fn advise(file: &File, advice: Advice, offset: u64, len: u64) -> io::Result<()> {
    let Some(len) = std::num::NonZeroU64::new(len) else { return Ok(()) };
    let advice = match advice {
        Advice::Sequential => rustix::fs::Advice::Sequential,
        Advice::DontNeed => rustix::fs::Advice::DontNeed,
    };
    Ok(rustix::fs::fadvise(file, offset, Some(len), advice)?)
}
