//! A Python virtual environment, and which folders of the host it needs to run in a root of its own.
//!
//! A virtual environment is a few links: its interpreter and standard library are in the *base* installation,
//! anywhere on the disk. The interpreter itself is asked where that is. Each folder is later mounted at its own
//! absolute path, because scripts and compiled files hold such paths. A base that could be mounted only by
//! showing a whole home, or the whole disk, is refused here, before an endpoint is made of it.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use types::{ErrorCode, Fault};

/// An interpreter says where its base is in 10 to 30 ms; a disk that has to wake up takes a few seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Links from `bin/python` to the real file; the system's own limit is 40 (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// Read-only in every worker as it is, so nothing below needs a mount.
const SYSTEM_FOLDERS: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];
/// Folders that belong to the system or to everybody: as a whole they are never a Python installation.
const NEVER_WHOLE: [&str; 13] = [
    "/", "/boot", "/etc", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/var",
    "/var/tmp",
];
/// A worker has its own of these, so nothing of the host's can be seen there.
const NEVER_BELOW: [&str; 4] = ["/dev", "/etc", "/proc", "/sys"];
/// Asks without `site`, so that no code of the environment's packages runs.
const QUESTION: &str = "import sys; print(sys.base_prefix); print('%d.%d.%d' % sys.version_info[:3])";

/// Why a Python environment can't be given to workers.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// There is no interpreter where a virtual environment has it.
    #[error("{} is no Python virtual environment: it has no bin/python", path.display())]
    NoInterpreter {
        /// The folder as given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The interpreter could not say where its base is.
    #[error("the interpreter of {} does not run: {reason}", path.display())]
    InterpreterFails {
        /// The folder as given.
        path: PathBuf,
        /// What it wrote, or what the system said.
        reason: String,
    },
    /// A folder that the environment needs must not be shown to workers.
    #[error("the Python environment {} needs {}, which is {reason}", path.display(), needed.display())]
    CannotMount {
        /// The folder as given.
        path: PathBuf,
        /// What it needs.
        needed: PathBuf,
        /// Why it is not mounted.
        reason: &'static str,
    },
    /// Workers, which run as users of their own, could not read a folder.
    #[error("the Python environment {} needs {}, which only its owner may read", path.display(), needed.display())]
    NotReadable {
        /// The folder as given.
        path: PathBuf,
        /// What it needs.
        needed: PathBuf,
    },
}

impl PythonError {
    /// Returns the error as people see it.
    pub fn fault(&self) -> Fault {
        let fault = Fault::from_error(ErrorCode::PythonUnusable, self);
        match self {
            Self::NoInterpreter { .. } => fault.with_hint("make one with: python3 -m venv FOLDER"),
            Self::InterpreterFails { path, .. } => {
                fault.with_hint(format!("see what {}/bin/python says, or make the environment again", path.display()))
            }
            Self::CannotMount { .. } => fault.with_hint(
                "make the environment from a Python with a folder of its own, such as the system's, pyenv's or uv's",
            ),
            Self::NotReadable { needed, .. } => {
                fault.with_hint(format!("let everyone read it: chmod -R go+rX {}", needed.display()))
            }
        }
    }
}

impl From<PythonError> for Fault {
    fn from(error: PythonError) -> Self {
        error.fault()
    }
}

/// A Python virtual environment that workers can be given. Invariant: made by [`PythonEnvironment::inspect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonEnvironment {
    folder: PathBuf,
    version: String,
    mounts: Vec<PathBuf>,
    links: Vec<(PathBuf, PathBuf)>,
}

impl PythonEnvironment {
    /// Runs the interpreter of the environment at `path` and finds what has to be mounted for it.
    ///
    /// # Errors
    /// [`PythonError`]: it does not run, or what it needs must not or can't be shown to workers.
    ///
    /// # Cancel safety
    /// Dropping the future ends the interpreter.
    pub async fn inspect(path: &Path) -> Result<Self, PythonError> {
        let no_interpreter = |source| PythonError::NoInterpreter { path: path.to_owned(), source };
        let folder = plain(&std::path::absolute(path).map_err(no_interpreter)?);
        let interpreter = folder.join("bin/python");
        let executable = std::fs::canonicalize(&interpreter).map_err(no_interpreter)?;
        let answer = ask(path, &interpreter, &["-I", "-S", "-c", QUESTION], Tracing::Off).await?;
        let (Some(base), Some(version)) = (answer.lines().next(), answer.lines().nth(1)) else {
            let reason = "it did not tell where its base is".to_owned();
            return Err(PythonError::InterpreterFails { path: path.to_owned(), reason });
        };
        let libraries = ask(path, &interpreter, &[], Tracing::Libraries).await?;

        let base = plain(Path::new(base));
        let mut needed = vec![folder.clone(), base.clone()];
        needed.extend([&folder, &base].into_iter().filter_map(|path| std::fs::canonicalize(path).ok()));
        needed.push(executable);
        needed.extend(library_paths(&libraries));
        let mounts = necessary(&needed);
        let homes = homes(&std::fs::read_to_string("/etc/passwd").unwrap_or_default());
        for needed in &mounts {
            if let Some(reason) = refusal(needed, &homes) {
                return Err(PythonError::CannotMount {
                    path: path.to_owned(),
                    needed: needed.clone(),
                    reason,
                });
            }
        }
        check_readable(path, &mounts)?;
        let links = links(&interpreter).into_iter().filter(|(link, _)| !is_covered(link, &mounts)).collect();
        Ok(Self { folder, version: version.to_owned(), mounts, links })
    }

