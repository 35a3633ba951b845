//! The grammar of the roles; that of the client's commands is `cli`'s. The texts are the help that users read.

use std::{net::SocketAddr, path::PathBuf};

use base::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use cli::{ClientCommand, GlobalArgs};
use url::Url;

use crate::simulate::SimulateCommand;

/// Serverless inference on your own hosts, with the models already on the shelf
#[derive(Clone, Debug, Parser)]
#[command(name = "larder", version, about, max_term_width = 100, subcommand_required = true)]
pub(crate) struct Program {
    #[command(flatten)]
    pub(crate) globals: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What `larder` can be.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: server and agent, supervised
    Up(UpArgs),
    /// Watch a cold start, a cached one and a warm request, with a real model, on this machine
    Demo(DemoArgs),
    /// Run the server alone: state, queue and the public API
    Server(ServerArgs),
    /// Run the agent alone: models and workers of this host
    Agent(AgentArgs),
    /// Be a hub
    #[command(subcommand)]
    Hub(HubCommand),
    /// Find out what a policy would do, by virtual time
    #[command(subcommand)]
    Simulate(SimulateCommand),
    #[command(flatten)]
    Client(ClientCommand),
}

/// How workers are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum IsolationWish {
    /// Namespaces and a root of their own, with or without privileges
    #[default]
    Namespaces,
    /// Nothing: workers see this machine. For one tenant, where the system forbids namespaces
    None,
}

/// Options of whoever starts workers.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct WorkerArgs {
    /// Give workers no network but the way to their agent
    #[arg(long)]
    pub(crate) no_egress: bool,
    /// Let the agent ask the hub for workers without egress, for what is not among their models
    #[arg(long)]
    pub(crate) edge_pass_through: bool,
    /// How workers are kept apart [default: namespaces]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) isolation: Option<IsolationWish>,
    /// How many workers may run at once [default: as memory allows]
    #[arg(long, value_name = "COUNT")]
    pub(crate) host_workers_max: Option<u32>,
    /// How many bytes models may take [default: all but a tenth of the disk]
    #[arg(long, value_name = "SIZE")]
    pub(crate) cache_bytes_max: Option<ByteSize>,
    /// Bytes per second that models are fetched with, all together [default: as fast as it goes]
    #[arg(long, value_name = "SIZE")]
    pub(crate) fetch_rate_max: Option<ByteSize>,
    /// How many bytes of the disk fetches leave free [default: a twentieth of it, 10 GB at most]
    #[arg(long, value_name = "SIZE")]
    pub(crate) disk_free_min: Option<ByteSize>,
}

/// Options of whoever listens for clients.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ListenArgs {
    /// Where to listen [default: 127.0.0.1:8380]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Listen on an address that others can reach, without encryption: keys travel in the clear
    #[arg(long)]
    pub(crate) insecure_http: bool,
    /// Address of the hub, when it is not the public one
    #[arg(long, env = "HF_ENDPOINT", value_name = "URL")]
    pub(crate) hub_endpoint: Option<Url>,
}

/// Options of every role.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RoleArgs {
    /// Settings that the options do not give, in TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Write the log into this file, and begin another when it is large
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
}

/// `larder up`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) workers: WorkerArgs,
    /// Settings that the options do not give, in TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// `larder server`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) role: RoleArgs,
}

/// `larder agent`.
#[derive(Clone, Debug, Args)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    pub(crate) workers: WorkerArgs,
    #[command(flatten)]
    pub(crate) role: RoleArgs,
}

/// `larder hub …`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum HubCommand {
    /// Serve a folder of models in the Hugging Face Hub protocol
    Serve(HubServeArgs),
}

/// `larder hub serve`.
#[derive(Clone, Debug, Args)]
pub(crate) struct HubServeArgs {
    /// The folder: models stand in it as org/name, other branches as org/name@branch
    pub(crate) folder: PathBuf,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8060", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Where to serve the bytes of large files: another origin, to which no token is sent [default: the same
    /// address, a free port]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) cdn_listen: Option<SocketAddr>,
    /// Which models are gated or private, and the tokens that open them, in TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) access: Option<PathBuf>,
    /// Bytes per second on each connection [default: as fast as it goes]
    #[arg(long, value_name = "SIZE")]
    pub(crate) rate_max: Option<ByteSize>,
}

/// `larder demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Only prepare: the one part that needs a network
    #[arg(long, conflicts_with_all = ["offline", "keep"])]
    pub(crate) prepare_only: bool,
    /// Only run: fail when anything is left to prepare
    #[arg(long)]
    pub(crate) offline: bool,
    /// Leave it running in the end, and say what to try next
    #[arg(long)]
    pub(crate) keep: bool,
    /// How workers are kept apart [default: namespaces]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) isolation: Option<IsolationWish>,
}

#[cfg(test)]
mod tests;
