//! The project's own chores, run as `cargo xtask …`.
//!
//! `ci` does everything that a change must pass, in the order that fails fastest; `.ci/run` calls it. Nothing here is
//! linked into the product.

mod bench;
mod ci;
mod setup;
mod soak;
mod step;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Larder's own chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Installs what the tests need, then runs every test without a network.
    Ci(ci::Options),
    /// Checks the rules of the house: floors, module docs, error pages, leftovers.
    Tidy,
    /// Measures, and prints figures for docs/benchmarks.md.
    Bench(bench::Options),
    /// Runs the long tests with the counts that matter, for as long as they take.
    Soak(soak::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Ci(options) => ci::run(&options),
        Chore::Tidy => tidy::run(),
        Chore::Bench(options) => bench::run(&options),
        Chore::Soak(options) => soak::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
