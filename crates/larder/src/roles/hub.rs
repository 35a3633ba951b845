//! `larder hub serve`: a folder in the Hub's protocol.

use std::convert::Infallible;

use base::{Clock, Entropy};
use cli::{Failure, Progress, Screen, Surroundings};
use hub_server::{AccessRules, HashProgress, HubHandle, HubServer, HubServerError, HubServerOptions};
use tokio_util::sync::CancellationToken;

use crate::{grammar::HubServeArgs, logging, stop::StopSignals, surroundings};

/// What the line begins with by which other programs learn the address.
pub(crate) const ADDRESS_LINE: &str = "HF_ENDPOINT=";

/// Serves until it is told to end.
pub(crate) async fn serve(
    arguments: HubServeArgs,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    logging::start(None, surroundings::log_filter().as_deref().or(Some("warn")))?;
    let access = match &arguments.access {
        Some(path) => AccessRules::read(&surroundings.folder.join(path)).map_err(|error| error.fault())?,
        None => AccessRules::default(),
    };
    let mut free_port = arguments.listen;
    free_port.set_port(0);
    let options = HubServerOptions {
        listen: arguments.listen,
        cdn_listen: arguments.cdn_listen.unwrap_or(free_port),
        access,
        rate_max: arguments.rate_max,
        ..HubServerOptions::new(surroundings.folder.join(&arguments.folder))
    };
    let fault = |error: HubServerError| error.fault();
    let server = HubServer::new(options, Clock::System, Entropy::System).await.map_err(fault)?;
    let handle = server.handle();
    screen.line(format!("{ADDRESS_LINE}{}", handle.endpoint()))?;
    for repo in handle.repos().await.map_err(fault)? {
        let branches: Vec<&str> = repo.branches.iter().map(types::Revision::as_str).collect();
        screen.note(format!("  {} ({})", repo.name, branches.join(", ")));
    }
    let mut signals = StopSignals::listen()?;
    let token = CancellationToken::new();
    let mut running = std::pin::pin!(server.run(token.clone()));
    tokio::select! {
        // Cancel-safe: it is pinned outside and goes on below.
        served = &mut running => return Ok(served.map_err(fault)?),
        // Cancel-safe: nothing is lost by hashing without showing it.
        never = show_hashing(&handle, screen) => match never {},
        // Cancel-safe: a signal stays delivered.
        () = signals.asked() => {}
    }
    token.cancel();
    tokio::select! {
        // Cancel-safe: the program ends after either arm.
        served = running => Ok(served.map_err(fault)?),
        // Cancel-safe: a signal stays delivered.
        () = signals.asked() => Ok(()),
    }
}

/// Shows how far the hashing of the folder is; requests for what is not hashed yet wait.
async fn show_hashing(handle: &HubHandle, screen: &mut Screen) -> Infallible {
    let mut hashing = handle.progress();
    let mut progress = Progress::new();
    loop {
        let HashProgress { bytes, bytes_done, finished, .. } = *hashing.borrow_and_update();
        if finished {
            break;
        }
        progress.bytes(screen, "hashing the models", bytes_done, bytes);
        if hashing.changed().await.is_err() {
            break;
        }
    }
    progress.clear();
    std::future::pending().await
}
