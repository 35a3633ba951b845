//! A disk in memory that fails as real ones do, by seed: power is lost between any two calls, unsynced writes and
//! renames are then lost, torn or kept in any order, room ends, calls answer with an I/O error.
//!
//! It promises less than any real file system: a file's bytes are durable after its `sync` only, a name after
//! `sync_folder` of a folder that the change touched, a folder only when its parent is. A rename is atomic. A `sync` that
//! failed has dropped what it should have written, and the next one reports success, as Linux does. Direct writes are no
//! more durable than others: a drive has a cache, too.
//!
//! For tests. A program that survives this disk owes its safety to no accident of ext4.

mod foreign;
mod tree;

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Access, Disk, DiskFile, DiskLock, DiskSpace, FileMeta, FolderEntry, ForeignFolder, is_whole_blocks,
};
use crate::{ByteSize, Entropy};
use foreign::FaultyForeignFolder;
use tree::{InodeId, Odds, Tree};

/// The kinds of calls, to choose one that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskCall {
    /// `Disk::open`.
    Open,
    /// `Disk::metadata`, `list`, `read_link`, `space` and `DiskFile::len`.
    Look,
    /// `DiskFile::read_at`.
    Read,
    /// `DiskFile::write_all_at`.
    Write,
    /// `DiskFile::allocate` and `set_len`.
    Resize,
    /// `DiskFile::sync` and `Disk::sync_file_system`.
    Sync,
    /// `Disk::sync_folder`.
    SyncFolder,
    /// `Disk::rename`.
    Rename,
    /// `Disk::make_folder`, `link`, `symlink`, `chmod`.
    Make,
    /// `Disk::remove_file` and `remove_folder`.
    Remove,
    /// `Disk::try_lock`.
    Lock,
}

/// A disk that fails on purpose. Clones are the same disk; [`FaultyDisk::lose_power`] ends it and gives the disk that
/// is found after the restart.
#[derive(Clone)]
pub struct FaultyDisk(Arc<Mutex<Machine>>);

impl fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyDisk({} calls)", self.calls())
    }
}

#[derive(Debug)]
struct Machine {
    tree: Tree,
    entropy: Entropy,
    power: Power,
    calls: u64,
    planned: Vec<PlannedError>,
    error_every: Option<u64>,
    capacity: u64,
    locked: BTreeSet<InodeId>,
    spared: u32,
    refuses_direct: bool,
    clones: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    OnFor { calls: u64 },
    Off,
}

#[derive(Debug)]
struct PlannedError {
    call: DiskCall,
    skip: u64,
}

/// What becomes of one call.
enum Turn {
    /// It is done.
    Done,
    /// It is done, and then the power is gone, so that the caller never hears of it.
    LastBeforeDark,
}

impl FaultyDisk {
    /// Makes an empty disk of unlimited room. The same seed loses and tears the same things.
    pub fn new(seed: u64) -> Self {
        Self::with(Tree::default(), Entropy::seeded(seed), u64::MAX)
    }

