//! Who decides what leaves: our policy, its rivals, and the two bounds.

mod larder;
mod offline;
mod online;

use std::{fmt, str::FromStr};

use base::Timestamp;
use serde::{Serialize, Serializer};

use super::{disk::Disk, replay::Setup, trace::Trace};

/// One that decides what leaves.
pub(super) trait Policy {
    /// Learns that a model is used; `request` is its place in the trace. It is on the disk by now.
    fn used(&mut self, request: usize, model: usize, now: Timestamp);

    /// Returns models that leave so that `needed` bytes are free, or some of them; at least one.
    fn victims(&mut self, disk: &Disk<'_>, needed: u64, now: Timestamp) -> Vec<usize>;

    /// Learns that a model has left.
    fn left(&mut self, model: usize);
}

/// The policies by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyName {
    /// What the store goes by.
    Larder,
    /// Least recently used.
    Lru,
    /// Least frequently used since it came; the older one of two.
    Lfu,
    /// Greedy-Dual-Size-Frequency (Cherkasova 1998) with every fetch at the same cost: it holds many small models.
    Gdsf,
    /// The same, with the time of a fetch as its cost.
    GdsfCost,
    /// The greedy offline bound: knows how often the whole trace asks for each model, and evicts what is asked for
    /// least. Where requests are drawn independently, that is all that can be known of the future.
    Popularity,
    /// Knows when each model is wanted next, and evicts what is wanted last (Belady). No real policy can.
    Clairvoyant,
}

impl PolicyName {
    /// All of them, ours first, the bounds last.
    pub const ALL: [Self; 7] =
        [Self::Larder, Self::Lru, Self::Lfu, Self::Gdsf, Self::GdsfCost, Self::Popularity, Self::Clairvoyant];

    /// Those that ours is compared with: they know no more than it does.
    pub const RIVALS: [Self; 4] = [Self::Lru, Self::Lfu, Self::Gdsf, Self::GdsfCost];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Larder => "larder",
            Self::Lru => "lru",
            Self::Lfu => "lfu",
            Self::Gdsf => "gdsf",
            Self::GdsfCost => "gdsf-cost",
            Self::Popularity => "popularity",
            Self::Clairvoyant => "clairvoyant",
        }
    }

    pub(super) fn policy<'a>(self, trace: &'a Trace, setup: &Setup) -> Box<dyn Policy + 'a> {
        match self {
            Self::Larder => Box::new(larder::Larder::new(trace, *setup)),
            Self::Lru => Box::new(online::Lru::new(trace)),
            Self::Lfu => Box::new(online::Lfu::new(trace)),
            Self::Gdsf => Box::new(online::Gdsf::new(trace, |_| 1.0)),
            Self::GdsfCost => {
                let setup = *setup;
                Box::new(online::Gdsf::new(trace, move |bytes| setup.fetch_time(bytes).as_secs_f64()))
            }
            Self::Popularity => Box::new(offline::Popularity::new(trace)),
            Self::Clairvoyant => Box::new(offline::Clairvoyant::new(trace)),
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for PolicyName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A name that no policy has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no policy is called {name:?}")]
pub struct UnknownPolicy {
    /// The name as given.
    pub name: String,
}

impl FromStr for PolicyName {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == name);
        found.ok_or_else(|| UnknownPolicy { name: name.to_owned() })
    }
}
