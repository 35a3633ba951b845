//! Requests that a worker holds open, waiting for jobs or for stops. Owns no task: each request is its handler's.

use tokio::sync::mpsc;

/// Above the concurrency of any worker seen; bounds what a hostile one can hold. Its oldest request is then answered.
const POLLS_MAX: usize = 256;

/// Requests of one kind that one worker holds open, oldest first: the newest SDK has one, old ones as many as they
/// work at once.
#[derive(Debug)]
pub(super) struct Polls<T> {
    open: Vec<Poll<T>>,
    next: u64,
}

#[derive(Debug)]
struct Poll<T> {
    id: u64,
    slots: u32,
    things: mpsc::UnboundedSender<T>,
}

impl<T> Default for Polls<T> {
    fn default() -> Self {
        Self { open: Vec::new(), next: 0 }
    }
}

impl<T> Polls<T> {
    /// Adds a request that takes up to `slots` things. No more than that are ever sent to it.
    pub(super) fn open(&mut self, slots: u32) -> (u64, mpsc::UnboundedReceiver<T>) {
        if self.open.len() >= POLLS_MAX {
            self.open.remove(0);
        }
        let (things, received) = mpsc::unbounded_channel();
        self.next += 1;
        self.open.push(Poll { id: self.next, slots, things });
        (self.next, received)
    }

    /// Takes a request away: nothing is sent to it any more.
    pub(super) fn close(&mut self, id: u64) {
        self.open.retain(|poll| poll.id != id);
    }

    /// Ends all: whoever waits gets what was sent, mostly nothing.
    pub(super) fn release(&mut self) {
        self.open.clear();
    }

    /// Returns how many things the open requests take together.
    pub(super) fn slots(&self) -> u32 {
        let waiting = self.open.iter().filter(|poll| !poll.things.is_closed());
        waiting.fold(0, |sum, poll| sum.saturating_add(poll.slots))
    }

    /// Hands things to open requests, oldest first, each within its slots; returns what nobody takes.
    pub(super) fn hand(&mut self, things: Vec<T>) -> Vec<T> {
        let mut left = Vec::new();
        for thing in things {
            left.extend(self.hand_one(thing));
        }
        left
    }

    fn hand_one(&mut self, mut thing: T) -> Option<T> {
        for poll in self.open.iter_mut().filter(|poll| poll.slots > 0) {
            match poll.things.send(thing) {
                Ok(()) => {
                    poll.slots -= 1;
                    return None;
                }
                // Its client went away: the next request may take it.
                Err(mpsc::error::SendError(unsent)) => thing = unsent,
            }
        }
        Some(thing)
    }
}
