//! The service: opens the control plane, runs its owner, and loads everything again when a batch could not be written.

use std::{sync::Arc, time::Duration};

use base::{Clock, Entropy};
use state::State;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use types::{ErrorCode, Fault};

use crate::{
    ControlOptions, Handle, ModelResolver, OpenControlError,
    event::Event,
    handle::Shared,
    owner::{Ended, Owner},
};

/// Events that may wait: above it, agents and callers wait themselves.
const EVENTS_MAX: usize = 4096;
/// The pause before everything is loaded again. A full disk or a failing one is not better sooner.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// The control plane. Owns one task: the one that runs it.
pub struct Control {
    shared: Arc<Shared>,
    entropy: Entropy,
    events: mpsc::Receiver<Event>,
    owner: Option<Owner>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Control")
    }
}

impl Control {
    /// Loads everything. The first start makes a tenant, and an admin key in `admin.key` in the data folder.
    ///
    /// # Errors
    /// [`OpenControlError`] by condition.
    pub async fn open(
        options: ControlOptions,
        clock: Clock,
        entropy: Entropy,
        state: State,
        resolver: Arc<dyn ModelResolver>,
    ) -> Result<(Self, Handle), OpenControlError> {
        if options.hubs.is_empty() {
            return Err(OpenControlError::NoHub);
        }
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared::new(options, clock, entropy.clone(), state, resolver, sender));
        let owner = Owner::load(&shared, entropy.clone()).await?;
        let handle = Handle::new(Arc::clone(&shared));
        Ok((Self { shared, entropy, events, owner: Some(owner) }, handle))
    }

    /// Works until it is cancelled. What was gathered is written before it returns.
    pub async fn run(mut self, token: CancellationToken) {
        loop {
            if let Some(mut owner) = self.owner.take() {
                match owner.run(&mut self.events, &token).await {
                    Ended::Cancelled => return,
                    Ended::CommitFailed(error) => {
                        let fault = error.fault();
                        tracing::error!(%error, code = %fault.code, "the state could not be written; loading it again");
                        self.refuse_for_a_while(&fault, &token).await;
                    }
                }
            }
            if token.is_cancelled() {
                return;
            }
            match Owner::load(&self.shared, self.entropy.clone()).await {
                Ok(owner) => self.owner = Some(owner),
                Err(error) => {
                    let fault = error.fault();
                    tracing::error!(%error, code = %fault.code, "the state could not be loaded again");
                    self.refuse_for_a_while(&fault, &token).await;
                }
            }
        }
    }

    /// Answers callers with the reason, and lets agents go, until the pause is over.
    async fn refuse_for_a_while(&mut self, fault: &Fault, token: &CancellationToken) {
        let until = self.shared.clock.now() + RELOAD_PAUSE;
        loop {
            tokio::select! {
                // `recv` loses no event when it is dropped.
                event = self.events.recv() => match event {
                    Some(Event::Call(call)) => call(Err(fault.clone().into())),
                    Some(Event::Hello { sender, .. }) => sender.end(),
                    Some(Event::Said { .. } | Event::Gone { .. }) => {}
                    None => return,
                },
                // Nothing is lost: it only waits.
                () = self.shared.clock.sleep_until(until) => return,
                // A token stays cancelled.
                () = token.cancelled() => return,
            }
        }
    }
}

/// Returns what a caller is told when the control plane has ended.
pub(crate) fn gone() -> Fault {
    Fault::new(ErrorCode::Unavailable, "the control plane is stopping").with_hint("try again in a moment")
}
