//! What to do, from what should be and what is. Pure: no clock, no store, no driver.
//!
//! ```text
//! worker:  (new) ──▶ Held ──▶ Starting ──▶ Alive ──▶ Draining ──▶ Stopping ──▶ Over ──▶ (forgotten)
//!            models, folder and secrets    │  Stop intent, or no longer desired ▲
//!            have come, intent is Run      └────────────────────────────────────┘
//! ```
//!
//! Every pass looks at everything, so a lost signal costs only time; doing nothing twice is the normal case.

use std::collections::{BTreeMap, BTreeSet};

use api::{Desired, DesiredWorker, WorkerIntent};
use base::Timestamp;
use types::{Digest, Launch, ModelKey, SecretRef, WorkerId};

/// Where a model stands here. One that is not in the list is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelStanding {
    /// Whole.
    Ready,
    /// On its way.
    Fetching,
    /// The last try failed.
    Failed {
        /// When the next may begin.
        retry_at: Timestamp,
    },
}

/// Where a released folder stands here. One that is not in the list was not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FolderStanding {
    /// Unpacked, or given up: a start that needs it goes on, or fails with the reason.
    Settled,
    /// Asked for.
    Coming,
}

/// Where a worker stands here. One that is not in the list is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerStanding {
    /// Known, not started.
    Held,
    /// On its way into its process.
    Starting,
    /// Its process runs.
    Alive,
    /// It gets no more jobs.
    Draining {
        /// Jobs that it may still be working on.
        live_jobs: usize,
    },
    /// It was asked to end.
    Stopping,
    /// It ended, or could not be started.
    Over,
}

/// What is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present<'a> {
    pub(crate) models: &'a BTreeMap<ModelKey, ModelStanding>,
    pub(crate) folders: &'a BTreeMap<Digest, FolderStanding>,
    pub(crate) workers: &'a BTreeMap<WorkerId, WorkerStanding>,
    pub(crate) secrets: &'a BTreeSet<SecretRef>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Begin to fetch a model.
    Fetch(ModelKey),
    /// Give a fetch up: what it brought stays.
    GiveUp(ModelKey),
    /// Ask the server for a folder.
    AskForFolder(Digest),
    /// Keep a worker waiting, and say why.
    Hold(WorkerId, String),
    /// Start a worker.
    Start(WorkerId),
    /// Give a worker no more jobs.
    Drain(WorkerId),
    /// Ask a worker to end.
    Stop(WorkerId),
    /// Count a worker as ended that never started.
    Withdraw(WorkerId),
    /// Remove what is left of a worker.
    Forget(WorkerId),
}

/// Decides what to do. At most `fetches_max` models are on their way at once.
pub(crate) fn decide(
    desired: &Desired,
    present: Present<'_>,
    now: Timestamp,
    fetches_max: usize,
) -> Vec<Action> {
    let mut actions = fetches(desired, present, now, fetches_max);
    let mut asked = BTreeSet::new();
    for worker in &desired.workers {
        for action in worker_actions(worker, present) {
            // Several workers of a release need one folder.
            let repeated = matches!(&action, Action::AskForFolder(digest) if !asked.insert(*digest));
            if !repeated {
                actions.push(action);
            }
        }
    }
    let wanted: BTreeSet<&WorkerId> = desired.workers.iter().map(|worker| &worker.worker).collect();
    for (worker, standing) in present.workers {
        if !wanted.contains(worker) {
            actions.extend(undesired(worker, *standing));
        }
    }
    actions
}

/// What a start waits for goes first, and does not wait for what was only asked for: each kind has its own limit.
fn fetches(desired: &Desired, present: Present<'_>, now: Timestamp, fetches_max: usize) -> Vec<Action> {
    let wanted: BTreeSet<&ModelKey> = desired.models.iter().map(|model| model.manifest.key()).collect();
    let views = desired.workers.iter().flat_map(|worker| &worker.views);
    let awaited: BTreeSet<&ModelKey> = views.map(|view| &view.key).collect();
    let running = present.models.iter().filter(|(_, standing)| **standing == ModelStanding::Fetching);
    let (kept, surplus): (Vec<_>, Vec<_>) = running.map(|(key, _)| key).partition(|key| wanted.contains(key));
    let mut actions: Vec<Action> = surplus.into_iter().cloned().map(Action::GiveUp).collect();
    let due = desired.models.iter().filter(|model| {
        let may_begin = match present.models.get(model.manifest.key()) {
            None => true,
            Some(ModelStanding::Failed { retry_at }) => *retry_at <= now,
            Some(ModelStanding::Ready | ModelStanding::Fetching) => false,
        };
        may_begin && model.token.as_ref().is_none_or(|token| present.secrets.contains(token))
    });
    let (first, second): (Vec<_>, Vec<_>) =
        due.map(|model| model.manifest.key()).partition(|key| awaited.contains(key));
    let running_awaited = kept.iter().filter(|key| awaited.contains(*key)).count();
    let first: Vec<_> = first.into_iter().take(fetches_max.saturating_sub(running_awaited)).collect();
    let room = fetches_max.saturating_sub(kept.len() + first.len());
    actions.extend(first.into_iter().chain(second.into_iter().take(room)).cloned().map(Action::Fetch));
    actions
}

