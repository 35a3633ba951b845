//! The files of a faulty disk: what programs see now, and what a power loss would leave of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Component, Path, PathBuf},
};

use crate::{
    Access, Entropy, EntryKind, FileMeta, FolderEntry,
    disk::faulty::tree::file::{Fate, FileBytes},
};

mod beneath;
mod file;

/// A file, folder or link, whatever its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InodeId(u64);

const ROOT: InodeId = InodeId(0);

/// How kind a power loss is to what was not synced. Pure coin flips would hardly ever lose all or keep all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odds {
    LoseAll,
    KeepAll,
    /// Names are kept, bytes are lost: delayed allocation.
    KeepNames,
    /// Bytes are kept, names are lost.
    KeepBytes,
    Flip,
}

impl Odds {
    pub(super) fn draw(entropy: &Entropy) -> Self {
        match entropy.number() % 6 {
            0 => Self::LoseAll,
            1 => Self::KeepAll,
            2 => Self::KeepNames,
            3 => Self::KeepBytes,
            _ => Self::Flip,
        }
    }

    fn keeps_name(self, entropy: &Entropy) -> bool {
        match self {
            Self::LoseAll | Self::KeepBytes => false,
            Self::KeepAll | Self::KeepNames => true,
            Self::Flip => entropy.number().is_multiple_of(2),
        }
    }

    fn fate_of_bytes(self, entropy: &Entropy) -> Fate {
        match self {
            Self::LoseAll | Self::KeepNames => Fate::Lost,
            Self::KeepAll | Self::KeepBytes => Fate::Kept,
            Self::Flip => match entropy.number() % 3 {
                0 => Fate::Lost,
                1 => Fate::Kept,
                _ => Fate::Torn,
            },
        }
    }
}

#[derive(Debug)]
struct Inode {
    mode: u32,
    durable_mode: u32,
    /// How many names it has now.
    links: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    File(FileBytes),
    Folder { entries: BTreeMap<String, InodeId>, durable: BTreeMap<String, DurableSlot> },
    Link(PathBuf),
}

/// What a name durably means, and which change said so.
#[derive(Clone, Copy, Debug)]
struct DurableSlot {
    change: u64,
    inode: Option<InodeId>,
}

/// Names that change together or not at all.
#[derive(Debug)]
struct NameChange {
    number: u64,
    slots: Vec<(InodeId, String, Option<InodeId>)>,
}

/// Every file of a disk.
#[derive(Debug)]
pub(super) struct Tree {
    inodes: BTreeMap<InodeId, Inode>,
    next_inode: u64,
    next_change: u64,
    unsynced: Vec<NameChange>,
}

impl Default for Tree {
    fn default() -> Self {
        let mut tree = Self { inodes: BTreeMap::new(), next_inode: 0, next_change: 1, unsynced: Vec::new() };
        tree.add(0o755, Body::Folder { entries: BTreeMap::new(), durable: BTreeMap::new() });
        tree
    }
}

impl Tree {
    pub(super) fn resolve(&self, path: &Path) -> io::Result<InodeId> {
        self.resolve_from(ROOT, path)
    }

