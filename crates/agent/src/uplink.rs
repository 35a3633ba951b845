//! The agent's end of the link: dials, introduces itself, and keeps both directions going until the link breaks.
//!
//! ```text
//! dial ─▶ Hello ─▶ Welcome ─▶ what is held ─▶ Observed ─▶ session: both directions, Observed after changes
//!   ▲        │         │                                     │
//!   └────────┴─ wait ──┴──────────── broken, refused ◀───────┘
//! ```
//!
//! It owns no state of jobs (the [`Outbox`]'s) and takes no decision. One task: [`Uplink::run`].

use std::{io, sync::Arc, time::Duration};

use api::{
    AgentMessage, Desired, FolderPart, Hello, LinkError, LinkReader, LinkWriter, Observed, PROTOCOL,
    Question, ServerMessage, Welcome, split,
};
use base::{Backoff, Clock, Entropy, Redacted, Timestamp};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use types::{Fault, HostCapacity, HostId, SecretRef};

use crate::{
    options::{Connect, Connection},
    outbox::{Outbox, Outgoing},
    relay::Relay,
};

/// Between tries to reach the server. A server that restarts is back within seconds, and nobody else dials.
const REDIAL: Backoff = Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(5) };
/// A server that is there answers within milliseconds; one that loads a large state takes seconds.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that takes nothing for this long is gone: with heartbeats of seconds, something always waits.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Changes are gathered for this long, so that a burst is one report.
const GATHER: Duration = Duration::from_millis(5);
/// Messages in one write.
const BATCH_MAX: usize = 64;
/// Heartbeats outside these bounds are a server's mistake.
const HEARTBEAT_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// What the server said that is not about jobs.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// What should be.
    Desired(Box<Desired>),
    /// Values of secrets.
    Secrets(BTreeMap<SecretRef, Redacted<String>>),
    /// Something to find out or do.
    Question { id: u64, question: Question },
    /// A part of a folder.
    Folder(FolderPart),
}

/// Whether the server is reachable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkStatus {
    /// Not dialled yet.
    Starting,
    /// It is.
    Connected {
        /// Since when.
        since: Timestamp,
    },
    /// It is not.
    Away {
        /// Since when.
        since: Timestamp,
        /// Why, in words.
        reason: String,
    },
}