    /// Returns the environment's folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the interpreter's version, such as `3.11.7`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the folders and files to mount read-only, each at its own path.
    pub fn mounts(&self) -> &[PathBuf] {
        &self.mounts
    }

    /// Returns links between those folders, as (link, what it points to), that have to be there too.
    pub fn links(&self) -> &[(PathBuf, PathBuf)] {
        &self.links
    }
}

/// Whether the interpreter runs, or only lists the libraries that it is linked to.
enum Tracing {
    Off,
    Libraries,
}

/// Runs the interpreter with an empty environment and returns what it wrote.
async fn ask(
    path: &Path,
    interpreter: &Path,
    words: &[&str],
    tracing: Tracing,
) -> Result<String, PythonError> {
    let failed = |reason: String| PythonError::InterpreterFails { path: path.to_owned(), reason };
    let mut command = tokio::process::Command::new(interpreter);
    command.args(words).env_clear().current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    match tracing {
        Tracing::Off => {}
        // The dynamic loader then prints what it would load and ends (ld.so(8)); ldd does the same.
        Tracing::Libraries => {
            command.env("LD_TRACE_LOADED_OBJECTS", "1");
        }
    }
    let output = tokio::time::timeout(ANSWER_TIMEOUT, command.output())
        .await
        .map_err(|_| failed(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(failed(words.lines().last().unwrap_or("it failed without a word").to_owned()))
    }
}

/// Returns the libraries named in the loader's listing (`name => /path (address)`).
fn library_paths(listing: &str) -> Vec<PathBuf> {
    listing
        .lines()
        .filter_map(|line| line.split_once("=> "))
        .filter_map(|(_, found)| found.split(" (0x").next())
        .filter(|path| path.starts_with('/'))
        .map(|path| plain(Path::new(path)))
        .collect()
}

/// Returns those paths that no system folder and no earlier path covers.
fn necessary(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut mounts: Vec<PathBuf> = Vec::new();
    for path in paths {
        if !is_covered(path, &mounts) {
            mounts.retain(|earlier| !earlier.starts_with(path));
            mounts.push(path.clone());
        }
    }
    mounts
}

fn is_covered(path: &Path, mounts: &[PathBuf]) -> bool {
    SYSTEM_FOLDERS.iter().any(|folder| path.starts_with(folder))
        || mounts.iter().any(|mount| path.starts_with(mount))
}

/// Returns why workers must not see this path, if so.
fn refusal(path: &Path, homes: &[PathBuf]) -> Option<&'static str> {
    if homes.iter().any(|home| home.starts_with(path)) {
        Some("a whole home, or a folder that holds homes")
    } else if NEVER_WHOLE.iter().any(|folder| path == Path::new(folder)) {
        Some("a folder of the whole system")
    } else if NEVER_BELOW.iter().any(|folder| path.starts_with(folder)) {
        Some("in a place of which every worker has its own")
    } else {
        None
    }
}

/// Returns the homes of people in a passwd(5) file: of root, and of the ids that are given to people.
fn homes(passwd: &str) -> Vec<PathBuf> {
    passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let uid: u32 = fields.nth(2)?.parse().ok()?;
            let home = fields.nth(2)?;
            // login.defs(5): people's ids begin at 1000; 65534 is nobody.
            let of_a_person = uid == 0 || (uid >= 1000 && uid != 65_534);
            (of_a_person && home.len() > 1 && home.starts_with('/')).then(|| plain(Path::new(home)))
        })
        .collect()
}

/// Workers of a root agent run as other users, so "others" must be able to read. Not every file is looked at:
/// a folder that was made with a strict umask shows it at its top.
fn check_readable(path: &Path, mounts: &[PathBuf]) -> Result<(), PythonError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    for mount in mounts {
        for part in [mount.clone(), mount.join("bin"), mount.join("lib"), mount.join("bin/python")] {
            let Ok(meta) = std::fs::metadata(&part) else { continue };
            let wanted = if meta.is_dir() { 0o005 } else { 0o004 };
            if meta.permissions().mode() & wanted != wanted {
                return Err(PythonError::NotReadable { path: path.to_owned(), needed: part });
            }
        }
    }
    Ok(())
}

/// Returns the links from `path` to the file behind it, as (link, what it points to).
fn links(path: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    let mut path = path.to_owned();
    while let (true, Ok(target)) = (found.len() < LINKS_MAX, std::fs::read_link(&path)) {
        let next = plain(&path.parent().unwrap_or(Path::new("/")).join(&target));
        found.push((std::mem::replace(&mut path, next), target));
    }
    found
}

/// Returns an absolute path without `.` and `..`, by its text alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests;
