//! An import takes what is whole from every layout that `huggingface_hub` writes, and nothing from outside of the cache.

mod crash;
mod hostile;
mod layouts;
mod links;
mod maker;

use std::{collections::BTreeSet, ops::ControlFlow, path::Path};

use store::{ImportEnd, ImportMode, ImportReport, ImportRequest, Store};

use crate::pool;

fn request(folder: &Path, mode: ImportMode) -> ImportRequest {
    ImportRequest {
        folder: folder.to_owned(),
        supplier: pool::trusted("tn_operator"),
        mode,
        probed: pool::paths(["generation_config.json", "config.json"]),
    }
}

fn import(store: &Store, folder: &Path, mode: ImportMode) -> ImportReport {
    let report = store.import(&request(folder, mode), &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(report.end, ImportEnd::Finished);
    report
}

/// Returns each snapshot of a report as one line, and each of its flaws as one more.
fn lines(report: &ImportReport) -> Vec<String> {
    let mut lines = Vec::new();
    for snapshot in &report.snapshots {
        let outcome = match &snapshot.outcome {
            store::SnapshotOutcome::Imported(_) => "imported".to_owned(),
            store::SnapshotOutcome::AlreadyHere(_) => "already here".to_owned(),
            store::SnapshotOutcome::Incomplete => "incomplete".to_owned(),
            store::SnapshotOutcome::Refused { reason } => format!("refused, {reason}"),
        };
        let refs = snapshot.refs.join(",");
        lines.push(format!(
            "{}@{} [{refs}] {} files: {outcome}",
            snapshot.repo,
            snapshot.commit.short(),
            snapshot.files
        ));
        let flaws: BTreeSet<String> =
            snapshot.flaws.iter().map(|flaw| format!("  {}: {}", flaw.path, flaw.problem)).collect();
        lines.extend(flaws);
    }
    let skipped =
        report.skipped.iter().map(|skipped| format!("skipped {}: {}", skipped.name, skipped.reason));
    lines.extend(skipped);
    lines
}
