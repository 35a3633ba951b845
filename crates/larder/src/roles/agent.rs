//! The agent role: this host's models and workers.
//!
//! Told to end, it ends its workers first. Killed, it leaves them, and the next agent takes them over.

use std::{fs, path::Path, sync::Arc, thread};

use ::agent::{Agent, AgentHandle, AgentLimits, AgentOptions, PassThrough, UnixConnect};
use base::{ByteSize, Clock, Disk, Entropy, RealDisk, TaskScope};
use cli::{Failure, GlobalArgs};
use runtime::{Driver, Egress};
use tokio_util::sync::CancellationToken;
use types::{ErrorCode, Fault, HostCapacity, Isolation};

use crate::{
    config::{AgentConfig, ConfigFile},
    folders,
    grammar::AgentArgs,
    isolation, logging,
    stop::StopSignals,
    surroundings,
};

/// What a worker takes at least: Python with a small model. Only where no number of workers is given.
const WORKER_MEMORY: ByteSize = ByteSize::mib(512);
/// However much memory there is: one machine's process table is shared.
const WORKERS_MAX: u32 = 64;
/// Of the disk, so much stays free of models unless a size is given: a tenth, as file systems keep for root.
const DISK_PARTS_FREE: u64 = 10;

/// Works until it is told to end.
pub(crate) async fn run(
    arguments: AgentArgs,
    globals: &GlobalArgs,
    surroundings: &cli::Surroundings,
) -> Result<(), Failure> {
    logging::start(arguments.role.log_file.as_deref(), surroundings::log_filter().as_deref())?;
    let config = ConfigFile::read(arguments.role.config.as_deref())?.agent(arguments.workers);
    let folder = surroundings.data_folder(globals)?;
    let host_folder = folder.join(folders::HOST_FOLDER);
    folders::make_private(&folder)?;
    folders::make_private(&host_folder)?;
    let mut signals = StopSignals::listen()?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let driver = isolation::driver(config.isolation, &host_folder.join("run"), vec![folder.clone()])?;
    let isolation = driver.probe().await.map_err(|error| error.fault())?;
    let driver: Arc<dyn Driver> = Arc::new(driver);
    let options = AgentOptions {
        data_dir: host_folder.clone(),
        sources: agent::SideSources::new(config.sources.iter().cloned())?,
        capacity: capacity(&config, isolation, disk.as_ref(), &host_folder)?,
        egress: if config.egress { Egress::Shared } else { Egress::None },
        pass_through: if config.edge_pass_through { PassThrough::Allowed } else { PassThrough::Refused },
        connect: Arc::new(UnixConnect { path: folder.join(folders::LINK_SOCKET) }),
        limits: AgentLimits {
            fetch_rate_max: config.fetch_rate_max,
            disk_free_min: config.disk_free_min,
            ..AgentLimits::default()
        },
    };
    let outside = agent::Surroundings {
        clock: Clock::System,
        entropy: Entropy::System,
        disk,
        driver: Arc::clone(&driver),
    };
    let (agent, handle) = Agent::open(options, outside).await.map_err(|error| error.fault())?;
    tracing::info!(host = %handle.host(), ?isolation, version = env!("CARGO_PKG_VERSION"), "the agent works");

    let token = CancellationToken::new();
    let mut tasks = TaskScope::new(&token);
    tasks.spawn("agent", agent.run(tasks.token()));
    let failed = tokio::select! {
        // Cancel-safe: `join_next` loses no task.
        ended = tasks.join_next() => ended.and_then(Result::err),
        // Cancel-safe: a signal stays delivered.
        () = signals.asked() => {
            end_workers(&handle, driver.as_ref(), &mut signals).await;
            None
        }
    };
    let ended = tasks.shutdown().await;
    match failed.map_or(ended, Err) {
        Ok(()) => Ok(()),
        Err(error) => Err(Fault::from_error(ErrorCode::Internal, &error).into()),
    }
}

/// Ends the workers with grace; asked again, without.
async fn end_workers(handle: &AgentHandle, driver: &dyn Driver, signals: &mut StopSignals) {
    tracing::info!("told to end; ending the workers first");
    let mut stopping = std::pin::pin!(handle.stop_workers());
    tokio::select! {
        // Cancel-safe: it is pinned outside and goes on below.
        () = &mut stopping => return,
        // Cancel-safe: a signal stays delivered.
        () = signals.asked() => {}
    }
    tracing::info!("told again; killing the workers");
    let workers: Vec<_> =
        handle.observed().borrow().workers.iter().map(|worker| worker.worker.clone()).collect();
    for worker in workers {
        if let Err(error) = driver.kill(&worker).await {
            tracing::debug!(%worker, %error, "a worker was not there to be killed");
        }
    }
    stopping.await;
}

fn capacity(
    config: &AgentConfig,
    isolation: Isolation,
    disk: &dyn Disk,
    host_folder: &Path,
) -> Result<HostCapacity, Fault> {
    let unknown = |what: &str, error: std::io::Error| {
        Fault::new(ErrorCode::DiskError, format!("can't find out {what}: {error}"))
    };
    let memory = memory().map_err(|error| unknown("how much memory there is", error))?;
    let by_memory = u32::try_from(memory.bytes() / WORKER_MEMORY.bytes()).unwrap_or(u32::MAX);
    let cache_bytes_max = match config.cache_bytes_max {
        Some(given) => given,
        None => {
            let space = disk.space(host_folder).map_err(|error| unknown("how large the disk is", error))?;
            ByteSize(space.total - space.total / DISK_PARTS_FREE)
        }
    };
    Ok(HostCapacity {
        cpu_count: thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
        memory,
        // None can be found yet: docs/limits.md.
        gpus: Vec::new(),
        workers_max: config.workers_max.unwrap_or_else(|| by_memory.clamp(1, WORKERS_MAX)),
        cache_bytes_max,
        isolation,
    })
}

/// Reads the machine's memory (proc_meminfo(5)).
fn memory() -> std::io::Result<ByteSize> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map(ByteSize::kib).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}
