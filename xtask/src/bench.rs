//! Figures for docs/benchmarks.md: always a ratio against a peer or a limit measured in the same run.

use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::step::{cargo, execute};

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
    cargo(&["build", "--release", "--locked", "--package", "larder", "--benches"])?;
    let subjects: &[&str] = match options.subject {
        Subject::All => &["fetch", "cold-start"],
        Subject::Fetch => &["fetch"],
        Subject::ColdStart => &["cold-start"],
    };
    for subject in subjects {
        run_one(subject)?;
    }
    Ok(())
}

fn run_one(subject: &str) -> Result<()> {
    execute(Command::new(env!("CARGO")).args([
        "bench",
        "--locked",
        "--package",
        "larder",
        "--bench",
        subject,
    ]))
}
