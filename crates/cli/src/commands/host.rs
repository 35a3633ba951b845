//! `larder host …`.

use api::HostView;
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
