//! What the agent has to say to the server, in order, across reconnects. Owns no task.
//!
//! ```text
//! say ──────────────▶ queue ──▶ next ──▶ link           lost with the link
//! submit ─▶ held ───▶ queue                             held until acknowledged, queued again after a reconnect
//!             └─ secure: acknowledged, or in the spool, whichever is first
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use api::{AgentMessage, JobEvent};
use base::Clock;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use crate::spool::{Durability, Place, SpoolHandle};

/// The server has this long to commit a result before the spool is written too: several of its group commits, and
/// less than a worker's caller would notice.
const ACKNOWLEDGEMENT_WAIT: Duration = Duration::from_millis(20);
/// Between tries to write a record that the disk refused. A person has to make room; the worker waits.
const SPOOL_RETRY: Duration = Duration::from_secs(1);
/// Stored events beyond this many bytes are read from the spool again instead of kept in memory.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Messages that may wait for a slow link before those that may be lost are. Each is a few hundred bytes.
const QUEUE_MAX: usize = 10_000;

/// One message for the link.
#[derive(Clone, Debug, Serialize)]
pub(crate) enum Outgoing {
    /// The same as [`AgentMessage::Job`] on the wire, without a copy of a large result.
    Job(Arc<JobEvent>),
    /// Any other.
    #[serde(untagged)]
    Message(Arc<AgentMessage>),
}

/// The queue towards the server.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    wake: Notify,
    acknowledged: watch::Sender<u64>,
    connected: watch::Sender<bool>,
    spool: SpoolHandle,
    clock: Clock,
}

#[derive(Debug)]
struct State {
    next_number: u64,
    queue: VecDeque<Entry>,
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    connected: bool,
}

#[derive(Debug)]
enum Entry {
    Message(Outgoing),
    Event(u64),
}

enum Front {
    Message(Outgoing),
    Event(u64),
}

#[derive(Debug)]
struct Held {
    event: Option<Arc<JobEvent>>,
    bytes: usize,
    place: Option<Place>,
}

impl Outbox {
    /// Makes an outbox that gives numbers from `first_number`.
    pub(crate) fn new(
        spool: SpoolHandle,
        clock: Clock,
        first_number: u64,
        recovered: Vec<(u64, Place)>,
    ) -> Self {
        let stored = |(number, place)| (number, Held { event: None, bytes: 0, place: Some(place) });
        let held = recovered.into_iter().map(stored).collect();
        Self {
            state: Mutex::new(State {
                next_number: first_number,
                queue: VecDeque::new(),
                held,
                held_bytes: 0,
                connected: false,
            }),
            wake: Notify::new(),
            acknowledged: watch::Sender::new(0),
            connected: watch::Sender::new(false),
            spool,
            clock,
        }
    }

    /// Returns whether the server is reachable.
    pub(crate) fn is_connected(&self) -> bool {
        self.lock().connected
    }

    /// Returns how many durable events wait for the server.
    pub(crate) fn held(&self) -> usize {
        self.lock().held.len()
    }

    /// Says something that is worth nothing after the link is gone. Returns whether it was queued.
    pub(crate) fn say(&self, message: AgentMessage) -> bool {
        let mut state = self.lock();
        let queued = state.connected && state.queue.len() < QUEUE_MAX;
        if queued {
            state.queue.push_back(Entry::Message(Outgoing::Message(Arc::new(message))));
            self.wake.notify_one();
        }
        queued
    }

    /// Takes a durable event, gives it its number and queues it. It is held until acknowledged.
    pub(crate) fn submit(&self, mut event: JobEvent, bytes: usize) -> u64 {
        let mut state = self.lock();
        let number = state.next_number;
        state.next_number += 1;
        event.number = number;
        state.held.insert(number, Held { event: Some(Arc::new(event)), bytes, place: None });
        state.held_bytes += bytes;
        if state.connected {
            state.queue.push_back(Entry::Event(number));
            self.wake.notify_one();
        }
        number
    }

    /// Waits until an event is safe: acknowledged, or stored. With [`Durability::Written`] it is stored at once;
    /// with [`Durability::Synced`] the server has a moment to commit it first, unless it is away.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the event held; it is sent all the same.
    pub(crate) async fn secure(&self, number: u64, durability: Durability) {
        let mut acknowledged = self.acknowledged.subscribe();
        let mut connected = self.connected.subscribe();
        let is_acknowledged = async {
            // The sender lives in `self`, so waiting cannot fail.
            let _ = acknowledged.wait_for(|up_to| *up_to >= number).await;
        };
        let stored = async {
            if durability == Durability::Synced {
                tokio::select! {
                    // Cancel-safe: waiting on a clock or a watched value loses nothing.
                    () = self.clock.sleep(ACKNOWLEDGEMENT_WAIT) => {}
                    _ = connected.wait_for(|connected| !connected) => {}
                }
            }
            self.store(number, durability).await;
        };
        tokio::select! {
            biased;
            // Cancel-safe: see above; a write that was asked for is done also when nobody waits for its answer.
            () = is_acknowledged => {}
            () = stored => {}
        }
    }

