//! `larder simulate eviction`: a trace on disks under policies, as a table or as an object.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use base::ByteSize;
use cli::{Align, Failure, OutputFormat, Screen, Surroundings, Table, for_people};
use serde::Serialize;
use sim::eviction::{DISK_SHARES, Outcome, PolicyName, Scale, Setup, Trace, TraceError, replay};
use types::{ErrorCode, Fault};

use super::grammar::EvictionArgs;

/// Bytes of a trace file: five million lines of a hundred bytes.
const TRACE_BYTES_MAX: u64 = 500_000_000;

/// What came of it, for programs.
#[derive(Serialize)]
struct Report {
    requests: usize,
    models: usize,
    bytes: ByteSize,
    working_set: ByteSize,
    runs: Vec<Run>,
}

/// One policy on one disk.
#[derive(Serialize)]
struct Run {
    disk: ByteSize,
    policy: PolicyName,
    byte_hit_ratio: f64,
    hit_ratio: f64,
    #[serde(flatten)]
    outcome: OutcomeView,
}

/// An outcome with its durations in milliseconds, as everywhere in the API.
#[derive(Serialize)]
struct OutcomeView {
    hits: u64,
    bytes_requested: ByteSize,
    bytes_hit: ByteSize,
    bytes_fetched: ByteSize,
    waited_millis: u128,
    evictions: u64,
    refused: u64,
}

/// Runs the policies and shows the report.
pub(super) fn run(
    arguments: &EvictionArgs,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let trace = match &arguments.trace {
        Some(path) => read(&surroundings.folder.join(path))?,
        None => arguments.workload.trace(Scale::default(), arguments.seed),
    };
    let report = report(&trace, arguments);
    match screen.format() {
        OutputFormat::Table => show(&report, screen),
        OutputFormat::Json => screen.json(&report),
    }
}

fn report(trace: &Trace, arguments: &EvictionArgs) -> Report {
    let working_set = trace.working_set();
    let disks = if arguments.disks.is_empty() {
        DISK_SHARES.map(|share| ByteSize((working_set.bytes() as f64 * share) as u64)).to_vec()
    } else {
        arguments.disks.clone()
    };
    let policies =
        if arguments.policies.is_empty() { PolicyName::ALL.to_vec() } else { arguments.policies.clone() };
    let runs = disks.iter().flat_map(|disk| {
        let setup = Setup { rate_bytes: arguments.fetch_rate.bytes(), ..Setup::new(*disk) };
        policies.iter().map(move |policy| {
            let outcome = replay(trace, *policy, &setup);
            Run {
                disk: *disk,
                policy: *policy,
                byte_hit_ratio: outcome.byte_hit_ratio(),
                hit_ratio: outcome.hit_ratio(),
                outcome: view(&outcome),
            }
        })
    });
    Report {
        requests: trace.requests().len(),
        models: trace.models().len(),
        bytes: trace.blobs().iter().copied().sum(),
        working_set,
        runs: runs.collect(),
    }
}

fn view(outcome: &Outcome) -> OutcomeView {
    let Outcome { requests: _, hits, bytes_requested, bytes_hit, bytes_fetched, waited, evictions, refused } =
        *outcome;
    let waited_millis = waited.as_millis();
    OutcomeView { hits, bytes_requested, bytes_hit, bytes_fetched, waited_millis, evictions, refused }
}

fn show(report: &Report, screen: &mut Screen) -> Result<(), Failure> {
    let Report { requests, models, bytes, working_set, runs } = report;
    screen
        .note(format!("{requests} starts on {models} models of {bytes}; a day's starts need {working_set}"));
    let mut table = Table::new([
        ("DISK", Align::Right),
        ("POLICY", Align::Left),
        ("BYTES HERE", Align::Right),
        ("STARTS HERE", Align::Right),
        ("FETCHED", Align::Right),
        ("WAITED", Align::Right),
        ("EVICTED", Align::Right),
        ("TOO LARGE", Align::Right),
    ]);
    for run in runs {
        let waited = u64::try_from(run.outcome.waited_millis).unwrap_or(u64::MAX);
        table.row([
            run.disk.to_string(),
            run.policy.to_string(),
            percent(run.byte_hit_ratio),
            percent(run.hit_ratio),
            run.outcome.bytes_fetched.to_string(),
            for_people(std::time::Duration::from_millis(waited)),
            run.outcome.evictions.to_string(),
            run.outcome.refused.to_string(),
        ]);
    }
    table.write(screen, "nothing to compare")?;
    if runs.iter().any(|run| matches!(run.policy, PolicyName::Popularity | PolicyName::Clairvoyant)) {
        screen.note(
            "popularity knows how often each model will be wanted, clairvoyant when: no policy in service can",
        );
    }
    Ok(())
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// Why a file is no trace.
#[derive(Debug, thiserror::Error)]
enum ReadTraceError {
    /// The operating system does not give it.
    #[error("the trace {path} can't be read")]
    Unreadable { path: String, source: io::Error },
    /// It is larger than any trace.
    #[error("the trace {path} is larger than {}", ByteSize(TRACE_BYTES_MAX))]
    TooLarge { path: String },
    /// It holds something else.
    #[error("{path} is no trace")]
    Wrong { path: String, source: TraceError },
}

impl From<ReadTraceError> for Failure {
    fn from(error: ReadTraceError) -> Self {
        let hint = match &error {
            ReadTraceError::Unreadable { .. } => "name a file of UTF-8 text that this user may read",
            ReadTraceError::TooLarge { .. } => "take a part of it: a few months tell as much",
            ReadTraceError::Wrong { .. } => {
                "a line is the second of a start, the model's name and its bytes, such as: 86400 org/name:Q4 4920000000"
            }
        };
        Fault::from_error(ErrorCode::FieldInvalid, &error).with_hint(hint).into()
    }
}

fn read(path: &Path) -> Result<Trace, ReadTraceError> {
    let shown = path.display().to_string();
    let unreadable = |source| ReadTraceError::Unreadable { path: shown.clone(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(TRACE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > TRACE_BYTES_MAX {
        return Err(ReadTraceError::TooLarge { path: shown });
    }
    Trace::parse(&text).map_err(|source| ReadTraceError::Wrong { path: shown, source })
}

#[cfg(test)]
mod tests;
