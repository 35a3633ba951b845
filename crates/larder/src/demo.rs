//! `larder demo`: a cold start with nothing anywhere, a cold start with the model on the shelf, and a warm request.
//!
//! It prepares (packages and weights into a cache folder, the only part that uses a network) and then runs: a hub of
//! its own, `larder up` on a temporary data folder, an endpoint, three requests. It uses the same programs and the
//! same API as everyone; nothing in it reaches around them.

mod act;
mod install;
mod prepare;
mod python;
mod report;
mod stage;

use cli::{Failure, Screen, Surroundings};
use types::{ErrorCode, Fault};

use crate::{
    grammar::{DemoArgs, IsolationWish},
    isolation,
    stop::StopSignals,
    surroundings,
};
use prepare::Network;
use stage::{Stage, StageOptions};

/// Prepares, runs, or both.
pub(crate) async fn run(
    arguments: DemoArgs,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut signals = StopSignals::listen()?;
    let isolation = arguments.isolation.unwrap_or_default();
    if !arguments.prepare_only {
        isolation::check(isolation).await?;
    }
    let network = if arguments.offline { Network::Forbidden } else { Network::Allowed };
    let cache = match surroundings::demo_cache() {
        Some(cache) => surroundings.folder.join(cache),
        None => surroundings.cache_folder()?.join("demo"),
    };
    let prepared = tokio::select! {
        // Cancel-safe: programs that it runs end when they are dropped, and what is half done is begun anew.
        prepared = prepare::prepare(&cache, network, screen) => prepared?,
        // Cancel-safe: a signal stays delivered.
        () = signals.asked() => return Err(interrupted().into()),
    };
    if let Some(models) = surroundings::demo_models() {
        prepare::copy_models(&prepared, &surroundings.folder.join(models))?;
    }
    if arguments.prepare_only {
        screen.line(format!(
            "prepared in {}; the rest needs no network: larder demo --offline",
            cache.display()
        ))?;
        return Ok(());
    }
    let mut stage = Stage::new(StageOptions { prepared, isolation })?;
    let played = tokio::select! {
        // Cancel-safe: what it started is ended with the stage.
        played = Box::pin(play(&mut stage, &arguments, screen)) => played,
        // Cancel-safe: a signal stays delivered.
        () = signals.asked() => Err(interrupted().into()),
    };
    if arguments.keep && played.is_ok() {
        signals.asked().await;
    }
    stage.close(screen).await;
    played
}

/// A demo that did not come to its end has not gone well, for whoever reads its exit code.
fn interrupted() -> Fault {
    Fault::new(ErrorCode::Unavailable, "told to end before it was through")
}

async fn play(stage: &mut Stage, arguments: &DemoArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = stage.open(screen).await?;
    let acts = act::play(&client, stage, screen).await.map_err(|fault: Fault| stage.with_logs(fault))?;
    report::write(&acts, screen)?;
    if arguments.isolation == Some(IsolationWish::None) {
        screen.warn("nothing kept the worker apart from this machine (--isolation none)");
    }
    if arguments.keep {
        report::write_next(stage, &client, screen)?;
    }
    Ok(())
}
