//! A trace: which model was wanted when. Made by a workload, or read from text.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base::{ByteSize, Timestamp};

/// Requests of a trace in text; a host with ten starts a minute makes as many in a year.
const REQUESTS_MAX: usize = 5_000_000;
/// Different models of a trace in text. Twenty times what a large hub account lists.
const MODELS_MAX: usize = 100_000;
/// Bytes of a model's name in text: twice the longest name of a repository, for hub, revision and variant.
const NAME_BYTES_MAX: usize = 512;
/// Ten years: a trace has no reason to be longer, and microseconds count that far without care.
const SECONDS_MAX: f64 = 10.0 * 366.0 * 86_400.0;
/// What times in text are counted from when they are too large for a count from the trace's own beginning: they are
/// seconds of the Unix epoch then.
const EPOCH_SECONDS_MIN: f64 = 1e9;

/// A model of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceModel {
    /// Its name.
    pub name: String,
    /// Its blobs, by their place in the trace.
    pub blobs: Vec<usize>,
}

/// A moment at which a model is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// When.
    pub at: Timestamp,
    /// Which, by its place in the trace.
    pub model: usize,
}

/// Requests in the order of time, and the models that they name.
///
/// Invariant: requests are sorted, and every number names something that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    models: Vec<TraceModel>,
    blobs: Vec<ByteSize>,
    requests: Vec<Request>,
}

/// A text that is no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A line has other than three fields.
    #[error("line {line} is not `SECONDS MODEL BYTES`")]
    Fields {
        /// Which line, from 1.
        line: usize,
    },
    /// A time is no number of seconds.
    #[error(
        "line {line}: {text:?} is no time: write seconds, from the trace's beginning or of the Unix epoch"
    )]
    Time {
        /// Which line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// A time is before the one above it.
    #[error("line {line} is earlier than the line before it")]
    Backwards {
        /// Which line, from 1.
        line: usize,
    },
    /// A name is too long.
    #[error("line {line}: the model's name is longer than {NAME_BYTES_MAX} bytes")]
    Name {
        /// Which line, from 1.
        line: usize,
    },
    /// A size is no number of bytes.
    #[error("line {line}: {text:?} is no size: write a whole number of bytes above zero")]
    Bytes {
        /// Which line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// A model has another size than before.
    #[error("line {line}: {model:?} had {before} bytes before")]
    Resized {
        /// Which line, from 1.
        line: usize,
        /// The model.
        model: String,
        /// Its size in the lines above.
        before: u64,
    },
    /// There are more requests or models than a trace may have.
    #[error("line {line}: a trace has at most {REQUESTS_MAX} requests for {MODELS_MAX} models")]
    TooLong {
        /// Which line, from 1.
        line: usize,
    },
    /// There is no request in it.
    #[error("the trace is empty")]
    Empty,
}

impl Trace {
    /// Reads a trace: a request a line, `SECONDS MODEL BYTES`, in the order of time. Empty lines and what follows a `#`
    /// at the beginning of a line are passed over.
    ///
    /// # Errors
    /// [`TraceError`] by condition, with the line.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut trace = Self::default();
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        let mut last = 0.0;
        for (line, words) in (1..).zip(text.lines()) {
            let words = words.trim();
            if words.is_empty() || words.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = words.split_whitespace().take(4).collect();
            let [time, name, bytes] = fields[..] else { return Err(TraceError::Fields { line }) };
            let seconds = parse_seconds(time).ok_or_else(|| TraceError::Time { line, text: shown(time) })?;
            if seconds < last {
                return Err(TraceError::Backwards { line });
            }
            last = seconds;
            if name.len() > NAME_BYTES_MAX {
                return Err(TraceError::Name { line });
            }
            let size = bytes.parse().ok().filter(|size| *size > 0 && *size < 1 << 60);
            let size: u64 = size.ok_or_else(|| TraceError::Bytes { line, text: shown(bytes) })?;
            let model = *known.entry(name).or_insert_with(|| {
                let blob = trace.add_blob(ByteSize(size));
                trace.add_model(name.to_owned(), vec![blob])
            });
            let before = trace.bytes_of(model).bytes();
            if before != size {
                return Err(TraceError::Resized { line, model: name.to_owned(), before });
            }
            if trace.requests.len() == REQUESTS_MAX || trace.models.len() > MODELS_MAX {
                return Err(TraceError::TooLong { line });
            }
            trace.requests.push(Request { at: at_second(seconds), model });
        }
        if trace.requests.is_empty() { Err(TraceError::Empty) } else { Ok(trace) }
    }

    /// Returns the models.
    pub fn models(&self) -> &[TraceModel] {
        &self.models
    }

    /// Returns the bytes of each blob.
    pub fn blobs(&self) -> &[ByteSize] {
        &self.blobs
    }

    /// Returns the requests.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Returns the bytes of a model.
    pub fn bytes_of(&self, model: usize) -> ByteSize {
        self.models[model].blobs.iter().map(|blob| self.blobs[*blob]).sum()
    }

    /// Returns the working set: the bytes of the different blobs wanted within a day, averaged over the days on which
    /// anything was wanted.
    pub fn working_set(&self) -> ByteSize {
        let mut wanted = BTreeSet::new();
        for Request { at, model } in &self.requests {
            let day = at.as_micros().div_euclid(DAY_MICROS);
            wanted.extend(self.models[*model].blobs.iter().map(|blob| (day, *blob)));
        }
        let days: BTreeSet<i64> = wanted.iter().map(|(day, _)| *day).collect();
        let bytes: u64 = wanted.iter().map(|(_, blob)| self.blobs[*blob].bytes()).sum();
        ByteSize(bytes / days.len().max(1) as u64)
    }

    pub(crate) fn add_blob(&mut self, bytes: ByteSize) -> usize {
        self.blobs.push(bytes);
        self.blobs.len() - 1
    }

    pub(crate) fn add_model(&mut self, name: String, blobs: Vec<usize>) -> usize {
        self.models.push(TraceModel { name, blobs });
        self.models.len() - 1
    }

    /// Adds a request at a second after the epoch; [`Self::in_order`] puts it in its place.
    pub(crate) fn request(&mut self, second: f64, model: usize) {
        self.requests.push(Request { at: at_second(second), model });
    }

    /// Sorts the requests by time; those of one moment stay in the order in which they were added.
    pub(crate) fn in_order(mut self) -> Self {
        self.requests.sort_by_key(|request| request.at);
        self
    }
}

const DAY_MICROS: i64 = 86_400 * 1_000_000;

fn at_second(second: f64) -> Timestamp {
    Timestamp::EPOCH + Duration::from_secs_f64(second)
}

fn parse_seconds(text: &str) -> Option<f64> {
    let seconds: f64 = text.parse().ok()?;
    // Ranges hold no NaN.
    ((0.0..=SECONDS_MAX).contains(&seconds)
        || (EPOCH_SECONDS_MIN..=EPOCH_SECONDS_MIN + 10.0 * SECONDS_MAX).contains(&seconds))
    .then_some(seconds)
}

/// Returns as much of a text as a message shows.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}
