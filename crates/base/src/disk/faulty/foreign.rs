//! The foreign folder of a faulty disk: the same rules as the kernel's, on the tree in memory.

use std::{io, path::Path, path::PathBuf};

use super::{DiskCall, FaultyDisk, tree::InodeId};
use crate::{
    Advice, EntryKind, FileOwner, FolderEntry, ForeignFile, ForeignFolder, ForeignMeta, OpenForeignError,
};

/// A folder of a faulty disk that is read as another's.
#[derive(Debug)]
pub(super) struct FaultyForeignFolder {
    pub(super) disk: FaultyDisk,
    pub(super) path: PathBuf,
    pub(super) inode: InodeId,
}

impl ForeignFolder for FaultyForeignFolder {
    fn path(&self) -> io::Result<PathBuf> {
        Ok(self.path.clone())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<FolderEntry>> {
        self.disk.call(DiskCall::Look, |machine| {
            let inode = machine.tree.resolve_from(self.inode, Path::new(folder))?;
            machine.tree.list_inode(inode)
        })
    }

    fn read_link(&self, path: &str) -> io::Result<PathBuf> {
        self.disk.call(DiskCall::Look, |machine| {
            let inode = machine.tree.resolve_from(self.inode, Path::new(path))?;
            machine.tree.read_link_inode(inode)
        })
    }

    fn open(&self, path: &str) -> Result<Box<dyn ForeignFile>, OpenForeignError> {
        let found = self
            .disk
            .call(DiskCall::Open, |machine| Ok(machine.tree.resolve_beneath(self.inode, path)))
            .map_err(OpenForeignError::Failed)?;
        let inode = match found {
            Ok(inode) => inode,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(OpenForeignError::LeadsOut);
            }
            Err(_) => return Err(OpenForeignError::Missing),
        };
        let kind = self
            .disk
            .call(DiskCall::Look, |machine| Ok(machine.tree.metadata(inode).kind))
            .map_err(OpenForeignError::Failed)?;
        match kind {
            EntryKind::File => Ok(Box::new(FaultyForeignFile { disk: self.disk.clone(), inode })),
            EntryKind::Folder | EntryKind::Link | EntryKind::Other => Err(OpenForeignError::NotAFile),
        }
    }
}

#[derive(Debug)]
struct FaultyForeignFile {
    disk: FaultyDisk,
    inode: InodeId,
}

impl ForeignFile for FaultyForeignFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.call(DiskCall::Read, |machine| Ok(machine.tree.read(self.inode, buffer, offset)))
    }

    fn meta(&self) -> io::Result<ForeignMeta> {
        self.disk.call(DiskCall::Look, |machine| {
            let meta = machine.tree.metadata(self.inode);
            let change = i128::from(machine.tree.changes_of(self.inode));
            Ok(ForeignMeta { len: meta.len, mode: meta.mode, owner: FileOwner::Us, change })
        })
    }

    fn advise(&self, _advice: Advice, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn clone_to(&self, name: &Path) -> io::Result<()> {
        self.disk.call(DiskCall::Make, |machine| {
            if !machine.clones {
                return Err(io::ErrorKind::Unsupported.into());
            }
            machine.tree.clone_file(self.inode, name)
        })
    }

    fn link_to(&self, name: &Path) -> io::Result<()> {
        self.disk.call(DiskCall::Make, |machine| machine.tree.link_inode(self.inode, name))
    }

    fn chmod(&self, mode: u32) -> io::Result<()> {
        self.disk.call(DiskCall::Make, |machine| {
            machine.tree.chmod_inode(self.inode, mode);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_inode(self.inode)
    }
}
