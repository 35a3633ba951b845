//! Hosts and their links: agents that come, speak and go.

use std::time::Duration;

use api::{
    AgentMessage, Answer, Hello, Observed, PROTOCOL, Problem, Question, ServerMessage, Welcome, WorkProgress,
};
use base::Timestamp;
use scheduler::{Cordon, HostFacts, Link};
use tokio::sync::{oneshot, watch};
use types::{ErrorCode, Fault, HostId, Stamp};

use super::{
    Owner,
    boot::{initial_room, launches},
};
use crate::{
    event::Event,
    handle::LargestStore,
    link::{HEARTBEAT, LinkSender, Outgoing},
    picture::{HostEntry, LinkEntry, PendingQuestion},
};

/// How old the written moment of a host's last frame may be: after a crash, time up to then counts as known.
const SEEN_WRITTEN_EVERY: Duration = Duration::from_secs(30);

/// A question that a host has been asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: u64,
    pub(crate) answered: oneshot::Receiver<Result<Answer, Fault>>,
    pub(crate) progress: watch::Receiver<WorkProgress>,
}

impl Owner {
    /// Takes one event into the picture.
    pub(super) fn take(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Call(call) => call(Ok(self)),
            Event::Hello { link, hello, sender } => self.greeted(link, hello, sender, now),
            Event::Said { host, link, message } => {
                if self.is_present(&host, link) {
                    self.said(&host, message, now);
                }
            }
            Event::Gone { host, link } => {
                if self.is_present(&host, link) {
                    self.link_ended(&host, now);
                }
            }
        }
    }

    fn is_present(&self, host: &HostId, number: u64) -> bool {
        self.hosts.get(host).and_then(|entry| entry.link.as_ref()).is_some_and(|link| link.number == number)
    }

    fn greeted(&mut self, number: u64, hello: Hello, sender: LinkSender, now: Timestamp) {
        let host = hello.host;
        if self.hosts.contains_key(&host) {
            self.link_ended(&host, now);
        }
        tracing::info!(%host, version = hello.version, "an agent dialled in");
        let entry = self.hosts.entry(host.clone()).or_insert_with(|| HostEntry {
            capacity: hello.capacity.clone(),
            acknowledged: 0,
            seen_at: now,
            link: None,
            observed: Observed::default(),
        });
        entry.capacity = hello.capacity.clone();
        entry.seen_at = now;
        // A database that was begun anew without its identity may meet an agent that has seen a later one.
        self.incarnation = self.incarnation.max(hello.stamp.incarnation);
        if hello.stamp.incarnation == self.incarnation {
            self.next_generation = self.next_generation.max(hello.stamp.generation + 1);
        }
        entry.link = Some(LinkEntry {
            number,
            sender,
            synced: false,
            sent: None,
            stamp: Stamp::default(),
            secrets_sent: std::collections::BTreeSet::new(),
            questions: std::collections::BTreeMap::new(),
        });
        let acknowledged = entry.acknowledged;
        let known = self.fleet.host(&host);
        let facts = HostFacts {
            launches: launches(),
            // It counts as connected when it has told its present state.
            link: known.map_or(Link::Away { since: now }, |facts| facts.link),
            cordon: known.map_or(Cordon::Open, |facts| facts.cordon),
            hub_rate_bytes: known.and_then(|facts| facts.hub_rate_bytes),
            cache: known.map_or(initial_room(&hello.capacity), |facts| facts.cache),
            capacity: hello.capacity,
        };
        self.fleet.put_host(&host, facts);
        self.want_pulls_on(&host);
        self.written_hosts.insert(host.clone());
        let welcome = Welcome {
            protocol: PROTOCOL,
            epoch: self.epoch,
            heartbeat_millis: u64::try_from(HEARTBEAT.as_millis()).unwrap_or(u64::MAX),
            acknowledged,
        };
        self.send(&host, Outgoing::Message(ServerMessage::Welcome(welcome)));
    }

    fn said(&mut self, host: &HostId, message: AgentMessage, now: Timestamp) {
        if let Some(entry) = self.hosts.get_mut(host)
            && now.since(entry.seen_at) >= SEEN_WRITTEN_EVERY
        {
            entry.seen_at = now;
            self.written_hosts.insert(host.clone());
        }
        match message {
            AgentMessage::Observed(observed) => self.observe(host, observed, now),
            AgentMessage::Take(offer) => self.offered(host, &offer, now),
            AgentMessage::TakeEnded(worker) => self.offer_ended(host, &worker),
            AgentMessage::Job(event) => self.job_happened(host, event, now),
            AgentMessage::Answer { id, answer } => {
                let link = self.hosts.get_mut(host).and_then(|entry| entry.link.as_mut());
                if let Some(pending) = link.and_then(|link| link.questions.remove(&id)) {
                    // Whoever asked may have stopped waiting.
                    drop(pending.answer.send(answer));
                }
            }
            AgentMessage::Working { id, progress } => {
                let link = self.hosts.get(host).and_then(|entry| entry.link.as_ref());
                if let Some(pending) = link.and_then(|link| link.questions.get(&id)) {
                    pending.progress.send_replace(progress);
                }
            }
            // Folders are served by the link itself, and a second hello tells nothing new.
            AgentMessage::FolderWanted(_) | AgentMessage::Hello(_) => {}
        }
    }

    fn link_ended(&mut self, host: &HostId, now: Timestamp) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        let Some(link) = entry.link.take() else { return };
        tracing::info!(%host, "the link with an agent ended");
        entry.seen_at = now;
        self.written_hosts.insert(host.clone());
        if link.synced {
            self.fleet.set_link(host, Link::Away { since: now });
        }
        let workers: Vec<_> = self.fleet.workers_on(host).map(|(worker, _)| worker.clone()).collect();
        for worker in workers {
            self.ready.withdraw(&worker);
        }
    }

    /// Asks a host something.
    pub(crate) fn ask(&mut self, host: &HostId, question: Question) -> Result<Asked, Problem> {
        let away = || {
            Problem::from(
                Fault::new(ErrorCode::HostAway, format!("{host} is not connected"))
                    .with_hint("check that larder agent runs there and reaches this server"),
            )
        };
        let id = self.next_question;
        let link = self.hosts.get_mut(host).and_then(|entry| entry.link.as_mut()).ok_or_else(away)?;
        self.next_question += 1;
        let (answer, answered) = oneshot::channel();
        let (shown, progress) = watch::channel(WorkProgress::default());
        link.questions.insert(id, PendingQuestion { answer, progress: shown });
        self.send(host, Outgoing::Message(ServerMessage::Question { id, question }));
        Ok(Asked { id, answered, progress })
    }

    /// Returns the host that may hold the most, and how much; none when no host is known.
    pub(crate) fn largest_store(&self) -> LargestStore {
        let rooms = self.hosts.iter().map(|(host, entry)| (host.clone(), entry.capacity.cache_bytes_max));
        rooms.max_by_key(|(_, room)| *room)
    }

    /// Returns a host that can be asked, if any is connected.
    pub(crate) fn host_to_ask(&self) -> Option<HostId> {
        self.hosts.iter().find(|(_, entry)| entry.link.is_some()).map(|(host, _)| host.clone())
    }

    /// Forgets a question that nobody waits for any more.
    pub(crate) fn forget_question(&mut self, host: &HostId, id: u64) {
        if let Some(link) = self.hosts.get_mut(host).and_then(|entry| entry.link.as_mut()) {
            link.questions.remove(&id);
        }
    }
}
