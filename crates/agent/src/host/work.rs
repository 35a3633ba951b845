//! What the host does: each deed that takes time is a task that reports back.

use api::{AgentMessage, DesiredModel, Question};
use base::Timestamp;
use runtime::{DriverEvent, RelaySharing};
use store::Use;
use tokio_util::sync::CancellationToken;
use transfer::FetchPriority;
use types::{Digest, Fault, ModelKey, StartMark, WorkerId};

use super::{Event, Host};
use crate::{
    converge,
    folders::{self, UnpackError},
    questions::Teller,
    relay,
    start::{Ending, Order, Running, Starter},
};

impl Host {
    pub(super) fn fetch(&mut self, key: &ModelKey) {
        let now = self.now();
        let desired = self.desired.as_ref().map_or(&[][..], |desired| &desired.models);
        let is_it = |model: &&DesiredModel| model.manifest.key() == key;
        let repairs = self.parts.models.repairs(desired);
        let Some(model) = desired.iter().chain(&repairs).find(is_it).cloned() else { return };
        let token = model.token.as_ref().and_then(|token| self.secrets.get(token)).cloned();
        let priority = self.priority(key);
        let Some(bringing) = self.parts.models.begin(&model, token, priority, now) else { return };
        let given_up = self.tasks.token().child_token();
        self.fetches.insert(key.clone(), given_up.clone());
        let (events, key) = (self.events.clone(), key.clone());
        self.tasks.spawn("fetch", async move {
            tokio::select! {
                // Dropping the fetch gives it up; what it brought stays.
                () = given_up.cancelled() => {}
                end = bringing.run() => drop(events.send(Event::Fetched(key, end)).await),
            }
        });
    }

    /// A start that is held for its model goes before what was only asked for, and that before repairs.
    fn priority(&self, key: &ModelKey) -> FetchPriority {
        let Some(desired) = &self.desired else { return FetchPriority::Prefetch };
        let mut views = desired.workers.iter().flat_map(|worker| &worker.views);
        if views.any(|view| view.key == *key) {
            FetchPriority::Awaited
        } else if desired.models.iter().any(|model| model.manifest.key() == key) {
            FetchPriority::Asked
        } else {
            FetchPriority::Prefetch
        }
    }

    /// Gives running fetches the tokens of now: their owner may have replaced one.
    pub(super) fn renew_tokens(&self) {
        for model in self.desired.iter().flat_map(|desired| &desired.models) {
            if let Some(token) = model.token.as_ref().and_then(|token| self.secrets.get(token)) {
                self.parts.models.renew_token(model.manifest.key(), token.clone());
            }
        }
    }

    pub(super) fn ask_for_folder(&mut self, digest: Digest) {
        if self.folders.want(digest, self.now()) {
            // An answer that never comes is noticed by its silence, also when the link is down now.
            self.parts.outbox.say(AgentMessage::FolderWanted(digest));
        }
    }

    pub(super) fn unpack(&mut self, digest: Digest, archive: Vec<u8>) {
        let (events, root) = (self.events.clone(), self.folders.root().to_owned());
        let limit = self.parts.limits.folder_bytes_max;
        self.tasks.spawn("unpack a folder", async move {
            let work = move || folders::unpack(&root, &digest, &archive, limit);
            let unpacked = tokio::task::spawn_blocking(work).await;
            let unpacked =
                unpacked.unwrap_or_else(|panic| Err(UnpackError::Io(std::io::Error::other(panic))));
            let result = unpacked.map_err(|error| error.fault());
            // The host is stopping when nobody listens.
            let _ = events.send(Event::Unpacked(digest, result)).await;
        });
    }

