//! The host as the agent keeps it: takes what should be, compares, and has it done.
//!
//! One task ([`Host::run`]) owns all state here and never waits for long; whatever takes time (a fetch, a start, an
//! answer) is a task of its scope that reports back as an [`Event`].

mod folders;
mod shelf;
mod slot;
mod work;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use api::{AgentMessage, Answer, Desired, DiskRoom, FolderPart, HostReport, Observed};
use base::{Clock, Disk, Redacted, TaskScope, Timestamp};
use runtime::DriverEvent;
use store::Store;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use types::{Digest, Fault, HostCapacity, ModelKey, SecretRef, WorkerId};

use crate::{
    converge::{self, Action, Present},
    identity::Identity,
    keep::{Keeper, Wishes},
    models::{FetchEnd, Models},
    options::AgentLimits,
    outbox::Outbox,
    questions::Oracle,
    records::WorkerRecord,
    start::{Ending, Running, Starter},
    uplink::Inbound,
};

use folders::Folders;
use shelf::Shelf;
pub(crate) use slot::{AskedToEnd, Slot, views};

/// Everything is looked at this often, whatever signals came: progress of fetches, drained workers, retries.
const PERIOD: Duration = Duration::from_millis(500);
/// Secrets that are kept. Two for each endpoint with workers or models here are far fewer.
const SECRETS_MAX: usize = 10_000;
/// Results of tasks that wait; every task waits when it is full, and nothing is lost.
pub(crate) const EVENTS_MAX: usize = 1024;

/// What tasks report back.
#[derive(Debug)]
pub(crate) enum Event {
    /// A fetch ended.
    Fetched(ModelKey, FetchEnd),
    /// A folder was unpacked, or was given up.
    Unpacked(Digest, Result<std::path::PathBuf, Fault>),
    /// A start came to its end.
    Started(WorkerId, Result<Box<Running>, Fault>),
    /// A worker ended, and its last lines were read.
    Ended(WorkerId, Ending),
    /// What the store takes on the disk.
    Usage(HostReport),
    /// A question of the server's was answered.
    Answered { id: u64, answer: Box<Result<Answer, Fault>> },
}

/// What the handle asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// End all workers; the answer comes when none is left.
    StopWorkers(oneshot::Sender<()>),
}

/// The parts that a host is made of.
#[derive(Debug)]
pub(crate) struct HostParts {
    pub(crate) usage: HostReport,
    pub(crate) starter: Starter,
    pub(crate) models: Models,
    pub(crate) keeper: Keeper,
    pub(crate) oracle: Oracle,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) identity: Identity,
    pub(crate) data_dir: std::path::PathBuf,
    pub(crate) capacity: HostCapacity,
    pub(crate) limits: AgentLimits,
    pub(crate) workers: BTreeMap<WorkerId, Slot>,
    pub(crate) listeners: Vec<(WorkerId, runtime::Relay)>,
    pub(crate) observed: watch::Sender<Arc<Observed>>,
    /// Where records to be written go; the newest list is written.
    pub(crate) journal: watch::Sender<Vec<WorkerRecord>>,
}

/// The host.
#[derive(Debug)]
pub(crate) struct Host {
    parts: HostParts,
    clock: Clock,
    desired: Option<Desired>,
    secrets: BTreeMap<SecretRef, Redacted<String>>,
    folders: Folders,
    shelf: Shelf,
    fetches: BTreeMap<ModelKey, CancellationToken>,
    serves_shared: bool,
    closing: Vec<oneshot::Sender<()>>,
    /// Told with the end of the turn, when what they speak of is published: as many as questions are under way.
    answers: Vec<AgentMessage>,
    is_closing: bool,
    events: mpsc::Sender<Event>,
    reports: mpsc::Receiver<Event>,
    tasks: TaskScope,
}

/// Where a host hears from.
#[derive(Debug)]
pub(crate) struct Ears {
    pub(crate) inbound: mpsc::Receiver<Inbound>,
    pub(crate) driver: mpsc::Receiver<DriverEvent>,
    pub(crate) commands: mpsc::Receiver<Command>,
}

impl Host {
    /// Makes a host and publishes what is.
    pub(crate) fn new(mut parts: HostParts, token: &CancellationToken) -> Self {
        let clock = parts.starter.clock.clone();
        let (events, reports) = mpsc::channel(EVENTS_MAX);
        let folders = Folders::new(parts.data_dir.join("folders"), parts.limits.folder_bytes_max);
        let shelf = Shelf::new(parts.limits.ended_logs_max, parts.limits.ended_logs_kept);
        let listeners = std::mem::take(&mut parts.listeners);
        let mut host = Self {
            parts,
            clock,
            desired: None,
            secrets: BTreeMap::new(),
            folders,
            shelf,
            fetches: BTreeMap::new(),
            serves_shared: false,
            closing: Vec::new(),
            answers: Vec::new(),
            is_closing: false,
            events,
            reports,
            tasks: TaskScope::new(token),
        };
        host.serve_adopted(listeners);
        host.publish();
        host
    }

