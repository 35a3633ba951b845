//! `larder host …`.

use api::{HostView, StoreView};
use base::ByteSize;
use types::Isolation;

use crate::{
    args::{HostCommand, OutputFormat},
    client::Client,
    failure::Failure,
    screen::Screen,
    table::{Align, Table},
};

/// Carries out a command about hosts.
pub(crate) async fn run(command: HostCommand, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match command {
        HostCommand::List => list(client, screen).await,
        HostCommand::Show { host } => show(&host, client, screen).await,
    }
}

async fn list(client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let hosts = client.hosts().await?;
    if screen.format() == OutputFormat::Json {
        return screen.json(&hosts);
    }
    let mut table = Table::new([
        ("HOST", Align::Left),
        ("AGENT", Align::Left),
        ("ISOLATION", Align::Left),
        ("WORKERS", Align::Right),
        ("GPUS", Align::Left),
        ("MODELS", Align::Right),
        ("LIMIT", Align::Right),
        ("EVICTABLE", Align::Right),
        ("FREE", Align::Right),
    ]);
    for host in &hosts.hosts {
        table.row([
            host.id.to_string(),
            if host.connected { "connected" } else { "away" }.to_owned(),
            isolation(host.isolation).to_owned(),
            host.workers.to_string(),
            gpus(host),
            ByteSize(host.cache_bytes).to_string(),
            ByteSize(host.store.limit).to_string(),
            ByteSize(host.store.evictable).to_string(),
            ByteSize(host.disk_available).to_string(),
        ]);
    }
    table.write(screen, "no host has joined")?;
    for host in &hosts.hosts {
        for warning in &host.warnings {
            screen.warn(format!("{}: {warning}", host.id));
        }
    }
    Ok(())
}

async fn show(host: &str, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let view = client.host(host).await?;
    if screen.format() == OutputFormat::Json {
        return screen.json(&view);
    }
    let StoreView {
        limit,
        floor,
        free,
        evictable,
        pinned,
        leased,
        unreferenced,
        partial,
        evictions,
        evicted,
        scrubbed,
        damaged_files,
    } = view.store;
    let size = |bytes: u64| ByteSize(bytes).to_string();
    screen.line(view.id.to_string())?;
    let rows = [
        ("agent", if view.connected { "connected" } else { "away" }.to_owned()),
        ("isolation", isolation(view.isolation).to_owned()),
        ("workers", view.workers.to_string()),
        ("gpus", gpus(&view)),
        ("models", format!("{} of {}", size(view.cache_bytes), size(limit))),
        ("pinned", size(pinned)),
        ("in use", size(leased)),
        ("evictable", size(evictable)),
        ("free", format!("{} for models; {} of the disk stay free", size(free), size(floor))),
        ("on its way", format!("{} in files that are not whole", size(partial))),
        ("left over", format!("{} of no whole model", size(unreferenced))),
        ("evicted", format!("{evictions} models, {}", size(evicted))),
        ("scrub", format!("{} read again, {damaged_files} files damaged", size(scrubbed))),
    ];
    for (name, value) in rows {
        screen.line(format!("  {name:<11}{value}"))?;
    }
    for warning in &view.warnings {
        screen.warn(warning);
    }
    Ok(())
}

/// Returns the words for an isolation.
pub(crate) const fn isolation(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Privileged => "namespaces",
        Isolation::Unprivileged => "namespaces (one user)",
        Isolation::None => "NONE",
    }
}

fn gpus(host: &HostView) -> String {
    if host.gpus.is_empty() { "none".to_owned() } else { host.gpus.join(", ") }
}
