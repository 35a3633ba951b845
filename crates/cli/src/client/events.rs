//! Answers that come as a stream of events, as they come.

use reqwest::{RequestBuilder, Response, header::ACCEPT};
use types::{ErrorCode, Fault};

use super::Client;

/// The longest event that is read: what a server tells of a fetch is a few kB.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its kind.
    pub name: String,
    /// What it tells: JSON.
    pub data: String,
}

/// Events as they come.
#[derive(Debug)]
pub(super) struct Events {
    client: Client,
    response: Response,
    /// What has come of lines that are not whole.
    buffer: Vec<u8>,
    name: String,
    data: String,
}

impl Client {
    /// Sends a request whose answer is a stream of events.
    pub(super) async fn events(&self, request: RequestBuilder) -> Result<Events, Fault> {
        let sent = request.header(ACCEPT, "text/event-stream").send().await;
        let response = sent.map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let client = self.clone();
        Ok(Events { client, response, buffer: Vec::new(), name: String::new(), data: String::new() })
    }
}

impl Events {
    /// Returns the next event, or nothing when the stream has ended.
    ///
    /// # Errors
    /// A fault when the connection breaks, with the code `server-away`, or when what comes is no event.
    ///
    /// # Cancel safety
    /// An event that has come whole is not lost.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            if let Some(event) = self.take_event() {
                return Ok(Some(event));
            }
            if self.buffer.len() + self.data.len() > EVENT_BYTES_MAX {
                let message = format!("{} sends an event without end", self.client.server());
                return Err(Fault::new(ErrorCode::Internal, message));
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                Ok(None) => return Ok(None),
                Err(error) => {
                    let fault = self.client.unreachable(&error);
                    return Err(Fault { code: ErrorCode::ServerAway, ..fault });
                }
            }
        }
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Takes whole lines until they make an event.
    fn take_event(&mut self) -> Option<Event> {
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() && !self.data.is_empty() {
                let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
                return Some(Event { name, data });
            }
            // What stands before a colon at the start of a line is a comment: the sign that the server is there.
            match line.split_once(':') {
                Some(("event", name)) => name.trim_start().clone_into(&mut self.name),
                Some(("data", data)) => self.data.push_str(data.strip_prefix(' ').unwrap_or(data)),
                Some(_) | None => {}
            }
        }
        None
    }
}
