//! `larder model import`: takes over the models of a Hugging Face cache.

use api::{ImportModels, ImportView, SnapshotEnd};
use base::ByteSize;

use crate::{
    args::{ImportArgs, OutputFormat},
    client::Client,
    failure::Failure,
    progress::Progress,
    screen::Screen,
    table::{Align, Table},
    words,
};

/// Has a cache taken over, and tells what came of it.
pub(super) async fn run(arguments: ImportArgs, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let ImportArgs { folder, link, hub, host } = arguments;
    // A host that is this machine sees the folder as it is from the root, not from where the command is run.
    let folder = std::path::absolute(&folder)?.to_string_lossy().into_owned();
    let mut progress = Progress::new();
    let text = format!("importing {folder}");
    progress.step(screen, &text);
    let body = ImportModels { folder, hub, host, link };
    let view = client
        .import_models(&body, |work| {
            let at = format!("{text}: {}", work.at);
            progress.bytes(screen, &at, work.bytes_done, work.bytes_total);
        })
        .await?;
    progress.clear();
    match screen.format() {
        OutputFormat::Json => screen.json(&view)?,
        OutputFormat::Table => told(&view, screen)?,
    }
    match view.summary.stopped {
        Some(fault) => Err(fault.into()),
        None => Ok(()),
    }
}

fn told(view: &ImportView, screen: &mut Screen) -> Result<(), Failure> {
    let summary = &view.summary;
    let mut table = Table::new([
        ("MODEL", Align::Left),
        ("COMMIT", Align::Left),
        ("REFS", Align::Left),
        ("SIZE", Align::Right),
        ("FILES", Align::Right),
        ("OUTCOME", Align::Left),
    ]);
    for snapshot in &summary.snapshots {
        table.row([
            snapshot.repo.clone(),
            snapshot.commit.chars().take(8).collect(),
            snapshot.refs.join(", "),
            ByteSize(snapshot.bytes).to_string(),
            snapshot.files.to_string(),
            outcome(snapshot.outcome).to_owned(),
        ]);
    }
    table.write(screen, "the cache holds no model")?;
    for snapshot in &summary.snapshots {
        for flaw in &snapshot.flaws {
            screen.warn(format!("{}: {flaw}", snapshot.repo));
        }
    }
    for skipped in &summary.skipped {
        screen.note(format!("left out: {skipped}"));
    }
    let ways = [
        (summary.linked, "linked"),
        (summary.cloned, "cloned"),
        (summary.copied, "copied"),
        (summary.already_here, "there already"),
    ];
    let ways: Vec<String> = ways
        .into_iter()
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, way)| format!("{} {way}", ByteSize(bytes)))
        .collect();
    let bytes = if ways.is_empty() { "nothing to take".to_owned() } else { ways.join(", ") };
    screen.note(format!("Imported to {} in {}: {bytes}", view.host, words::millis(summary.took)));
    Ok(())
}

const fn outcome(end: SnapshotEnd) -> &'static str {
    match end {
        SnapshotEnd::Imported => "imported",
        SnapshotEnd::AlreadyHere => "already here",
        SnapshotEnd::Incomplete => "incomplete",
        SnapshotEnd::Refused => "refused",
    }
}
