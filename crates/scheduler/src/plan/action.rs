//! What a plan asks to be done, as data and as lines that an operator can read.

use std::fmt;

use base::{ByteSize, Timestamp};
use serde::Serialize;
use types::{EndpointId, Fault, HostId, ModelKey, ReleaseId, WorkerId};

use crate::{fetch::Source, worker::StopReason};

/// How a new or moved worker begins on its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "start", rename_all = "snake_case")]
pub enum Start {
    /// At once: everything is there ([`crate::Worker::launching`]).
    AtOnce {
        /// The GPUs that it gets, by the vendor's ids.
        gpus: Vec<String>,
    },
    /// When its models are there ([`crate::Worker::held`]).
    Held {
        /// Bytes still to come.
        missing: ByteSize,
    },
    /// When there is room ([`crate::Worker::throttled`]).
    Throttled,
}

/// One thing to do. Repeating one that was done is harmless; a plan does not ask for it again once it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Make a model present on a host, and keep it while workers there need it.
    PlaceModel {
        /// Where.
        host: HostId,
        /// What.
        model: ModelKey,
        /// The sum of its files.
        total: ByteSize,
        /// Bytes still to come; zero when it only has to be kept.
        missing: ByteSize,
        /// Where they come from.
        source: Source,
        /// The endpoint whose right to read the model is used.
        endpoint: EndpointId,
    },
    /// Fetch again what failed before: its pause is over.
    RetryFetch {
        /// Where.
        host: HostId,
        /// What.
        model: ModelKey,
    },
    /// No worker on the host needs the model any more: it stays only as long as its room is not wanted.
    DropModel {
        /// Where.
        host: HostId,
        /// What.
        model: ModelKey,
    },
    /// Make a worker. The caller chooses its id.
    StartWorker {
        /// For which endpoint.
        endpoint: EndpointId,
        /// Of which release.
        release: ReleaseId,
        /// Where.
        host: HostId,
        /// How it begins.
        start: Start,
    },
    /// All models of a held start are there ([`crate::WorkerEvent::ModelReady`]).
    ModelsArrived {
        /// Which start.
        worker: WorkerId,
        /// Where.
        host: HostId,
    },
    /// Let a held start go ([`crate::WorkerEvent::Released`]).
    ReleaseHold {
        /// Which start.
        worker: WorkerId,
        /// Where.
        host: HostId,
        /// The GPUs that it gets.
        gpus: Vec<String>,
    },
    /// Hold a start on another host, or again on its own ([`crate::WorkerEvent::Moved`]). It keeps its age.
    MoveHold {
        /// Which start.
        worker: WorkerId,
        /// Where it was held.
        from: HostId,
        /// Where it is held now.
        to: HostId,
        /// Bytes still to come there.
        missing: ByteSize,
    },
    /// End a worker that has no job ([`crate::WorkerEvent::StopRequested`]).
    StopWorker {
        /// Which.
        worker: WorkerId,
        /// Where.
        host: HostId,
        /// Why.
        reason: StopReason,
    },
    /// End a worker when it has done its jobs ([`crate::WorkerEvent::StopRequested`]).
    DrainWorker {
        /// Which.
        worker: WorkerId,
        /// Where.
        host: HostId,
        /// Why.
        reason: StopReason,
    },
    /// End a worker that took too long to ask for work ([`crate::WorkerEvent::InitTimeout`]).
    MarkUnhealthy {
        /// Which.
        worker: WorkerId,
        /// Where.
        host: HostId,
    },
    /// Give up a worker whose host is away for too long ([`crate::WorkerEvent::HostLost`]).
    MarkLost {
        /// Which.
        worker: WorkerId,
        /// Where.
        host: HostId,
        /// When the host was last heard of.
        last_seen: Timestamp,
    },
    /// Remove an ended worker from the fleet.
    ForgetWorker {
        /// Which.
        worker: WorkerId,
        /// What went wrong, if something did.
        fault: Option<Fault>,
    },
    /// Remove a deleted endpoint from the fleet: its last worker has gone.
    ForgetEndpoint {
        /// Which.
        endpoint: EndpointId,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlaceModel { host, model, missing: ByteSize(0), .. } => write!(f, "keep {model} on {host}"),
            Self::PlaceModel { host, model, missing, source: Source::Hub, endpoint, .. } => {
                write!(f, "fetch {model} to {host} from its hub, {missing} missing, for {endpoint}")
            }
            Self::RetryFetch { host, model } => write!(f, "fetch {model} to {host} again"),
            Self::DropModel { host, model } => write!(f, "let {model} go on {host}"),
            Self::StartWorker { endpoint, release, host, start } => {
                write!(f, "start a worker of {endpoint} ({release}) on {host}, ")?;
                match start {
                    Start::AtOnce { gpus } if gpus.is_empty() => f.write_str("at once"),
                    Start::AtOnce { gpus } => write!(f, "at once, with {}", gpus.join(", ")),
                    Start::Held { missing } => write!(f, "held for {missing}"),
                    Start::Throttled => f.write_str("held for room"),
                }
            }
            Self::ModelsArrived { worker, host } => {
                write!(f, "note that the models of {worker} are on {host}")
            }
            Self::ReleaseHold { worker, host, gpus } if gpus.is_empty() => {
                write!(f, "let {worker} start on {host}")
            }
            Self::ReleaseHold { worker, host, gpus } => {
                write!(f, "let {worker} start on {host}, with {}", gpus.join(", "))
            }
            Self::MoveHold { worker, from, to, missing } if from == to => {
                write!(f, "hold {worker} on {to} again for {missing}")
            }
            Self::MoveHold { worker, from, to, missing } => {
                write!(f, "move the held start {worker} from {from} to {to}, {missing} missing")
            }
            Self::StopWorker { worker, host, reason } => {
                write!(f, "stop {worker} on {host}: {}", reason.as_str())
            }
            Self::DrainWorker { worker, host, reason } => {
                write!(f, "drain {worker} on {host}: {}", reason.as_str())
            }
            Self::MarkUnhealthy { worker, host } => {
                write!(f, "end {worker} on {host}: it took too long to become ready")
            }
            Self::MarkLost { worker, host, .. } => write!(f, "give up {worker}: {host} is lost"),
            Self::ForgetEndpoint { endpoint } => write!(f, "forget {endpoint}"),
            Self::ForgetWorker { worker, fault: None } => write!(f, "forget {worker}"),
            Self::ForgetWorker { worker, fault: Some(fault) } => {
                write!(f, "forget {worker}, unhealthy: {fault}")
            }
        }
    }
}
