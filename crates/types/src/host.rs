//! What a host has to give.

use base::ByteSize;
use serde::{Deserialize, Serialize};

/// One GPU of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gpu {
    /// The vendor's unique id, by which it is assigned.
    pub uuid: String,
    /// Its type, as people name it ("NVIDIA L4").
    pub kind: String,
    /// Its memory.
    pub memory: ByteSize,
}

/// How workers of a host are kept apart from it and from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Own namespaces and a root of their own, made as root: a uid range for each worker.
    Privileged,
    /// Own namespaces and a root of their own, made without privileges: one uid.
    Unprivileged,
    /// None: workers see the host, and models through `HF_HUB_CACHE`. One tenant only; warned about in every listing.
    None,
}

/// What a host has in all, whoever uses it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCapacity {
    /// Processors that workers may use.
    pub cpu_count: u32,
    /// Memory of the machine.
    pub memory: ByteSize,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
    /// How many workers it may run at once.
    pub workers_max: u32,
    /// Bytes that models may take on its disk.
    pub cache_bytes_max: ByteSize,
    /// How it keeps workers apart.
    pub isolation: Isolation,
}
