//! The record of a child in the data folder: which process it is, and what it was started with.
//!
//! Beside the record, `<role>.pid` holds the bare id, for people and their scripts; nothing here reads it.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use runtime::children::ProcessIdentity;
use serde::{Deserialize, Serialize};

/// What a later `up` must know to adopt a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChildRecord {
    /// Which process.
    pub(super) process: String,
    /// The version of the program that it runs.
    pub(super) version: String,
    /// What it was started with.
    pub(super) arguments: Vec<String>,
}

impl ChildRecord {
    /// Makes the record of a child of this program.
    pub(super) fn new(process: ProcessIdentity, arguments: &[OsString]) -> Self {
        let arguments = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        Self { process: process.to_string(), version: env!("CARGO_PKG_VERSION").to_owned(), arguments }
    }

    /// Reads a record. One that makes no sense is as good as none.
    pub(super) fn read(path: &Path) -> Option<(ProcessIdentity, Self)> {
        let record: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        Some((record.process.parse().ok()?, record))
    }

    /// Writes the record whole, then the bare id.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn write(&self, path: &Path, pid: u32) -> io::Result<()> {
        let fresh = path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec(self)?)?;
        fs::rename(fresh, path)?;
        fs::write(pid_file(path), format!("{pid}\n"))
    }

    /// Removes the record of a process that has ended. One that stays is harmless: its identity never comes again.
    pub(super) fn remove(path: &Path) {
        let _ = fs::remove_file(pid_file(path));
        let _ = fs::remove_file(path);
    }

    /// Returns whether a child of this record does what one started now would do.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.version == other.version && self.arguments == other.arguments
    }
}

fn pid_file(record: &Path) -> PathBuf {
    record.with_extension("pid")
}
