//! Long tests: property tests with many cases and a seed of their own, printed so that a failure can be repeated.

use std::{process::Command, time::SystemTime};

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    setup::{self, Prepared},
    step::{Suites, root},
};

#[derive(Args)]
pub(crate) struct Options {
    /// How many times the usual number of cases each property test runs.
    #[arg(long, default_value_t = 20.0)]
    factor: f64,
    /// The seed; fresh when left out.
    #[arg(long)]
    seed: Option<u64>,
}

/// Every property test already ran its usual cases with a fixed seed; the slice adds as many with a fresh one.
const SLICE_FACTOR: f64 = 1.0;

/// The tests over random histories, of every crate that has some.
const PROPERTIES: [&str; 12] = [
    "a_plan_frees_what_is_needed_and_nothing_more_than_it_must",
    "exactly_one_end",
    "intervals_touch_and_cover_the_life",
    "planning_what_is_dirty_equals_planning_everything",
    "nothing_wrong_is_ever_seen_and_nothing_acknowledged_is_lost",
    "a_fetch_ends_with_all_or_nothing",
    "each_job_ends_exactly_once",
    "synced_records_survive_and_nothing_false_appears",
    "each_step_is_taken_once_and_the_end_is_final",
    "a_fetch_that_is_killed_again_and_again_stays_right_and_loses_little",
    "nothing_wrong_is_left_and_the_rest_comes_when_it_is_run_again",
    "random_caches_never_hurt",
];

pub(crate) fn run(options: &Options) -> Result<()> {
    let prepared = setup::run_all()?;
    let mut suites = Suites::default();
    suites.run("property tests", || property_tests(&prepared, options.factor, options.seed))?;
    suites.report();
    Ok(())
}

/// Runs a short slice with a fresh seed.
pub(crate) fn slice(prepared: &Prepared) -> Result<()> {
    property_tests(prepared, SLICE_FACTOR, None)
}

/// Runs every property with a seed of the whole run.
///
/// # Errors
/// Also when a property is no longer there under its name.
fn property_tests(prepared: &Prepared, factor: f64, seed: Option<u64>) -> Result<()> {
    let seed = seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.subsec_nanos().into()
    });
    println!("seed {seed}, {factor} times the usual cases");
    println!("to repeat: cargo xtask soak --seed {seed} --factor {factor}");
    // The whole workspace is named, so that nothing is built anew for another choice of features.
    let output = Command::new(env!("CARGO"))
        .args(["test", "--locked", "--workspace", "--lib", "--tests", "--"])
        .args(PROPERTIES)
        .current_dir(root())
        .envs(prepared.variables())
        .env("LARDER_TEST_FACTOR", factor.to_string())
        .env("PROPTEST_RNG_SEED", seed.to_string())
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("failed with seed {seed}\n{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    for name in PROPERTIES {
        if !printed.lines().any(|line| line.contains(name) && line.ends_with("ok")) {
            bail!("no test is named {name}");
        }
        println!("held: {name}");
    }
    Ok(())
}
