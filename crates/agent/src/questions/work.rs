//! Answers that take the disk minutes: they run on the blocking pool, and meanwhile the asker is told how far they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use api::{
    AgentMessage, Answer, DamagedFiles, ImportOrder, ImportReport, ImportSummary, ImportWay,
    ImportedManifest, SnapshotEnd, SnapshotView, VerifyReport, WorkProgress,
};
use base::Clock;
use store::{
    HubStanding, ImportEnd, ImportMode, ImportRequest, ImportedSnapshot, ScrubStep, SnapshotOutcome, Store,
    StoredModel, Supplier,
};
use tokio::sync::watch;
use types::{Digest, ErrorCode, Fault, ModelKey};

use super::blocking;
use crate::outbox::Outbox;

/// How often an asker is told how far work is, also when nothing has moved: silence means that nobody works.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Where work shows how far it is.
pub(super) type Shown = watch::Sender<WorkProgress>;

/// Tells whoever asked a question how far the work for it is.
#[derive(Debug)]
pub(crate) struct Teller {
    pub(crate) question: u64,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) clock: Clock,
}

impl Teller {
    /// Does work on the blocking pool, and tells meanwhile how far it is.
    pub(super) async fn while_working(
        &self,
        work: impl FnOnce(&Shown) -> Result<Answer, Fault> + Send + 'static,
    ) -> Result<Answer, Fault> {
        let shown = watch::Sender::new(WorkProgress::default());
        let seen = shown.subscribe();
        let mut working = std::pin::pin!(blocking(move || work(&shown)));
        loop {
            tokio::select! {
                // It goes on where it stands when the other arm is first.
                answer = &mut working => return answer,
                // Nothing is lost: it only waits.
                () = self.clock.sleep(TELL_EVERY) => {
                    let progress = seen.borrow().clone();
                    self.outbox.say(AgentMessage::Working { id: self.question, progress });
                }
            }
        }
    }
}

/// Reads every file of a model again, each content once.
pub(super) fn verify(
    store: &Store,
    key: &ModelKey,
    damaged: DamagedFiles,
    shown: &Shown,
) -> Result<Answer, Fault> {
    let model = recorded(store, key)?;
    let files = model.manifest.files();
    let contents: BTreeMap<Digest, (&str, u64)> =
        files.iter().map(|file| (file.digest, (file.path.as_str(), file.size))).collect();
    shown.send_replace(WorkProgress {
        files_total: contents.len() as u64,
        bytes_total: contents.values().map(|(_, size)| size).sum(),
        ..WorkProgress::default()
    });
    let mut wrong = BTreeSet::new();
    for (digest, (path, size)) in &contents {
        shown.send_modify(|progress| progress.at = (*path).to_owned());
        let before = shown.borrow().bytes_done;
        if !is_sound(store, digest, shown) {
            wrong.insert(*digest);
        }
        shown.send_modify(|progress| {
            progress.files_done += 1;
            progress.bytes_done = before + size;
        });
    }
    if damaged == DamagedFiles::Quarantine && !wrong.is_empty() {
        shown.send_modify(|progress| "reading once more what is wrong".clone_into(&mut progress.at));
        let suspects: Vec<Digest> = wrong.iter().copied().collect();
        let quarantined = store.quarantine(&suspects).map_err(|error| error.fault())?;
        for sound in quarantined.sound {
            wrong.remove(&sound);
        }
    }
    Ok(Answer::Verified(VerifyReport {
        files: files.len() as u64,
        bytes: files.iter().map(|file| file.size).sum(),
        damaged: files
            .iter()
            .filter(|file| wrong.contains(&file.digest))
            .map(|file| file.path.to_string())
            .collect(),
    }))
}

/// Returns a model on record, also one that lacks files.
fn recorded(store: &Store, key: &ModelKey) -> Result<Arc<StoredModel>, Fault> {
    let damaged = || store.damaged().into_iter().find(|model| model.manifest.key() == key);
    store.get(key).or_else(damaged).ok_or_else(|| {
        Fault::new(ErrorCode::ModelNotFound, format!("{key} is not on this host"))
            .with_hint("larder model why tells whether it was evicted")
    })
}

