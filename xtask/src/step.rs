//! Running commands: shown before, timed, and failed with their name.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Returns the root of the workspace.
pub(crate) fn root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the workspace's root").to_owned()
}

/// Returns the folder for build products.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs a command in the workspace's root and waits for it.
pub(crate) fn execute(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    eprintln!("  $ {shown}");
    let status = command.current_dir(root()).status().with_context(|| format!("can't run {shown}"))?;
    if !status.success() {
        bail!("{shown} ended with {status}");
    }
    Ok(())
}

/// Runs `cargo` with arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Result<()> {
    execute(Command::new(env!("CARGO")).args(arguments))
}

/// Returns whether a program answers `--version`.
pub(crate) fn is_installed(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Suites with the seconds that each took.
#[derive(Default)]
pub(crate) struct Suites(Vec<(String, Duration)>);

impl Suites {
    /// Runs a suite under its name.
    pub(crate) fn run(&mut self, name: &str, suite: impl FnOnce() -> Result<()>) -> Result<()> {
        eprintln!("\n== {name}");
        let begun = Instant::now();
        suite().with_context(|| format!("suite {name} failed"))?;
        self.0.push((name.to_owned(), begun.elapsed()));
        Ok(())
    }

    /// Prints the table of seconds.
    pub(crate) fn report(&self) {
        println!("\nseconds per suite");
        for (name, took) in &self.0 {
            println!("{:>8.1}  {name}", took.as_secs_f64());
        }
        println!("{:>8.1}  all", self.0.iter().map(|(_, took)| took.as_secs_f64()).sum::<f64>());
    }
}