    /// Runs until cancelled. Workers go on; the next agent takes them up.
    pub(crate) async fn run(self, mut ears: Ears, token: CancellationToken) {
        let mut host = self;
        let mut relay_changes = host.parts.starter.relay.changes();
        let mut due = host.clock.now();
        loop {
            tokio::select! {
                // Each arm is cancel-safe: channels and watched values keep what was not received, a token stays
                // cancelled, and waiting on a clock loses nothing.
                () = token.cancelled() => break,
                Some(inbound) = ears.inbound.recv() => host.hear(inbound),
                Some(event) = host.reports.recv() => host.take_up(event),
                Some(event) = ears.driver.recv() => host.driver_event(event),
                Some(command) = ears.commands.recv() => host.command(command),
                Ok(()) = relay_changes.changed() => host.save_records(),
                () = host.clock.sleep_until(due) => {
                    due = host.clock.now() + PERIOD;
                    host.folders.refresh(host.clock.now());
                    host.sweep_logs();
                    host.measure();
                }
            }
            if let Err(error) = host.tasks.reap() {
                tracing::error!(%error, "a task of the agent ended in a panic");
            }
            host.converge();
            host.publish();
            host.tell_answers();
        }
        host.parts.starter.store.leave_views();
        if let Err(error) = host.tasks.shutdown().await {
            tracing::error!(%error, "a task of the agent ended in a panic");
        }
    }

