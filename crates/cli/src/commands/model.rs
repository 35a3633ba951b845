//! `larder model …`.

use std::time::Duration;

use api::{ModelStatus, ModelView, PullModel};
use base::ByteSize;
use types::{ErrorCode, Fault, ModelRef};

use super::endpoint::{spec::parse_model, status_words};
use crate::{
    args::{ModelCommand, OutputFormat},
    client::Client,
    failure::Failure,
    progress::Progress,
    screen::Screen,
    surroundings::Surroundings,
    table::{Align, Table},
};

/// Between two looks at a fetch. A bar that moves five times a second looks steady.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Carries out a command about models.
pub(crate) async fn run(
    command: ModelCommand,
    client: &Client,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    match command {
        ModelCommand::Pull { model, hf_token, hub_endpoint, detach } => {
            parse_model(&model)?;
            let hub_token = hf_token.or_else(|| surroundings.hub_token.clone());
            let view = client.pull(&PullModel { reference: model, hub_token, hub_endpoint }).await?;
            let view = if detach { view } else { wait(view, client, screen).await? };
            pulled(&view, screen)
        }
        ModelCommand::List => list(client, screen).await,
        ModelCommand::Show(arguments) => show(&arguments.model, client, screen).await,
        ModelCommand::Path { model, host } => {
            parse_model(&model.model)?;
            path(&model.model, host, client, screen).await
        }
        ModelCommand::Verify(arguments) => {
            parse_model(&arguments.model)?;
            verify(&arguments.model, client, screen).await
        }
        ModelCommand::Rm(arguments) => {
            parse_model(&arguments.model)?;
            client.remove_model(&arguments.model).await?;
            screen.note(format!("Removed {}", arguments.model));
            Ok(())
        }
    }
}

/// Waits until the model is on a host, showing how far it is.
async fn wait(pulled: ModelView, client: &Client, screen: &mut Screen) -> Result<ModelView, Fault> {
    let mut progress = Progress::new();
    let mut view = pulled;
    loop {
        let name = format!("{} at {}", view.repo, view.commit.short());
        match &view.status {
            ModelStatus::Ready => return Ok(view),
            ModelStatus::Failed { fault, retry_at: _ } => return Err(fault.clone()),
            ModelStatus::Absent | ModelStatus::Waiting => {
                progress.step(screen, &format!("waiting for {name}"));
            }
            ModelStatus::Fetching(fetch) => progress.fetch(screen, &format!("fetching {name}"), fetch),
        }
        screen.clock().clone().sleep(LOOK_AGAIN).await;
        let list = client.models().await?;
        let is_same = |other: &ModelView| {
            (&other.hub, &other.repo, other.commit, other.selection)
                == (&view.hub, &view.repo, view.commit, view.selection)
        };
        view = list.models.into_iter().find(is_same).ok_or_else(|| {
            Fault::new(ErrorCode::ModelNotFound, format!("{name} was removed while it was fetched"))
        })?;
    }
}

fn pulled(view: &ModelView, screen: &mut Screen) -> Result<(), Failure> {
    match screen.format() {
        OutputFormat::Json => screen.json(view),
        OutputFormat::Table => screen.line(format!(
            "{} at {}: {} ({} files, {})",
            view.repo,
            view.commit,
            status_words(&view.status),
            view.files,
            ByteSize(view.bytes)
        )),
    }
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
            status_words(&view.status),
            view.hosts.len().to_string(),
            endpoints.join(", "),
        ]);
    }
    table.write(screen, "no model is on the shelf; bring one with `larder model pull`")
}

/// Returns the model's name with its hub, where that is not the public one, and its variant.
fn name(view: &ModelView) -> String {
    let hub =
        if view.hub == types::HubName::hugging_face() { String::new() } else { format!("{}!", view.hub) };
    let variant = view.reference.variant.as_ref().map_or_else(String::new, |variant| format!(":{variant}"));
    format!("{hub}{}{variant}", view.repo)
}

async fn show(reference: &str, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let wanted = parse_model(reference)?;
    let mut list = client.models().await?;
    list.models.retain(|view| answers_to(view, &wanted));
    if list.models.is_empty() {
        let message = format!("{reference} is on no host and no endpoint wants it");
        let fault = Fault::new(ErrorCode::ModelNotFound, message);
        return Err(fault.with_hint(format!("bring it with `larder model pull {reference}`")).into());
    }
    if screen.format() == OutputFormat::Json {
        return screen.json(&list);
    }
    for view in &list.models {
        let hosts: Vec<&str> = view.hosts.iter().map(types::HostId::as_str).collect();
        let endpoints: Vec<&str> = view.endpoints.iter().map(types::EndpointName::as_str).collect();
        screen.line(name(view))?;
        screen.line(format!("  commit     {}", view.commit))?;
        screen.line(format!("  hub        {}", view.hub))?;
        screen.line(format!("  size       {} in {} files", ByteSize(view.bytes), view.files))?;
        screen.line(format!("  status     {}", status_words(&view.status)))?;
        screen.line(format!(
            "  hosts      {}",
            if hosts.is_empty() { "none".into() } else { hosts.join(", ") }
        ))?;
        screen.line(format!(
            "  endpoints  {}",
            if endpoints.is_empty() { "none".into() } else { endpoints.join(", ") }
        ))?;
    }
    Ok(())
}

/// Returns whether a reference means this model. The hub does not tell letters' cases apart, and so don't we.
fn answers_to(view: &ModelView, wanted: &ModelRef) -> bool {
    let revision = wanted.revision.as_ref().is_none_or(|revision| {
        view.reference.revision.as_ref() == Some(revision)
            || view.commit.to_string().starts_with(revision.as_str())
            || (view.reference.revision.is_none() && *revision == types::Revision::main())
    });
    view.repo.as_str().eq_ignore_ascii_case(wanted.repo.as_str())
        && wanted.hub.as_ref().is_none_or(|hub| *hub == view.hub)
        && wanted.variant.as_ref().is_none_or(|variant| view.reference.variant.as_ref() == Some(variant))
        && revision
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

async fn verify(reference: &str, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let mut progress = Progress::new();
    progress.step(screen, &format!("reading the files of {reference}"));
    let view = client.verify_model(reference).await?;
    progress.clear();
    match screen.format() {
        OutputFormat::Json => screen.json(&view)?,
        OutputFormat::Table => {
            screen.line(format!("{} files read, {}", view.files, ByteSize(view.bytes)))?;
            for path in &view.damaged {
                screen.line(format!("damaged: {path}"))?;
            }
        }
    }
    if view.damaged.is_empty() {
        return Ok(());
    }
    let message = format!("{} of the files of {reference} are damaged", view.damaged.len());
    Err(Fault::new(ErrorCode::ContentMismatch, message)
        .with_hint(format!("remove it and bring it again: `larder model rm {reference}`"))
        .into())
}
