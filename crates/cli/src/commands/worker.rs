//! `larder worker …`.

use api::{WorkerView, WorkersBody};
use types::Isolation;

use super::{endpoint::fetch_words, host};
use crate::{
    args::{OutputFormat, WorkerCommand},
    client::Client,
    failure::Failure,
    screen::Screen,
    table::{Align, Table},
    words,
};

/// Carries out a command about workers.
pub(crate) async fn run(command: WorkerCommand, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match command {
        WorkerCommand::List { endpoint } => list(endpoint.as_deref(), client, screen).await,
        WorkerCommand::Logs { worker, tail } => logs(&worker, tail, client, screen).await,
        WorkerCommand::Show { worker } => show(&worker, client, screen).await,
    }
}

/// Returns the numbers of workers in words.
pub(super) fn numbers(workers: &WorkersBody) -> String {
    let bound = |count: Option<u32>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let idle = workers.idle_timeout.map_or_else(String::new, |seconds| format!(", warm for {seconds} s"));
    format!("{} to {}{idle}", bound(workers.min), bound(workers.max))
}

async fn list(endpoint: Option<&str>, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let workers = match endpoint {
        Some(endpoint) => client.endpoint_workers(endpoint).await?,
        None => client.workers().await?,
    };
    if screen.format() == OutputFormat::Json {
        return screen.json(&workers);
    }
    let mut table = Table::new([
        ("WORKER", Align::Left),
        ("ENDPOINT", Align::Left),
        ("RELEASE", Align::Right),
        ("PHASE", Align::Left),
        ("HOST", Align::Left),
        ("JOBS", Align::Right),
        ("WANTED", Align::Left),
        ("NOTE", Align::Left),
    ]);
    let now = screen.now();
    for worker in &workers.workers {
        table.row([
            worker.id.to_string(),
            worker.endpoint_name.to_string(),
            worker.version.to_string(),
            worker.phase.to_string(),
            worker.host_id.as_ref().map_or_else(String::new, ToString::to_string),
            worker.jobs.len().to_string(),
            words::ago(&worker.created_at, now),
            note(worker),
        ]);
    }
    table.write(screen, "there are no workers")
}

fn note(worker: &WorkerView) -> String {
    let mut notes = Vec::new();
    if worker.isolation == Isolation::None {
        notes.push("isolation: NONE".to_owned());
    }
    if let Some(fetch) = &worker.fetch {
        notes.push(fetch_words(fetch));
    }
    if let Some(fault) = &worker.fault {
        notes.push(format!("{} ({})", fault.message, fault.code));
    }
    notes.join("; ")
}

async fn logs(worker: &str, tail: u32, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let logs = client.logs(worker, tail).await?;
    if screen.format() == OutputFormat::Json {
        return screen.json(&logs);
    }
    if logs.lines.is_empty() {
        screen.note("the worker has written nothing");
    }
    for line in &logs.lines {
        // The worker's own lines are left as they are; Larder's are told apart.
        let mark = if line.source == "system" { "larder: " } else { "" };
        screen.line(format!("{} {mark}{}", line.ts, line.line))?;
    }
    Ok(())
}

async fn show(worker: &str, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let worker = client.worker(worker).await?;
    if screen.format() == OutputFormat::Json {
        return screen.json(&worker);
    }
    let now = screen.now();
    let ended =
        worker.ended_at.as_ref().map_or_else(String::new, |at| format!(", ended {}", words::ago(at, now)));
    screen.line(format!("{} of {}, release {}", worker.id, worker.endpoint_name, worker.version))?;
    let on = worker.host_id.as_ref().map_or_else(String::new, |id| format!(" on {id}"));
    screen.line(format!("  phase      {}{on}", worker.phase))?;
    screen.line(format!("  wanted     {}{ended}", words::ago(&worker.created_at, now)))?;
    screen.line(format!("  isolation  {}", host::isolation(worker.isolation)))?;
    for job in &worker.jobs {
        screen.line(format!("  job        {job}"))?;
    }
    if let Some(fetch) = &worker.fetch {
        screen.line(format!("  fetch      {}", fetch_words(fetch)))?;
    }
    if let Some(fault) = &worker.fault {
        screen.line(format!("  reason     {} ({})", fault.message, fault.code))?;
        if let Some(hint) = &fault.hint {
            screen.line(format!("  hint       {hint}"))?;
        }
    }
    screen.line("")?;
    timeline(&worker, screen)?;
    screen.line("")?;
    phases(&worker, screen)
}

/// Writes when each mark of the start was reached.
fn timeline(worker: &WorkerView, screen: &mut Screen) -> Result<(), Failure> {
    let mut table = Table::new([("START", Align::Left), ("AFTER", Align::Right), ("STEP", Align::Right)]);
    let mut before = 0;
    for mark in &worker.timeline {
        let step = format!("+{} ms", mark.after - before);
        table.row([mark.mark.as_str().to_owned(), format!("{} ms", mark.after), step]);
        before = mark.after;
    }
    table.write(screen, "its start has not begun")
}

/// Writes how long the worker was in each phase, and which of that is billed.
fn phases(worker: &WorkerView, screen: &mut Screen) -> Result<(), Failure> {
    let mut table = Table::new([("PHASE", Align::Left), ("TIME", Align::Right), ("BILLED", Align::Left)]);
    for (phase, time) in &worker.phases {
        let billed = if phase.is_billed() { "yes" } else { "no" };
        table.row([phase.to_string(), words::millis(*time), billed.to_owned()]);
    }
    table.write(screen, "no time has passed")
}
