//! What a worker did wrong, in words.

use base::Timestamp;
use types::{ErrorCode, Fault};

use super::Exit;

impl Exit {
    /// Returns what a process that nobody asked to end has done wrong.
    pub(super) fn fault(self, complaint: Option<&str>, last_lines: &[String]) -> Fault {
        let how = match self {
            Self::Code { code } => format!("the worker's process ended by itself with exit code {code}"),
            Self::Signal { signal } => format!("the worker's process was ended by signal {signal}"),
            Self::OutOfMemory => "the worker's process was killed because memory ran out".to_owned(),
            Self::Unknown => "the worker's process is gone and nobody saw how it ended".to_owned(),
        };
        let hint = match self {
            Self::OutOfMemory => "raise the endpoint's memory limit or load a smaller model",
            Self::Code { .. } | Self::Signal { .. } | Self::Unknown => {
                "read its log: `larder worker logs ID`, with the id from `larder worker list`"
            }
        };
        let mut message = how;
        if let Some(text) = complaint {
            message.push_str("; before that it reported: ");
            message.push_str(text);
        }
        if !last_lines.is_empty() {
            message.push_str("; its last lines: ");
            message.push_str(&shortened(last_lines));
        }
        Fault::new(ErrorCode::HandlerExited, message).with_hint(hint)
    }
}

/// Lines that a fault quotes: a Python error's last frame and its message. The log has the rest.
const QUOTED_LINES_MAX: usize = 5;
/// Characters that a fault quotes of each line.
const QUOTED_CHARS_MAX: usize = 300;

fn shortened(lines: &[String]) -> String {
    let quoted: Vec<String> = lines[lines.len().saturating_sub(QUOTED_LINES_MAX)..]
        .iter()
        .map(|line| line.trim().chars().take(QUOTED_CHARS_MAX).collect())
        .collect();
    quoted.join(" / ")
}

/// Returns what a worker has done wrong that took too long from its process's start to its first take.
pub(super) fn never_ready(
    started_at: Timestamp,
    first_ping: Option<Timestamp>,
    complaint: Option<&str>,
    now: Timestamp,
) -> Fault {
    let waited = now.since(started_at).as_secs();
    let (code, what) = match first_ping {
        None => (ErrorCode::HandlerNeverPinged, "did not report once"),
        Some(_) => (ErrorCode::HandlerNeverTook, "reported but never asked for a job"),
    };
    let mut message = format!("the worker {what} in the {waited} s since its process started");
    if let Some(text) = complaint {
        message.push_str("; it complained: ");
        message.push_str(text);
    }
    Fault::new(code, message)
        .with_hint("read its log: `larder worker logs ID`; a slow start may need a longer --init-timeout")
}
