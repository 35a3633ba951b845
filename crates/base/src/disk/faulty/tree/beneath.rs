//! What a foreign folder needs of the tree: links that are followed but never out of their folder, and clones.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use super::{Body, InodeId, Tree};
use crate::Access;

/// Linux follows at most 40 links in one path (path_resolution(7)).
const LINKS_MAX: usize = 40;

impl Tree {
    /// Resolves a path below a folder and follows links, as `openat2` with `RESOLVE_BENEATH` does.
    ///
    /// # Errors
    /// `PermissionDenied` when the way leads out of the folder or in a circle.
    pub(in super::super) fn resolve_beneath(&self, root: InodeId, path: &str) -> io::Result<InodeId> {
        let mut way = vec![root];
        let mut left: Vec<PathBuf> = parts(Path::new(path))?;
        let mut links = 0;
        while let Some(part) = left.pop() {
            if part == Path::new("..") {
                way.pop();
                if way.is_empty() {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                continue;
            }
            let name = part.to_str().ok_or(io::ErrorKind::InvalidInput)?;
            let at = *way.last().expect("the way never ends above its root");
            let inode = *self.entries(at)?.get(name).ok_or(io::ErrorKind::NotFound)?;
            match &self.inode(inode).body {
                Body::Link(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(io::ErrorKind::PermissionDenied.into());
                    }
                    left.extend(parts(target)?);
                }
                Body::File(_) | Body::Folder { .. } => way.push(inode),
            }
        }
        Ok(*way.last().expect("the way never ends above its root"))
    }

    /// Makes a new file with the bytes of another.
    pub(in super::super) fn clone_file(&mut self, inode: InodeId, name: &Path) -> io::Result<()> {
        let len = self.metadata(inode).len;
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.read(inode, &mut bytes, 0);
        let new = self.open(name, Access::CreateNew)?;
        self.write(new, &bytes, 0, u64::MAX)
    }

    /// Returns a number that grows with every change of a file's bytes, and differs with its mode.
    pub(in super::super) fn changes_of(&self, inode: InodeId) -> u64 {
        let Body::File(file) = &self.inode(inode).body else { return 0 };
        (file.changes() << 16) | u64::from(self.inode(inode).mode)
    }
}

/// Returns the parts of a path, the last one first.
fn parts(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(PathBuf::from(name)),
            Component::ParentDir => parts.push(PathBuf::from("..")),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
    parts.reverse();
    Ok(parts)
}
