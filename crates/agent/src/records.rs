//! What is written of each worker, so that an agent that comes back knows it again: `workers/<worker>.json`, 0600.
//!
//! A record holds the worker's key for its relay, which opens nothing else but what the worker sees of models, and no
//! other secret. It is written
//! durably before the process starts, and again after changes: those later writes need not survive a power cut,
//! which no worker survives either.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
};

use base::{Access, Disk, EntryKind, Timestamp, write_privately};
use serde::{Deserialize, Serialize};
use store::ViewSpec;
use types::{HubAccess, ModelKey, Revision, StartMark, WorkerId};

use crate::{edge::EdgeRecord, host::AskedToEnd, relay::RelayRecord};

/// A record is a few kilobytes; one that is larger is not ours.
const RECORD_BYTES_MAX: u64 = 16 * 1024 * 1024;
const SUFFIX: &str = ".json";

/// What is written of one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerRecord {
    pub(crate) worker: WorkerId,
    pub(crate) relay: RelayRecord,
    /// What the hub edge answers it from; none where it does not.
    #[serde(default)]
    pub(crate) edge: Option<EdgeRecord>,
    pub(crate) views: Vec<ViewRecord>,
    pub(crate) marks: BTreeMap<StartMark, Timestamp>,
    pub(crate) hub_access: HubAccess,
    /// Whether it was asked to end.
    pub(crate) asked_to_end: AskedToEnd,
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
                    tracing::warn!(path = %path.display(), error, "a worker's record can't be read");
                }
            }
        }
        Ok(records)
    }

    /// Writes a record durably.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn save(&self, record: &WorkerRecord) -> io::Result<()> {
        write_privately(&self.disk, &self.path(&record.worker), &text(record))
    }

    /// Writes those records that changed since `written`, so that they outlive this process, not the machine: no
    /// sync, since this follows every job.
    ///
    /// # Errors
    /// The disk's; what was not written is tried again by the next call.
    pub(crate) fn refresh(
        &self,
        records: &[WorkerRecord],
        written: &mut BTreeMap<WorkerId, Vec<u8>>,
    ) -> io::Result<()> {
        written.retain(|worker, _| records.iter().any(|record| record.worker == *worker));
        for record in records {
            let text = text(record);
            if written.get(&record.worker) != Some(&text) {
                self.replace(&record.worker, &text)?;
                written.insert(record.worker.clone(), text);
            }
        }
        Ok(())
    }

    fn replace(&self, worker: &WorkerId, text: &[u8]) -> io::Result<()> {
        let path = self.path(worker);
        let fresh = path.with_extension("new");
        match self.disk.remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = self.disk.open(&fresh, Access::CreateNew)?;
        self.disk.chmod(&fresh, 0o600)?;
        file.write_all_at(text, 0)?;
        self.disk.rename(&fresh, &path)
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

fn text(record: &WorkerRecord) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record is text and numbers")
}