/// The agent's end of the link.
#[derive(Debug)]
pub(crate) struct Uplink {
    pub(crate) host: HostId,
    pub(crate) capacity: HostCapacity,
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) relay: Relay,
    pub(crate) inbound: mpsc::Sender<Inbound>,
    pub(crate) observed: watch::Receiver<Arc<Observed>>,
    pub(crate) status: watch::Sender<LinkStatus>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("the server could not be dialled")]
    Dial(#[source] io::Error),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the server closed the link")]
    Closed,
    #[error("the server did not answer within {} s", after.as_secs())]
    Silent { after: Duration },
    #[error("the server refuses this agent: {0}")]
    Refused(Fault),
    #[error("the server said {0} before its welcome")]
    Impolite(&'static str),
    #[error("the agent is stopping")]
    Stopping,
}

type Reader = LinkReader<Box<dyn Connection>, ServerMessage>;
type Writer = LinkWriter<Box<dyn Connection>, Outgoing>;

impl Uplink {
    /// Keeps the link up until cancelled.
    pub(crate) async fn run(mut self, token: CancellationToken) {
        let mut failures = 0;
        while !token.is_cancelled() {
            let ended = tokio::select! {
                // Cancel-safe: a token stays cancelled. A session that is dropped closes its link.
                () = token.cancelled() => Err(SessionError::Stopping),
                ended = self.session(&mut failures) => ended,
            };
            self.outbox.end();
            let reason = match ended {
                Ok(()) | Err(SessionError::Stopping) => return,
                Err(error) => self.lost(&error, failures),
            };
            let since = match &*self.status.borrow() {
                LinkStatus::Away { since, .. } => *since,
                LinkStatus::Starting | LinkStatus::Connected { .. } => self.clock.now(),
            };
            self.status.send_replace(LinkStatus::Away { since, reason });
            failures += 1;
            let wait = REDIAL.after_with_jitter(failures, self.entropy.number());
            tokio::select! {
                // Cancel-safe: waiting loses nothing.
                () = token.cancelled() => return,
                () = self.clock.sleep(wait) => {}
            }
        }
    }

    fn lost(&self, error: &SessionError, failures: u32) -> String {
        let fault = Fault::from_error(types::ErrorCode::ServerAway, error);
        match error {
            SessionError::Refused(refusal) => {
                tracing::error!(%refusal, hint = refusal.hint, "the server refuses this agent");
            }
            // Once per outage: what follows are repeats of the same.
            _ if failures == 0 => tracing::warn!(reason = %fault, "the server is away; results are kept"),
            _ => tracing::debug!(reason = %fault, "the server is still away"),
        }
        fault.message
    }

    async fn session(&mut self, failures: &mut u32) -> Result<(), SessionError> {
        let connection = self.connect.connect().await.map_err(SessionError::Dial)?;
        let (mut reader, mut writer): (Reader, Writer) = split(connection);
        let stamp = self.observed.borrow().stamp;
        let hello = Hello {
            protocol: PROTOCOL,
            host: self.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capacity: self.capacity.clone(),
            stamp,
        };
        let hello = Outgoing::Message(Arc::new(AgentMessage::Hello(hello)));
        writer.send(&hello).await?;
        let welcome = self.welcome(&mut reader).await?;
        *failures = 0;
        self.outbox.begin(welcome.acknowledged);
        self.relay.introduce();
        self.status.send_replace(LinkStatus::Connected { since: self.clock.now() });
        tracing::info!(epoch = welcome.epoch.0, "connected to the server");
        let heartbeat =
            Duration::from_millis(welcome.heartbeat_millis).clamp(HEARTBEAT_BOUNDS.0, HEARTBEAT_BOUNDS.1);
        let listening = listen(&mut reader, self.outbox.clone(), self.relay.clone(), self.inbound.clone());
        tokio::select! {
            // Either direction's end is the link's: the other half is dropped with it.
            ended = listening => ended,
            ended = self.speak(&mut writer, heartbeat) => ended,
        }
    }

    async fn welcome(&self, reader: &mut Reader) -> Result<Welcome, SessionError> {
        let said = tokio::select! {
            // Cancel-safe: both are given up together.
            said = reader.receive() => said?,
            () = self.clock.sleep(WELCOME_TIMEOUT) => return Err(SessionError::Silent { after: WELCOME_TIMEOUT }),
        };
        match said {
            None => Err(SessionError::Closed),
            Some(ServerMessage::Welcome(welcome)) => Ok(welcome),
            Some(ServerMessage::Refused(fault)) => Err(SessionError::Refused(fault)),
            Some(other) => Err(SessionError::Impolite(name(&other))),
        }
    }

    async fn speak(&mut self, writer: &mut Writer, heartbeat: Duration) -> Result<(), SessionError> {
        // What is held goes first, so that the server does not take a job for lost whose result is on its way.
        while let Some(message) = self.outbox.next_queued().await {
            self.in_time(writer.feed(&message)).await?;
        }
        let mut changes = self.relay.changes();
        let mut due = self.clock.now();
        loop {
            let message = tokio::select! {
                // Cancel-safe: a message that was not returned comes again.
                message = self.outbox.next() => message,
                // Cancel-safe: waiting on a clock or a watched value loses nothing.
                Ok(()) = self.observed.changed() => { due = due.min(self.clock.now() + GATHER); continue }
                Ok(()) = changes.changed() => { due = due.min(self.clock.now() + GATHER); continue }
                () = self.clock.sleep_until(due) => {
                    due = self.clock.now() + heartbeat;
                    Outgoing::Message(Arc::new(AgentMessage::Observed(self.report())))
                }
            };
            self.in_time(writer.feed(&message)).await?;
            for _ in 0..BATCH_MAX {
                let Some(message) = self.outbox.next_queued().await else { break };
                self.in_time(writer.feed(&message)).await?;
            }
            self.in_time(writer.flush()).await?;
        }
    }

    /// What is, with what the relay knows of the workers.
    fn report(&mut self) -> Observed {
        let mut observed = Observed::clone(&self.observed.borrow_and_update());
        for worker in &mut observed.workers {
            let facts = self.relay.facts(&worker.worker);
            worker.marks.extend(facts.marks);
            worker.last_ping_at = facts.last_ping_at.or(worker.last_ping_at);
            worker.pinged_jobs = facts.pinged_jobs;
        }
        observed
    }

    async fn in_time(
        &self,
        sending: impl Future<Output = Result<(), LinkError>>,
    ) -> Result<(), SessionError> {
        tokio::select! {
            // Giving a send up loses its message: the session ends with it.
            sent = sending => Ok(sent?),
            () = self.clock.sleep(SEND_TIMEOUT) => Err(SessionError::Silent { after: SEND_TIMEOUT }),
        }
    }
}

async fn listen(
    reader: &mut Reader,
    outbox: Arc<Outbox>,
    relay: Relay,
    inbound: mpsc::Sender<Inbound>,
) -> Result<(), SessionError> {
    loop {
        let Some(message) = reader.receive().await? else { return Err(SessionError::Closed) };
        let inward = match message {
            ServerMessage::Welcome(_) => continue,
            ServerMessage::Refused(fault) => return Err(SessionError::Refused(fault)),
            ServerMessage::Assign(assignments) => {
                relay.assign(assignments);
                continue;
            }
            ServerMessage::Stop(stop) => {
                relay.stop_jobs(stop);
                continue;
            }
            ServerMessage::Acknowledged(number) => {
                outbox.acknowledge(number);
                continue;
            }
            ServerMessage::Desired(desired) => Inbound::Desired(desired),
            ServerMessage::Secrets(secrets) => Inbound::Secrets(secrets),
            ServerMessage::Question { id, question } => Inbound::Question { id, question },
            ServerMessage::Folder(part) => Inbound::Folder(part),
        };
        if inbound.send(inward).await.is_err() {
            return Err(SessionError::Stopping);
        }
    }
}

fn name(message: &ServerMessage) -> &'static str {
    match message {
        ServerMessage::Welcome(_) => "Welcome",
        ServerMessage::Refused(_) => "Refused",
        ServerMessage::Desired(_) => "Desired",
        ServerMessage::Secrets(_) => "Secrets",
        ServerMessage::Assign(_) => "Assign",
        ServerMessage::Stop(_) => "Stop",
        ServerMessage::Acknowledged(_) => "Acknowledged",
        ServerMessage::Question { .. } => "Question",
        ServerMessage::Folder(_) => "Folder",
    }
}
