//! The command line's grammar.
//!
//! Words only: what they mean is in `commands`. The texts here are the help that users read.

mod endpoint;
mod model;
mod selection;
mod values;

use std::path::PathBuf;

use base::Redacted;
use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;
use url::Url;

pub(crate) use endpoint::{EndpointCommand, SpecArgs};
pub(crate) use model::{ImportArgs, ModelCommand, PullArgs, ShowArgs};
pub(crate) use selection::SelectionArgs;
pub(crate) use values::{GpuWish, Seconds, Variable};

/// Options that every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct GlobalArgs {
    /// Address of the server [default: that of the server that uses the data folder, or http://127.0.0.1:8380]
    #[arg(long, global = true, env = "LARDER_SERVER", value_name = "URL")]
    pub server: Option<Url>,
    /// Key to the server [default: the one in the data folder]
    #[arg(long, global = true, env = "LARDER_KEY", hide_env_values = true, value_name = "KEY")]
    pub key: Option<Redacted<String>>,
    /// Folder for state, models and keys [default: larder in the user's data folder]
    #[arg(long, global = true, env = "LARDER_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How results and errors are written
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people: aligned columns, relative times
    #[default]
    Table,
    /// For programs: the API's own objects; errors as objects on the error output
    Json,
}

/// The commands that speak to a server.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// Make, show and change endpoints
    #[command(subcommand)]
    Endpoint(EndpointCommand),
    /// Send a job to an endpoint and wait for its output
    Run(RunArgs),
    /// Look after jobs that were sent before
    #[command(subcommand)]
    Job(JobCommand),
    /// Bring models to the hosts and look after them
    #[command(subcommand)]
    Model(ModelCommand),
    /// Look at workers
    #[command(subcommand)]
    Worker(WorkerCommand),
    /// Show what endpoints used, by phase of their workers
    Usage(UsageArgs),
    /// Look at hosts
    #[command(subcommand)]
    Host(HostCommand),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write all of them into a folder
    Man {
        /// Write one page for each command into this folder
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// `larder run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Name or id of the endpoint
    pub(crate) endpoint: String,
    /// Input of the job: JSON, or @FILE, or - for the standard input
    #[arg(value_name = "JSON")]
    pub(crate) input: String,
    /// Do not wait: print the job's id
    #[arg(long = "async")]
    pub(crate) detached: bool,
    /// Wait no longer than this; the job goes on [default: as long as it takes]
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<Seconds>,
}

/// `larder job …`.
#[derive(Clone, Debug, Subcommand)]
pub enum JobCommand {
    /// Show where a job stands
    Show(JobArgs),
    /// Wait for a job and print its output
    Wait(WaitArgs),
    /// End a job
    Cancel(JobArgs),
    /// Try a failed job again
    Retry(JobArgs),
}

/// Which job.
#[derive(Clone, Debug, Args)]
pub struct JobArgs {
    /// Name or id of the endpoint
    pub(crate) endpoint: String,
    /// Id of the job
    pub(crate) job: String,
}

/// `larder job wait`.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Wait no longer than this; the job goes on [default: as long as it takes]
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<Seconds>,
}

/// `larder worker …`.
#[derive(Clone, Debug, Subcommand)]
pub enum WorkerCommand {
    /// List workers, newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this endpoint
        #[arg(long, value_name = "NAME")]
        endpoint: Option<String>,
    },
    /// Print the last lines that a worker wrote
    Logs {
        /// Id of the worker
        worker: String,
        /// How many lines
        #[arg(long, default_value_t = 100, value_name = "COUNT")]
        tail: u32,
    },
    /// Show a worker with the timeline of its start
    Show {
        /// Id of the worker
        worker: String,
    },
}

/// `larder usage`.
#[derive(Clone, Debug, Args)]
pub struct UsageArgs {
    /// Only this endpoint
    #[arg(long, value_name = "NAME")]
    pub(crate) endpoint: Option<String>,
}

/// `larder host …`.
#[derive(Clone, Debug, Subcommand)]
pub enum HostCommand {
    /// List hosts
    #[command(visible_alias = "ls")]
    List,
    /// Show a host with what its store holds, may evict, and has found damaged
    Show {
        /// Id of the host
        host: String,
    },
}
