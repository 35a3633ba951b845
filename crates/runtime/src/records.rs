//! What is kept on disk of a worker while it runs and until it is removed: one folder each.
//!
//! Both the driver and the shim know these names. Nothing here holds a secret, and nothing is worth a sync: after
//! a power loss no worker runs any more, and a record that can't be read means just that.
//!
//! ```text
//! <run>/<worker>/worker.json     how it stands (written by the shim when the command runs)
//!                exit.json       how it ended (written by the shim, or by the driver for a lost one)
//!                control.sock    the shim's ear
//!                log, log.1      what the worker wrote, newest in `log`
//!                shim.log        what the shim itself had to say; empty unless something is wrong with us
//!                root/           where the worker's root is assembled, in a mount namespace that nobody else sees
//!                work/ home/ hub/  without isolation: the worker's own folders
//! ```

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    os::fd::AsRawFd as _,
    os::unix::{
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use base::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    LogLine, LogStream,
    protocol::{Ended, Running},
};

/// Bytes after which a log file is closed and the one before it deleted. Two files of this size hold about
/// 100,000 lines, a day of a worker that logs a line each second; a thousand workers' logs fit on any disk.
pub(crate) const LOG_FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What stays of a worker of which only the log is of use any more.
const KEPT: [&str; 3] = ["log", "log.1", "exit.json"];

/// The folder of one worker.
#[derive(Clone, Debug)]
pub(crate) struct RunFolder(PathBuf);

impl RunFolder {
    /// Names the folder; nothing is made.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Makes the folder, for the agent's user alone.
    pub(crate) fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(&self.0)
    }

    /// Deletes the folder. It not being there is fine.
    pub(crate) fn delete(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Deletes everything in the folder but the log and how the worker ended. It not being there is fine.
    pub(crate) fn strip(&self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        for entry in entries {
            let entry = entry?;
            if KEPT.iter().any(|kept| entry.file_name() == *kept) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Returns its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of the log that is written to.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Returns the path of the log before it.
    pub(crate) fn older_log(&self) -> PathBuf {
        self.0.join("log.1")
    }

    /// Returns where the shim says what is wrong with itself.
    pub(crate) fn shim_log(&self) -> PathBuf {
        self.0.join("shim.log")
    }

    /// Records how the worker stands.
    pub(crate) fn write_running(&self, running: &Running) -> io::Result<()> {
        self.write("worker.json", running)
    }

    /// Returns how the worker stood, if that was recorded.
    pub(crate) fn read_running(&self) -> Option<Running> {
        self.read("worker.json")
    }

    /// Records how the worker ended.
    pub(crate) fn write_ended(&self, ended: &Ended) -> io::Result<()> {
        self.write("exit.json", ended)
    }

    /// Returns how the worker ended, if it has.
    pub(crate) fn read_ended(&self) -> Option<Ended> {
        self.read("exit.json")
    }

    /// Opens the shim's ear.
    pub(crate) fn listen(&self) -> io::Result<UnixListener> {
        self.with_socket_path(|path| UnixListener::bind(path))
    }

    /// Closes the shim's ear.
    pub(crate) fn close_ear(&self) {
        // Nobody is hurt by a socket file that stays: connecting to it fails as if it were gone.
        let _ = fs::remove_file(self.0.join("control.sock"));
    }

    /// Connects to the shim.
    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
        self.with_socket_path(|path| UnixStream::connect(path))
    }

    /// Goes through a descriptor, because a socket's path is limited to 107 bytes (unix(7)) and ours may be longer.
    fn with_socket_path<T>(&self, operation: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let folder =
            fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(&self.0)?;
        operation(&PathBuf::from(format!("/proc/self/fd/{}/control.sock", folder.as_raw_fd())))
    }

    fn write(&self, name: &str, record: &impl Serialize) -> io::Result<()> {
        let unfinished = self.0.join(format!("{name}.new"));
        fs::write(&unfinished, serde_json::to_vec(record)?)?;
        fs::rename(unfinished, self.0.join(name))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.0.join(name)).ok()?).ok()
    }
}

/// Returns a line as it stands in a log: microseconds, `o` or `e`, and what the worker wrote.
pub(crate) fn format_line(at: Timestamp, stream: LogStream, text: &[u8]) -> Vec<u8> {
    let letter = match stream {
        LogStream::Output => 'o',
        LogStream::Error => 'e',
    };
    let mut line = format!("{} {letter} ", at.as_micros()).into_bytes();
    line.extend_from_slice(text);
    line.push(b'\n');
    line
}

fn parse_line(line: &[u8]) -> Option<LogLine> {
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let micros = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let stream = match parts.next()? {
        b"o" => LogStream::Output,
        b"e" => LogStream::Error,
        _ => return None,
    };
    let text = String::from_utf8_lossy(parts.next()?).into_owned();
    Some(LogLine { at: Timestamp::from_micros(micros), stream, text })
}

/// Returns the last lines of a worker's log, oldest first.
pub(crate) fn read_lines(folder: &RunFolder, lines_max: usize) -> io::Result<Vec<LogLine>> {
    let mut lines = std::collections::VecDeque::new();
    for path in [folder.older_log(), folder.log()] {
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        for line in BufReader::new(file).split(b'\n') {
            if let Some(line) = parse_line(&line?) {
                lines.push_back(line);
            }
            if lines.len() > lines_max {
                lines.pop_front();
            }
        }
    }
    Ok(lines.into())
}
