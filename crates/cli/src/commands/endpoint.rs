//! `larder endpoint …`.

pub(super) mod spec;

use api::{EndpointView, FetchView, ModelStatus, ModelView, ScalingBody, WaitView};
use base::ByteSize;
use types::{EndpointName, HubAccess};

use super::{choice, worker};
use crate::{
    args::{EndpointCommand, OutputFormat, SpecArgs},
    client::Client,
    failure::Failure,
    progress::Progress,
    screen::Screen,
    surroundings::Surroundings,
    table::{Align, Table},
    words,
};

/// Carries out a command about endpoints.
pub(crate) async fn run(
    command: EndpointCommand,
    client: &Client,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    match command {
        EndpointCommand::Create { name, spec } => create(name, *spec, client, surroundings, screen).await,
        EndpointCommand::List => list(client, screen).await,
        EndpointCommand::Get { endpoint } => get(&endpoint, client, screen).await,
        EndpointCommand::Update { endpoint, spec } => {
            update(&endpoint, *spec, client, surroundings, screen).await
        }
        EndpointCommand::Delete { endpoints } => delete(&endpoints, client, screen).await,
    }
}

async fn create(
    name: EndpointName,
    spec: SpecArgs,
    client: &Client,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let folder = spec::store_folder(&spec, client, surroundings, screen, &mut progress).await?;
    if !spec.models.is_empty() && screen.is_interactive() {
        progress.step(screen, "asking the hub about the model");
    }
    let view = client.create_endpoint(&spec::create(name, spec, folder, surroundings)?).await?;
    progress.clear();
    saved("Created", &view, screen)?;
    if screen.format() == OutputFormat::Table {
        screen.note(format!("Send it a job: larder run {} '{{…}}'", view.name));
    }
    Ok(())
}

async fn update(
    endpoint: &str,
    spec: SpecArgs,
    client: &Client,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let folder = spec::store_folder(&spec, client, surroundings, screen, &mut progress).await?;
    let view = client.update_endpoint(endpoint, &spec::update(spec, folder, surroundings)?).await?;
    progress.clear();
    saved("Updated", &view, screen)
}

fn saved(what: &str, view: &EndpointView, screen: &mut Screen) -> Result<(), Failure> {
    match screen.format() {
        OutputFormat::Json => screen.json(view)?,
        OutputFormat::Table => {
            screen.line(format!("{what} {} ({}), release {}", view.name, view.id, view.release.version))?;
            details(view, screen)?;
            for model in &view.models {
                let name = model.reference.to_string();
                choice::left_out(&name, &model.choice).iter().for_each(|line| screen.note(line));
            }
        }
    }
    for warning in &view.warnings {
        screen.warn(warning);
    }
    Ok(())
}

async fn list(client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let list = client.endpoints().await?;
    if screen.format() == OutputFormat::Json {
        return screen.json(&list);
    }
    let mut table = Table::new([
        ("NAME", Align::Left),
        ("ID", Align::Left),
        ("RELEASE", Align::Right),
        ("MODELS", Align::Left),
        ("WORKERS", Align::Left),
        ("CREATED", Align::Left),
        ("NOTE", Align::Left),
    ]);
    let now = screen.now();
    for view in &list.endpoints {
        let models: Vec<&str> = view.models.iter().map(|model| model.repo.as_str()).collect();
        table.row([
            view.name.to_string(),
            view.id.to_string(),
            view.release.version.to_string(),
            models.join(", "),
            workers_now(view),
            words::ago(&view.created_at, now),
            view.waiting.as_ref().map_or_else(String::new, wait_words),
        ]);
    }
    table.write(screen, "there are no endpoints; make one with `larder endpoint create`")?;
    for view in &list.endpoints {
        for warning in &view.warnings {
            screen.warn(format!("{}: {warning}", view.name));
        }
    }
    Ok(())
}

async fn get(endpoint: &str, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let view = client.endpoint(endpoint).await?;
    if screen.format() == OutputFormat::Json {
        return screen.json(&view);
    }
    screen.line(format!("{} ({}), release {}", view.name, view.id, view.release.version))?;
    details(&view, screen)?;
    screen.line(format!("  now       {}", workers_now(&view)))?;
    if let Some(waiting) = &view.waiting {
        screen.line(format!("  waiting   {}", wait_words(waiting)))?;
        if let Some(hint) = waiting.fault.as_ref().and_then(|fault| fault.hint.as_ref()) {
            screen.line(format!("  hint      {hint}"))?;
        }
    }
    for warning in &view.warnings {
        screen.warn(warning);
    }
    Ok(())
}

