//! Where logs go: the error output of a process that a person started, a file of limited size otherwise.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt::MakeWriter};
use types::{ErrorCode, Fault};

/// A log is begun anew at this size, and the one before is kept: some days of a busy host.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Starts logging. `filter` is in the words of `tracing`'s directives; without one INFO and above are logged.
///
/// # Errors
/// A fault when the file can't be written, or the filter makes no sense.
pub(crate) fn start(file: Option<&Path>, filter: Option<&str>) -> Result<(), Fault> {
    let directives = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let filter = directives.parse(filter.unwrap_or_default()).map_err(|error| {
        Fault::from_error(ErrorCode::FieldInvalid, &error)
            .with_hint("LARDER_LOG takes a level, or directives: info,agent=debug")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    match file {
        None => builder.with_ansi(io::stderr().is_terminal()).with_writer(io::stderr).init(),
        Some(path) => {
            let log = LogFile::open(path).map_err(|error| {
                Fault::new(
                    ErrorCode::DiskError,
                    format!("the log {} can't be written: {error}", path.display()),
                )
            })?;
            builder.with_ansi(false).with_writer(log).init();
        }
    }
    Ok(())
}

/// Opens a log for what a process writes by itself.
///
/// # Errors
/// The system's.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Returns the last lines of a log.
pub(crate) fn tail(path: &Path, lines_max: usize) -> Vec<String> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(lines_max)..].iter().map(|line| (*line).to_owned()).collect()
}

/// A log file that is set aside when it is large.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    open: Mutex<OpenLog>,
}

#[derive(Debug)]
struct OpenLog {
    file: File,
    bytes: u64,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), open: Mutex::new(OpenLog { file, bytes }) })
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if log.bytes + bytes.len() as u64 > LOG_BYTES_MAX && log.bytes > 0 {
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
            *log = OpenLog { file: open(&self.path)?, bytes: 0 };
        }
        log.file.write_all(bytes)?;
        log.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }
}

/// One event's way into the file. Events come whole, so that no line is split between two files.
struct LogWriter<'a>(&'a LogFile);

impl Write for LogWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = LogWriter<'a>;

    fn make_writer(&'a self) -> LogWriter<'a> {
        LogWriter(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_log_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        let log = LogFile::open(&path).unwrap();
        let line = vec![b'x'; 1024 * 1024];
        for _ in 0..17 {
            log.write(&line).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), line.len() as u64);
        assert_eq!(fs::metadata(folder.path().join("server.log.1")).unwrap().len(), 16 * line.len() as u64);
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&path, 2), ["two", "three"]);
        assert_eq!(tail(&folder.path().join("none.log"), 2), Vec::<String>::new());
    }
}
