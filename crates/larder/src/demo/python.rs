//! Finds a Python that can make an environment with packages, or says what is missing.

use std::{ffi::OsStr, fs, path::PathBuf, time::Duration};

use runtime::children::{Child, ChildOutput, ChildSpec, find_program};
use types::{ErrorCode, Fault};

/// The versions that the packages of the example are built for.
const VERSIONS: std::ops::RangeInclusive<u32> = 10..=14;
/// `python3` is what its owner wants; the others are looked at from the newest.
const NAMES: [&str; 7] =
    ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10", "python"];
/// Tells the version, the real program, and whether it can make environments. Debian packages the last two apart.
const QUESTION: &str = "\
import sys
from importlib.util import find_spec
print(*sys.version_info[:2])
print(sys.executable)
print(find_spec('venv') is not None and find_spec('ensurepip') is not None)
";
/// An interpreter answers in 10 to 100 ms; a disk that has to wake up takes a few seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A Python that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Python {
    /// The interpreter itself, behind links and shims.
    pub(super) program: PathBuf,
    /// The second number of its version; the first is 3.
    pub(super) minor: u32,
}

/// What one interpreter says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    python: Python,
    major: u32,
    makes_environments: bool,
}

/// Finds the first Python on the search path that will do.
///
/// # Errors
/// A fault that names the package to install.
pub(super) async fn find(search_path: &OsStr) -> Result<Python, Fault> {
    let mut answers = Vec::new();
    for name in NAMES {
        if let Some(program) = find_program(name, search_path)
            && let Some(answer) = ask(program).await
        {
            answers.push(answer);
        }
    }
    choose(&answers, &fs::read_to_string("/etc/os-release").unwrap_or_default())
}

async fn ask(program: PathBuf) -> Option<Answer> {
    let spec = ChildSpec { output: ChildOutput::Lines, ..ChildSpec::new(program, ["-I", "-c", QUESTION]) };
    // Version managers leave programs behind that only say that they are none: they are passed over.
    let mut child = Child::start(spec).ok()?;
    let mut lines = child.lines()?;
    let answered = async {
        let mut said = Vec::new();
        while let Some(line) = lines.next().await.ok()? {
            said.push(line);
        }
        Some(said)
    };
    let said = tokio::time::timeout(ANSWER_TIMEOUT, answered).await.ok()??;
    child.wait().await.ok()?.success().then_some(())?;
    read(&said)
}

fn read(said: &[String]) -> Option<Answer> {
    let [version, program, makes_environments] = said else { return None };
    let (major, minor) = version.split_once(' ')?;
    Some(Answer {
        python: Python { program: program.into(), minor: minor.parse().ok()? },
        major: major.parse().ok()?,
        makes_environments: makes_environments == "True",
    })
}

fn choose(answers: &[Answer], os_release: &str) -> Result<Python, Fault> {
    let fits = |answer: &&Answer| answer.major == 3 && VERSIONS.contains(&answer.python.minor);
    if let Some(answer) = answers.iter().filter(fits).find(|answer| answer.makes_environments) {
        return Ok(answer.python.clone());
    }
    let is_debian = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .any(|value| value.contains("debian") || value.contains("ubuntu"));
    let unusable = |message: String| Fault::new(ErrorCode::PythonUnusable, message);
    if let Some(answer) = answers.iter().find(fits) {
        let Python { program, minor } = &answer.python;
        let message = format!("{} can't make environments: it lacks venv or ensurepip", program.display());
        let hint = if is_debian {
            format!("install the package that has them: apt install python3.{minor}-venv")
        } else {
            "install the package of your system that has Python's venv and ensurepip modules".to_owned()
        };
        return Err(unusable(message).with_hint(hint));
    }
    let seen: Vec<String> = answers
        .iter()
        .map(|answer| {
            format!("{}.{} ({})", answer.major, answer.python.minor, answer.python.program.display())
        })
        .collect();
    let message = if seen.is_empty() {
        "there is no Python on the search path".to_owned()
    } else {
        format!("no Python from 3.10 to 3.14 is on the search path, only {}", seen.join(", "))
    };
    let hint = if is_debian {
        "install one: apt install python3 python3-venv"
    } else {
        "install Python 3.10 to 3.14"
    };
    Err(unusable(message).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        let said: Vec<String> = text.split('|').map(str::to_owned).collect();
        read(&said).unwrap()
    }

    #[test]
    fn the_first_that_will_do_is_taken() {
        let check = |answers: &[&str], expected: &str| {
            let answers: Vec<Answer> = answers.iter().map(|text| answer(text)).collect();
            let told = match choose(&answers, "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n") {
                Ok(python) => python.program.display().to_string(),
                Err(fault) => format!("{fault}; {}", fault.hint.as_deref().unwrap()),
            };
            assert_eq!(told, expected);
        };
        check(&["3 11|/usr/bin/python3|True", "3 14|/opt/python|True"], "/usr/bin/python3");
        check(&["3 9|/usr/bin/python3|True", "3 10|/opt/python|True"], "/opt/python");
        check(&["3 11|/usr/bin/python3|False", "3 12|/opt/python|True"], "/opt/python");
        check(
            &["3 11|/usr/bin/python3|False"],
            "/usr/bin/python3 can't make environments: it lacks venv or ensurepip; \
             install the package that has them: apt install python3.11-venv",
        );
        check(
            &["2 7|/usr/bin/python|False", "3 15|/opt/python|True"],
            "no Python from 3.10 to 3.14 is on the search path, only 2.7 (/usr/bin/python), 3.15 (/opt/python); \
             install one: apt install python3 python3-venv",
        );
        check(&[], "there is no Python on the search path; install one: apt install python3 python3-venv");
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_passed_over() {
        for said in [&["pyenv: command not found"][..], &["3 x", "/usr/bin/python3", "True"], &[]] {
            let said: Vec<String> = said.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(read(&said), None);
        }
    }
}
