//! Workloads: traces made from a seed, each with a shape that policies are known to differ on.

mod families;

use std::{fmt, str::FromStr};

use base::ByteSize;

use super::trace::Trace;
use crate::chance::{Chance, Zipf};

/// The workloads by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Workload {
    /// Steady popularity, Zipf's law with exponent 0.6: almost everything is used now and then.
    Zipf06,
    /// The same with 0.8.
    Zipf08,
    /// The same with 1.0.
    Zipf10,
    /// The same with 1.2: a few models take most of it.
    Zipf12,
    /// Two groups of models, one used by day and one by night.
    Diurnal,
    /// Popularity that drifts: a tenth of the ranks changes hands every two days.
    Drift,
    /// Popularity that changes at once: all ranks every five days.
    Shift,
    /// Steady popularity, and every now and then somebody pulls thirty models that nobody uses again.
    Scan,
    /// Models that take turns: a fifth of all, in a round.
    Loop,
    /// Each model is used many times within a day or so, and then not for long.
    Bursts,
    /// Bursts over steady popularity.
    Mixed,
    /// Repositories with several quantisations that share small files, and revisions that share weights.
    Families,
}

/// How large a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Different models that are used again and again.
    pub models: usize,
    /// Starts a day, on average.
    pub starts_per_day: u32,
    /// Days.
    pub days: u32,
}

impl Default for Scale {
    /// A busy host for two months, on a shelf of five hundred models.
    fn default() -> Self {
        Self { models: 500, starts_per_day: 200, days: 60 }
    }
}

const DAY_SECONDS: f64 = 86_400.0;

/// The exponent where the workload is about something else: between the 0.6 and 1.2 of the plain ones.
const EXPONENT: f64 = 0.9;

