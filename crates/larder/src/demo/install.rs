//! Runs the programs that install things, shows how far they are, and says what they said when they fail.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use cli::{Progress, Screen};
use runtime::children::{Child, ChildOutput, ChildSpec};
use types::{ErrorCode, Fault};

/// Packages that the example's requirements bring in all, counted for runpod 1.12.0. Only the length of a bar hangs
/// on it, and on the next.
const PACKAGES_EXPECTED: u64 = 109;
/// What they take when they are unpacked.
const PACKAGES_BYTES_EXPECTED: u64 = 308_397_370;
/// The last lines of a program that failed: what pip says at its end.
const LINES_KEPT: usize = 6;
/// Between two looks at how much has arrived.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Workers run as users of their own and read what is installed here, whatever the user's own mask is.
const READABLE: [&str; 3] = ["-c", "umask 022; exec \"$@\"", "sh"];

/// A program to run, and what to show meanwhile.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// What it does, for people.
    pub(super) text: &'a str,
    /// The program.
    pub(super) program: &'a Path,
    /// Its arguments.
    pub(super) arguments: Vec<OsString>,
    /// Where its temporary files go.
    pub(super) scratch: &'a Path,
    /// How its way is measured.
    pub(super) measure: Measure<'a>,
}

/// How far a program is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measure<'a> {
    /// Nobody knows.
    None,
    /// pip collects packages, then unpacks them into this folder.
    Packages {
        /// The environment.
        environment: &'a Path,
    },
    /// Bytes arrive in the scratch folder.
    Arriving {
        /// How many will.
        total: u64,
    },
}

/// Runs a program to its end.
///
/// # Errors
/// A fault with the last lines that it wrote.
///
/// # Cancel safety
/// Dropping the future ends the program.
pub(super) async fn run(step: Step<'_>, screen: &mut Screen) -> Result<(), Fault> {
    let Step { text, program, arguments, scratch, measure } = step;
    let mut words: Vec<OsString> = READABLE.iter().map(OsString::from).collect();
    words.push(program.into());
    words.extend(arguments);
    let mut spec = ChildSpec { output: ChildOutput::Lines, ..ChildSpec::new("/bin/sh", words) };
    for (name, value) in [("TMPDIR", scratch.as_os_str()), ("PYTHONUNBUFFERED", "1".as_ref())] {
        spec.environment.insert(name.into(), Some(value.into()));
    }
    // A user's settings for other environments must not lead packages elsewhere; where they come from is theirs.
    for name in ["PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV"]
    {
        spec.environment.insert(name.into(), None);
    }
    let mut child = Child::start(spec).map_err(|error| error.fault())?;
    let mut lines = child.lines().expect("lines were asked for");
    let mut last = VecDeque::new();
    let mut pip = Pip::default();
    let mut progress = Progress::new();
    progress.step(screen, text);
    loop {
        tokio::select! {
            // Cancel-safe: `next` loses no line.
            line = lines.next() => {
                let Ok(Some(line)) = line else { break };
                if let Measure::Packages { .. } = measure {
                    pip.hear(&line, text, screen, &mut progress);
                }
                if last.len() == LINES_KEPT {
                    last.pop_front();
                }
                last.push_back(line);
            }
            // Cancel-safe: it only waits.
            () = tokio::time::sleep(LOOK_AGAIN) => {
                match measure {
                    Measure::Packages { environment } if pip.unpacks => {
                        let text = format!("{text}: unpacking {} packages", pip.packages);
                        let bytes = measured(environment).await.min(PACKAGES_BYTES_EXPECTED);
                        progress.bytes(screen, &text, bytes, PACKAGES_BYTES_EXPECTED);
                    }
                    Measure::Arriving { total } => {
                        progress.bytes(screen, text, measured(scratch).await.min(total), total);
                    }
                    Measure::Packages { .. } | Measure::None => {}
                }
            }
        }
    }
    let status = child.wait().await.map_err(|error| error.fault())?;
    progress.clear();
    if status.success() {
        return Ok(());
    }
    let said: Vec<String> = last.into();
    Err(Fault::new(ErrorCode::PythonUnusable, format!("{text} failed with {status}"))
        .with_hint(format!("it said:\n  {}", said.join("\n  "))))
}

/// What pip has said so far.
#[derive(Debug, Default)]
struct Pip {
    packages: u64,
    unpacks: bool,
}

impl Pip {
    /// Takes in a line of pip's.
    fn hear(&mut self, line: &str, text: &str, screen: &mut Screen, progress: &mut Progress) {
        let line = line.trim_start();
        self.unpacks |= line.starts_with("Installing collected packages");
        let Some(name) = line.strip_prefix("Collecting ") else { return };
        self.packages += 1;
        let name = name.split([' ', '=', '<', '>', '[', '!', '~', ';']).next().unwrap_or_default();
        // For a log that nobody watches, one line for the step is enough.
        if screen.is_interactive() {
            let text = format!("{text}: {} packages found, {name}", self.packages);
            progress.count(screen, &text, self.packages, PACKAGES_EXPECTED.max(self.packages));
        }
    }
}

async fn measured(folder: &Path) -> u64 {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || bytes_in(&folder)).await.unwrap_or(0)
}

/// Sums the sizes of what is below a folder. What vanishes meanwhile counts as nothing.
fn bytes_in(folder: &Path) -> u64 {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => bytes += meta.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}
