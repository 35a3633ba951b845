//! What a host is asked at once, and what it answers.

use std::path::PathBuf;

use base::Timestamp;
use serde::{Deserialize, Serialize};
use types::{HubName, Manifest, ModelKey, TenantId, WorkerId};

use crate::manage::{ImportSummary, ModelPresence};

/// Something to find out or do at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Question {
    /// Reads every byte of a model again. With a repair, what is wrong is moved aside, so that it can be fetched again.
    VerifyModel {
        /// Which.
        key: ModelKey,
        /// What is done with damaged files.
        damaged: DamagedFiles,
    },
    /// What is known of a model that is or was there.
    WhyModel(ModelKey),
    /// Takes over a Hugging Face cache on the host.
    ImportCache(ImportOrder),
    /// Removes a model that nothing uses.
    RemoveModel(ModelKey),
    /// Where a model stands on the host.
    ModelPath(ModelKey),
    /// The last lines of a worker.
    Logs {
        /// The worker.
        worker: WorkerId,
        /// How many at most.
        tail: u32,
    },
    /// Whether workers can be given the Python environment in this folder of the host.
    InspectPython(PathBuf),
}

/// What came of a [`Question`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The model was read.
    Verified(VerifyReport),
    /// What is known of the model.
    Why(Box<ModelPresence>),
    /// The cache was taken over, or as much of it as could be.
    Imported(Box<ImportReport>),
    /// The model was removed; this many bytes are free again.
    Removed(u64),
    /// Where the model stands.
    Path(PathBuf),
    /// The lines, oldest first.
    Logs(Vec<LogLine>),
    /// Workers can be given the Python environment.
    PythonUsable,
}

/// What is done with the damaged files of a model that is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DamagedFiles {
    /// They are named.
    Report,
    /// They are moved aside.
    Quarantine,
}

/// A cache to take over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportOrder {
    /// The folder, as the host sees it.
    pub folder: PathBuf,
    /// The hub that its models came from.
    pub hub: HubName,
    /// Whether the operator trusts that hub.
    pub hub_trusted: bool,
    /// For whom.
    pub tenant: TenantId,
    /// How its bytes come.
    pub way: ImportWay,
}

/// How bytes of a cache come to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportWay {
    /// As files of their own.
    Copy,
    /// As further names of the same files.
    Link,
}

/// What came of an import.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ImportReport {
    /// The models that are there now, with the names that led to their commits.
    pub models: Vec<ImportedManifest>,
    /// What a person is shown.
    pub summary: ImportSummary,
}

/// A model that an import found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportedManifest {
    /// Its files.
    pub manifest: Manifest,
    /// Names of its commit in the cache, as `main`.
    pub refs: Vec<String>,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Paths whose bytes are wrong or missing.
    pub damaged: Vec<String>,
}

/// How far work that takes long is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkProgress {
    /// What it is at: a file's path, say.
    pub at: String,
    /// Files done.
    pub files_done: u64,
    /// Files in all.
    pub files_total: u64,
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}

/// Where a log line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// The worker's standard output.
    Stdout,
    /// The worker's standard error.
    Stderr,
    /// Larder, about the worker.
    System,
}

/// One line of a worker's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read.
    pub at: Timestamp,
    /// From where.
    pub stream: LogStream,
    /// The text, cut at the driver's limit.
    pub text: String,
}
