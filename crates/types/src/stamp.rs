//! Numbers that order what several processes say: who is the present owner, which desired state is newer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Orders desired states: a restored database is a new incarnation, every change a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Grows whenever the control plane's database is begun or restored.
    pub incarnation: u64,
    /// Grows with every change of the desired state within an incarnation.
    pub generation: u64,
}

/// The term of one owner of the queue. A later owner has a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// One hand-over of a job, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The first hand-over.
    pub const FIRST: Self = Self(1);

    /// Returns the hand-over after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
