//! What left the store, when and why: a bounded log, so that `model why` answers for models that are gone.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::{Access, ByteSize, Disk, DiskFile, Timestamp, write_durably};
use scheduler::eviction::Uses;
use serde::{Deserialize, Serialize};
use types::ModelKey;

use crate::{Provenance, lines};

/// About 1,500 departures of 700 bytes: a shelf of a hundred models that turns over fifteen times.
const LOG_BYTES_MAX: u64 = 1024 * 1024;
/// What is read at open: a log that grew past its limit because it could not be written anew is still understood.
const READ_BYTES_MAX: u64 = 64 * LOG_BYTES_MAX;

/// A model that left the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Departure {
    /// The model.
    pub key: ModelKey,
    /// When it left.
    pub at: Timestamp,
    /// Why.
    pub cause: DepartureCause,
    /// The bytes of its files.
    pub bytes: ByteSize,
    /// Bytes that the disk had free again.
    pub freed: ByteSize,
    /// Bytes that something else still holds.
    pub held: ByteSize,
    /// Since when it had been whole.
    pub since: Timestamp,
    /// How it had come.
    pub provenance: Option<Provenance>,
    /// How it was used.
    pub uses: Option<Uses>,
}

/// Why a model left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DepartureCause {
    /// Somebody removed it.
    Removed,
    /// It was evicted.
    Evicted {
        /// For what.
        reason: EvictionReason,
        /// What the policy thought of it, in words.
        score: String,
    },
}

/// What an eviction is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvictionReason {
    /// This model needed the room.
    RoomFor(ModelKey),
    /// The store stood above its high mark.
    AboveMark,
}

/// The open log.
#[derive(Debug)]
pub(crate) struct History {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    end: u64,
    entries: VecDeque<Departure>,
}

impl History {
    /// Reads the log, and writes it anew when it is torn or too long. On a full disk the old one goes on as it is.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<Self> {
        let found = match disk.read(path, READ_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                tracing::warn!(%error, "the history of the store is too long and begun anew");
                disk.remove_file(path)?;
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let entries: VecDeque<Departure> = lines::decode(&found).collect();
        let is_whole = encode_all(&entries) == found;
        let end = found.len() as u64;
        let file = disk.open(path, Access::CreateOrKeep)?;
        // Whoever wrote it may have been killed before its lines were durable, and they are shown from now on.
        file.sync()?;
        let mut history = Self { disk: Arc::clone(disk), path: path.to_owned(), file, end, entries };
        if !is_whole || end > LOG_BYTES_MAX {
            match history.shorten() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    tracing::warn!(%error, "the history of the store can't be written anew and goes on as it is");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(history)
    }

    /// Returns what left, the latest last.
    pub(crate) const fn entries(&self) -> &VecDeque<Departure> {
        &self.entries
    }

    /// Returns the last departure of a model.
    pub(crate) fn last(&self, key: &ModelKey) -> Option<&Departure> {
        self.entries.iter().rev().find(|entry| entry.key == *key)
    }

    /// Notes a departure. It is known to this process also when the disk does not take it.
    pub(crate) fn append(&mut self, entry: Departure) -> io::Result<()> {
        // What stands before may be torn: a line of its own begins behind a line break.
        let line = [b"\n".to_vec(), lines::encode(&entry)].concat();
        self.entries.push_back(entry);
        if self.end + line.len() as u64 > LOG_BYTES_MAX {
            return self.shorten();
        }
        self.file.write_all_at(&line, self.end)?;
        self.file.sync()?;
        self.end += line.len() as u64;
        Ok(())
    }

    /// Writes the log anew: all of it, or its newer half when it is too long.
    fn shorten(&mut self) -> io::Result<()> {
        let mut bytes = encode_all(&self.entries);
        if bytes.len() as u64 > LOG_BYTES_MAX {
            self.entries.drain(..self.entries.len() / 2);
            bytes = encode_all(&self.entries);
        }
        write_durably(&self.disk, &self.path, &bytes)?;
        self.file = self.disk.open(&self.path, Access::Write)?;
        self.end = bytes.len() as u64;
        Ok(())
    }
}

fn encode_all(entries: &VecDeque<Departure>) -> Vec<u8> {
    entries.iter().flat_map(lines::encode).collect()
}

#[cfg(test)]
mod tests;
