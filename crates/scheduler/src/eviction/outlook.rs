//! From past uses to future ones: there is no one way that is right for every fleet, so there are five.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How past uses are read. [`Experience`](super::Experience) finds out which reading fits the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outlook {
    /// All uses of half a year count nearly alike. Best where tastes are steady, and where much is used only once.
    #[default]
    Habit,
    /// A use fades with time, at all paces at once. Best where the fleet's work changes from week to week.
    Balanced,
    /// Recent uses count for most. Best where models are used in bursts.
    Recent,
    /// Only the last use counts, whatever a model's size or use (LRU).
    Latest,
    /// By habit in coarse steps, and of what is used alike whatever was used last goes first. Best where models take
    /// turns and do not all fit: part of the round stays instead of all of it going, one before its turn.
    Loyal,
}

impl Outlook {
    /// All of them; the place of each is its number.
    pub(super) const ALL: [Self; 5] = [Self::Habit, Self::Balanced, Self::Recent, Self::Latest, Self::Loyal];

    /// Returns how much more each slower counter of uses weighs than the one before it.
    ///
    /// Half-lives grow by 4, so a factor of `4^(1 - d)` lets a use of age `a` weigh about `1 / a^d`: `d` is 0 for all
    /// alike, 0.7 for the middle (on slow changes 0.5 to 0.8 are the same) and 1.3 for the recent (on bursts, 1.0 hits two
    /// percent less). Measured by the trace runner.
    pub(super) const fn growth(self) -> f64 {
        match self {
            Self::Habit | Self::Loyal => 4.0,
            Self::Balanced => 1.516,
            Self::Recent | Self::Latest => 0.660,
        }
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Habit => "habit",
            Self::Balanced => "balanced",
            Self::Recent => "recent",
            Self::Latest => "latest",
            Self::Loyal => "loyal",
        })
    }
}
