//! Figures for docs/benchmarks.md: always a ratio against a peer or a limit measured in the same run.

use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{setup, step::execute};

#[derive(Args)]
pub(crate) struct Options {
    /// What to measure.
    #[arg(value_enum, default_value_t = Subject::All)]
    subject: Subject,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Everything.
    All,
    /// Models of several shapes from a hub on this machine, beside the plain pipeline and what people use today.
    Fetch,
    /// Starts on a host that holds the model.
    ColdStart,
    /// The store alone: views, verification, opening, import, a warmed page cache. Takes 5 GB for a while.
    Store,
    /// What leaves a full disk, beside other policies and the bounds. Pure computation.
    Eviction,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let prepared = setup::run_all()?;
    // The package and the name of each benchmark.
    let benches: &[(&str, &str)] = match options.subject {
        Subject::All => {
            &[("transfer", "fetch"), ("larder", "cold_start"), ("store", "store"), ("sim", "eviction")]
        }
        Subject::Fetch => &[("transfer", "fetch")],
        Subject::ColdStart => &[("larder", "cold_start")],
        Subject::Store => &[("store", "store")],
        Subject::Eviction => &[("sim", "eviction")],
    };
    for (package, bench) in benches {
        execute(
            Command::new(env!("CARGO"))
                .args(["bench", "--locked", "--package", package, "--bench", bench])
                .envs(prepared.variables()),
        )?;
    }
    Ok(())
}