    fn with(tree: Tree, entropy: Entropy, capacity: u64) -> Self {
        Self(Arc::new(Mutex::new(Machine {
            tree,
            entropy,
            power: Power::On,
            calls: 0,
            planned: Vec::new(),
            error_every: None,
            capacity,
            locked: BTreeSet::new(),
            spared: 0,
            refuses_direct: false,
            clones: false,
        })))
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the power away at once and returns the disk as it is found afterwards. Every call on the old disk, its
    /// clones and its open files fails from now on.
    #[must_use]
    pub fn lose_power(&self) -> Self {
        let odds = Odds::draw(&self.machine().entropy);
        self.go_dark(odds)
    }

    /// Takes the power away like [`FaultyDisk::lose_power`], and with it everything that was not synced.
    #[must_use]
    pub fn lose_power_and_all_unsynced(&self) -> Self {
        self.go_dark(Odds::LoseAll)
    }

    fn go_dark(&self, odds: Odds) -> Self {
        let mut machine = self.machine();
        machine.power = Power::Off;
        let entropy = machine.entropy.clone();
        let tree = machine.tree.after_power_loss(odds, &entropy);
        Self::with(tree, entropy, machine.capacity)
    }

    /// Ends only the process: returns the same disk with everything that was written, synced or not. Every call on the
    /// old disk, its clones and its open files fails from now on.
    #[must_use]
    pub fn kill_process(&self) -> Self {
        let mut machine = self.machine();
        machine.power = Power::Off;
        Self::with(std::mem::take(&mut machine.tree), machine.entropy.clone(), machine.capacity)
    }

    /// Lets the power go after this many more calls: the last of them is carried out, but its caller gets an error.
    pub fn lose_power_after(&self, calls: u64) {
        self.machine().power = Power::OnFor { calls };
    }

    /// Returns whether the power is still there.
    pub fn has_power(&self) -> bool {
        self.machine().power != Power::Off
    }

    /// Lets one call of this kind fail with an I/O error, after `skip` of them have passed.
    pub fn fail(&self, call: DiskCall, skip: u64) {
        self.machine().planned.push(PlannedError { call, skip });
    }

    /// Lets about one in so many calls fail with an I/O error; `None` ends that.
    pub fn fail_every(&self, calls: Option<u64>) {
        self.machine().error_every = calls;
    }

    /// Sets the room of the disk. Files that are there already stay, even when they take more.
    pub fn set_capacity(&self, capacity: ByteSize) {
        self.machine().capacity = capacity.bytes();
    }

    /// Lets files be cloned from now on, as btrfs and xfs do. It is not kept over a power loss.
    pub fn allow_clones(&self) {
        self.machine().clones = true;
    }

    /// Refuses [`Access::Direct`] from now on, as some file systems do.
    pub fn refuse_direct(&self) {
        self.machine().refuses_direct = true;
    }

    /// Returns how many bytes files take.
    pub fn used(&self) -> ByteSize {
        ByteSize(self.machine().tree.used())
    }

    /// Runs a test's own look at the disk: its calls are not counted and meet no error or power loss that is due.
    pub fn spare<T>(&self, look: impl FnOnce() -> T) -> T {
        self.machine().spared += 1;
        let seen = look();
        self.machine().spared -= 1;
        seen
    }

    /// Returns how many calls were made.
    pub fn calls(&self) -> u64 {
        self.machine().calls
    }

    /// Flips the bits of one byte at rest, as a decaying disk does.
    ///
    /// # Errors
    /// When there is no such file or byte.
    pub fn damage(&self, path: &Path, offset: u64) -> io::Result<()> {
        let mut machine = self.machine();
        let inode = machine.tree.resolve(path)?;
        machine.tree.flip(inode, offset)
    }

    fn sync_inode(&self, inode: InodeId) -> io::Result<()> {
        let answer = self.call(DiskCall::Sync, |machine| {
            machine.tree.sync_file(inode);
            Ok(())
        });
        if answer.is_err() && self.has_power() {
            self.machine().tree.forget_unsynced_bytes_of(inode);
        }
        answer
    }

    /// Carries one call out, unless the power is gone or an error is due.
    fn call<T>(
        &self,
        kind: DiskCall,
        carry_out: impl FnOnce(&mut Machine) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut machine = self.machine();
        match machine.turn(kind)? {
            Turn::Done => carry_out(&mut machine),
            Turn::LastBeforeDark => {
                // Whether it went well is of no interest: nobody lives to hear it.
                let _ = carry_out(&mut machine);
                Err(dark())
            }
        }
    }
}

impl Machine {
    fn turn(&mut self, kind: DiskCall) -> io::Result<Turn> {
        if self.spared > 0 && self.power != Power::Off {
            return Ok(Turn::Done);
        }
        let turn = match self.power {
            Power::Off => return Err(dark()),
            Power::On => Turn::Done,
            Power::OnFor { calls: 0 } => {
                self.power = Power::Off;
                Turn::LastBeforeDark
            }
            Power::OnFor { calls } => {
                self.power = Power::OnFor { calls: calls - 1 };
                Turn::Done
            }
        };
        self.calls += 1;
        let mut failed = false;
        self.planned.retain_mut(|planned| {
            if planned.call != kind {
                return true;
            }
            let due = planned.skip == 0;
            failed |= due;
            planned.skip = planned.skip.saturating_sub(1);
            !due
        });
        failed |= self.error_every.is_some_and(|calls| self.entropy.number().is_multiple_of(calls.max(1)));
        if failed { Err(io::Error::other("injected I/O error")) } else { Ok(turn) }
    }

    fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.tree.used())
    }
}