    pub(super) fn start(&mut self, id: &WorkerId) {
        let desired = self.desired.as_ref();
        let found = desired.and_then(|desired| desired.workers.iter().find(|order| order.worker == *id));
        let (Some(worker), Some(slot)) = (found.cloned(), self.parts.workers.get_mut(id)) else { return };
        slot.begin_start();
        let mut marks = slot.marks().clone();
        let fetched: Vec<_> =
            slot.waited_for().iter().filter_map(|key| self.parts.models.fetched(key)).collect();
        if let Some(began) = fetched.iter().map(|fetched| fetched.started_at).min() {
            marks.insert(StartMark::FetchStarted, began);
        }
        if let Some(ended) = fetched.iter().map(|fetched| fetched.ended_at).max() {
            marks.insert(StartMark::Fetched, ended);
        }
        let env = match worker.env.as_ref().and_then(|secret| self.secrets.get(secret)) {
            Some(value) => serde_json::from_str(value.expose()).map_err(|_| env_unreadable()),
            None => Ok(std::collections::BTreeMap::new()),
        };
        let folder = converge::folder(&worker).map(|digest| self.folders.path(&digest)).transpose();
        let gpu_kind = worker.gpus.first().and_then(|uuid| {
            self.parts.capacity.gpus.iter().find(|gpu| gpu.uuid == *uuid).map(|gpu| gpu.kind.clone())
        });
        let (starter, events, id) = (self.parts.starter.clone(), self.events.clone(), id.clone());
        let models = worker.views.iter().map(|view| view.key.clone()).collect();
        self.tasks.spawn("warm the page cache", starter.warmer.clone().warm(models, self.tasks.token()));
        self.tasks.spawn("start a worker", async move {
            let result = match (env, folder) {
                (Ok(env), Ok(folder)) => starter.start(Order { worker, env, folder, gpu_kind, marks }).await,
                (Err(fault), _) | (_, Err(fault)) => Err(fault),
            };
            // The host is stopping when nobody listens; the next agent finds the worker by its record.
            let _ = events.send(Event::Started(id, result.map(Box::new))).await;
        });
    }

    pub(super) fn started(&mut self, id: &WorkerId, result: Result<Box<Running>, Fault>) {
        match result {
            Ok(running) => {
                let Running { started, leases, marks } = *running;
                let token = self.serve(started.relay.sharing, started.relay.listener);
                let Some(slot) = self.parts.workers.get_mut(id) else { return };
                for lease in &leases {
                    self.parts.keeper.used(&lease.spec().key);
                }
                slot.started(leases, marks, token);
                tracing::info!(worker = %id, processes = ?started.processes, "a worker runs");
            }
            Err(fault) => {
                tracing::warn!(worker = %id, reason = %fault, "a worker could not be started");
                if let Some(slot) = self.parts.workers.get_mut(id) {
                    slot.fail(fault);
                }
            }
        }
        self.save_records();
    }

    /// Serves the relays of workers that an earlier agent left running.
    pub(super) fn serve_adopted(&mut self, listeners: Vec<(WorkerId, runtime::Relay)>) {
        for (worker, adopted) in listeners {
            let token = self.serve(adopted.sharing, adopted.listener);
            if let (Some(slot), Some(token)) = (self.parts.workers.get_mut(&worker), token) {
                slot.serve(token);
            }
        }
    }

