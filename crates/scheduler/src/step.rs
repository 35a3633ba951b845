//! What every state machine of this crate answers.
//!
//! A machine is a plain value with a method `step(&self, event, now)`. It changes nothing by itself: the caller
//! stores the next state and carries the effects out, in that order or in one transaction.

/// The answer of a state machine to one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<S, E> {
    /// The event moves the machine: its next state, and what must be done because of it.
    Next(S, Vec<E>),
    /// The event makes no sense in this state; nothing changes. Somebody asked for what can't be done.
    Denied(&'static str),
    /// The event repeats or comes after what it tells is settled; nothing changes. Worth a count, not a warning.
    Ignored(&'static str),
}

impl<S, E> Step<S, E> {
    /// Returns the next state and the effects, or none when nothing changes.
    pub fn next(self) -> Option<(S, Vec<E>)> {
        match self {
            Self::Next(state, effects) => Some((state, effects)),
            Self::Denied(_) | Self::Ignored(_) => None,
        }
    }
}