fn dark() -> io::Error {
    io::Error::other("the power is gone")
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.call(DiskCall::Open, |machine| {
            if access == Access::Direct && machine.refuses_direct {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            machine.tree.open(path, access)
        })?;
        Ok(Box::new(FaultyFile { disk: self.clone(), inode, access }))
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMeta> {
        self.call(DiskCall::Look, |machine| {
            let inode = machine.tree.resolve(path)?;
            Ok(machine.tree.metadata(inode))
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<FolderEntry>> {
        self.call(DiskCall::Look, |machine| machine.tree.list(folder))
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.call(DiskCall::Make, |machine| machine.tree.make_folders(folder))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(DiskCall::Rename, |machine| machine.tree.rename(from, to))
    }

    fn link(&self, existing: &Path, name: &Path) -> io::Result<()> {
        self.call(DiskCall::Make, |machine| machine.tree.link(existing, name))
    }

    fn symlink(&self, target: &Path, name: &Path) -> io::Result<()> {
        self.call(DiskCall::Make, |machine| machine.tree.symlink(target, name))
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.call(DiskCall::Look, |machine| machine.tree.read_link(path))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(DiskCall::Remove, |machine| machine.tree.remove_file(path))
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.call(DiskCall::Remove, |machine| machine.tree.remove_folder(folder))
    }

    fn chmod(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.call(DiskCall::Make, |machine| machine.tree.chmod(path, mode))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.call(DiskCall::SyncFolder, |machine| machine.tree.sync_folder(folder))
    }

    fn sync_file_system(&self, _folder: &Path) -> io::Result<()> {
        let answer = self.call(DiskCall::Sync, |machine| {
            machine.tree.sync_all();
            Ok(())
        });
        if answer.is_err() && self.has_power() {
            self.machine().tree.forget_unsynced_bytes();
        }
        answer
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        let inode = self.call(DiskCall::Lock, |machine| {
            let inode = machine.tree.open(path, Access::CreateOrKeep)?;
            Ok(machine.locked.insert(inode).then_some(inode))
        })?;
        Ok(inode.map(|inode| DiskLock::new(HeldLock { disk: self.clone(), inode })))
    }

    fn space(&self, _folder: &Path) -> io::Result<DiskSpace> {
        self.call(DiskCall::Look, |machine| {
            Ok(DiskSpace { total: machine.capacity, available: machine.room() })
        })
    }

    fn foreign(&self, folder: &Path) -> io::Result<Box<dyn ForeignFolder>> {
        let inode = self.call(DiskCall::Open, |machine| {
            let inode = machine.tree.resolve(folder)?;
            machine.tree.list_inode(inode).map(|_| inode)
        })?;
        Ok(Box::new(FaultyForeignFolder { disk: self.clone(), path: folder.to_owned(), inode }))
    }
}

struct HeldLock {
    disk: FaultyDisk,
    inode: InodeId,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.disk.machine().locked.remove(&self.inode);
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    inode: InodeId,
    access: Access,
}

impl FaultyFile {
    fn refuse_unless_writable(&self) -> io::Result<()> {
        match self.access {
            Access::Read => Err(io::ErrorKind::PermissionDenied.into()),
            Access::Write | Access::CreateNew | Access::CreateOrKeep | Access::Direct => Ok(()),
        }
    }

    fn refuse_unless_fit(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.access {
            Access::Direct if !is_whole_blocks(bytes, offset) => Err(io::ErrorKind::InvalidInput.into()),
            Access::Direct | Access::Read | Access::Write | Access::CreateNew | Access::CreateOrKeep => {
                Ok(())
            }
        }
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.refuse_unless_fit(buffer, offset)?;
        self.disk.call(DiskCall::Read, |machine| {
            // One read in eight is short, as any read may be.
            let wanted = match machine.entropy.number() % 8 {
                0 => buffer.len().div_ceil(2),
                _ => buffer.len(),
            };
            Ok(machine.tree.read(self.inode, &mut buffer[..wanted], offset))
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.refuse_unless_writable()?;
        self.refuse_unless_fit(bytes, offset)?;
        self.disk.call(DiskCall::Write, |machine| {
            let room = machine.room();
            machine.tree.write(self.inode, bytes, offset, room)
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.refuse_unless_writable()?;
        self.disk.call(DiskCall::Resize, |machine| {
            let room = machine.room();
            machine.tree.allocate(self.inode, len, room)
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.refuse_unless_writable()?;
        self.disk.call(DiskCall::Resize, |machine| {
            machine.tree.set_len(self.inode, len);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.call(DiskCall::Look, |machine| Ok(machine.tree.metadata(self.inode).len))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_inode(self.inode)
    }
}

#[cfg(test)]
mod tests;
