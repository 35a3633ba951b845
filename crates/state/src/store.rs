//! The state: opening it, committing to it, reading from it.
//!
//! Owns the writer's thread, which ends when the last clone of [`State`] is dropped, and a few connections that only
//! read, used on the blocking pool.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use base::{Access, Clock, Disk, DiskLock, Entropy, Redacted, Timestamp};
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};
use types::{Epoch, JobId, TenantId};

use crate::{
    ChunkRow, CommitError, DatabaseError, IntervalRow, JobPayload, KeyHash, Loaded, Mutation, OpenStateError,
    OutputRow, read, schema,
    seal::{SealKeyError, Sealer},
    write::{meta, set_meta},
    writer::{self, Request},
};

/// Connections that read. Reads are single rows, so two keep two processors busy.
const READERS: usize = 2;
/// A reader meets a lock only while the log is reset, which takes milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Two numbers.
const IDENTITY_BYTES_MAX: u64 = 1024;

/// How the state is opened.
#[derive(Clone, Debug)]
pub struct StateOptions {
    /// A folder of its own. Made, readable by its owner only, when it is missing.
    pub folder: PathBuf,
    /// The file calls for what stands beside the database.
    pub disk: Arc<dyn Disk>,
    /// The largest size of the database, in pages of 4 KiB; none means the disk's. For tests of a full disk.
    pub pages_max: Option<u32>,
}

/// The durable state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Taken out when dropped, so that the writer's queue ends.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<thread::JoinHandle<()>>,
    readers: Readers,
    sealer: Sealer,
    identity: Identity,
    _lock: DiskLock,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The connection that is closed last empties the log into the database, so that a plain copy of the file is
        // whole: that must be the writer's, as readers may not write.
        self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.requests = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes the state panicked");
        }
    }
}

#[derive(Debug)]
struct Readers {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

/// What stands beside the database to tell a restored one from the one that was here: a restored database knows an
/// older epoch than this file, or finds no such file.
#[derive(Debug)]
struct Identity {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    incarnation: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct IdentityRecord {
    incarnation: u64,
    epoch: u64,
}

impl State {
    /// Opens the state in a folder, making or migrating its database.
    ///
    /// # Errors
    /// [`OpenStateError`] by condition; [`OpenStateError::Locked`] when another process has it.
    pub fn open(options: &StateOptions, clock: &Clock, entropy: Entropy) -> Result<Self, OpenStateError> {
        let StateOptions { folder, disk, pages_max } = options;
        let disk_error = |source| OpenStateError::Disk { folder: folder.clone(), source };
        make_private_folder(disk, folder).map_err(disk_error)?;
        let lock = disk
            .try_lock(&folder.join("lock"))
            .map_err(disk_error)?
            .ok_or_else(|| OpenStateError::Locked { folder: folder.clone() })?;
        let path = folder.join("state.sqlite");
        make_private_file(disk, &path).map_err(disk_error)?;
        let (mut connection, version) = open_database(&path, *pages_max).map_err(OpenStateError::Database)?;
        if version > schema::VERSION {
            return Err(OpenStateError::Newer { found: version, known: schema::VERSION });
        }
        let sealer = open_sealer(disk, &folder.join("seal.key"), version, entropy)?;
        schema::migrate(&mut connection, version).map_err(OpenStateError::Database)?;
        let identity = open_identity(disk, &folder.join("identity.json"), &connection, clock)?;
        let readers = open_readers(&path).map_err(OpenStateError::Database)?;
        let (requests, queue) = mpsc::channel(writer::QUEUE_MAX);
        let writer = writer::start(connection, sealer.clone(), queue).map_err(disk_error)?;
        let inner =
            Inner { requests: Some(requests), writer: Some(writer), readers, sealer, identity, _lock: lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Begins the term of an owner: batches of earlier terms are refused from now on.
    ///
    /// # Errors
    /// [`DatabaseError`] when the new term could not be written.
    pub async fn begin_epoch(&self) -> Result<Epoch, DatabaseError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::BeginEpoch { answer }).await?;
        let epoch = answered.await.map_err(|_| DatabaseError::Closed)??;
        let inner = Arc::clone(&self.inner);
        let record = IdentityRecord { incarnation: inner.identity.incarnation, epoch: epoch.0 };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = inner.identity.write(record) {
                // Only the detection of a later restore is weaker: this term is written in the database.
                tracing::warn!(%error, "the file beside the database could not be written");
            }
        })
        .await
        .map_err(|_| DatabaseError::Closed)?;
        Ok(epoch)
    }

