//! Requests that a worker holds open, waiting for jobs or for stops. Owns no task: each request is its handler's.

use tokio::sync::oneshot;

/// Requests of one kind that one worker holds open, oldest first.
///
/// The newest SDK has one, old ones as many as they work at once. A worker that opens more than
/// [`POLLS_MAX`] has its oldest answered.
#[derive(Debug)]
pub(super) struct Polls<T> {
    open: Vec<Poll<T>>,
    next: u64,
}

/// Above the concurrency of any worker seen; bounds what a hostile one can hold.
const POLLS_MAX: usize = 256;

#[derive(Debug)]
struct Poll<T> {
    id: u64,
    slots: u32,
    answer: oneshot::Sender<Vec<T>>,
}

impl<T> Default for Polls<T> {
    fn default() -> Self {
        Self { open: Vec::new(), next: 0 }
    }
}

impl<T> Polls<T> {
    /// Adds a request that takes up to `slots` things.
    pub(super) fn open(&mut self, slots: u32) -> (u64, oneshot::Receiver<Vec<T>>) {
        if self.open.len() >= POLLS_MAX {
            let oldest = self.open.remove(0);
            // Whether it is still there does not matter: it gets nothing.
            let _ = oldest.answer.send(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        self.next += 1;
        self.open.push(Poll { id: self.next, slots, answer });
        (self.next, answered)
    }

    /// Takes a request away that ended by itself. Returns whether it was there.
    pub(super) fn close(&mut self, id: u64) -> bool {
        let before = self.open.len();
        self.open.retain(|poll| poll.id != id);
        self.open.len() < before
    }

    /// Answers all with nothing.
    pub(super) fn release(&mut self) {
        for poll in self.open.drain(..) {
            // Whether it is still there does not matter: it gets nothing.
            let _ = poll.answer.send(Vec::new());
        }
    }

    /// Returns how many things the open requests take together.
    pub(super) fn slots(&self) -> u32 {
        self.open.iter().filter(|poll| !poll.answer.is_closed()).map(|poll| poll.slots).sum()
    }

    /// Hands things to open requests, each within its slots; returns what nobody took.
    pub(super) fn hand(&mut self, mut things: Vec<T>) -> Vec<T> {
        while !things.is_empty() && !self.open.is_empty() {
            let poll = self.open.remove(0);
            let rest = things.split_off(things.len().min(poll.slots as usize));
            match poll.answer.send(things) {
                Ok(()) => things = rest,
                // The client went away: the next request may take them.
                Err(mut unanswered) => {
                    unanswered.extend(rest);
                    things = unanswered;
                }
            }
        }
        things
    }
}
