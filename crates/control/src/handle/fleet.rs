//! Workers, hosts and what they cost.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use api::{
    Answer, HostList, HostView, LogList, LogStream, LogView, Problem, Question, UsagePhase, UsageRecord,
    UsageView, WorkerList, WorkerView,
};
use base::Timestamp;
use scheduler::{LedgerInterval, Window};
use state::{IntervalRow, KeyScope};
use types::{EndpointId, LedgerPhase};

use super::{Handle, asking::odd_answer};
use crate::Caller;

/// A host reads the end of a file.
const LOGS_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines that one question may ask for.
const LOG_LINES_MAX: u32 = 10_000;

impl Handle {
    /// Returns the workers of one endpoint, or of all, newest first.
    ///
    /// # Errors
    /// `endpoint-not-found`.
    pub async fn workers(&self, caller: &Caller, endpoint: Option<&str>) -> Result<WorkerList, Problem> {
        caller.needs(KeyScope::Read)?;
        let (tenant, endpoint) = (caller.tenant.clone(), endpoint.map(str::to_owned));
        self.call(move |owner| owner.worker_list(&tenant, endpoint.as_deref())).await
    }

    /// Returns a worker.
    ///
    /// # Errors
    /// `worker-not-found`.
    pub async fn worker(&self, caller: &Caller, worker: &str) -> Result<WorkerView, Problem> {
        caller.needs(KeyScope::Read)?;
        let (tenant, worker) = (caller.tenant.clone(), worker.to_owned());
        self.call(move |owner| owner.worker_view(&tenant, &worker)).await
    }

    /// Returns the last lines of a worker's log, oldest first.
    ///
    /// # Errors
    /// `worker-not-found`; `host-away` when its host can't be asked.
    pub async fn worker_logs(&self, caller: &Caller, worker: &str, tail: u32) -> Result<LogList, Problem> {
        caller.needs(KeyScope::Read)?;
        let (tenant, worker) = (caller.tenant.clone(), worker.to_owned());
        let (worker, host) = self.call(move |owner| owner.place_of(&tenant, &worker)).await?;
        let question = Question::Logs { worker, tail: tail.min(LOG_LINES_MAX) };
        let Answer::Logs(lines) = self.ask(&host, question, LOGS_TIMEOUT).await? else {
            return Err(odd_answer(&host));
        };
        let lines = lines.into_iter().map(|line| LogView {
            source: match line.stream {
                LogStream::Stdout | LogStream::Stderr => "container".to_owned(),
                LogStream::System => "system".to_owned(),
            },
            line: line.text,
            ts: line.at.to_rfc3339(),
        });
        Ok(LogList { lines: lines.collect() })
    }

    /// Returns the hosts.
    ///
    /// # Errors
    /// `key-forbidden`.
    pub async fn hosts(&self, caller: &Caller) -> Result<HostList, Problem> {
        caller.needs(KeyScope::Read)?;
        self.call(|owner| Ok(owner.host_list())).await
    }

    /// Returns one host.
    ///
    /// # Errors
    /// `host-not-found`.
    pub async fn host(&self, caller: &Caller, host: &str) -> Result<HostView, Problem> {
        caller.needs(KeyScope::Read)?;
        let host = host.to_owned();
        self.call(move |owner| owner.host_view(&host)).await
    }

    /// Returns what the caller's endpoints used in a window, up to now.
    ///
    /// # Errors
    /// `state-error`.
    pub async fn usage(&self, caller: &Caller, from: Timestamp, to: Timestamp) -> Result<UsageView, Problem> {
        caller.needs(KeyScope::Read)?;
        let tenant = caller.tenant.clone();
        let (names, open) =
            self.call(move |owner| Ok((owner.names_of(&tenant), owner.open_intervals(&tenant)))).await?;
        // Seconds are rounded once for each worker, so that a worker's time before the window counts as well.
        let written = self.shared.state.intervals(&caller.tenant, Timestamp::EPOCH, to).await;
        let mut intervals = written.map_err(|error| Problem::from(error.fault()))?;
        intervals.extend(open);
        Ok(UsageView { records: usage_records(&intervals, &names, Window { from, to }) })
    }
}

/// Adds up intervals by endpoint.
fn usage_records(
    intervals: &[IntervalRow],
    names: &BTreeMap<EndpointId, String>,
    window: Window,
) -> Vec<UsageRecord> {
    let mut by_endpoint: BTreeMap<&EndpointId, Vec<&IntervalRow>> = BTreeMap::new();
    for row in intervals {
        by_endpoint.entry(&row.endpoint).or_default().push(row);
    }
    let records = by_endpoint.into_iter().filter_map(|(endpoint, rows)| {
        let within: Vec<_> = rows.iter().filter(|row| row.to > window.from && row.from < window.to).collect();
        if within.is_empty() {
            return None;
        }
        let all = rows
            .iter()
            .map(|row| (&row.worker, LedgerInterval { phase: row.phase, from: row.from, to: row.to }));
        let mut seconds: BTreeMap<LedgerPhase, f64> = BTreeMap::new();
        for row in &within {
            let clipped = row.to.min(window.to).since(row.from.max(window.from));
            *seconds.entry(row.phase).or_default() += clipped.as_secs_f64();
        }
        Some(UsageRecord {
            endpoint_id: endpoint.clone(),
            endpoint_name: names.get(endpoint).cloned().unwrap_or_default(),
            workers: within.iter().map(|row| &row.worker).collect::<BTreeSet<_>>().len() as u64,
            billed_seconds: scheduler::usage(all, window).billed_seconds(),
            fetched_bytes: within.iter().map(|row| row.fetched_bytes).sum(),
            phases: seconds
                .into_iter()
                .map(|(phase, seconds)| UsagePhase { phase, seconds, billed: phase.is_billed() })
                .collect(),
        })
    });
    records.collect()
}
