//! Everything that a change must pass: setup with a network, then every suite without one.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    setup::{self, Prepared},
    soak,
    step::{Suites, cargo, execute, is_installed, target},
    tidy,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Only installs and compiles.
    #[arg(long)]
    setup_only: bool,
    /// Only runs the suites, in this process's network; `ci` calls itself with it in a network of its own.
    #[arg(long, hide = true)]
    isolated: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.isolated {
        return suites();
    }
    // Setup may build this very program anew, after which the system no longer knows it by its path.
    let me = std::env::current_exe().context("can't find this program")?;
    let mut suites = Suites::default();
    suites.run("setup", || setup::run_all().map(drop))?;
    suites.report();
    if options.setup_only { Ok(()) } else { in_a_network_of_its_own(&me) }
}

/// Runs this program again where only `lo` exists, so that no test can send a packet anywhere.
fn in_a_network_of_its_own(me: &Path) -> Result<()> {
    let script = "ip link set lo up && exec \"$0\" ci --isolated";
    let mut command = Command::new("unshare");
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !is_root {
        command.args(["--user", "--map-root-user"]);
    }
    execute(command.args(["--net", "--", "sh", "-c", script]).arg(me).env("CARGO_NET_OFFLINE", "true"))
}

fn suites() -> Result<()> {
    let prepared = Prepared::places();
    if !prepared.venv.join("complete").exists() {
        bail!("nothing is prepared: run `cargo xtask ci --setup-only` with a network first");
    }
    let mut suites = Suites::default();
    suites.run("format", || cargo(&["fmt", "--all", "--check"]))?;
    suites.run("tidy", tidy::run)?;
    suites.run("clippy", || {
        cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"])
    })?;
    suites.run("tests", || tests(&prepared))?;
    suites.run("doc tests", || cargo(&["test", "--locked", "--workspace", "--doc", "--quiet"]))?;
    suites.run("docs", || {
        execute(
            Command::new(env!("CARGO"))
                .args(["doc", "--locked", "--workspace", "--no-deps", "--document-private-items", "--quiet"])
                .env("RUSTDOCFLAGS", "--deny warnings"),
        )
    })?;
    suites.run("demo", || demo(&prepared))?;
    suites.run("soak, a slice", || soak::slice(&prepared))?;
    suites.report();
    Ok(())
}

/// Runs every test of the workspace. A test that lacks something fails instead of skipping itself. One that passes only
/// at its second try is listed as flaky in the summary: it holds up nobody's change, and is mended the same day.
fn tests(prepared: &Prepared) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    if is_installed("cargo-nextest", &["--version"]) {
        command.args(["nextest", "run", "--locked", "--workspace", "--no-fail-fast", "--retries", "1"]);
    } else {
        command.args(["test", "--locked", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
    }
    execute(command.envs(prepared.variables()).env("LARDER_TEST_STRICT", "1"))
}

/// Runs the README's first command as a user would, on what setup prepared.
fn demo(prepared: &Prepared) -> Result<()> {
    execute(
        Command::new(target().join("debug/larder"))
            .args(["demo", "--offline"])
            .env("LARDER_DEMO_CACHE", &prepared.demo_cache),
    )
}
