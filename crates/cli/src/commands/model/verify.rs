//! `larder model verify`: reads a model again, and has repaired what is damaged.

use api::VerifyView;
use base::ByteSize;
use types::{ErrorCode, Fault};

use super::pull::Watching;
use crate::{args::OutputFormat, client::Client, failure::Failure, progress::Progress, screen::Screen};

/// Verifies a model, and repairs it when that is asked.
pub(super) async fn run(
    reference: &str,
    repair: bool,
    client: &Client,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let text = format!("reading the files of {reference}");
    progress.step(screen, &text);
    let view = client
        .verify_model(reference, repair, |work| {
            progress.bytes(screen, &format!("{text} on {}", work.host), work.bytes_done, work.bytes_total);
        })
        .await?;
    progress.clear();
    let repaired = !view.repairing.is_empty();
    if repaired {
        Watching::new().until_end(reference, client, screen).await?;
    }
    match screen.format() {
        OutputFormat::Json => screen.json(&view)?,
        OutputFormat::Table => told(&view, repaired, screen)?,
    }
    if view.damaged.is_empty() || repaired {
        return Ok(());
    }
    let message = format!("{} of the files of {reference} are damaged", view.damaged.len());
    Err(Fault::new(ErrorCode::ContentMismatch, message)
        .with_hint(format!("fetch them again, and only them: `larder model verify {reference} --repair`"))
        .into())
}

fn told(view: &VerifyView, repaired: bool, screen: &mut Screen) -> Result<(), Failure> {
    screen.line(format!("{} files read, {}", view.files, ByteSize(view.bytes)))?;
    let word = if repaired { "repaired" } else { "damaged" };
    for path in &view.damaged {
        screen.line(format!("{word}: {path}"))?;
    }
    Ok(())
}