/// Reads a blob. One that is not there, or can't be read, is not sound either.
fn is_sound(store: &Store, digest: &Digest, shown: &Shown) -> bool {
    let Ok(mut scrubbing) = store.scrub(digest) else { return false };
    loop {
        match scrubbing.step() {
            ScrubStep::Read(bytes) => shown.send_modify(|progress| progress.bytes_done += bytes),
            ScrubStep::Sound => return true,
            ScrubStep::Suspect => return false,
        }
    }
}

/// Takes a cache over.
pub(super) fn import(store: &Store, order: ImportOrder, shown: &Shown) -> Result<Answer, Fault> {
    let standing = if order.hub_trusted { HubStanding::Trusted } else { HubStanding::Untrusted };
    let request = ImportRequest {
        folder: order.folder,
        supplier: Supplier { hub: order.hub, tenant: order.tenant, standing },
        mode: match order.way {
            ImportWay::Copy => ImportMode::Copy,
            ImportWay::Link => ImportMode::Link,
        },
        probed: BTreeSet::new(),
    };
    let mut observe = |progress: &store::ImportProgress| -> ControlFlow<()> {
        shown.send_replace(WorkProgress {
            at: progress.snapshot.clone().unwrap_or_default(),
            files_done: progress.snapshots_done,
            files_total: progress.snapshots_total,
            bytes_done: progress.bytes_done.bytes(),
            bytes_total: progress.bytes_total.bytes(),
        });
        ControlFlow::Continue(())
    };
    let report = store.import(&request, &mut observe).map_err(|error| error.fault())?;
    let models = report.snapshots.iter().filter_map(|snapshot| imported(store, snapshot)).collect();
    let summary = ImportSummary {
        snapshots: report.snapshots.iter().map(snapshot_view).collect(),
        skipped: report
            .skipped
            .iter()
            .map(|skipped| format!("{}: {}", skipped.name, skipped.reason))
            .collect(),
        linked: report.bytes.linked.bytes(),
        cloned: report.bytes.cloned.bytes(),
        copied: report.bytes.copied.bytes(),
        already_here: report.bytes.already_here.bytes(),
        took: u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
        stopped: match report.end {
            ImportEnd::Finished | ImportEnd::Cancelled => None,
            ImportEnd::Stopped(fault) => Some(fault),
        },
    };
    Ok(Answer::Imported(Box::new(ImportReport { models, summary })))
}

fn imported(store: &Store, snapshot: &ImportedSnapshot) -> Option<ImportedManifest> {
    let key = match &snapshot.outcome {
        SnapshotOutcome::Imported(key) | SnapshotOutcome::AlreadyHere(key) => key,
        SnapshotOutcome::Incomplete | SnapshotOutcome::Refused { .. } => return None,
    };
    let model = store.get(key)?;
    Some(ImportedManifest { manifest: model.manifest.clone(), refs: snapshot.refs.clone() })
}

fn snapshot_view(snapshot: &ImportedSnapshot) -> SnapshotView {
    let mut flaws: Vec<String> =
        snapshot.flaws.iter().map(|flaw| format!("{}: {}", flaw.path, flaw.problem)).collect();
    let outcome = match &snapshot.outcome {
        SnapshotOutcome::Imported(_) => SnapshotEnd::Imported,
        SnapshotOutcome::AlreadyHere(_) => SnapshotEnd::AlreadyHere,
        SnapshotOutcome::Incomplete => SnapshotEnd::Incomplete,
        SnapshotOutcome::Refused { reason } => {
            flaws.insert(0, reason.clone());
            SnapshotEnd::Refused
        }
    };
    SnapshotView {
        repo: snapshot.repo.to_string(),
        commit: snapshot.commit.to_string(),
        refs: snapshot.refs.clone(),
        files: snapshot.files,
        bytes: snapshot.bytes.bytes(),
        outcome,
        flaws,
    }
}
