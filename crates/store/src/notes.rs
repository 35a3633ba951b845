//! What is known of a model beside its record: how it came, how it is used, whether an operator keeps it.
//!
//! Pins and provenance are durable before a call returns. Uses are written when [`crate::Store::flush`] is called: a
//! process that ends before loses those since.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use base::{ByteSize, Disk, Timestamp, write_durably};
use scheduler::eviction::Uses;
use serde::{Deserialize, Serialize};
use types::ModelKey;

use crate::{
    DiskTrouble, KeepModelError, ModelNotHere, Supplier, layout::Layout, lines, partial::remove_if_there,
    store::Inner,
};

/// The format of notes that this version writes and reads.
const NOTES_FORMAT: u32 = 1;
/// Notes take about 1 kB; a source's address is at most a few.
const NOTES_BYTES_MAX: u64 = 1024 * 1024;

/// How a model came to this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// How.
    pub arrival: Arrival,
    /// When it was whole.
    pub arrived_at: Timestamp,
    /// Bytes that were brought for it; less than it has when some were here.
    pub bytes: ByteSize,
    /// Milliseconds that bringing them took.
    pub millis: u64,
    /// For whom it was brought, and through which hub.
    pub supplier: Supplier,
}

/// The way that a model came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// Over a network.
    Fetched {
        /// Where the hub answered.
        hub_endpoint: String,
        /// What each source gave, the hub and its mirrors by their names.
        sources: Vec<SourceShare>,
    },
    /// From a folder, as copies of our own.
    Imported {
        /// The folder.
        from: String,
    },
    /// From a folder whose files are ours too: others may still hold, or be able to change, the same bytes.
    Linked {
        /// The folder.
        from: String,
    },
}

/// What one source gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceShare {
    /// The source.
    pub source: String,
    /// Bytes that it gave.
    pub bytes: ByteSize,
    /// Bytes a second, while it was giving.
    pub bytes_per_second: u64,
}

impl Provenance {
    /// Returns bytes a second, when it took any time.
    pub fn rate_bytes_per_second(&self) -> Option<u64> {
        self.bytes.bytes().saturating_mul(1000).checked_div(self.millis)
    }
}

/// Keeps a model by an operator's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Since when.
    pub since: Timestamp,
    /// Whose word.
    pub by: PinnedBy,
}

/// Why a model counts as pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinnedBy {
    /// An operator pinned it.
    Operator,
    /// What was known of it can't be read any more, and may have held a pin.
    Doubt,
}

/// What kind of use is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A worker starts with it.
    Begins,
    /// A worker that had it still has it, or has just ended.
    Lasts,
}

/// What is known of a model beside its record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Notes {
    pub(crate) provenance: Option<Provenance>,
    pub(crate) uses: Option<Uses>,
    pub(crate) pin: Option<Pin>,
}

/// Notes as they stand on the disk.
#[derive(Serialize, Deserialize)]
struct NotesFile {
    format: u32,
    key: ModelKey,
    notes: Notes,
}

/// The notes on all models.
#[derive(Debug, Default)]
pub(crate) struct NotesTable {
    notes: BTreeMap<ModelKey, Notes>,
    /// Those that the disk does not have yet as they are here.
    unwritten: BTreeSet<ModelKey>,
}

impl NotesTable {
    pub(crate) fn get(&self, key: &ModelKey) -> Notes {
        self.notes.get(key).cloned().unwrap_or_default()
    }

    pub(crate) fn set(&mut self, key: &ModelKey, notes: Notes) {
        self.notes.insert(key.clone(), notes);
    }

    pub(crate) fn is_new(&self, key: &ModelKey) -> bool {
        !self.notes.contains_key(key)
    }

    /// Begins the notes on a model that came; its uses go on where they were when it left.
    pub(crate) fn arrived(&mut self, key: &ModelKey, before: Option<Uses>, now: Timestamp) {
        self.change(key, |notes| {
            notes.uses = Some(before.map_or_else(
                || Uses::first(now),
                |mut uses| {
                    uses.record(now);
                    uses
                },
            ));
        });
    }

