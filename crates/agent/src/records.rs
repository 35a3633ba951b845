//! What is written of each worker, so that an agent that comes back knows it again: `workers/<worker>.json`, 0600.
//!
//! A record holds the worker's key for its relay, which opens nothing else, and no other secret. It is written
//! durably before the process starts, and again after changes: those later writes need not survive a power cut,
//! which no worker survives either.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
};

use base::{Disk, EntryKind, Timestamp, write_privately};
use serde::{Deserialize, Serialize};
use store::ViewSpec;
use types::{HubAccess, ModelKey, Revision, StartMark, WorkerId};

use crate::relay::RelayRecord;

/// A record is a few kilobytes; one that is larger is not ours.
const RECORD_BYTES_MAX: u64 = 16 * 1024 * 1024;
const SUFFIX: &str = ".json";

/// What is written of one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerRecord {
    pub(crate) worker: WorkerId,
    pub(crate) relay: RelayRecord,
    pub(crate) views: Vec<ViewRecord>,
    pub(crate) marks: BTreeMap<StartMark, Timestamp>,
    pub(crate) hub_access: HubAccess,
    /// Whether it was asked to end.
    pub(crate) stopping: bool,
}

/// A view that a worker sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ViewRecord {
    key: ModelKey,
    refs: BTreeSet<Revision>,
}

impl From<&ViewSpec> for ViewRecord {
    fn from(spec: &ViewSpec) -> Self {
        Self { key: spec.key.clone(), refs: spec.refs.clone() }
    }
}

impl From<ViewRecord> for ViewSpec {
    fn from(record: ViewRecord) -> Self {
        Self { key: record.key, refs: record.refs }
    }
}

/// The folder of the records.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl Records {
    /// Opens the folder, made when missing.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: PathBuf) -> io::Result<Self> {
        disk.make_folder(&folder)?;
        disk.chmod(&folder, 0o700)?;
        Ok(Self { disk, folder })
    }

    /// Reads all records. One that can't be read is left out: its worker is then unknown, and is ended.
    ///
    /// # Errors
    /// The disk's, for the folder itself.
    pub(crate) fn load(&self) -> io::Result<Vec<WorkerRecord>> {
        let mut records = Vec::new();
        for entry in self.disk.list(&self.folder)? {
            if entry.kind != EntryKind::File || !entry.name.ends_with(SUFFIX) {
                continue;
            }
            let path = self.folder.join(&entry.name);
            let read = self.disk.read(&path, RECORD_BYTES_MAX).map_err(|error| error.to_string());
            match read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string())) {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::warn!(path = %path.display(), error, "a worker's record can't be read")
                }
            }
        }
        Ok(records)
    }

    /// Writes a record.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn save(&self, record: &WorkerRecord) -> io::Result<()> {
        let text = serde_json::to_vec(record).expect("a record is text and numbers");
        write_privately(&self.disk, &self.path(&record.worker), &text)
    }

    /// Removes a record; a missing one is no error.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn remove(&self, worker: &WorkerId) -> io::Result<()> {
        match self.disk.remove_file(&self.path(worker)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn path(&self, worker: &WorkerId) -> PathBuf {
        self.folder.join(format!("{worker}{SUFFIX}"))
    }
}
