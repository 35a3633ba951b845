//! Long tests: property tests with many cases and a seed of their own, printed so that a failure can be repeated.

use std::{process::Command, time::SystemTime};

use anyhow::Result;
use clap::Args;

use crate::{
    setup::{self, Prepared},
    step::{Suites, execute},
};

#[derive(Args)]
pub(crate) struct Options {
    /// Cases of each property test.
    #[arg(long, default_value_t = 10_000)]
    cases: u32,
    /// The seed; fresh when left out.
    #[arg(long)]
    seed: Option<u64>,
}

/// Cases of each property test in a slice: what two cores do in about a minute.
const SLICE_CASES: u32 = 500;

pub(crate) fn run(options: &Options) -> Result<()> {
    let prepared = setup::run_all()?;
    let mut suites = Suites::default();
    suites.run("property tests", || property_tests(&prepared, options.cases, options.seed))?;
    suites.report();
    Ok(())
}

/// Runs a short slice with a fresh seed.
pub(crate) fn slice(prepared: &Prepared) -> Result<()> {
    property_tests(prepared, SLICE_CASES, None)
}

fn property_tests(prepared: &Prepared, cases: u32, seed: Option<u64>) -> Result<()> {
    let seed = seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64)
    });
    println!("seed {seed}, {cases} cases of each property");
    execute(
        Command::new(env!("CARGO"))
            .args(["test", "--locked", "--quiet", "--lib", "--tests"])
            .args([
                "-p",
                "base",
                "-p",
                "types",
                "-p",
                "scheduler",
                "-p",
                "store",
                "-p",
                "state",
                "-p",
                "control",
            ])
            .args(["--", "property"])
            .envs(prepared.variables())
            .env("PROPTEST_CASES", cases.to_string())
            .env("PROPTEST_RNG_SEED", seed.to_string()),
    )
}
