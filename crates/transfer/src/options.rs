//! How much a transfer may use, and how patient it is.

use std::time::Duration;

use base::{Backoff, ByteSize};

/// Settings of a [`crate::Transfer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferOptions {
    /// Connections to sources, all fetches together. The public CDN gives about 40 MB/s to each: 32 fill 10 Gbit/s.
    pub connections_max: usize,
    /// Connections that a source is given at first; more follow as long as they bring more.
    pub connections_first: usize,
    /// Bytes a second from all sources together; `None` for as fast as it goes.
    pub rate_max: Option<ByteSize>,
    /// Files of one fetch that are written at once. More would only spread the same connections thinner.
    pub files_at_once: usize,
    /// Buffers of all fetches together. A half gathers what comes (each of 32 connections a piece of a MiB), the other
    /// keeps what came before its turn to be hashed. A process that fetches stays below 100 MB.
    pub memory_bytes_max: ByteSize,
    /// Fetches that run at once; more of them wait.
    pub fetches_at_once: usize,
    /// Fetches that may wait; one more is refused.
    pub fetches_waiting_max: usize,
    /// The longest range asked for at once. At 40 MB/s it takes 0.8 s, beside which a round trip is nothing.
    pub range_bytes_max: ByteSize,
    /// Files up to this size are kept in memory and published together.
    pub small_file_bytes_max: ByteSize,
    /// Small files published together, in bytes.
    pub batch_bytes_max: ByteSize,
    /// Small files published together, in files.
    pub batch_files_max: usize,
    /// The pace of tries of one range.
    pub backoff: Backoff,
    /// Failures of one range in a row after which the fetch fails. With the default pace that takes two minutes.
    pub failures_max: u32,
    /// Pauses that the source asked for in a row after which the fetch fails: an hour of the hub's 5-minute windows.
    pub pauses_max: u32,
    /// Failures are forgiven when this much has arrived among them. Also the least that must arrive in a stall window.
    pub progress_bytes_min: ByteSize,
    /// A connection that brings less than `progress_bytes_min` in this time is given up.
    pub stall_window: Duration,
}

impl Default for TransferOptions {
    fn default() -> Self {
        Self {
            connections_max: 32,
            connections_first: 4,
            rate_max: None,
            files_at_once: 4,
            memory_bytes_max: ByteSize::mib(64),
            fetches_at_once: 16,
            fetches_waiting_max: 256,
            range_bytes_max: ByteSize::mib(32),
            small_file_bytes_max: ByteSize::mib(1),
            batch_bytes_max: ByteSize::mib(16),
            batch_files_max: 1024,
            backoff: Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(30) },
            failures_max: 9,
            pauses_max: 12,
            progress_bytes_min: ByteSize::kib(64),
            stall_window: Duration::from_secs(30),
        }
    }
}
