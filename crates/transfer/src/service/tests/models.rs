//! Models of made-up bytes, and a host to bring them to.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base::{
    Access, Backoff, ByteSize, Clock, Disk, DiskFile, DiskLock, DiskSpace, Entropy, FileMeta, FolderEntry,
    RealDisk, TaskScope,
};
use bytes::Bytes;
use sha2::Digest as _;
use store::{ExtentBytes, FileVerdict, HubStanding, Store, StoreOptions, Supplier};
use tokio_util::sync::CancellationToken;
use types::{Commit, Digest, Manifest, ManifestFile, ModelKey, RepoId, SelectionKey, TenantId};

use super::faulty::Files;
use crate::{FetchRequest, Source, Transfer, TransferOptions};

/// The smallest extents that the store takes.
pub(super) const EXTENT: u64 = 4096;

/// How a file is named by its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// By git's SHA-1.
    Git,
    /// By SHA-256.
    Large,
}

/// Makes a model of files with these paths and sizes. Files of one name, whatever their folder, hold the same bytes.
pub(super) fn model(files: &[(&str, u64, Kind)]) -> (Arc<Manifest>, Files) {
    let contents: Vec<(ManifestFile, Bytes)> = files
        .iter()
        .map(|(path, size, kind)| {
            let bytes = content(path.rsplit('/').next().unwrap(), *size);
            let digest = match kind {
                Kind::Large => Digest::Sha256(sha2::Sha256::digest(&bytes).into()),
                Kind::Git => {
                    let mut hash = sha1::Sha1::new();
                    hash.update(format!("blob {size}\0"));
                    hash.update(&bytes);
                    Digest::GitSha1(hash.finalize().into())
                }
            };
            (ManifestFile { path: path.parse().unwrap(), size: *size, digest }, bytes)
        })
        .collect();
    let entries: Vec<ManifestFile> = contents.iter().map(|(file, _)| file.clone()).collect();
    let selection =
        SelectionKey::from_bytes(sha2::Sha256::digest(Manifest::selection_input(&entries)).into());
    let repo = RepoId { hub: "test".parse().unwrap(), name: "acme/tiny".parse().unwrap() };
    let key = ModelKey { repo, commit: Commit::from_bytes([3; 20]), selection };
    let manifest = Manifest::new(key, entries, Default::default()).unwrap();
    let bytes = contents.into_iter().map(|(file, bytes)| (file.path, bytes)).collect();
    (Arc::new(manifest), Files(Arc::new(bytes)))
}

/// Makes bytes that differ from file to file and from extent to extent.
fn content(name: &str, size: u64) -> Bytes {
    let entropy = Entropy::seeded(
        name.bytes().fold(7, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte))),
    );
    let words = (0..size.div_ceil(8)).flat_map(|_| entropy.bytes::<8>());
    words.take(usize::try_from(size).unwrap()).collect()
}

pub(super) fn options() -> TransferOptions {
    TransferOptions {
        connections_max: 4,
        files_at_once: 2,
        memory_bytes_max: ByteSize(8 * EXTENT),
        range_bytes_max: ByteSize(4 * EXTENT),
        small_file_bytes_max: ByteSize(EXTENT / 2),
        batch_bytes_max: ByteSize(EXTENT),
        backoff: Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(4) },
        failures_max: 6,
        progress_bytes_min: ByteSize(50),
        stall_window: Duration::from_millis(200),
        ..TransferOptions::default()
    }
}

/// A store in a folder of its own with a running transfer.
pub(super) struct Host {
    pub(super) transfer: Transfer,
    pub(super) store: Store,
    scope: Option<TaskScope>,
    _folder: tempfile::TempDir,
}

impl Host {
    pub(super) fn start(options: TransferOptions, clock: Clock) -> Self {
        Self::start_on(Arc::new(TestDisk::roomy()), options, clock)
    }

    pub(super) fn start_on(disk: Arc<dyn Disk>, options: TransferOptions, clock: Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), disk);
        let (transfer, service) = Transfer::new(options, store.clone(), clock, Entropy::seeded(1));
        let mut scope = TaskScope::new(&CancellationToken::new());
        let token = scope.token();
        scope.spawn("transfer", service.run(token));
        Self { transfer, store, scope: Some(scope), _folder: folder }
    }

    pub(super) fn request(&self, manifest: &Arc<Manifest>, source: Arc<impl Source>) -> FetchRequest {
        request(manifest, source)
    }

    pub(super) async fn stop(mut self) {
        self.scope.take().unwrap().shutdown().await.unwrap();
    }

    /// Asserts that the model is here and every byte of it right.
    pub(super) fn assert_sound(&self, manifest: &Manifest) {
        let report = self.store.verify(manifest.key()).unwrap();
        let unsound: Vec<_> = report.files.iter().filter(|file| file.verdict != FileVerdict::Sound).collect();
        assert!(unsound.is_empty(), "{unsound:?}");
        assert_eq!(report.files.len(), manifest.files().len());
    }
}

pub(super) fn open(folder: &Path, disk: Arc<dyn Disk>) -> Store {
    let mut options = StoreOptions::at(folder.join("store"));
    options.extent_bytes = ExtentBytes::new(ByteSize(EXTENT)).unwrap();
    Store::open(disk, Clock::System, options).unwrap()
}

pub(super) fn request(manifest: &Arc<Manifest>, source: Arc<impl Source>) -> FetchRequest {
    let supplier = Supplier {
        hub: "test".parse().unwrap(),
        tenant: TenantId::default_tenant(),
        standing: HubStanding::Trusted,
    };
    let source: Arc<dyn Source> = source;
    FetchRequest::new(manifest.clone(), source, supplier)
}

/// The real disk, with another idea of its room, and without syncs: no test here loses power.
#[derive(Debug)]
pub(super) struct TestDisk {
    room: ByteSize,
    refuses_reservations: bool,
}

impl TestDisk {
    pub(super) fn roomy() -> Self {
        Self::with_room(ByteSize::mib(100))
    }

    pub(super) fn with_room(room: ByteSize) -> Self {
        Self { room, refuses_reservations: false }
    }

    /// Makes a disk that another program fills in the very moment in which room is reserved.
    pub(super) fn that_refuses_reservations() -> Self {
        Self { refuses_reservations: true, ..Self::roomy() }
    }
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let inner = RealDisk.open(path, access)?;
        Ok(Box::new(TestFile { inner, refuses_reservations: self.refuses_reservations }))
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMeta> {
        RealDisk.metadata(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<FolderEntry>> {
        RealDisk.list(folder)
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.make_folder(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn link(&self, existing: &Path, name: &Path) -> io::Result<()> {
        RealDisk.link(existing, name)
    }

    fn symlink(&self, target: &Path, name: &Path) -> io::Result<()> {
        RealDisk.symlink(target, name)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        RealDisk.read_link(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.remove_folder(folder)
    }

    fn chmod(&self, path: &Path, mode: u32) -> io::Result<()> {
        RealDisk.chmod(path, mode)
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_file_system(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        RealDisk.try_lock(path)
    }

    fn space(&self, _folder: &Path) -> io::Result<DiskSpace> {
        Ok(DiskSpace { total: self.room.0, available: self.room.0 })
    }
}

#[derive(Debug)]
struct TestFile {
    inner: Box<dyn DiskFile>,
    refuses_reservations: bool,
}

impl DiskFile for TestFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_all_at(bytes, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.refuses_reservations {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