    /// Applies a batch, whole or not at all. It is durable when this returns `Ok`.
    ///
    /// # Errors
    /// [`CommitError::Superseded`] when a later term has begun; [`CommitError::Database`] when it was not written.
    ///
    /// # Cancel safety
    /// When the future is dropped the batch may still be applied, whole.
    pub async fn commit(&self, epoch: Epoch, mutations: Vec<Mutation>) -> Result<(), CommitError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Commit { epoch, mutations, answer }).await?;
        answered.await.map_err(|_| DatabaseError::Closed)?
    }

    /// Reads everything that the owner keeps in memory.
    ///
    /// # Errors
    /// [`DatabaseError`] when a row, or a secret, can't be read.
    pub async fn load(&self) -> Result<Loaded, DatabaseError> {
        self.read(read::load).await
    }

    /// Reads what a job brought.
    ///
    /// # Errors
    /// [`DatabaseError`] when it can't be read.
    pub async fn payload(&self, tenant: &TenantId, job: &JobId) -> Result<Option<JobPayload>, DatabaseError> {
        let (tenant, job) = (tenant.clone(), job.clone());
        self.read(move |connection, sealer| read::payload(connection, sealer, &tenant, &job)).await
    }

    /// Reads what a job ended with.
    ///
    /// # Errors
    /// [`DatabaseError`] when it can't be read.
    pub async fn output(&self, tenant: &TenantId, job: &JobId) -> Result<Option<OutputRow>, DatabaseError> {
        let (tenant, job) = (tenant.clone(), job.clone());
        self.read(move |connection, _| read::output(connection, &tenant, &job)).await
    }

    /// Reads chunks of a job from a position on, in order: at least one when there is one, and no more than
    /// `bytes_max` bytes beyond the first.
    ///
    /// # Errors
    /// [`DatabaseError`] when they can't be read.
    pub async fn chunks(
        &self,
        tenant: &TenantId,
        job: &JobId,
        from: u32,
        bytes_max: usize,
    ) -> Result<Vec<ChunkRow>, DatabaseError> {
        let (tenant, job) = (tenant.clone(), job.clone());
        self.read(move |connection, _| read::chunks(connection, &tenant, &job, from, bytes_max)).await
    }

    /// Reads the stretches of the ledger that overlap a window.
    ///
    /// # Errors
    /// [`DatabaseError`] when they can't be read.
    pub async fn intervals(
        &self,
        tenant: &TenantId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<IntervalRow>, DatabaseError> {
        let tenant = tenant.clone();
        self.read(move |connection, _| read::intervals(connection, &tenant, from, to)).await
    }

    /// Returns the hash by which an access key is looked up.
    pub fn hash_key(&self, text: &Redacted<String>) -> KeyHash {
        self.inner.sealer.hash_key(text)
    }

    async fn send(&self, request: Request) -> Result<(), DatabaseError> {
        let requests = self.inner.requests.as_ref().ok_or(DatabaseError::Closed)?;
        requests.send(request).await.map_err(|_| DatabaseError::Closed)
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Connection, &Sealer) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let inner = Arc::clone(&self.inner);
        let permits = Arc::clone(&self.inner.readers.permits);
        let permit = permits.acquire_owned().await.map_err(|_| DatabaseError::Closed)?;
        let idle = |inner: &Inner| inner.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = idle(&inner).ok_or(DatabaseError::Closed)?;
        tokio::task::spawn_blocking(move || {
            let result = read(&mut connection, &inner.sealer);
            inner.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            // Held until the connection is back, also when nobody waits for the result any more.
            drop(permit);
            result
        })
        .await
        .map_err(|_| DatabaseError::Closed)?
    }
}

