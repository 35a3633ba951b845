//! Endpoints: what an owner asks for, and the immutable releases made of it.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use base::{ByteSize, Redacted, Timestamp};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{Choice, Digest, EndpointId, ModelKey, ModelRef, ReleaseId, SecretRef, TenantId};

/// Words that stand at the place of an endpoint's name in public addresses.
const RESERVED: [&str; 9] = [
    "serverless",
    "templates",
    "billing",
    "catalog",
    "registries",
    "network-volumes",
    "account",
    "pods",
    "clusters",
];

/// A text that can't name an endpoint, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} can't name an endpoint: {reason}")]
pub struct EndpointNameError {
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The name of an endpoint, unique within its tenant: 3 to 63 lower-case letters, digits and dashes.
///
/// The rule is that of a DNS label (RFC 1035, section 2.3.1), because names also become host names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointName(Box<str>);

impl EndpointName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EndpointName {
    type Err = EndpointNameError;

    fn from_str(text: &str) -> Result<Self, EndpointNameError> {
        let refuse = |reason| Err(EndpointNameError { text: text.chars().take(100).collect(), reason });
        if !(3..=63).contains(&text.len()) {
            refuse("a name has 3 to 63 characters")
        } else if !text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        {
            refuse("a name holds only lower-case letters, digits and dashes")
        } else if !text.as_bytes()[0].is_ascii_lowercase() || text.ends_with('-') {
            refuse("a name begins with a letter and does not end with a dash")
        } else if RESERVED.contains(&text) {
            refuse("the word is part of the public addresses")
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl TryFrom<String> for EndpointName {
    type Error = EndpointNameError;

    fn try_from(text: String) -> Result<Self, EndpointNameError> {
        text.parse()
    }
}

impl From<EndpointName> for String {
    fn from(name: EndpointName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A program and its arguments. Invariant: not empty, no NUL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CommandLine(Vec<String>);

impl CommandLine {
    /// Returns the program and its arguments.
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for CommandLine {
    type Error = &'static str;

    fn try_from(words: Vec<String>) -> Result<Self, &'static str> {
        if words.first().is_none_or(String::is_empty) {
            Err("a command needs a program")
        } else if words.iter().any(|word| word.contains('\0')) {
            Err("a command holds no NUL")
        } else {
            Ok(Self(words))
        }
    }
}

impl From<CommandLine> for Vec<String> {
    fn from(command: CommandLine) -> Self {
        command.0
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// What a worker runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Launch {
    /// A command on the host, in namespaces of its own.
    Command {
        /// The program and its arguments.
        command: CommandLine,
        /// The released folder that it starts in, by the SHA-256 of its archive.
        folder: Option<Digest>,
        /// A Python virtual environment whose programs come first.
        python: Option<PathBuf>,
    },
    /// A container image.
    Image {
        /// Its name and tag, or digest.
        image: String,
    },
}

/// Whether a worker's libraries may ask the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HubAccess {
    /// `HF_ENDPOINT` is the agent's hub edge: the endpoint's models come from the shelf at their pinned commit, also
    /// while the hub is down; anything else is passed through to the hub with the worker's own token.
    Edge,
    /// Nothing is set: libraries do what they do.
    Online,
    /// `HF_HUB_OFFLINE=1`: libraries take what is in the view and ask nobody.
    Offline,
}

/// The GPUs of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuNeed {
    /// Types that will do, best first; empty means any.
    pub kinds: Vec<String>,
    /// How many; zero means none.
    pub count: u32,
}

/// What a worker may use of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLimits {
    /// Memory; the driver refuses more. None means the host's.
    pub memory: Option<ByteSize>,
    /// Processes and threads. None means the driver's default.
    pub pids: Option<u32>,
    /// Bytes that it may write to its working folder, home, `/tmp` and `hub/` together. None means the default.
    pub scratch: Option<ByteSize>,
}

/// One model of a release: what was asked, and what it was resolved to when the release was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseModel {
    /// As the owner wrote it.
    pub reference: ModelRef,
    /// What it was resolved to. The hub's own spelling of the name is in it.
    pub key: ModelKey,
    /// Which of its files, by whose word, and whether some are pickled.
    #[serde(default)]
    pub choice: Choice,
    /// The sum of its files.
    pub bytes: ByteSize,
    /// The secret that holds the token that proved the right to read it.
    pub token: Option<SecretRef>,
}

/// What a release fixes. Immutable: any change makes another release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSpec {
    /// What runs.
    pub launch: Launch,
    /// Environment of the worker, as the owner set it. Values may be secrets.
    pub env: BTreeMap<String, Redacted<String>>,
    /// Its models, in the owner's order: the first is `MODEL_NAME`.
    pub models: Vec<ReleaseModel>,
    /// Whether libraries may ask the hub.
    pub hub_access: HubAccess,
    /// The hub's address, when the endpoint names one of its own.
    pub hub_endpoint: Option<Url>,
    /// GPUs of a worker.
    pub gpu: GpuNeed,
    /// Limits of a worker.
    pub limits: WorkerLimits,
}

/// When further workers are started.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Scaler {
    /// When a job has waited longer than this.
    QueueDelay {
        /// The longest wait in queue.
        queue_delay: Duration,
    },
    /// Enough workers that each has at most this many jobs, queued or running.
    RequestCount {
        /// Jobs for one worker, 1 or more.
        request_count: u32,
    },
}

/// What applies at once, without a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Workers that always run.
    pub workers_min: u32,
    /// No more than this many.
    pub workers_max: u32,
    /// How long a worker stays warm without a job.
    pub idle_timeout: Duration,
    /// When further workers are started.
    pub scaler: Scaler,
    /// The longest that one attempt of a job may run.
    pub execution_timeout: Duration,
    /// How long after submission a job is forgotten.
    pub job_ttl: Duration,
    /// How long a started process may take to its first take. Fetching does not count.
    pub init_timeout: Duration,
}

impl Default for Scaling {
    /// The one table of defaults for all faces: Runpod's documented ones.
    fn default() -> Self {
        Self {
            workers_min: 0,
            workers_max: 3,
            idle_timeout: Duration::from_secs(5),
            scaler: Scaler::QueueDelay { queue_delay: Duration::from_secs(4) },
            execution_timeout: Duration::from_secs(600),
            job_ttl: Duration::from_secs(24 * 60 * 60),
            init_timeout: Duration::from_secs(7 * 60),
        }
    }
}

/// An immutable version of an endpoint's worker spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its identity.
    pub id: ReleaseId,
    /// Its number within the endpoint, from 1.
    pub version: u32,
    /// What it fixes.
    pub spec: WorkerSpec,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An endpoint with its present release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its identity.
    pub id: EndpointId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name, unique within the tenant.
    pub name: EndpointName,
    /// What applies without a release.
    pub scaling: Scaling,
    /// What its workers run.
    pub release: Release,
    /// When it was made.
    pub created_at: Timestamp,
}
