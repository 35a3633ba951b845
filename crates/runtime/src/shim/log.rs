//! A worker's output: cut into lines, stamped, and kept within a size.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt as _},
};

use base::Timestamp;

use crate::{
    LogStream,
    records::{LOG_FILE_BYTES_MAX, RunFolder, format_line},
};

/// A longer line is cut into several. The SDK cuts its own messages at 4096 characters; tracebacks in JSON are longer.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Bytes taken from a pipe at a time: its whole capacity (pipe(7)).
const READ_BYTES: usize = 64 * 1024;

/// The two files that hold a worker's last lines.
#[derive(Debug)]
pub(super) struct Log {
    folder: RunFolder,
    file: File,
    size: u64,
    file_bytes_max: u64,
}

impl Log {
    /// Opens a worker's log.
    pub(super) fn create(folder: &RunFolder) -> io::Result<Self> {
        let file = open(folder)?;
        Ok(Self { folder: folder.clone(), file, size: 0, file_bytes_max: LOG_FILE_BYTES_MAX })
    }

    /// Adds a line. A disk that takes none loses it: a worker is not ended for its log.
    fn add(&mut self, at: Timestamp, stream: LogStream, text: &[u8]) {
        if self.size >= self.file_bytes_max {
            self.rotate();
        }
        let line = format_line(at, stream, text);
        if self.file.write_all(&line).is_ok() {
            self.size += line.len() as u64;
        }
    }

    fn rotate(&mut self) {
        let moved = fs::rename(self.folder.log(), self.folder.older_log());
        // Where no second file can be had the first is emptied, so that the limit holds all the same.
        let emptied = match moved.and_then(|()| open(&self.folder)) {
            Ok(file) => {
                self.file = file;
                Ok(())
            }
            Err(_) => self.file.set_len(0),
        };
        if emptied.is_ok() {
            self.size = 0;
        }
    }
}

fn open(folder: &RunFolder) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(folder.log())
}

/// One of a worker's two pipes, and the line that is not complete yet.
#[derive(Debug)]
pub(super) struct Pipe {
    end: Option<OwnedFd>,
    stream: LogStream,
    line: Vec<u8>,
}

impl Pipe {
    /// Reads from this end, which has to be non-blocking.
    pub(super) fn new(end: OwnedFd, stream: LogStream) -> Self {
        Self { end: Some(end), stream, line: Vec::new() }
    }

    /// Returns the end to wait for, until it is closed on the other side.
    pub(super) fn end(&self) -> Option<&OwnedFd> {
        self.end.as_ref()
    }

    /// Moves what is there into the log, at most one pipe's capacity, so that the caller gets its turn.
    pub(super) fn drain(&mut self, log: &mut Log, at: Timestamp) {
        let Some(end) = &self.end else { return };
        let mut buffer = vec![0; READ_BYTES];
        match rustix::io::read(end, &mut buffer) {
            Ok(0) => self.close(log, at),
            Ok(read) => self.take(&buffer[..read], log, at),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => self.close(log, at),
        }
    }

    fn close(&mut self, log: &mut Log, at: Timestamp) {
        if !self.line.is_empty() {
            log.add(at, self.stream, &std::mem::take(&mut self.line));
        }
        self.end = None;
    }

    fn take(&mut self, mut bytes: &[u8], log: &mut Log, at: Timestamp) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.line.len();
            let (end, skipped) = match bytes.iter().take(room + 1).position(|byte| *byte == b'\n') {
                Some(end) => (end, 1),
                None if bytes.len() > room => (room, 0),
                None => {
                    self.line.extend_from_slice(bytes);
                    return;
                }
            };
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + skipped..];
            let line = std::mem::take(&mut self.line);
            log.add(at, self.stream, line.strip_suffix(b"\r").unwrap_or(&line));
        }
    }
}

#[cfg(test)]
mod tests;