    /// Resolves a path below an inode; links are not followed.
    pub(super) fn resolve_from(&self, start: InodeId, path: &Path) -> io::Result<InodeId> {
        let mut inode = start;
        for part in path.components() {
            match part {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
                    inode = *self.entries(inode)?.get(name).ok_or(io::ErrorKind::NotFound)?;
                }
                Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(inode)
    }

    pub(super) fn open(&mut self, path: &Path, access: Access) -> io::Result<InodeId> {
        match (self.resolve(path), access) {
            (Ok(_), Access::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(inode), Access::Read | Access::Write | Access::CreateOrKeep | Access::Direct) => {
                match self.inode(inode).body {
                    // Root writes past permission bits; the tests of users without that right run on a real disk.
                    Body::File(_) => Ok(inode),
                    Body::Folder { .. } => Err(io::ErrorKind::IsADirectory.into()),
                    Body::Link(_) => Err(io::Error::other("too many levels of symbolic links")),
                }
            }
            (Err(error), Access::CreateNew | Access::CreateOrKeep)
                if error.kind() == io::ErrorKind::NotFound =>
            {
                let (folder, name) = self.parent(path)?;
                let inode = self.add(0o644, Body::File(FileBytes::default()));
                self.change(vec![(folder, name, Some(inode))]);
                Ok(inode)
            }
            (Err(error), _) => Err(error),
        }
    }

    pub(super) fn metadata(&self, id: InodeId) -> FileMeta {
        let inode = self.inode(id);
        let (kind, len, allocated) = match &inode.body {
            Body::File(file) => (EntryKind::File, file.len(), file.allocated()),
            Body::Folder { .. } => (EntryKind::Folder, 0, 0),
            Body::Link(target) => (EntryKind::Link, target.as_os_str().len() as u64, 0),
        };
        FileMeta { kind, len, links: inode.links, mode: inode.mode, allocated }
    }

    pub(super) fn list(&self, folder: &Path) -> io::Result<Vec<FolderEntry>> {
        self.list_inode(self.resolve(folder)?)
    }

    pub(super) fn list_inode(&self, folder: InodeId) -> io::Result<Vec<FolderEntry>> {
        let entries = self.entries(folder)?.iter();
        Ok(entries
            .map(|(name, id)| FolderEntry { name: name.clone(), kind: self.metadata(*id).kind })
            .collect())
    }

    pub(super) fn make_folders(&mut self, folder: &Path) -> io::Result<()> {
        for path in folder.ancestors().collect::<Vec<_>>().into_iter().rev() {
            match self.resolve(path) {
                Ok(inode) => {
                    self.entries(inode)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let (parent, name) = self.parent(path)?;
                    let empty = Body::Folder { entries: BTreeMap::new(), durable: BTreeMap::new() };
                    let inode = self.add(0o755, empty);
                    self.change(vec![(parent, name, Some(inode))]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.resolve(from)?;
        let (from_folder, from_name) = self.parent(from)?;
        let (to_folder, to_name) = self.parent(to)?;
        if let Some(replaced) = self.entries(to_folder)?.get(&to_name)
            && let Body::Folder { entries, .. } = &self.inode(*replaced).body
            && !entries.is_empty()
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.change(vec![(from_folder, from_name, None), (to_folder, to_name, Some(inode))]);
        Ok(())
    }

    pub(super) fn link(&mut self, existing: &Path, name: &Path) -> io::Result<()> {
        self.link_inode(self.resolve(existing)?, name)
    }

    pub(super) fn link_inode(&mut self, inode: InodeId, name: &Path) -> io::Result<()> {
        if matches!(self.inode(inode).body, Body::Folder { .. }) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.put_new(name, inode)
    }

    pub(super) fn symlink(&mut self, target: &Path, name: &Path) -> io::Result<()> {
        let inode = self.add(0o777, Body::Link(target.to_owned()));
        self.put_new(name, inode)
    }

    pub(super) fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.read_link_inode(self.resolve(path)?)
    }

    pub(super) fn read_link_inode(&self, inode: InodeId) -> io::Result<PathBuf> {
        match &self.inode(inode).body {
            Body::Link(target) => Ok(target.clone()),
            Body::File(_) | Body::Folder { .. } => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        if matches!(self.inode(self.resolve(path)?).body, Body::Folder { .. }) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (folder, name) = self.parent(path)?;
        self.change(vec![(folder, name, None)]);
        Ok(())
    }

    pub(super) fn remove_folder(&mut self, path: &Path) -> io::Result<()> {
        if !self.entries(self.resolve(path)?)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (folder, name) = self.parent(path)?;
        self.change(vec![(folder, name, None)]);
        Ok(())
    }

    pub(super) fn chmod(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        let id = self.resolve(path)?;
        self.chmod_inode(id, mode);
        Ok(())
    }

    pub(super) fn chmod_inode(&mut self, id: InodeId, mode: u32) {
        self.inode_mut(id).mode = mode;
    }

    /// Makes durable every change of names that touches this folder, also what it did in other folders.
    pub(super) fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        let folder = self.resolve(folder)?;
        self.entries(folder)?;
        let (touching, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unsynced)
            .into_iter()
            .partition(|change| change.slots.iter().any(|(changed, _, _)| *changed == folder));
        self.unsynced = others;
        for change in &touching {
            self.make_durable(change);
        }
        let inode = self.inode_mut(folder);
        inode.durable_mode = inode.mode;
        Ok(())
    }

    pub(super) fn sync_file(&mut self, id: InodeId) {
        let inode = self.inode_mut(id);
        inode.durable_mode = inode.mode;
        if let Body::File(file) = &mut inode.body {
            file.sync();
        }
    }

    pub(super) fn sync_all(&mut self) {
        for change in &std::mem::take(&mut self.unsynced) {
            self.make_durable(change);
        }
        let ids: Vec<_> = self.inodes.keys().copied().collect();
        for id in ids {
            self.sync_file(id);
        }
    }

    /// Does what a failed sync does: the bytes are still seen, but never again written.
    pub(super) fn forget_unsynced_bytes_of(&mut self, id: InodeId) {
        if let Some(Inode { body: Body::File(file), .. }) = self.inodes.get_mut(&id) {
            file.forget_unsynced();
        }
    }

    pub(super) fn forget_unsynced_bytes(&mut self) {
        let ids: Vec<_> = self.inodes.keys().copied().collect();
        for id in ids {
            self.forget_unsynced_bytes_of(id);
        }
    }

    pub(super) fn read(&self, id: InodeId, buffer: &mut [u8], offset: u64) -> usize {
        match &self.inode(id).body {
            Body::File(file) => file.read(buffer, offset),
            Body::Folder { .. } | Body::Link(_) => 0,
        }
    }

    pub(super) fn write(&mut self, id: InodeId, bytes: &[u8], offset: u64, room: u64) -> io::Result<()> {
        self.file_mut(id).write(bytes, offset, room)
    }

    pub(super) fn allocate(&mut self, id: InodeId, len: u64, room: u64) -> io::Result<()> {
        self.file_mut(id).allocate(len, room)
    }

    pub(super) fn set_len(&mut self, id: InodeId, len: u64) {
        self.file_mut(id).set_len(len);
    }

    pub(super) fn flip(&mut self, id: InodeId, offset: u64) -> io::Result<()> {
        self.file_mut(id).flip(offset)
    }

    /// Returns how many bytes the files take that have a name.
    pub(super) fn used(&self) -> u64 {
        let named = self.inodes.values().filter(|inode| inode.links > 0);
        named
            .map(|inode| match &inode.body {
                Body::File(file) => file.allocated(),
                Body::Folder { .. } | Body::Link(_) => 0,
            })
            .sum()
    }

    /// Returns what is found after a power loss.
    pub(super) fn after_power_loss(&mut self, odds: Odds, entropy: &Entropy) -> Self {
        for change in &std::mem::take(&mut self.unsynced) {
            if odds.keeps_name(entropy) {
                self.make_durable(change);
            }
        }
        let mut found = Self { next_inode: self.next_inode, ..Self::default() };
        found.inodes.clear();
        let mut wanted = vec![ROOT];
        let mut seen = BTreeSet::from([ROOT]);
        while let Some(id) = wanted.pop() {
            let inode =
                self.inodes.get_mut(&id).expect("an inode with a name is kept until the power is lost");
            let mode = match odds.fate_of_bytes(entropy) {
                Fate::Kept => inode.mode,
                Fate::Lost | Fate::Torn => inode.durable_mode,
            };
            let body = match &mut inode.body {
                Body::File(file) => {
                    Body::File(file.after_power_loss(|| odds.fate_of_bytes(entropy), entropy))
                }
                Body::Link(target) => Body::Link(target.clone()),
                Body::Folder { durable, .. } => {
                    let entries: BTreeMap<_, _> =
                        durable.iter().filter_map(|(name, slot)| Some((name.clone(), slot.inode?))).collect();
                    wanted.extend(entries.values().copied().filter(|id| seen.insert(*id)));
                    let durable = entries
                        .iter()
                        .map(|(name, id)| (name.clone(), DurableSlot { change: 0, inode: Some(*id) }))
                        .collect();
                    Body::Folder { entries, durable }
                }
            };
            found.inodes.insert(id, Inode { mode, durable_mode: mode, links: 0, body });
        }
        found.count_links();
        found
    }

    fn count_links(&mut self) {
        let named: Vec<InodeId> = self
            .inodes
            .values()
            .filter_map(|inode| match &inode.body {
                Body::Folder { entries, .. } => Some(entries.values().copied().collect::<Vec<_>>()),
                Body::File(_) | Body::Link(_) => None,
            })
            .flatten()
            .collect();
        for id in named {
            self.inode_mut(id).links += 1;
        }
    }

    fn inode(&self, id: InodeId) -> &Inode {
        self.inodes.get(&id).expect("inodes live as long as their disk")
    }

    fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).expect("inodes live as long as their disk")
    }

    fn file_mut(&mut self, id: InodeId) -> &mut FileBytes {
        match &mut self.inode_mut(id).body {
            Body::File(file) => file,
            Body::Folder { .. } | Body::Link(_) => unreachable!("only files are opened"),
        }
    }

    fn entries(&self, id: InodeId) -> io::Result<&BTreeMap<String, InodeId>> {
        match &self.inode(id).body {
            Body::Folder { entries, .. } => Ok(entries),
            Body::File(_) | Body::Link(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn parent(&self, path: &Path) -> io::Result<(InodeId, String)> {
        let folder = self.resolve(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        self.entries(folder)?;
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok((folder, name.to_owned()))
    }

    fn put_new(&mut self, path: &Path, inode: InodeId) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        if self.entries(folder)?.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(vec![(folder, name, Some(inode))]);
        Ok(())
    }

    fn add(&mut self, mode: u32, body: Body) -> InodeId {
        let id = InodeId(self.next_inode);
        self.next_inode += 1;
        self.inodes.insert(id, Inode { mode, durable_mode: mode, links: 0, body });
        id
    }

    /// Changes names at once, and durably when a folder that they touch is synced.
    fn change(&mut self, slots: Vec<(InodeId, String, Option<InodeId>)>) {
        for (folder, name, inode) in &slots {
            let Body::Folder { entries, .. } = &mut self.inode_mut(*folder).body else {
                unreachable!("names stand in folders only");
            };
            let before = match inode {
                Some(inode) => entries.insert(name.clone(), *inode),
                None => entries.remove(name),
            };
            if let Some(before) = before {
                self.inode_mut(before).links -= 1;
            }
            if let Some(inode) = inode {
                self.inode_mut(*inode).links += 1;
            }
        }
        self.unsynced.push(NameChange { number: self.next_change, slots });
        self.next_change += 1;
    }

    fn make_durable(&mut self, change: &NameChange) {
        for (folder, name, inode) in &change.slots {
            let Body::Folder { durable, .. } = &mut self.inode_mut(*folder).body else {
                unreachable!("names stand in folders only");
            };
            let newer = durable.get(name).is_some_and(|slot| slot.change > change.number);
            if !newer {
                durable.insert(name.clone(), DurableSlot { change: change.number, inode: *inode });
            }
        }
    }
}