fn worker_actions(order: &DesiredWorker, present: Present<'_>) -> Vec<Action> {
    let id = || order.worker.clone();
    let standing = present.workers.get(&order.worker).copied();
    match (order.intent, standing) {
        (_, Some(WorkerStanding::Over | WorkerStanding::Stopping)) => Vec::new(),
        (WorkerIntent::Hold, None | Some(WorkerStanding::Held)) => {
            let why =
                missing(order, present).unwrap_or_else(|| "everything is here; the start is held".to_owned());
            let mut actions = folder_wanted(order, present);
            actions.push(Action::Hold(id(), why));
            actions
        }
        (WorkerIntent::Run, None | Some(WorkerStanding::Held)) => match missing(order, present) {
            Some(why) => {
                let mut actions = folder_wanted(order, present);
                actions.push(Action::Hold(id(), why));
                actions
            }
            None => vec![Action::Start(id())],
        },
        (WorkerIntent::Drain | WorkerIntent::Stop, None | Some(WorkerStanding::Held)) => {
            vec![Action::Withdraw(id())]
        }
        (WorkerIntent::Drain, Some(WorkerStanding::Alive)) => vec![Action::Drain(id())],
        (WorkerIntent::Drain, Some(WorkerStanding::Draining { live_jobs: 0 })) => vec![Action::Stop(id())],
        (WorkerIntent::Stop, Some(WorkerStanding::Alive | WorkerStanding::Draining { .. })) => {
            vec![Action::Stop(id())]
        }
        // A worker that drains does not come back: its polls were released. The server replaces it.
        (WorkerIntent::Drain, Some(WorkerStanding::Draining { .. } | WorkerStanding::Starting))
        | (WorkerIntent::Stop, Some(WorkerStanding::Starting))
        | (
            WorkerIntent::Hold | WorkerIntent::Run,
            Some(WorkerStanding::Starting | WorkerStanding::Alive | WorkerStanding::Draining { .. }),
        ) => Vec::new(),
    }
}

/// Returns what a start still waits for, in words, or `None`.
fn missing(order: &DesiredWorker, present: Present<'_>) -> Option<String> {
    let not_here = |key: &ModelKey| present.models.get(key) != Some(&ModelStanding::Ready);
    let models: Vec<String> = order
        .views
        .iter()
        .filter(|view| not_here(&view.key))
        .map(|view| view.key.repo.name.to_string())
        .collect();
    if !models.is_empty() {
        return Some(format!("waits for {}", models.join(", ")));
    }
    if order.env.as_ref().is_some_and(|secret| !present.secrets.contains(secret)) {
        return Some("waits for its environment".to_owned());
    }
    let folder_here = |digest| present.folders.get(&digest) == Some(&FolderStanding::Settled);
    match folder(order) {
        Some(digest) if !folder_here(digest) => Some("waits for its released folder".to_owned()),
        Some(_) | None => None,
    }
}

fn folder_wanted(order: &DesiredWorker, present: Present<'_>) -> Vec<Action> {
    folder(order)
        .filter(|digest| !present.folders.contains_key(digest))
        .map(Action::AskForFolder)
        .into_iter()
        .collect()
}

/// Returns the folder that a worker starts in.
pub(crate) fn folder(order: &DesiredWorker) -> Option<Digest> {
    match &order.launch {
        Launch::Command { folder, .. } => *folder,
        Launch::Image { .. } => None,
    }
}

fn undesired(worker: &WorkerId, standing: WorkerStanding) -> Option<Action> {
    match standing {
        WorkerStanding::Alive | WorkerStanding::Draining { .. } => Some(Action::Stop(worker.clone())),
        WorkerStanding::Held | WorkerStanding::Over => Some(Action::Forget(worker.clone())),
        WorkerStanding::Starting | WorkerStanding::Stopping => None,
    }
}

#[cfg(test)]
mod tests;
