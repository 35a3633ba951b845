//! `larder up`: the server and the agent of this machine as two processes, kept running.
//!
//! ```text
//!   up ──starts, restarts──▶ server ◀──Unix socket── agent ──▶ shims ──▶ workers
//! ```
//!
//! Neither child is tied to `up`'s life. A new `up` finds them by the records in the data folder: it replaces the
//! server, whose state is on disk, and adopts the agent, whose workers run on. Asked to end, it ends the agent first,
//! which drains its workers, then the server. Asked again, the agent kills its workers.

mod keeper;
mod record;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use base::Clock;
use cli::{Client, Failure, GlobalArgs, Progress, SERVER_ADDRESS_FILE, Screen, Surroundings};
use tokio_util::sync::CancellationToken;
use types::{ErrorCode, Fault};

use crate::{
    config::ConfigFile,
    folders,
    grammar::{IsolationWish, UpArgs},
    logging,
    stop::StopSignals,
    surroundings,
};
use keeper::{Keeper, KeeperOptions};

/// What the line begins with that is written when everything runs.
pub(crate) const UP_LINE: &str = "larder is up at";

/// Held by the `up` that supervises this data folder.
const LOCK_FILE: &str = "up.lock";
/// Where the logs of both children are.
const LOG_FOLDER: &str = "logs";
/// Opening a state of some GB and joining take seconds; a machine under load takes longer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at whether the server is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The agent drains its workers within its own grace, which is 15 s; this is that and room to end.
const AGENT_GRACE: Duration = Duration::from_secs(30);
/// The server ends its requests and writes its last batch.
const SERVER_GRACE: Duration = Duration::from_secs(15);

/// Runs both roles until it is told to end.
pub(crate) async fn run(
    arguments: UpArgs,
    globals: &GlobalArgs,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    // Read here too, so that a mistake is told before anything starts.
    ConfigFile::read(arguments.config.as_deref())?.server(&arguments.listen)?;
    logging::start(None, surroundings::log_filter().as_deref().or(Some("warn")))?;
    let folder = surroundings.data_folder(globals)?;
    let _lock = take(&folder)?;
    let mut signals = StopSignals::listen()?;
    let [mut server, mut agent] = keepers(&arguments, &folder)?;
    let address = folder.join(SERVER_ADDRESS_FILE);
    let _ = fs::remove_file(&address);

    let mut progress = Progress::new();
    progress.step(screen, "starting");
    server.replace().await?;
    let ready = async {
        agent.adopt_or_start().await?;
        wait_ready(&mut server, &mut agent, globals, surroundings).await
    };
    let client = tokio::select! {
        // Cancel-safe: what has started by then is ended below.
        client = ready => client,
        // Cancel-safe: a signal stays delivered.
        () = signals.asked() => Err(Fault::new(ErrorCode::Unavailable, "told to end before it was ready")),
    };
    progress.clear();
    let ended = match client {
        Ok(client) => {
            greet(&client, globals, &folder, screen)?;
            // A port that the system chose is kept when the server is started again.
            server.set_option("--listen", client.server().authority());
            let stop = CancellationToken::new();
            tokio::join!(
                async {
                    signals.asked().await;
                    stop.cancel();
                },
                server.keep(&stop),
                agent.keep(&stop),
            );
            Ok(())
        }
        Err(fault) => Err(fault),
    };
    progress.step(screen, "stopping workers, agent and server");
    // A start that failed takes no worker away from whoever was there before.
    if ended.is_ok() || !agent.is_adopted() {
        agent.end(AGENT_GRACE, &mut signals).await;
    }
    server.end(SERVER_GRACE, &mut signals).await;
    progress.clear();
    let _ = fs::remove_file(&address);
    Ok(ended?)
}

/// Makes the data folder, for its owner only, and takes the lock on it.
fn take(folder: &Path) -> Result<File, Fault> {
    let unusable = |error: std::io::Error| {
        Fault::new(
            ErrorCode::DiskError,
            format!("the data folder {} can't be used: {error}", folder.display()),
        )
        .with_hint("name another with --data-dir")
    };
    folders::make_private(folder)?;
    folders::make_private(&folder.join(LOG_FOLDER))?;
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK_FILE));
    let lock = lock.map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => {
            let message = format!("another `larder up` uses {}", folder.display());
            Err(Fault::new(ErrorCode::StateLocked, message)
                .with_hint("end it first, or give another --data-dir"))
        }
        Err(fs::TryLockError::Error(error)) => Err(unusable(error)),
    }
}

