//! What an endpoint waits for, in words.

use std::collections::BTreeMap;

use api::{FetchView, FileView, ModelState, WaitView};
use base::ByteSize;
use scheduler::{Unfit, Wait, WorkerState};
use types::{EndpointId, Fault, HostId, ModelKey, WorkerId};

use super::Owner;

/// Hosts whose room is told in the reason of a wait: more would be no sentence.
const HOSTS_TOLD: usize = 3;

impl Owner {
    /// Returns what an endpoint's starts wait for, or why they fail; none when nothing holds a job up.
    pub(super) fn wait_view(&self, endpoint: &EndpointId) -> Option<WaitView> {
        let report = self.reports.get(endpoint)?;
        // A reason to fail explains more than a wait that is as usual.
        let wait = report.waits.iter().find(|wait| is_failing(wait)).or_else(|| report.waits.first());
        let Some(wait) = wait else {
            return Some(plain("waits for a worker to become free"));
        };
        let reason = wait.to_string();
        let start = |worker: &WorkerId| WaitView { worker_id: Some(worker.clone()), ..plain(&reason) };
        Some(match wait {
            Wait::Fetch { worker, host, model, .. } => WaitView {
                fetch: self.fetch_view(host, model),
                fault: self.start_fault(worker),
                ..start(worker)
            },
            Wait::FetchRetry { worker, host, model, fault, at } => WaitView {
                fetch: self.fetch_view(host, model),
                fault: Some(fault.clone()),
                retry_at: Some(at.to_rfc3339()),
                ..start(worker)
            },
            Wait::Room { worker, .. }
            | Wait::HostAway { worker, .. }
            | Wait::Process { worker, .. }
            | Wait::FirstTake { worker, .. } => start(worker),
            Wait::CrashPause { fault, until, .. } => {
                WaitView { fault: Some(fault.clone()), retry_at: Some(until.to_rfc3339()), ..plain(&reason) }
            }
            Wait::Host => {
                let room = self.room_words(endpoint, &report.others);
                plain(&format!("{reason}{}{room}", unfit_words(&report.others)))
            }
            Wait::ScalerDelay { .. } | Wait::Maximum { .. } | Wait::NormalPriority => plain(&reason),
        })
    }

    /// Returns what would have to go for an endpoint's models, on the hosts where others keep the room.
    fn room_words(&self, endpoint: &EndpointId, others: &BTreeMap<Unfit, u32>) -> String {
        if !others.contains_key(&Unfit::CacheInUse) {
            return String::new();
        }
        let Some(need) = self.fleet.endpoint(endpoint).map(|facts| std::sync::Arc::clone(&facts.need)) else {
            return String::new();
        };
        let mut words = String::new();
        for (host, entry) in self.hosts.iter().filter(|(_, entry)| entry.link.is_some()).take(HOSTS_TOLD) {
            let Some(cache) = self.fleet.host(host).map(|facts| facts.cache) else { continue };
            let missing: u64 = need
                .models
                .iter()
                .map(|model| {
                    let held = self.fleet.model(host, &model.key);
                    held.map_or(model.total, |held| held.state.missing(model.total)).bytes()
                })
                .sum();
            let store = &entry.observed.host.store;
            words.push_str(&format!(
                "; {host} lacks {} of {}: {} free, {} can be evicted, {} are pinned and {} in use",
                ByteSize(missing.saturating_sub(cache.free.bytes() + cache.evictable.bytes())),
                ByteSize(missing),
                cache.free,
                cache.evictable,
                ByteSize(store.pinned),
                ByteSize(store.leased),
            ));
        }
        words
    }

    /// Returns how far the fetch of a model to a host is, as its agent told last.
    pub(super) fn fetch_view(&self, host: &HostId, model: &ModelKey) -> Option<FetchView> {
        let entry = self.hosts.get(host)?;
        let report = entry.observed.models.iter().find(|report| report.key == *model)?;
        match &report.state {
            ModelState::Fetching(progress) => Some(FetchView {
                files_total: progress.files_total,
                files_done: progress.files_done,
                bytes_total: progress.bytes_total,
                bytes_done: progress.bytes_done,
                bytes_per_second: progress.bytes_per_second,
                eta: progress.eta_millis,
                sources: progress.sources.clone(),
                files: progress
                    .files
                    .iter()
                    .map(|file| FileView {
                        path: file.path.clone(),
                        bytes_total: file.bytes_total,
                        bytes_done: file.bytes_done,
                    })
                    .collect(),
            }),
            ModelState::Pending(_) | ModelState::Ready { .. } | ModelState::Failed { .. } => None,
        }
    }

    /// Returns why the last fetch for a held start failed, until the next one advances.
    pub(super) fn start_fault(&self, worker: &WorkerId) -> Option<Fault> {
        match self.workers.get(worker)?.machine.state() {
            WorkerState::Initializing { fault } => fault.clone(),
            WorkerState::Unhealthy { fault } => Some(fault.clone()),
            WorkerState::Throttled { .. }
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Idle { .. }
            | WorkerState::Running { .. }
            | WorkerState::Draining { .. }
            | WorkerState::Stopped { .. } => None,
        }
    }
}

fn is_failing(wait: &Wait) -> bool {
    match wait {
        Wait::FetchRetry { .. } | Wait::CrashPause { .. } => true,
        Wait::Fetch { .. }
        | Wait::Room { .. }
        | Wait::HostAway { .. }
        | Wait::Process { .. }
        | Wait::FirstTake { .. }
        | Wait::ScalerDelay { .. }
        | Wait::Host
        | Wait::Maximum { .. }
        | Wait::NormalPriority => false,
    }
}

fn plain(reason: &str) -> WaitView {
    WaitView { reason: reason.to_owned(), worker_id: None, fetch: None, fault: None, retry_at: None }
}

/// Returns why hosts can't take a worker, each reason with how many hosts it keeps away.
fn unfit_words(others: &BTreeMap<Unfit, u32>) -> String {
    let reasons: Vec<String> = others
        .iter()
        .map(|(unfit, count)| {
            let hosts = if *count == 1 { "1 host".to_owned() } else { format!("{count} hosts") };
            format!("{hosts}: {}", unfit.as_str())
        })
        .collect();
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_of_hosts_are_counted() {
        let check = |others: &[(Unfit, u32)], expected: &str| {
            assert_eq!(unfit_words(&others.iter().copied().collect()), expected);
        };
        check(&[], "");
        check(&[(Unfit::GpuCount, 1), (Unfit::Away, 2)], " (2 hosts: away; 1 host: has too few GPUs)");
    }
}
