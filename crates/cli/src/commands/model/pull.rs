//! `larder model pull`: asks for a model, and watches until it is there.
//!
//! The fetch is the hosts'. The client may go and come again, and so may the server: each event tells the whole present.

use std::time::Duration;

use api::{ModelEnd, ModelEvent, ModelStatus, ModelView, PullModel};
use base::{Backoff, ByteSize};
use types::{ErrorCode, Fault};

use super::super::{
    choice,
    endpoint::{spec::parse_model, status_words},
    job::{interrupted, sleep},
};
use crate::{
    args::{OutputFormat, PullArgs},
    client::Client,
    failure::Failure,
    progress::FetchProgress,
    screen::Screen,
    surroundings::Surroundings,
    words,
};

/// Between tries to reach a server that went away: one that is restarted is back within seconds.
const REDIAL: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(5) };
/// Tries in a row after which a server counts as gone: about two minutes.
const REDIALS_MAX: u32 = 30;

/// Brings a model and shows how.
pub(super) async fn run(
    arguments: PullArgs,
    client: &Client,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let PullArgs { model, hf_token, hub_endpoint, selection, pin, detach, timeout, events } = arguments;
    parse_model(&model)?;
    let hub_token = hf_token.or_else(|| surroundings.hub_token.clone());
    let body = PullModel {
        reference: model.clone(),
        include: selection.include(),
        exclude: selection.exclude(),
        weights: selection.weights(),
        hub_token,
        hub_endpoint,
        pin,
    };
    let view = client.pull(&body).await?;
    if screen.format() == OutputFormat::Table && !events {
        choice::left_out(&model, &view.choice).iter().for_each(|line| screen.note(line));
    }
    if detach {
        return pulled(&view, screen);
    }
    let clock = screen.clock().clone();
    let mut watching = Watching { progress: FetchProgress::new(), events };
    // By its commit, so that it is this one also when another of the name is pulled meanwhile.
    let variant = view.reference.variant.as_ref().map_or_else(String::new, |variant| format!(":{variant}"));
    let reference = format!("{}!{}@{}{variant}", view.hub, view.repo, view.commit);
    let ended = tokio::select! {
        // Cancel-safe: the fetch goes on, and watching it changes nothing.
        ended = watching.until_end(&reference, client, screen) => ended?,
        // Cancel-safe: a signal stays delivered.
        () = interrupted() => {
            return Err(goes_on(format!("stopped waiting; the fetch of {model} goes on"), &model).into());
        }
        // Cancel-safe: it only waits.
        () = sleep(&clock, timeout) => {
            return Err(goes_on(format!("{model} is not there yet; its fetch goes on"), &model).into());
        }
    };
    drop(watching);
    let Some(end) = ended.end else { unreachable!("the last event has an end") };
    match end {
        ModelEnd::Ready if events => Ok(()),
        ModelEnd::Ready => pulled(&ended.model, screen),
        ModelEnd::Failed => Err(failed(ended.model, &model).into()),
        ModelEnd::Cancelled => {
            Err(Fault::new(ErrorCode::ModelNotFetching, format!("the fetch of {model} was called off"))
                .into())
        }
        ModelEnd::Absent => {
            Err(Fault::new(ErrorCode::ModelNotFound, format!("{model} was removed while it was fetched"))
                .into())
        }
    }
}

fn goes_on(message: String, model: &str) -> Fault {
    Fault::new(ErrorCode::Timeout, message).with_hint(format!(
        "run the same command again to watch it, or call it off with `larder model cancel {model}`"
    ))
}

fn failed(view: ModelView, model: &str) -> Fault {
    match view.status {
        ModelStatus::Failed { fault, retry_at: _ } => fault,
        ModelStatus::Absent | ModelStatus::Waiting | ModelStatus::Fetching(_) | ModelStatus::Ready => {
            Fault::new(ErrorCode::Internal, format!("the fetch of {model} failed without a reason"))
        }
    }
}

/// Somebody who watches a fetch.
pub(super) struct Watching {
    progress: FetchProgress,
    /// Whether events are printed rather than shown.
    events: bool,
}

impl Watching {
    /// Makes one that shows the fetch, and prints no events.
    pub(super) fn new() -> Self {
        Self { progress: FetchProgress::new(), events: false }
    }

    /// Watches until there is no more to see; a server that goes away is waited for.
    pub(super) async fn until_end(
        &mut self,
        reference: &str,
        client: &Client,
        screen: &mut Screen,
    ) -> Result<ModelEvent, Failure> {
        let mut failures = 0;
        loop {
            let fault = match self.follow(reference, client, screen, &mut failures).await {
                Ok(Some(event)) => return Ok(event),
                // The server ends its streams when it stops.
                Ok(None) => Fault::new(ErrorCode::ServerAway, "the server stopped telling"),
                Err(Failure::Fault(fault)) => fault,
                Err(failure @ Failure::OutputClosed) => return Err(failure),
            };
            let passes = matches!(fault.code, ErrorCode::ServerAway | ErrorCode::Unavailable);
            if !passes || failures == REDIALS_MAX {
                return Err(fault.into());
            }
            failures += 1;
            if failures > 1 && !self.events {
                self.progress.wait(screen, "the server is away; the fetch goes on");
            }
            screen.clock().clone().sleep(REDIAL.after(failures)).await;
        }
    }

    /// Shows one stream to its end. Returns its last event, when that is an end.
    async fn follow(
        &mut self,
        reference: &str,
        client: &Client,
        screen: &mut Screen,
        failures: &mut u32,
    ) -> Result<Option<ModelEvent>, Failure> {
        let mut events = client.model_events(reference).await?;
        while let Some(event) = events.next().await? {
            *failures = 0;
            if self.events {
                screen.json_line(&event)?;
            }
            if event.end.is_some() {
                return Ok(Some(event));
            }
            if !self.events {
                self.show(&event.model, screen);
            }
        }
        Ok(None)
    }

    fn show(&mut self, view: &ModelView, screen: &mut Screen) {
        let name = format!("{} at {}", view.repo, view.commit.short());
        match &view.status {
            ModelStatus::Absent | ModelStatus::Waiting => {
                self.progress.wait(screen, &format!("waiting for {name}"));
            }
            ModelStatus::Fetching(fetch) => self.progress.show(screen, &name, fetch),
            ModelStatus::Failed { fault, retry_at } => {
                let again = retry_at
                    .as_ref()
                    .map_or_else(String::new, |at| format!("; tried again {}", words::ago(at, screen.now())));
                self.progress.wait(screen, &format!("{name}: {} ({}){again}", fault.message, fault.code));
            }
            ModelStatus::Ready => {
                let coming = view.places.iter().filter(|place| !matches!(place.status, ModelStatus::Ready));
                match coming.count() {
                    0 => {}
                    count => {
                        self.progress.wait(screen, &format!("{name} is here; {count} more hosts bring it"));
                    }
                }
            }
        }
    }
}

fn pulled(view: &ModelView, screen: &mut Screen) -> Result<(), Failure> {
    match screen.format() {
        OutputFormat::Json => screen.json(view),
        OutputFormat::Table => screen.line(format!(
            "{} at {}: {}{} ({}{} files, {})",
            view.repo,
            view.commit,
            status_words(&view.status),
            if view.pinned { ", pinned" } else { "" },
            choice::words(&view.choice),
            view.files,
            ByteSize(view.bytes)
        )),
    }
}