    /// Takes the notes of a model that is gone.
    pub(crate) fn take(&mut self, key: &ModelKey) -> Notes {
        self.unwritten.remove(key);
        self.notes.remove(key).unwrap_or_default()
    }

    fn change(&mut self, key: &ModelKey, change: impl FnOnce(&mut Notes)) {
        change(self.notes.entry(key.clone()).or_default());
        self.unwritten.insert(key.clone());
    }
}

/// Reads the notes on a model that is on record. A file that can't be understood counts as a pin, the safe side.
pub(crate) fn read(disk: &Arc<dyn Disk>, layout: &Layout, key: &ModelKey, since: Timestamp) -> Notes {
    let path = layout.notes(key);
    let doubt = |reason: String| {
        tracing::warn!(model = %key, reason, "what is known of a model can't be read; it is kept until an operator says otherwise");
        Notes { pin: Some(Pin { since, by: PinnedBy::Doubt }), ..Notes::default() }
    };
    match disk.read(&path, NOTES_BYTES_MAX) {
        Ok(bytes) => match lines::decode::<NotesFile>(&bytes).next() {
            Some(file) if file.format == NOTES_FORMAT && file.key == *key => file.notes,
            Some(_) => doubt("it is of another format or model".to_owned()),
            None => doubt("it is damaged".to_owned()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Notes::default(),
        Err(error) => doubt(error.to_string()),
    }
}

impl Inner {
    /// Changes the notes on a model and makes them durable. When that fails they stay as they were.
    pub(crate) fn change_notes(
        &self,
        key: &ModelKey,
        change: impl FnOnce(&mut Notes),
    ) -> Result<(), KeepModelError> {
        let _publication = self.publication();
        if self.index().record(key).is_none() {
            return Err(ModelNotHere { key: key.clone() }.into());
        }
        let mut notes = self.notes().get(key);
        change(&mut notes);
        self.write_notes(key, &notes)?;
        let mut table = self.notes();
        // A use that was noted meanwhile stays.
        notes.uses = table.get(key).uses.or(notes.uses);
        table.set(key, notes);
        Ok(())
    }

    pub(crate) fn note_use(&self, key: &ModelKey, kind: Use) {
        let now = self.clock.now();
        // The index first: locks are taken in that order, and a model that is gone gets no notes.
        let index = self.index();
        if index.record(key).is_none() {
            return;
        }
        self.notes().change(key, |notes| match (&mut notes.uses, kind) {
            (Some(uses), Use::Begins) => uses.record(now),
            (Some(uses), Use::Lasts) => uses.prolong(now),
            (none @ None, Use::Begins | Use::Lasts) => *none = Some(Uses::first(now)),
        });
    }

    /// Writes the notes that the disk does not have yet. Those that can't be written are tried again next time.
    pub(crate) fn flush_notes(&self) -> Result<(), DiskTrouble> {
        let unwritten = std::mem::take(&mut self.notes().unwritten);
        let mut trouble = None;
        for key in unwritten {
            let _publication = self.publication();
            if self.index().record(&key).is_none() {
                continue;
            }
            let notes = self.notes().get(&key);
            if let Err(error) = self.write_notes(&key, &notes) {
                self.notes().unwritten.insert(key);
                trouble.get_or_insert(error);
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    fn write_notes(&self, key: &ModelKey, notes: &Notes) -> Result<(), DiskTrouble> {
        let file = NotesFile { format: NOTES_FORMAT, key: key.clone(), notes: notes.clone() };
        let path = self.layout.notes(key);
        let written = write_durably(&self.disk, &path, &lines::encode(&file));
        written.map_err(|error| DiskTrouble::new("writing", path, error))
    }

    /// Removes the notes on a model that is gone, and returns them. Those that stay on the disk go at the next open.
    pub(crate) fn take_notes(&self, key: &ModelKey) -> Notes {
        if let Err(error) = remove_if_there(&self.disk, &self.layout.notes(key)) {
            tracing::warn!(model = %key, %error, "the notes on a model that is gone stay until the next open");
        }
        self.notes().take(key)
    }
}
