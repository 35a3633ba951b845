//! What an agent is made with: plain values, and the things of the outside world that it uses.

use std::{fmt, future::Future, io, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use base::{ByteSize, Clock, Disk, Entropy};
use runtime::{Driver, Egress};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};
use types::HostCapacity;

use crate::{PassThrough, RelayLimits, ScrubPace, SideSources};

/// How an agent is set up.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The agent's folder: store, spool, released folders, records of workers.
    pub data_dir: PathBuf,
    /// Where models come from beside their hubs.
    pub sources: SideSources,
    /// What the host has, as it is told to the server.
    pub capacity: HostCapacity,
    /// What workers may reach.
    pub egress: Egress,
    /// What becomes of what workers ask the hub for and the host does not have.
    pub pass_through: PassThrough,
    /// How the server is reached.
    pub connect: Arc<dyn Connect>,
    /// Limits; the defaults are fit for service.
    pub limits: AgentLimits,
}

/// The agent's limits.
#[derive(Clone, Copy, Debug)]
pub struct AgentLimits {
    /// The relay's.
    pub relay: RelayLimits,
    /// Bytes that the spool may hold. A host that is cut off for an hour with a result of a megabyte a second needs
    /// 3.6 GB; beyond it workers wait with their results.
    pub spool_bytes_max: ByteSize,
    /// A worker that is asked to end has this long. Docker's own default is 10 s; models take a while to let go.
    pub stop_grace: Duration,
    /// Models that are fetched at once. More would share one line and all finish late.
    pub fetches_max: usize,
    /// Bytes per second that models are fetched with, all together; `None` for as fast as it goes.
    pub fetch_rate_max: Option<ByteSize>,
    /// The largest released folder, unpacked.
    pub folder_bytes_max: ByteSize,
    /// Ended workers whose logs are kept. A log is 16 MiB at most, so that these fit beside one small model.
    pub ended_logs_max: usize,
    /// How long they are kept: as long as the server shows an ended worker.
    pub ended_logs_kept: Duration,
    /// Bytes of the store's disk that fetches leave free; `None` for what suits the size of the disk.
    pub disk_free_min: Option<ByteSize>,
    /// How bytes at rest are verified.
    pub scrub: ScrubPace,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            relay: RelayLimits::default(),
            spool_bytes_max: ByteSize(4_000_000_000),
            stop_grace: Duration::from_secs(15),
            fetches_max: 3,
            fetch_rate_max: None,
            folder_bytes_max: ByteSize(1_000_000_000),
            ended_logs_max: 100,
            ended_logs_kept: Duration::from_secs(3600),
            disk_free_min: None,
            scrub: ScrubPace::default(),
        }
    }
}

/// The outside world as an agent sees it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// Files of store and spool.
    pub disk: Arc<dyn Disk>,
    /// Workers.
    pub driver: Arc<dyn Driver>,
}

/// A connection to the server: any stream of bytes.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// What [`Connect::connect`] returns: a future on the heap, so that ways to dial can be chosen at run time.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Connection>>> + Send + 'a>>;

/// A way to reach the server.
pub trait Connect: Send + Sync + fmt::Debug {
    /// Dials.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Cancel safety
    /// Dropping the future gives the dialling up.
    fn connect(&self) -> Connecting<'_>;
}

/// Reaches a server on this machine by its socket file.
#[derive(Clone, Debug)]
pub struct UnixConnect {
    /// The socket file.
    pub path: PathBuf,
}

impl Connect for UnixConnect {
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            let stream = UnixStream::connect(&self.path).await?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }
}
