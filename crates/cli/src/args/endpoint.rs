//! The grammar of `larder endpoint …`.

use std::path::PathBuf;

use api::ScalingBody;
use base::Redacted;
use clap::{Args, Subcommand};
use types::EndpointName;
use url::Url;

use super::{
    SelectionArgs,
    values::{GpuWish, HubAccessWish, Seconds, Variable, parse_scaler},
};

/// `larder endpoint …`.
#[derive(Clone, Debug, Subcommand)]
pub enum EndpointCommand {
    /// Make an endpoint
    Create {
        /// Its name: 3 to 63 lower-case letters, digits and dashes
        name: EndpointName,
        #[command(flatten)]
        spec: Box<SpecArgs>,
    },
    /// List endpoints
    #[command(visible_alias = "ls")]
    List,
    /// Show an endpoint, and what its starts wait for
    Get {
        /// Name or id of the endpoint
        endpoint: String,
    },
    /// Change an endpoint: only what is given changes
    Update {
        /// Name or id of the endpoint
        endpoint: String,
        #[command(flatten)]
        spec: Box<SpecArgs>,
    },
    /// Remove endpoints with their jobs and workers; models stay on the hosts
    #[command(visible_alias = "rm")]
    Delete {
        /// Names or ids of the endpoints
        #[arg(required = true)]
        endpoints: Vec<String>,
    },
}

/// What an endpoint is made of.
#[derive(Clone, Debug, Default, Args)]
pub struct SpecArgs {
    /// A model it needs: org/name, org/name@revision, org/name:variant, hub!org/name, or a link. Repeat for several
    #[arg(long = "model", value_name = "MODEL")]
    pub(crate) models: Vec<String>,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// What a worker runs, in words as a shell splits them
    #[arg(long, value_name = "COMMAND", conflicts_with = "image")]
    pub(crate) command: Option<String>,
    /// The container image of a worker
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Folder that the command starts in, stored with the release; what .gitignore and .larderignore name stays
    /// out [default: the current folder]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["image", "no_dir"])]
    pub(crate) dir: Option<PathBuf>,
    /// Store no folder: the command needs none
    #[arg(long)]
    pub(crate) no_dir: bool,
    /// Python virtual environment on the hosts, whose programs come first
    #[arg(long, value_name = "VENV", conflicts_with = "image")]
    pub(crate) python: Option<PathBuf>,
    /// Token for the hub; kept encrypted, never given to workers [env: HF_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) hf_token: Option<Redacted<String>>,
    /// Address of the hub, when it is not the configured one
    #[arg(long, value_name = "URL")]
    pub(crate) hub_endpoint: Option<Url>,
    /// How libraries in the worker reach the hub: edge (through the agent), offline or online
    /// [default: edge with a model, online without]
    #[arg(long, value_name = "ACCESS")]
    pub(crate) hub_access: Option<HubAccessWish>,
    /// A variable of the workers' environment. Repeat for several
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<Variable>,
    /// GPUs of a worker: COUNT, TYPE or TYPE:COUNT. Repeat for several types that will do, best first
    #[arg(long = "gpu", value_name = "GPU")]
    pub(crate) gpus: Vec<GpuWish>,
    /// Workers that always run [default: 0]
    #[arg(long, value_name = "COUNT")]
    pub(crate) workers_min: Option<u32>,
    /// No more workers than this [default: 3]
    #[arg(long, value_name = "COUNT")]
    pub(crate) workers_max: Option<u32>,
    /// How long a worker stays warm without a job [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub(crate) idle_timeout: Option<Seconds>,
    /// When further workers start: queue-delay:SECONDS or request-count:JOBS [default: queue-delay:4]
    #[arg(long, value_name = "SCALER", value_parser = parse_scaler)]
    pub(crate) scaler: Option<ScalingBody>,
    /// The longest that one attempt of a job may run [default: 10m]
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<Seconds>,
    /// How long after submission a job is forgotten [default: 24h]
    #[arg(long, value_name = "TIME")]
    pub(crate) job_ttl: Option<Seconds>,
    /// How long a started worker may take to ask for its first job [default: 7m]
    #[arg(long, value_name = "TIME")]
    pub(crate) init_timeout: Option<Seconds>,
}