async fn delete(endpoints: &[String], client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    for endpoint in endpoints {
        client.delete_endpoint(endpoint).await?;
        screen.note(format!("Deleted {endpoint}"));
    }
    Ok(())
}

fn details(view: &EndpointView, screen: &mut Screen) -> Result<(), Failure> {
    for model in &view.models {
        screen.line(format!("  model     {}", model_words(model)))?;
    }
    if let Some(command) = &view.command {
        let words = shlex::try_join(command.iter().map(String::as_str)).unwrap_or_else(|_| command.join(" "));
        screen.line(format!("  command   {words}"))?;
    }
    if let Some(image) = &view.image {
        screen.line(format!("  image     {image}"))?;
    }
    if let Some(folder) = &view.folder {
        let short: String = folder.chars().take(12).collect();
        screen.line(format!("  folder    {short}"))?;
    }
    if let Some(python) = &view.python {
        screen.line(format!("  python    {python}"))?;
    }
    if !view.env_names.is_empty() {
        screen.line(format!("  env       {}", view.env_names.join(", ")))?;
    }
    if view.gpu.count > 0 {
        let kinds =
            if view.gpu.pools.is_empty() { "of any type".to_owned() } else { view.gpu.pools.join(" or ") };
        screen.line(format!("  gpu       {} {kinds}", view.gpu.count))?;
    }
    let access = match view.hub_access {
        HubAccess::Edge => "edge: libraries find the models on the shelf, and ask it for the rest",
        HubAccess::Online => "online: libraries may ask it",
        HubAccess::Offline => "offline: libraries take what is on the shelf",
    };
    screen.line(format!("  hub       {access}"))?;
    if let Some(hub) = &view.hub_endpoint {
        screen.line(format!("            {hub}"))?;
    }
    let scaler = match view.scaling {
        ScalingBody::QueueDelay { queue_delay } => format!("another when a job has waited {queue_delay} s"),
        ScalingBody::RequestCount { request_count } => format!("one for every {request_count} jobs"),
    };
    screen.line(format!("  workers   {}; {scaler}", worker::numbers(&view.workers)))?;
    screen.line(format!("  url       {}", view.request_urls.run_sync))
}

/// Returns a model and where it stands.
fn model_words(model: &ModelView) -> String {
    let files = if model.files == 1 { "1 file" } else { &format!("{} files", model.files) };
    format!(
        "{} at {} ({}{}, {files}): {}",
        model.repo,
        model.commit.short(),
        choice::words(&model.choice),
        ByteSize(model.bytes),
        status_words(&model.status)
    )
}

/// Returns where a model stands.
pub(super) fn status_words(status: &ModelStatus) -> String {
    match status {
        ModelStatus::Absent => "on no host yet".to_owned(),
        ModelStatus::Waiting => "wanted".to_owned(),
        ModelStatus::Fetching(fetch) => fetch_words(fetch),
        ModelStatus::Ready => "ready".to_owned(),
        ModelStatus::Failed { fault, retry_at: _ } => format!("failed: {} ({})", fault.message, fault.code),
    }
}

/// Returns how far a fetch is.
pub(super) fn fetch_words(fetch: &FetchView) -> String {
    let tail = words::fetch_tail(fetch);
    format!("fetching: {} of {}{tail}", ByteSize(fetch.bytes_done), ByteSize(fetch.bytes_total))
}

/// Returns what a start waits for.
pub(super) fn wait_words(waiting: &WaitView) -> String {
    match &waiting.fault {
        // Some reasons quote the fault already.
        Some(fault) if waiting.reason.contains(&fault.message) => waiting.reason.clone(),
        Some(fault) => format!("{}: {} ({})", waiting.reason, fault.message, fault.code),
        None => waiting.reason.clone(),
    }
}

/// Returns the workers by state, those that are there.
fn workers_now(view: &EndpointView) -> String {
    let counts = &view.worker_counts;
    let states = [
        (counts.running, "running"),
        (counts.idle, "idle"),
        (counts.initializing, "initializing"),
        (counts.throttled, "throttled"),
        (counts.unhealthy, "unhealthy"),
    ];
    let present: Vec<String> = states
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    if present.is_empty() { "no workers".to_owned() } else { present.join(", ") }
}
