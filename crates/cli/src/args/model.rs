//! The words of `larder model …`.

use std::path::PathBuf;

use base::Redacted;
use clap::{Args, Subcommand};
use types::HostId;
use url::Url;

use super::{Seconds, SelectionArgs};

/// `larder model …`.
#[derive(Clone, Debug, Subcommand)]
pub enum ModelCommand {
    /// Bring a model to the hosts before anything needs it
    ///
    /// The fetch belongs to the hosts: Ctrl-C ends only the wait, and the same command takes it up again. Once the
    /// model is there it is a cached one like any other, and goes when its room is needed, unless it is pinned.
    Pull(PullArgs),
    /// Call off the fetch that a pull began; what has come stays until its room is needed
    Cancel(ModelArgs),
    /// List models on hosts, and models that endpoints want
    #[command(visible_alias = "ls")]
    List,
    /// Show what a hub has to choose from, with sizes, before anything is fetched, and where the model stands
    Show(ShowArgs),
    /// Keep a model on the hosts that have it, also when room is needed
    Pin(ModelArgs),
    /// Let a pinned model go when its room is needed
    Unpin(ModelArgs),
    /// Print the folder of a model's files as a worker sees it
    Path {
        #[command(flatten)]
        model: ModelArgs,
        /// Print where the host keeps it instead
        #[arg(long)]
        host: bool,
    },
    /// Read a model's files again and compare them with what the hub vouched for
    Verify {
        #[command(flatten)]
        model: ModelArgs,
        /// Move damaged files aside, and fetch them again: only them
        #[arg(long)]
        repair: bool,
    },
    /// Tell why a model is on its hosts, or why it is gone
    Why(ModelArgs),
    /// Take over the models of a Hugging Face cache that stands on a host; every file is verified
    Import(ImportArgs),
    /// Remove a model from its hosts, or call its fetch off
    Rm(ModelArgs),
}

/// `larder model pull`.
#[derive(Clone, Debug, Args)]
pub struct PullArgs {
    /// The model: org/name, org/name@revision, org/name:variant, hub!org/name, or a link
    pub(crate) model: String,
    /// Token for the hub [env: HF_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) hf_token: Option<Redacted<String>>,
    /// Address of the hub, when it is not the configured one
    #[arg(long, value_name = "URL")]
    pub(crate) hub_endpoint: Option<Url>,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Keep it there, also when room is needed
    #[arg(long)]
    pub(crate) pin: bool,
    /// Do not wait for the fetch
    #[arg(long, conflicts_with_all = ["timeout", "events"])]
    pub(crate) detach: bool,
    /// Wait no longer than this; the fetch goes on [default: as long as it takes]
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<Seconds>,
    /// Print what happens as it happens, one JSON object a line
    #[arg(long)]
    pub(crate) events: bool,
}

/// `larder model show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// The model: org/name, org/name@revision, org/name:variant, hub!org/name, or a link
    pub(crate) model: String,
    /// Token for the hub [env: HF_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) hf_token: Option<Redacted<String>>,
    /// Address of the hub, when it is not the configured one
    #[arg(long, value_name = "URL")]
    pub(crate) hub_endpoint: Option<Url>,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
}

/// `larder model import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The cache, as the host sees it: the folder with models--ORG--NAME in it, or the one above
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Link the files rather than copy them: takes no room, but what others write to them later changes the models
    #[arg(long)]
    pub(crate) link: bool,
    /// The hub that the models came from [default: the configured one]
    #[arg(long, value_name = "NAME")]
    pub(crate) hub: Option<String>,
    /// The host on which the folder stands [default: the only one]
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<HostId>,
}

/// Which model.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// The model: org/name, org/name@revision, org/name:variant or hub!org/name
    pub(crate) model: String,
}