fn keepers(arguments: &UpArgs, folder: &Path) -> Result<[Keeper; 2], Fault> {
    let program = surroundings::own_program()
        .map_err(|error| Fault::new(ErrorCode::Internal, format!("this program can't be found: {error}")))?;
    let mut shared = vec!["--data-dir".into(), folder.into()];
    if let Some(config) = &arguments.config {
        shared.extend(["--config".into(), config.into()]);
    }
    let keeper = |name: &'static str, own: Vec<std::ffi::OsString>| {
        let mut words = vec![name.into()];
        words.extend(shared.iter().cloned().chain(own));
        let log = folder.join(LOG_FOLDER).join(format!("{name}.log"));
        words.extend(["--log-file".into(), log.clone().into()]);
        let record = folder.join(format!("{name}.json"));
        let program = program.clone();
        Keeper::new(KeeperOptions { name, program, arguments: words, record, log }, Clock::System)
    };
    Ok([keeper("server", server_words(arguments)), keeper("agent", agent_words(arguments))])
}

fn server_words(arguments: &UpArgs) -> Vec<std::ffi::OsString> {
    let mut words: Vec<std::ffi::OsString> = Vec::new();
    if let Some(listen) = arguments.listen.listen {
        words.extend(["--listen".into(), listen.to_string().into()]);
    }
    if arguments.listen.insecure_http {
        words.push("--insecure-http".into());
    }
    if let Some(hub) = &arguments.listen.hub_endpoint {
        words.extend(["--hub-endpoint".into(), hub.as_str().into()]);
    }
    words
}

fn agent_words(arguments: &UpArgs) -> Vec<std::ffi::OsString> {
    let workers = arguments.workers;
    let mut words: Vec<std::ffi::OsString> = Vec::new();
    if workers.no_egress {
        words.push("--no-egress".into());
    }
    if workers.edge_pass_through {
        words.push("--edge-pass-through".into());
    }
    match workers.isolation {
        Some(IsolationWish::None) => words.extend(["--isolation".into(), "none".into()]),
        Some(IsolationWish::Namespaces) => words.extend(["--isolation".into(), "namespaces".into()]),
        None => {}
    }
    if let Some(count) = workers.host_workers_max {
        words.extend(["--host-workers-max".into(), count.to_string().into()]);
    }
    if let Some(size) = workers.cache_bytes_max {
        words.extend(["--cache-bytes-max".into(), size.bytes().to_string().into()]);
    }
    if let Some(size) = workers.fetch_rate_max {
        words.extend(["--fetch-rate-max".into(), size.bytes().to_string().into()]);
    }
    if let Some(size) = workers.disk_free_min {
        words.extend(["--disk-free-min".into(), size.bytes().to_string().into()]);
    }
    words
}

/// Waits until the server answers and the agent has joined it, and returns a client.
async fn wait_ready(
    server: &mut Keeper,
    agent: &mut Keeper,
    globals: &GlobalArgs,
    surroundings: &Surroundings,
) -> Result<Client, Fault> {
    let clock = Clock::System;
    let deadline = clock.now() + READY_TIMEOUT;
    let folder = surroundings.data_folder(globals)?;
    // The address and key of this very server, whatever the environment names.
    let here = GlobalArgs { server: None, key: None, ..globals.clone() };
    loop {
        if folder.join(SERVER_ADDRESS_FILE).exists() {
            let client = Client::new(surroundings.connection(&here)?)?;
            if matches!(client.hosts().await, Ok(list) if list.hosts.iter().any(|host| host.connected)) {
                return Ok(client);
            }
        }
        for keeper in [&mut *server, &mut *agent] {
            if let Some(fault) = keeper.ended_early().await {
                return Err(fault);
            }
        }
        if clock.now() >= deadline {
            let seconds = READY_TIMEOUT.as_secs();
            let message =
                format!("after {seconds} s the server does not answer, or the agent has not joined it");
            return Err(server.with_log(agent.with_log(Fault::new(ErrorCode::Unavailable, message))));
        }
        clock.sleep(LOOK_AGAIN).await;
    }
}

fn greet(client: &Client, globals: &GlobalArgs, folder: &Path, screen: &mut Screen) -> Result<(), Failure> {
    let address = client.server().as_str().trim_end_matches('/');
    let with_folder = match &globals.data_dir {
        Some(_) => format!(" --data-dir {}", PathBuf::from(folder).display()),
        None => String::new(),
    };
    screen.line(format!(
        "{UP_LINE} {address}; make an endpoint: larder{with_folder} endpoint create NAME --model ORG/NAME \
         --command \"python handler.py\""
    ))
}
