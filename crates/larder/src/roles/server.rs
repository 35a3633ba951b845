//! The server role: the control plane, the public listener, and the socket that agents dial.
//!
//! It owns every task of both. On the way down clients are let go first, then agents, then the state.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use base::{Clock, Entropy, RealDisk, TaskScope};
use cli::{FOLDER_BYTES_MAX, Failure, GlobalArgs, SERVER_ADDRESS_FILE, Surroundings};
use control::{Control, ControlOptions, Handle, HubConfig, HubResolver};
use hub::HubOptions;
use state::{State, StateOptions};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use types::{ErrorCode, Fault};
use web::{ListenAddress, Listener, ServeOptions};

use crate::{
    config::{ConfigFile, ServerConfig},
    folders,
    grammar::ServerArgs,
    logging,
    stop::StopSignals,
    surroundings,
};

/// Links served at once. This server's socket is a file of this machine, whose agent dials once, and again while an
/// old link is still ending.
const LINKS_MAX: usize = 16;
/// A worker's long result and a client's long poll end within this; the rest is cut.
const GRACE: Duration = Duration::from_secs(5);
/// After an accept that failed for want of descriptors: long enough for one to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until it is told to end.
pub(crate) async fn run(
    arguments: ServerArgs,
    globals: &GlobalArgs,
    surroundings: &Surroundings,
) -> Result<(), Failure> {
    logging::start(arguments.role.log_file.as_deref(), surroundings::log_filter().as_deref())?;
    let config = ConfigFile::read(arguments.role.config.as_deref())?.server(&arguments.listen)?;
    let folder = surroundings.data_folder(globals)?;
    folders::make_private(&folder)?;
    let mut signals = StopSignals::listen()?;
    let listener = Listener::bind(&ListenAddress::Tcp(config.listen)).await.map_err(|error| error.fault())?;
    let links = ListenAddress::Unix(folder.join(folders::LINK_SOCKET));
    let links = Listener::bind(&links).await.map_err(|error| error.fault())?;
    let address = address_of(&listener, &config);
    let (clock, entropy) = (Clock::System, Entropy::System);
    let (control, handle) = open(&config, &folder, &address, &clock, &entropy).await?;

    let working = CancellationToken::new();
    let mut work = TaskScope::new(&working);
    work.spawn("control", control.run(work.token()));
    let facing = CancellationToken::new();
    let mut faces = TaskScope::new(&facing);
    faces.spawn("agent links", accept_links(links, handle.clone(), faces.token()));
    let router = ::server::router(handle, clock, entropy);
    let options = ServeOptions { name: "public", grace: GRACE, ..ServeOptions::default() };
    write_address(&folder.join(SERVER_ADDRESS_FILE), &address)?;
    tracing::info!(address, version = env!("CARGO_PKG_VERSION"), "the server listens");

    let mut serving = std::pin::pin!(web::serve(listener, router, options, facing.clone()));
    let served = tokio::select! {
        // Cancel-safe: it is pinned outside and goes on below.
        served = &mut serving => served,
        // Cancel-safe: a signal stays delivered.
        () = signals.asked() => {
            tracing::info!("told to end");
            facing.cancel();
            serving.await
        }
    };
    facing.cancel();
    let ended = [faces.shutdown().await, work.shutdown().await];
    for error in ended.into_iter().filter_map(Result::err) {
        tracing::error!(%error, "a task of the server ended in a panic");
    }
    tracing::info!("the server has ended");
    Ok(served.map_err(|error| error.fault())?)
}

async fn open(
    config: &ServerConfig,
    folder: &Path,
    address: &str,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<(Control, Handle), Fault> {
    let disk = Arc::new(RealDisk);
    let state = StateOptions { folder: folder.join("state"), disk: disk.clone(), pages_max: None };
    let (state_clock, state_entropy) = (clock.clone(), entropy.clone());
    let opened = tokio::task::spawn_blocking(move || State::open(&state, &state_clock, state_entropy)).await;
    let state = opened
        .map_err(|error| Fault::from_error(ErrorCode::Internal, &error))?
        .map_err(|error| error.fault())?;
    let hubs: Vec<HubConfig> = config
        .hubs
        .iter()
        .map(|hub| HubConfig { name: hub.name.clone(), endpoint: hub.endpoint.clone(), trusted: hub.trusted })
        .collect();
    let template = HubOptions::new(hubs[0].name.clone(), hubs[0].endpoint.clone());
    let resolver = Arc::new(HubResolver::new(template));
    let options = ControlOptions {
        public_url: address.to_owned(),
        folder_bytes_max: FOLDER_BYTES_MAX,
        ..ControlOptions::new(folder.to_owned(), disk, hubs)
    };
    Control::open(options, clock.clone(), entropy.clone(), state, resolver)
        .await
        .map_err(|error| error.fault())
}

/// Returns how clients reach the server, without a slash at the end.
fn address_of(listener: &Listener, config: &ServerConfig) -> String {
    let bound = match listener.address() {
        ListenAddress::Tcp(address) => address,
        ListenAddress::Unix(_) => config.listen,
    };
    match &config.public_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{}", reachable(bound)),
    }
}

/// An address that means every interface is reached on this machine by loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}

/// Tells `up` and the command line where the server is.
fn write_address(path: &Path, address: &str) -> Result<(), Fault> {
    let fresh = path.with_extension("new");
    let written = fs::write(&fresh, format!("{address}\n")).and_then(|()| fs::rename(&fresh, path));
    written
        .map_err(|error| Fault::new(ErrorCode::DiskError, format!("can't write {}: {error}", path.display())))
}

/// Serves agents until the token is cancelled.
async fn accept_links(listener: Listener, control: Handle, token: CancellationToken) {
    let Listener::Unix(socket) = listener else { unreachable!("it was bound to a file") };
    let mut links = TaskScope::new(&token);
    loop {
        tokio::select! {
            // Cancel-safe: a token stays cancelled.
            () = token.cancelled() => break,
            // Cancel-safe: `join_next` loses no task.
            Some(ended) = links.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a link ended in a panic");
                }
            }
            // Cancel-safe: a connection is taken in the last await only.
            accepted = socket.accept(), if links.len() < LINKS_MAX => match accepted {
                Ok((stream, _)) => {
                    let (control, ended) = (control.clone(), links.token());
                    links.spawn("agent link", serve_link(control, stream, ended));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a link");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    if let Err(error) = links.shutdown().await {
        tracing::error!(%error, "a link ended in a panic");
    }
}

async fn serve_link(control: Handle, stream: UnixStream, token: CancellationToken) {
    tokio::select! {
        // Cancel-safe: the link ends, and the agent dials anew.
        ended = control.attach_agent(stream) => match ended {
            Ok(()) => tracing::debug!("a link ended"),
            Err(error) => tracing::info!(error = &error as &dyn std::error::Error, "a link broke"),
        },
        // Cancel-safe: a token stays cancelled.
        () = token.cancelled() => {}
    }
}
