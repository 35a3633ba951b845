//! What the tests need and the network gives: crates, Python packages, the demo's cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::step::{cargo, execute, is_installed, root, target};

/// Python packages of the tests, pinned. A change of the list makes another environment.
const REQUIREMENTS: &str = include_str!("../test-requirements.txt");

/// Stock readers of a model's view, each in a folder of its own beside the environment: a name, then what pip installs.
const READERS: &str = include_str!("../test-readers.txt");

/// Where the tests find what setup made. Handed on as environment variables.
pub(crate) struct Prepared {
    /// The Python environment with the packages of `test-requirements.txt`.
    pub(crate) venv: PathBuf,
    /// A folder with one folder of Python packages for each line of `test-readers.txt`.
    pub(crate) readers: PathBuf,
    /// A folder with real models, as `org/name`.
    pub(crate) models: PathBuf,
    /// The cache folder of `larder demo`.
    pub(crate) demo_cache: PathBuf,
}

impl Prepared {
    /// Returns the places without making anything.
    pub(crate) fn places() -> Self {
        let folder = target().join("ci");
        Self {
            venv: folder.join(format!("venv-{}", fingerprint(REQUIREMENTS))),
            readers: folder.join(format!("readers-{}", fingerprint(READERS))),
            models: folder.join("models"),
            demo_cache: folder.join("cache"),
        }
    }

    /// Returns the variables by which tests find the places.
    pub(crate) fn variables(&self) -> [(&'static str, &Path); 4] {
        [
            ("LARDER_TEST_VENV", &self.venv),
            ("LARDER_TEST_READERS", &self.readers),
            ("LARDER_TEST_MODELS", &self.models),
            ("LARDER_TEST_CACHE", &self.demo_cache),
        ]
    }
}

/// Installs and compiles everything, so that what follows needs no network.
pub(crate) fn run_all() -> Result<Prepared> {
    let prepared = Prepared::places();
    debian_packages()?;
    cargo(&["fetch", "--locked"])?;
    python_packages(&prepared.venv)?;
    readers(&prepared)?;
    cargo(&["build", "--locked", "--workspace", "--all-targets"])?;
    demo_cache(&prepared)?;
    Ok(prepared)
}

/// Programs that the tests run and a bare Debian may lack, with the package of each.
const PROGRAMS: [(&str, &[&str], &str); 3] = [
    ("unshare", &["--version"], "util-linux"),
    ("ip", &["-V"], "iproute2"),
    ("mkfs.ext4", &["-V"], "e2fsprogs"),
];

fn debian_packages() -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, arguments, _)| !is_installed(program, arguments))
        .map(|(_, _, package)| *package)
        .collect();
    if !is_installed("python3", &["-c", "import ensurepip, venv"]) {
        missing.push("python3-venv");
    }
    if missing.is_empty() || !is_root() {
        return Ok(());
    }
    execute(Command::new("apt-get").args(["update", "-q"]))?;
    execute(Command::new("apt-get").args(["install", "-q", "-y", "--no-install-recommends"]).args(&missing))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

fn python_packages(venv: &Path) -> Result<()> {
    let complete = venv.join("complete");
    if complete.exists() {
        return Ok(());
    }
    execute(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    execute(
        Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(root().join("xtask/test-requirements.txt")),
    )?;
    fs::write(&complete, "").with_context(|| format!("can't write {}", complete.display()))
}

/// Installs the stock readers, each into a folder that comes before the environment's own packages.
fn readers(prepared: &Prepared) -> Result<()> {
    for line in READERS.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let folder = prepared.readers.join(name);
        let complete = folder.join("complete");
        if complete.exists() {
            continue;
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
        }
        execute(
            Command::new(prepared.venv.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
                .arg(&folder)
                .args(words),
        )?;
        fs::write(&complete, "").with_context(|| format!("can't write {}", complete.display()))?;
    }
    Ok(())
}

/// Lets the demo prepare itself, and shows the tests the model that it brought.
fn demo_cache(prepared: &Prepared) -> Result<()> {
    execute(
        Command::new(target().join("debug/larder"))
            .args(["demo", "--prepare-only"])
            .env("LARDER_DEMO_CACHE", &prepared.demo_cache)
            .env("LARDER_DEMO_MODELS", &prepared.models),
    )
}

/// A short name for a text: FNV-1a, enough to tell two lists apart.
fn fingerprint(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