impl Workload {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Zipf06,
        Self::Zipf08,
        Self::Zipf10,
        Self::Zipf12,
        Self::Diurnal,
        Self::Drift,
        Self::Shift,
        Self::Scan,
        Self::Loop,
        Self::Bursts,
        Self::Mixed,
        Self::Families,
    ];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zipf06 => "zipf-0.6",
            Self::Zipf08 => "zipf-0.8",
            Self::Zipf10 => "zipf-1.0",
            Self::Zipf12 => "zipf-1.2",
            Self::Diurnal => "diurnal",
            Self::Drift => "drift",
            Self::Shift => "shift",
            Self::Scan => "scan",
            Self::Loop => "loop",
            Self::Bursts => "bursts",
            Self::Mixed => "mixed",
            Self::Families => "families",
        }
    }

    /// Returns whether requests are drawn independently by Zipf's law, where popularity is all there is to know.
    pub const fn is_zipf(self) -> bool {
        match self {
            Self::Zipf06 | Self::Zipf08 | Self::Zipf10 | Self::Zipf12 => true,
            Self::Diurnal
            | Self::Drift
            | Self::Shift
            | Self::Scan
            | Self::Loop
            | Self::Bursts
            | Self::Mixed
            | Self::Families => false,
        }
    }

    /// Makes its trace.
    pub fn trace(self, scale: Scale, seed: u64) -> Trace {
        let mut maker = Maker { scale, chance: Chance::seeded(seed), trace: Trace::default() };
        match self {
            Self::Zipf06 => maker.steady(0.6),
            Self::Zipf08 => maker.steady(0.8),
            Self::Zipf10 => maker.steady(1.0),
            Self::Zipf12 => maker.steady(1.2),
            Self::Diurnal => maker.diurnal(),
            // A swap moves two ranks.
            Self::Drift => maker.changing(2.0, scale.models / 20),
            Self::Shift => maker.changing(5.0, scale.models),
            Self::Scan => maker.scans(),
            Self::Loop => maker.rounds(),
            Self::Bursts => maker.bursts(f64::from(scale.starts_per_day)),
            Self::Mixed => {
                let half = f64::from(scale.starts_per_day) / 2.0;
                maker.bursts(half);
                maker.draw(half, EXPONENT);
            }
            Self::Families => families::make(&mut maker),
        }
        maker.trace.in_order()
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that no workload has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no workload is called {name:?}")]
pub struct UnknownWorkload {
    /// The name as given.
    pub name: String,
}

impl FromStr for Workload {
    type Err = UnknownWorkload;

    fn from_str(name: &str) -> Result<Self, UnknownWorkload> {
        let found = Self::ALL.into_iter().find(|workload| workload.as_str() == name);
        found.ok_or_else(|| UnknownWorkload { name: name.to_owned() })
    }
}

/// A trace that is being made.
struct Maker {
    scale: Scale,
    chance: Chance,
    trace: Trace,
}

impl Maker {
    fn end(&self) -> f64 {
        f64::from(self.scale.days) * DAY_SECONDS
    }

    /// Returns moments that come at random, so many a day.
    fn moments(&self, per_day: f64) -> Vec<f64> {
        let mut moments = Vec::new();
        let mut now = self.chance.pause(DAY_SECONDS / per_day);
        while now < self.end() {
            moments.push(now);
            now += self.chance.pause(DAY_SECONDS / per_day);
        }
        moments
    }

    /// Adds a model of its own bytes.
    ///
    /// Sizes are log-normal with a median of 8 GB (the weights of a model of four billion parameters) from 100 MB (an
    /// embedding model) to 140 GB (seventy billion parameters, two bytes each).
    fn add_model(&mut self) -> usize {
        let bytes = 8e9 * (1.2 * self.chance.normal()).exp();
        let blob = self.trace.add_blob(ByteSize(bytes.clamp(1e8, 140e9) as u64));
        let name = format!("org/model-{}", self.trace.models().len());
        self.trace.add_model(name, vec![blob])
    }

    fn add_models(&mut self, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.add_model()).collect()
    }

    fn steady(&mut self, exponent: f64) {
        self.draw(self.scale.starts_per_day.into(), exponent);
    }

    /// Adds models and requests for them by Zipf's law.
    fn draw(&mut self, per_day: f64, exponent: f64) {
        let models = self.add_models(self.scale.models);
        let zipf = Zipf::new(models.len(), exponent);
        for at in self.moments(per_day) {
            let model = models[zipf.draw(&self.chance)];
            self.trace.request(at, model);
        }
    }

    fn diurnal(&mut self) {
        let groups = [self.add_models(self.scale.models / 2), self.add_models(self.scale.models / 2)];
        let zipf = Zipf::new(self.scale.models / 2, EXPONENT);
        for at in self.moments(self.scale.starts_per_day.into()) {
            let sun = (at / DAY_SECONDS * std::f64::consts::TAU).sin();
            // At noon and at midnight, one request in twenty is for the other group.
            let group = &groups[usize::from(self.chance.happens(0.5 + 0.45 * sun))];
            self.trace.request(at, group[zipf.draw(&self.chance)]);
        }
    }

    /// Adds requests by Zipf's law, and swaps ranks every so many days.
    fn changing(&mut self, days: f64, swaps: usize) {
        let mut models = self.add_models(self.scale.models);
        let zipf = Zipf::new(models.len(), EXPONENT);
        let mut change = days * DAY_SECONDS;
        for at in self.moments(self.scale.starts_per_day.into()) {
            while at >= change {
                for _ in 0..swaps {
                    models.swap(self.chance.below(self.scale.models), self.chance.below(self.scale.models));
                }
                change += days * DAY_SECONDS;
            }
            self.trace.request(at, models[zipf.draw(&self.chance)]);
        }
    }

    fn scans(&mut self) {
        /// Models of one scan, and the pause between them in seconds.
        const SCAN: (usize, f64) = (30, 120.0);
        self.draw(self.scale.starts_per_day.into(), EXPONENT);
        // As many requests again as half of those that come back.
        for begun in self.moments(f64::from(self.scale.starts_per_day) / 2.0 / SCAN.0 as f64) {
            let mut at = begun;
            for _ in 0..SCAN.0 {
                let model = self.add_model();
                self.trace.request(at, model);
                at += self.chance.pause(SCAN.1);
            }
        }
    }

    fn rounds(&mut self) {
        let models = self.add_models((self.scale.models / 5).max(2));
        for (turn, at) in self.moments(self.scale.starts_per_day.into()).into_iter().enumerate() {
            self.trace.request(at, models[turn % models.len()]);
        }
    }

    fn bursts(&mut self, per_day: f64) {
        /// Requests of a burst on average, and the pause between them in seconds.
        const BURST: (f64, f64) = (10.0, 7200.0);
        // Four times as many models as usual, of nearly equal weight: a burst is rarely followed by another.
        let models = self.add_models(self.scale.models * 4);
        let zipf = Zipf::new(models.len(), 0.5);
        for begun in self.moments(per_day / BURST.0) {
            let model = models[zipf.draw(&self.chance)];
            let more = self.chance.pause(BURST.0 - 1.0).round() as usize;
            let mut at = begun;
            for _ in 0..=more {
                self.trace.request(at, model);
                at += self.chance.pause(BURST.1);
            }
        }
    }
}