    /// Serves a worker's relay. Returns what ends that, for a relay of its own.
    fn serve(&mut self, sharing: RelaySharing, listener: std::net::TcpListener) -> Option<CancellationToken> {
        match sharing {
            RelaySharing::Own => {}
            // The others are duplicates of the same queue.
            RelaySharing::Shared if self.serves_shared => return None,
            RelaySharing::Shared => self.serves_shared = true,
        }
        let listener = match web::Listener::from_std_tcp(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(reason = %error.fault(), "a worker's relay can't be served");
                return None;
            }
        };
        let token = self.tasks.token().child_token();
        let (relay, edge) = (self.parts.starter.relay.clone(), self.parts.starter.edge.clone());
        let until = token.clone();
        self.tasks.spawn("relay", async move {
            if let Err(error) = relay::serve(relay, &edge, listener, until).await {
                tracing::error!(reason = %error.fault(), "a relay broke");
            }
        });
        match sharing {
            RelaySharing::Own => Some(token),
            RelaySharing::Shared => None,
        }
    }

    pub(super) fn stop(&mut self, id: &WorkerId) {
        // First the relay: an ending worker waits for the requests that it holds open.
        self.parts.starter.relay.drain(id);
        if let Some(slot) = self.parts.workers.get_mut(id) {
            slot.stop();
        }
        let (driver, grace, id) =
            (self.parts.starter.driver.clone(), self.parts.limits.stop_grace, id.clone());
        self.tasks.spawn("stop a worker", async move {
            if let Err(error) = driver.stop(&id, grace).await {
                tracing::warn!(worker = %id, reason = %error.fault(), "a worker could not be asked to end");
            }
        });
        self.save_records();
    }

    pub(super) fn driver_event(&mut self, event: DriverEvent) {
        match event {
            DriverEvent::ProcessStarted { .. } => {}
            DriverEvent::Exited { worker, status, at } => {
                self.parts.starter.relay.ended(&worker);
                self.parts.starter.edge.dismiss(&worker);
                let Some(slot) = self.parts.workers.get(&worker) else {
                    // An earlier agent had done with it, or knew nothing of it.
                    return self.keep_log(worker, at);
                };
                let (asked_to_end, hub_access) = (slot.asked_to_end(), slot.hub_access());
                let (starter, events) = (self.parts.starter.clone(), self.events.clone());
                self.tasks.spawn("read what a worker said last", async move {
                    let ending = starter.ending(&worker, status, at, asked_to_end, hub_access).await;
                    // The host is stopping when nobody listens; the driver tells the next agent again.
                    let _ = events.send(Event::Ended(worker, ending)).await;
                });
            }
        }
    }

    pub(super) fn ended(&mut self, id: &WorkerId, ending: Ending) {
        tracing::info!(worker = %id, reason = ?ending.reason, "a worker ended");
        if let Some(slot) = self.parts.workers.get_mut(id) {
            for key in slot.leased() {
                self.parts.starter.store.note_use(key, Use::Lasts);
            }
            slot.end(ending);
        }
        self.save_records();
    }

    pub(super) fn forget(&mut self, id: &WorkerId) {
        let ended_at = self.parts.workers.remove(id).and_then(|slot| slot.ended_at());
        self.parts.starter.relay.dismiss(id);
        self.parts.starter.edge.dismiss(id);
        let (records, worker) = (self.parts.starter.records.clone(), id.clone());
        self.tasks.spawn("forget a worker", async move {
            let removed = tokio::task::spawn_blocking(move || records.remove(&worker)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(%error, "a worker's record could not be removed");
            }
        });
        match ended_at {
            Some(at) => self.keep_log(id.clone(), at),
            None => self.remove(id.clone()),
        }
    }

    /// Keeps the log of an ended worker for a while, and nothing else of it.
    fn keep_log(&mut self, id: WorkerId, ended_at: Timestamp) {
        self.shelf.put(id.clone(), ended_at);
        let driver = self.parts.starter.driver.clone();
        self.tasks.spawn("strip an ended worker", async move {
            if let Err(error) = driver.strip(&id).await {
                tracing::debug!(worker = %id, reason = %error.fault(), "nothing of a worker was left to remove");
            }
        });
    }

    /// Removes logs that were kept for long enough.
    pub(super) fn sweep_logs(&mut self) {
        for worker in self.shelf.sweep(self.now()) {
            self.remove(worker);
        }
    }

    fn remove(&mut self, id: WorkerId) {
        let driver = self.parts.starter.driver.clone();
        self.tasks.spawn("remove a worker", async move {
            if let Err(error) = driver.remove(&id).await {
                tracing::debug!(worker = %id, reason = %error.fault(), "nothing of a worker was left to remove");
            }
        });
    }

    pub(super) fn ask(&mut self, id: u64, question: Question) {
        let (oracle, events) = (self.parts.oracle.clone(), self.events.clone());
        let outbox = self.parts.outbox.clone();
        let teller = Teller { question: id, outbox, clock: self.clock.clone() };
        self.tasks.spawn("answer a question", async move {
            let answer = Box::new(oracle.answer(question, &teller).await);
            // The host is stopping when nobody listens.
            let _ = events.send(Event::Answered { id, answer }).await;
        });
    }

    /// Says what was answered. A report that follows an answer was made after it: a model that was removed is not listed
    /// any more, one that was imported is.
    pub(super) fn tell_answers(&mut self) {
        for answer in self.answers.drain(..) {
            // An asker whose link is gone asks again.
            self.parts.outbox.say(answer);
        }
    }

    /// Writes what must survive the agent for workers that run. Off this task; the newest state is written.
    pub(super) fn save_records(&mut self) {
        let Starter { relay, edge, .. } = &self.parts.starter;
        let running = self.parts.workers.iter().filter(|(_, slot)| slot.is_running());
        let records = running
            .filter_map(|(id, slot)| relay.record(id).map(|known| slot.record(id, known, edge.record(id))))
            .collect();
        self.parts.journal.send_replace(records);
    }
}

fn env_unreadable() -> Fault {
    Fault::new(types::ErrorCode::SecretUnreadable, "the worker's environment is not what was stored")
        .with_hint("set the endpoint's environment again")
}