impl Identity {
    fn write(&self, record: IdentityRecord) -> io::Result<()> {
        let text = serde_json::to_vec(&record).map_err(io::Error::other)?;
        base::write_privately(&self.disk, &self.path, &text)
    }
}

fn make_private_folder(disk: &Arc<dyn Disk>, folder: &Path) -> io::Result<()> {
    match disk.metadata(folder) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.make_folder(folder)?;
            disk.chmod(folder, 0o700)
        }
        Err(error) => Err(error),
    }
}

/// The engine gives its further files the permission bits of the database, so these are set before it opens it.
fn make_private_file(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<()> {
    drop(disk.open(path, Access::CreateOrKeep)?);
    disk.chmod(path, 0o600)
}

fn open_database(path: &Path, pages_max: Option<u32>) -> Result<(Connection, i64), DatabaseError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    if let Some(pages) = pages_max {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    connection.set_prepared_statement_cache_capacity(64);
    let version = schema::version_of(&connection)?;
    Ok((connection, version))
}

fn open_readers(path: &Path) -> Result<Readers, DatabaseError> {
    let mut idle = Vec::with_capacity(READERS);
    for _ in 0..READERS {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        idle.push(connection);
    }
    Ok(Readers { permits: Arc::new(Semaphore::new(READERS)), idle: Mutex::new(idle) })
}

fn open_sealer(
    disk: &Arc<dyn Disk>,
    path: &Path,
    version: i64,
    entropy: Entropy,
) -> Result<Sealer, OpenStateError> {
    let refuse = |reason: String| OpenStateError::SealKey { path: path.to_owned(), reason };
    // A database that has lived needs the key that it lived with: making another would only hide the loss.
    let missing = matches!(disk.metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound);
    if version > 0 && missing {
        return Err(refuse("the file is missing".to_owned()));
    }
    Sealer::open(disk, path, entropy).map_err(|error| match error {
        SealKeyError::Disk(error) => refuse(error.to_string()),
        SealKeyError::Damaged(reason) => refuse(reason.to_owned()),
    })
}

fn open_identity(
    disk: &Arc<dyn Disk>,
    path: &Path,
    connection: &Connection,
    clock: &Clock,
) -> Result<Identity, OpenStateError> {
    let here = disk
        .read(path, IDENTITY_BYTES_MAX)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<IdentityRecord>(&bytes).ok());
    let database = OpenStateError::Database;
    let (incarnation, epoch) =
        (meta(connection, "incarnation").map_err(database)?, meta(connection, "epoch").map_err(database)?);
    let lived_on = here.is_some_and(|here| here.incarnation == incarnation && here.epoch <= epoch);
    let identity = |incarnation| Identity { disk: Arc::clone(disk), path: path.to_owned(), incarnation };
    if lived_on && incarnation > 0 {
        return Ok(identity(incarnation));
    }
    // Seconds of the wall clock, so that a database begun anew is later than one that was deleted.
    let seconds = u64::try_from(clock.now().as_millis() / 1000).unwrap_or(0);
    let next = seconds.max(incarnation + 1).max(here.map_or(0, |here| here.incarnation) + 1);
    set_meta(connection, "incarnation", next).map_err(database)?;
    let identity = identity(next);
    identity
        .write(IdentityRecord { incarnation: next, epoch })
        .map_err(|source| OpenStateError::Disk { folder: path.to_owned(), source })?;
    Ok(identity)
}

#[cfg(test)]
mod tests;
