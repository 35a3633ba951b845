//! `larder model …`.

mod import;
mod pull;
mod show;
mod verify;
mod why;

use api::ModelView;
use base::ByteSize;
use types::{ErrorCode, Fault};

use super::endpoint::{spec::parse_model, status_words};
use crate::{
    args::{ModelCommand, OutputFormat},
    client::Client,
    failure::Failure,
    screen::Screen,
    surroundings::Surroundings,
    table::{Align, Table},
};

/// Carries out a command about models.
pub(crate) async fn run(
    command: ModelCommand,
    client: &Client,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    match command {
        ModelCommand::Pull(arguments) => pull::run(arguments, client, surroundings, screen).await,
        ModelCommand::Cancel(arguments) => {
            parse_model(&arguments.model)?;
            told(&client.cancel_pull(&arguments.model).await?, "Called off the fetch of", screen)
        }
        ModelCommand::Pin(arguments) => {
            parse_model(&arguments.model)?;
            told(&client.pin_model(&arguments.model).await?, "Pinned", screen)
        }
        ModelCommand::Unpin(arguments) => {
            parse_model(&arguments.model)?;
            told(&client.unpin_model(&arguments.model).await?, "Unpinned", screen)
        }
        ModelCommand::List => list(client, screen).await,
        ModelCommand::Show(arguments) => show::run(arguments, client, surroundings, screen).await,
        ModelCommand::Path { model, host } => {
            parse_model(&model.model)?;
            path(&model.model, host, client, screen).await
        }
        ModelCommand::Verify { model, repair } => {
            parse_model(&model.model)?;
            verify::run(&model.model, repair, client, screen).await
        }
        ModelCommand::Why(arguments) => {
            parse_model(&arguments.model)?;
            why::run(&arguments.model, client, screen).await
        }
        ModelCommand::Import(arguments) => import::run(arguments, client, screen).await,
        ModelCommand::Rm(arguments) => {
            parse_model(&arguments.model)?;
            remove(&arguments.model, client, screen).await
        }
    }
}

fn told(view: &ModelView, words: &str, screen: &mut Screen) -> Result<(), Failure> {
    match screen.format() {
        OutputFormat::Json => screen.json(view),
        OutputFormat::Table => {
            screen.note(format!("{words} {}", name(view)));
            Ok(())
        }
    }
}

async fn remove(reference: &str, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let removed = client.remove_model(reference).await?;
    if screen.format() == OutputFormat::Json {
        return screen.json(&removed);
    }
    screen.note(format!("Removed {reference}: {} are free again", ByteSize(removed.freed_bytes)));
    for host in &removed.away {
        screen.warn(format!("{host} is away: what it has of the model stays until its room is needed"));
    }
    Ok(())
}

async fn list(client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let list = client.models().await?;
    if screen.format() == OutputFormat::Json {
        return screen.json(&list);
    }
    let mut table = Table::new([
        ("MODEL", Align::Left),
        ("COMMIT", Align::Left),
        ("SIZE", Align::Right),
        ("FILES", Align::Right),
        ("STATUS", Align::Left),
        ("HOSTS", Align::Right),
        ("ENDPOINTS", Align::Left),
    ]);
    for view in &list.models {
        let endpoints: Vec<&str> = view.endpoints.iter().map(types::EndpointName::as_str).collect();
        table.row([
            name(view),
            view.commit.short(),
            ByteSize(view.bytes).to_string(),
            view.files.to_string(),
            standing(view),
            view.hosts.len().to_string(),
            endpoints.join(", "),
        ]);
    }
    table.write(screen, "no model is on the shelf; bring one with `larder model pull`")
}

/// Returns where a model stands, and whether it is kept.
fn standing(view: &ModelView) -> String {
    let kept = if view.pinned { ", pinned" } else { "" };
    format!("{}{kept}", status_words(&view.status))
}

/// Returns the model's name with its hub, where that is not the public one, and its variant.
fn name(view: &ModelView) -> String {
    let hub =
        if view.hub == types::HubName::hugging_face() { String::new() } else { format!("{}!", view.hub) };
    let variant = view.reference.variant.as_ref().map_or_else(String::new, |variant| format!(":{variant}"));
    format!("{hub}{}{variant}", view.repo)
}

async fn path(reference: &str, host: bool, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let view = client.model_path(reference).await?;
    if screen.format() == OutputFormat::Json {
        return screen.json(&view);
    }
    if !host {
        return screen.line(view.worker_path);
    }
    match view.host_path {
        Some(path) => screen.line(path),
        None => Err(Fault::new(ErrorCode::ModelNotFound, format!("{reference} is on no host"))
            .with_hint(format!("bring it with `larder model pull {reference}`"))
            .into()),
    }
}
