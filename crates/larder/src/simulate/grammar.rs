//! The grammar of `larder simulate`. The texts are the help that users read.

use std::path::PathBuf;

use base::ByteSize;
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use sim::eviction::{PolicyName, Workload};

/// `larder simulate …`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SimulateCommand {
    /// Compare what leaves a full disk by larder's policy, by others, and by whoever knew the future
    Eviction(EvictionArgs),
}

/// `larder simulate eviction`.
#[derive(Clone, Debug, Args)]
pub(crate) struct EvictionArgs {
    /// Starts that a host had, one a line: SECONDS MODEL BYTES
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workload", "seed"])]
    pub(super) trace: Option<PathBuf>,
    /// Starts made up, two months of 200 a day
    #[arg(long, value_name = "NAME", default_value = Workload::Zipf08.as_str(), value_parser = workloads())]
    pub(super) workload: Workload,
    /// What the workload is drawn from: the same seed makes the same starts
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(super) seed: u64,
    /// Which policies; may be given more than once [default: all]
    #[arg(long = "policy", value_name = "NAME", value_delimiter = ',', value_parser = policies())]
    pub(super) policies: Vec<PolicyName>,
    /// What the disk holds; may be given more than once [default: 0.3 to 3 times what a day's starts need]
    #[arg(long = "disk", value_name = "SIZE", value_delimiter = ',')]
    pub(super) disks: Vec<ByteSize>,
    /// Bytes per second of a fetch
    #[arg(long, value_name = "SIZE", default_value = "200 MB")]
    pub(super) fetch_rate: ByteSize,
}

fn workloads() -> impl TypedValueParser<Value = Workload> {
    PossibleValuesParser::new(Workload::ALL.map(Workload::as_str)).try_map(|name| name.parse::<Workload>())
}

fn policies() -> impl TypedValueParser<Value = PolicyName> {
    PossibleValuesParser::new(PolicyName::ALL.map(PolicyName::as_str))
        .try_map(|name| name.parse::<PolicyName>())
}
