//! Where a command writes: results to the output, everything else to the error output.
//!
//! Colours and progress bars appear only where a person looks on; the streams themselves take colours out elsewhere.

use std::io::{self, Write};

use base::{Clock, Timestamp};
use owo_colors::OwoColorize as _;
use serde::Serialize;
use types::Fault;

use crate::{args::OutputFormat, failure::Failure};

/// The two streams of a command and how it should write to them.
pub struct Screen {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    format: OutputFormat,
    interactive: bool,
    clock: Clock,
}

impl Screen {
    /// Makes the screen of a process: its standard streams, with colours where they lead to a terminal.
    pub fn of_process(format: OutputFormat) -> Self {
        let err = anstream::stderr();
        let interactive = err.is_terminal();
        Self {
            out: Box::new(anstream::stdout()),
            err: Box::new(err),
            format,
            interactive,
            clock: Clock::System,
        }
    }

    /// Makes a screen of any two streams, without colours.
    pub fn plain(
        out: impl Write + Send + 'static,
        err: impl Write + Send + 'static,
        format: OutputFormat,
        clock: Clock,
    ) -> Self {
        let strip = anstream::StripStream::new;
        let out: Box<dyn Write + Send> = Box::new(out);
        let err: Box<dyn Write + Send> = Box::new(err);
        Self { out: Box::new(strip(out)), err: Box::new(strip(err)), format, interactive: false, clock }
    }

    /// Returns how results are to be written.
    pub const fn format(&self) -> OutputFormat {
        self.format
    }

    /// Returns whether a person looks on.
    pub const fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Returns the clock that waits and relative times go by.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Writes a line of the result.
    ///
    /// # Errors
    /// [`Failure`] when the output can't be written.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        writeln!(self.out, "{}", text.as_ref())?;
        Ok(self.out.flush()?)
    }

    /// Writes the result as JSON.
    ///
    /// # Errors
    /// [`Failure`] when the output can't be written.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        self.line(text)
    }

    /// Writes one of many results as JSON, on a line of its own.
    ///
    /// # Errors
    /// [`Failure`] when the output can't be written.
    pub fn json_line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        self.line(text)
    }

    /// Tells the user something that is not the result. A note that can't be written is given up.
    pub fn note(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.err, "{}", text.as_ref());
    }

    /// Warns the user.
    pub fn warn(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.err, "{} {}", "warning:".yellow().bold(), text.as_ref());
    }

    /// Tells the user what to do about a warning.
    pub fn hint(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.err, "{} {}", "hint:".cyan().bold(), text.as_ref());
    }

    /// Tells the user why the command failed: as an object where results are JSON, as text elsewhere.
    pub fn fault(&mut self, fault: &Fault) {
        match self.format {
            OutputFormat::Json => {
                let text = serde_json::to_string(fault).expect("a fault is three texts");
                let _ = writeln!(self.err, "{text}");
            }
            OutputFormat::Table => {
                let code = format!("({})", fault.code);
                let _ = writeln!(self.err, "{} {} {}", "error:".red().bold(), fault.message, code.dimmed());
                if let Some(hint) = &fault.hint {
                    let _ = writeln!(self.err, "{} {hint}", "hint:".cyan().bold());
                }
            }
        }
    }
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen")
            .field("format", &self.format)
            .field("interactive", &self.interactive)
            .finish_non_exhaustive()
    }
}
