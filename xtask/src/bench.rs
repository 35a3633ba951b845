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
    /// One model from a hub on this machine, beside the plain pipeline and `hf download`.
    Fetch,
    /// Starts on a host that holds the model.
    ColdStart,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let prepared = setup::run_all()?;
    let subjects: &[&str] = match options.subject {
        Subject::All => &["fetch", "cold_start"],
        Subject::Fetch => &["fetch"],
        Subject::ColdStart => &["cold_start"],
    };
    for subject in subjects {
        execute(
            Command::new(env!("CARGO"))
                .args(["bench", "--locked", "--package", "larder", "--bench", subject])
                .envs(prepared.variables()),
        )?;
    }
    Ok(())
}
