//! A hub for tests: answers each request with what a closure says, on a loopback port, and keeps what it heard.
//!
//! It speaks just enough HTTP/1.1, one request a connection, so that a test can break any part of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base::Redacted;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use types::{Commit, Digest, ManifestFile, RepoName};

use crate::{Hub, HubOptions};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// Returns the range asked for, end exclusive.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().unwrap(), last.parse::<usize>().unwrap() + 1))
    }
}

/// How an answer ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// As it should.
    Whole,
    /// The connection closes after this many bytes of the body.
    CloseAfter(usize),
    /// The connection is reset after this many bytes of the body.
    ResetAfter(usize),
    /// Silence after this many bytes of the body.
    StallAfter(usize),
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    end: End,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), end: End::Whole }
    }

    pub(crate) fn json(text: &str) -> Self {
        Self::status(200).body(text)
    }

    /// Answers a request for a range of `content`, or for all of it.
    pub(crate) fn bytes(heard: &Heard, content: &[u8]) -> Self {
        match heard.range() {
            None => Self::status(200).body(content),
            Some((first, end)) if end <= content.len() => Self::status(206)
                .header("content-range", format!("bytes {first}-{}/{}", end - 1, content.len()))
                .body(&content[first..end]),
            Some(_) => Self::status(416).header("content-range", format!("bytes */{}", content.len())),
        }
    }

    pub(crate) fn redirect(status: u16, location: impl Into<String>) -> Self {
        Self::status(status).header("location", location)
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub(crate) fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }
}

/// A running server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct StandIn {
    port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StandIn {
    pub(crate) async fn start(answer: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), heard.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), log.clone()));
            }
        });
        Self { port, heard, task }
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns what was asked so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn options(&self) -> HubOptions {
        options(&self.address())
    }

    pub(crate) fn hub(&self) -> Hub {
        Hub::new(self.options()).unwrap()
    }
}

/// Settings with patience for a test.
pub(crate) fn options(address: &str) -> HubOptions {
    let mut options = HubOptions::new("test".parse().unwrap(), address.parse().unwrap());
    options.stall_timeout = Duration::from_millis(300);
    options.answer_timeout = Duration::from_secs(5);
    options.backoff.first = Duration::from_millis(1);
    options
}

async fn serve(mut stream: TcpStream, answer: Arc<impl Fn(&Heard) -> Reply>, log: Arc<Mutex<Vec<Heard>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let heard = parse(std::str::from_utf8(&head).unwrap());
    let reply = answer(&heard);
    let is_head = heard.method == "HEAD";
    log.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
    let mut text = format!("HTTP/1.1 {} Text\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !reply.headers.iter().any(|(name, _)| name == "content-length") {
        text.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    }
    text.push_str("\r\n");
    let sent = match reply.end {
        End::Whole => reply.body.len(),
        End::CloseAfter(bytes) | End::ResetAfter(bytes) | End::StallAfter(bytes) => {
            bytes.min(reply.body.len())
        }
    };
    let _ = stream.write_all(text.as_bytes()).await;
    if !is_head {
        let _ = stream.write_all(&reply.body[..sent]).await;
    }
    match reply.end {
        End::Whole | End::CloseAfter(_) => drop(stream.shutdown().await),
        End::ResetAfter(_) => stream.set_zero_linger().unwrap(),
        // Until the other side gives up and closes.
        End::StallAfter(_) => drop(stream.read_u8().await),
    }
}

fn parse(head: &str) -> Heard {
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        })
        .collect();
    Heard { method, target, headers }
}

pub(crate) fn repo() -> RepoName {
    "acme/tiny".parse().unwrap()
}

pub(crate) fn commit() -> Commit {
    Commit::from_bytes([0xab; 20])
}

pub(crate) fn token() -> Redacted<String> {
    Redacted::new("hf_secret".to_owned())
}

/// Makes an entry of a listing.
pub(crate) fn entry(path: &str, size: u64, large: bool) -> ManifestFile {
    let digest = if large { Digest::Sha256([7; 32]) } else { Digest::GitSha1([7; 20]) };
    ManifestFile { path: path.parse().unwrap(), size, digest }
}