    fn hear(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Desired(desired) => {
                self.desire(*desired);
                self.renew_tokens();
            }
            Inbound::Secrets(secrets) => {
                self.secrets.extend(secrets);
                while self.secrets.len() > SECRETS_MAX {
                    self.secrets.pop_first();
                }
                self.renew_tokens();
            }
            Inbound::Question { id, question } => self.ask(id, question),
            Inbound::Folder(part) => self.folder_part(&part),
        }
    }

    fn desire(&mut self, desired: Desired) {
        let newest = self.desired.as_ref().map(|desired| desired.stamp).unwrap_or_default();
        let incarnation = self.parts.identity.incarnation;
        if desired.stamp < newest || desired.stamp.incarnation < incarnation {
            tracing::warn!(
                given = ?desired.stamp, ?newest, incarnation,
                "the server sent an older desired state than this host has seen; it is ignored",
            );
            return;
        }
        if desired.stamp.incarnation > incarnation {
            self.parts.identity.incarnation = desired.stamp.incarnation;
            if let Err(error) = self.parts.identity.save(&self.parts.disk, &self.parts.data_dir) {
                tracing::warn!(%error, "the incarnation of the server could not be noted");
            }
        }
        for order in &desired.workers {
            if !self.parts.workers.contains_key(&order.worker) {
                let missing = order.views.iter().map(|view| &view.key);
                let missing = missing
                    .filter(|key| !self.parts.models.is_ready(key, &desired.models))
                    .cloned()
                    .collect();
                self.parts.workers.insert(order.worker.clone(), Slot::held(missing, order.hub_access));
            }
        }
        self.desired = Some(desired);
    }

    fn converge(&mut self) {
        // Until the server has spoken, what runs goes on.
        let Some(desired) = &self.desired else { return self.close_when_done() };
        let nothing = Desired::default();
        let desired = if self.is_closing { &nothing } else { desired };
        self.keep(desired);
        let repairs = self.parts.models.repairs(&desired.models);
        let mut desired = Cow::Borrowed(desired);
        if !repairs.is_empty() && !self.is_closing {
            desired.to_mut().models.extend(repairs);
        }
        let desired = &*desired;
        let secrets: BTreeSet<SecretRef> = self.secrets.keys().cloned().collect();
        let relay = &self.parts.starter.relay;
        let workers = &self.parts.workers;
        let standings =
            workers.iter().map(|(id, slot)| (id.clone(), slot.standing(|| relay.facts(id).live_jobs)));
        let present = Present {
            models: &self.parts.models.standings(&desired.models),
            folders: &self.folders.standings(),
            workers: &standings.collect(),
            secrets: &secrets,
        };
        let now = self.clock.now();
        for action in converge::decide(desired, present, now, self.parts.limits.fetches_max) {
            self.carry_out(action);
        }
        self.close_when_done();
    }

    /// Tells the keeper what must not go: what is desired, what workers of any state see, what is being brought.
    fn keep(&self, desired: &Desired) {
        let models = desired.models.iter().map(|model| model.manifest.key());
        let views = desired.workers.iter().flat_map(|worker| &worker.views).map(|view| &view.key);
        let wanted = models.chain(views).chain(self.parts.models.coming()).cloned().collect();
        let copies = desired.copies.iter().map(|copies| (copies.key.clone(), copies.hosts));
        self.parts.keeper.wish(Wishes { wanted, copies: copies.collect() });
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Fetch(key) => self.fetch(&key),
            Action::GiveUp(key) => {
                self.fetches.remove(&key).inspect(CancellationToken::cancel);
                self.parts.models.give_up(&key);
            }
            Action::AskForFolder(digest) => self.ask_for_folder(digest),
            Action::Hold(worker, why) => {
                if let Some(slot) = self.parts.workers.get_mut(&worker) {
                    slot.hold(why);
                }
            }
            Action::Start(worker) => self.start(&worker),
            Action::Drain(worker) => {
                self.parts.starter.relay.drain(&worker);
                if let Some(slot) = self.parts.workers.get_mut(&worker) {
                    slot.drain();
                }
            }
            Action::Stop(worker) => self.stop(&worker),
            Action::Withdraw(worker) => {
                let now = self.clock.now();
                if let Some(slot) = self.parts.workers.get_mut(&worker) {
                    slot.withdraw(now);
                }
            }
            // What is left of a worker is shown until the end when the agent closes.
            Action::Forget(_) if self.is_closing => {}
            Action::Forget(worker) => self.forget(&worker),
        }
    }

    fn take_up(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Fetched(key, end) => {
                self.fetches.remove(&key);
                self.parts.models.ended(&key, end, now);
                self.measure();
            }
            Event::Unpacked(digest, result) => self.folders.settled(digest, result, now),
            Event::Started(worker, result) => self.started(&worker, result),
            Event::Ended(worker, ending) => self.ended(&worker, ending),
            Event::Usage(usage) => self.parts.usage = usage,
            Event::Answered { id, answer } => self.answers.push(AgentMessage::Answer { id, answer: *answer }),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::StopWorkers(answer) => {
                self.is_closing = true;
                self.desired.get_or_insert_with(Desired::default);
                self.closing.push(answer);
            }
        }
    }

    fn close_when_done(&mut self) {
        if self.is_closing && self.parts.workers.values().all(Slot::is_over_or_held) {
            for answer in self.closing.drain(..) {
                // Whoever asked may have gone; the workers are gone all the same.
                let _ = answer.send(());
            }
        }
    }

    fn publish(&self) {
        let (stamp, models): (_, &[_]) = self
            .desired
            .as_ref()
            .map_or((types::Stamp::default(), &[]), |desired| (desired.stamp, &desired.models));
        let observed = Observed {
            stamp,
            host: self.parts.usage,
            models: self.parts.models.report(models),
            workers: self.parts.workers.iter().map(|(id, slot)| slot.report(id)).collect(),
        };
        self.parts.observed.send_if_modified(|present| {
            let same = present.stamp == observed.stamp
                && present.host == observed.host
                && present.models == observed.models
                && present.workers == observed.workers;
            if !same {
                *present = Arc::new(observed);
            }
            !same
        });
    }

    /// Looks at the disk, and keeps what is pinned, off this task.
    fn measure(&mut self) {
        let (store, events) = (self.parts.starter.store.clone(), self.events.clone());
        // Before the server has spoken nobody knows what is to be pinned: what is, stays.
        let pins = self.desired.as_ref().map(|desired| desired.pins.clone());
        let keeper = self.parts.keeper.clone();
        self.tasks.spawn("measure the disk", async move {
            let report = disk_use(store, keeper, pins).await;
            // The host is stopping when nobody listens.
            let _ = events.send(Event::Usage(report)).await;
        });
    }

    fn folder_part(&mut self, part: &FolderPart) {
        if let Some(archive) = self.folders.take_part(part, self.clock.now()) {
            self.unpack(part.digest, archive);
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Returns what the store takes and what its disk has left, as far as the disk tells; first sees to it that what is
/// pinned is what should be.
pub(crate) async fn disk_use(store: Store, keeper: Keeper, pins: Option<BTreeSet<ModelKey>>) -> HostReport {
    let look = move || {
        if let Some(pins) = pins {
            keeper.pin_only(&pins);
        }
        store.disk_usage().map(|usage| (keeper.report(&usage), usage))
    };
    match tokio::task::spawn_blocking(look).await {
        Ok(Ok((report, usage))) => HostReport {
            disk: DiskRoom { total: usage.total.bytes(), available: usage.available.bytes() },
            cache_bytes: usage.blobs.bytes(),
            store: report,
        },
        Ok(Err(error)) => {
            tracing::warn!(reason = %error.fault(), "the disk of the store could not be looked at");
            HostReport::default()
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Returns the size of the store's disk, as far as it tells.
pub(crate) async fn disk_total(store: Store) -> base::ByteSize {
    match tokio::task::spawn_blocking(move || store.disk_usage()).await {
        Ok(usage) => usage.map(|usage| usage.total).unwrap_or_default(),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