    async fn store(&self, number: u64, durability: Durability) {
        let Some(event) = self.event_in_memory(number) else { return };
        let payload = Bytes::from(serde_json::to_vec(&*event).expect("an event is text, numbers and JSON"));
        drop(event);
        let mut warned = false;
        loop {
            match self.spool.write(number, payload.clone(), durability).await {
                Ok(place) => return self.placed(number, place),
                Err(error) => {
                    if !warned {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "a worker's result waits for room"
                        );
                        warned = true;
                    }
                    self.clock.sleep(SPOOL_RETRY).await;
                }
            }
        }
    }

    fn event_in_memory(&self, number: u64) -> Option<Arc<JobEvent>> {
        self.lock().held.get(&number).and_then(|held| held.event.clone())
    }

    fn placed(&self, number: u64, place: Place) {
        let mut state = self.lock();
        let crowded = state.held_bytes > HELD_BYTES_MAX;
        let mut freed = 0;
        if let Some(held) = state.held.get_mut(&number) {
            held.place = Some(place);
            if crowded {
                held.event = None;
                freed = std::mem::take(&mut held.bytes);
            }
        }
        state.held_bytes -= freed;
    }

    /// Begins a session: forgets what is acknowledged and queues everything else that is held, in order.
    pub(crate) fn begin(&self, acknowledged: u64) {
        self.acknowledge(acknowledged);
        let mut state = self.lock();
        // A server that has seen more than this agent gave (its folder was restored from a copy) must not take new
        // events for repeats.
        state.next_number = state.next_number.max(acknowledged.saturating_add(1));
        state.queue = state.held.keys().map(|number| Entry::Event(*number)).collect();
        state.connected = true;
        drop(state);
        self.connected.send_replace(true);
        self.wake.notify_one();
    }

    /// Ends a session: what was only said is lost.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.connected = false;
        state.queue.clear();
        drop(state);
        self.connected.send_replace(false);
    }

    /// Forgets events up to a number: the server has committed them.
    pub(crate) fn acknowledge(&self, up_to: u64) {
        let mut state = self.lock();
        let kept = state.held.split_off(&up_to.saturating_add(1));
        let done = std::mem::replace(&mut state.held, kept);
        state.held_bytes -= done.values().map(|held| held.bytes).sum::<usize>();
        drop(state);
        self.acknowledged.send_if_modified(|present| {
            let grew = up_to > *present;
            *present = (*present).max(up_to);
            grew
        });
        if done.values().any(|held| held.place.is_some()) {
            self.spool.trim(up_to);
        }
    }

    /// Waits for the next message of this session.
    ///
    /// # Cancel safety
    /// A message that was not returned is returned by the next call.
    pub(crate) async fn next(&self) -> Outgoing {
        loop {
            let woken = self.wake.notified();
            if let Some(message) = self.next_queued().await {
                return message;
            }
            woken.await;
        }
    }

    /// Returns the next message of this session, or `None` when none is queued.
    ///
    /// # Cancel safety
    /// A message that was not returned is returned by the next call.
    pub(crate) async fn next_queued(&self) -> Option<Outgoing> {
        loop {
            let number = match self.take_front()? {
                Front::Message(message) => return Some(message),
                Front::Event(number) => number,
            };
            let event = self.load(number).await;
            let mut state = self.lock();
            // The queue may be another session's by now.
            if matches!(state.queue.front(), Some(Entry::Event(front)) if *front == number) {
                state.queue.pop_front();
                drop(state);
                if let Some(event) = event {
                    return Some(Outgoing::Job(event));
                }
            }
        }
    }

    /// Takes the front of the queue, or only looks at it where it has to be loaded.
    fn take_front(&self) -> Option<Front> {
        let mut state = self.lock();
        match state.queue.pop_front()? {
            Entry::Message(message) => Some(Front::Message(message)),
            Entry::Event(number) => {
                state.queue.push_front(Entry::Event(number));
                Some(Front::Event(number))
            }
        }
    }

    async fn load(&self, number: u64) -> Option<Arc<JobEvent>> {
        let place = {
            let state = self.lock();
            let held = state.held.get(&number)?;
            if let Some(event) = &held.event {
                return Some(Arc::clone(event));
            }
            held.place?
        };
        let read = self.spool.read(place).await.map_err(|error| error.to_string());
        match read.and_then(|bytes| parse_event(&bytes).map_err(|error| error.to_string())) {
            Ok(event) => Some(Arc::new(event)),
            Err(error) => {
                tracing::error!(number, error, "a stored job event could not be read again and is lost");
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an event as the spool holds it.
///
/// # Errors
/// When the bytes are no event.
pub(crate) fn parse_event(bytes: &[u8]) -> Result<JobEvent, serde_json::Error> {
    serde_json::from_slice(bytes)
}
