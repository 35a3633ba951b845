//! Serving a router on a listener: connections within limits, and a stop that lets requests in flight end.
//!
//! ```text
//! accept ── a permit is free ──▶ connection task ──▶ requests, one after the other
//!    ▲                              │ ends by: the client, a limit of `pace`, or the stop
//!    └───────── permit back ────────┘
//!
//! stop: accept no more ─▶ idle connections close, busy ones end their request ─▶ after the grace, cut
//! ```
//!
//! Every connection is a task of this call's scope, which is empty when the call returns.

mod connection;
mod pace;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::FromRequestParts};
use base::{ByteSize, TaskScope};
use http::request::Parts;
use tokio::{
    net::{TcpStream, UnixStream, unix::UCred},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;
use types::{ErrorCode, Fault};

use crate::{Listener, ProblemResponse};
use connection::{Connection, serve_connection};
use pace::Limits;

/// After an accept that failed for want of something (descriptors, memory): long enough for a connection to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How a listener is served. The default is fit for a public face.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// What logs call this listener.
    pub name: &'static str,
    /// A connection without a request is closed after this. 75 s as nginx has it: clients that pool connections
    /// keep them for at most 15 to 60 s, so the client closes first and no request meets a closing connection.
    pub idle_timeout: Duration,
    /// The head of a request must be complete this long after its first byte.
    pub head_timeout: Duration,
    /// A client that takes none of its answer for this long is cut off.
    pub send_stall_timeout: Duration,
    /// The head of a request may be this long.
    pub head_bytes_max: ByteSize,
    /// A request may have this many headers.
    pub headers_max: usize,
    /// This many connections are served at once; further ones wait in the system's queue.
    pub connections_max: usize,
    /// After a stop, requests in flight have this long to end.
    pub grace: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            name: "http",
            idle_timeout: Duration::from_secs(75),
            head_timeout: Duration::from_secs(10),
            send_stall_timeout: Duration::from_secs(60),
            // Room for a long path and a 4 KiB key; browsers and proxies stop at 8 to 16 KiB.
            head_bytes_max: ByteSize::kib(32),
            // hyper's own default.
            headers_max: 100,
            // With a few descriptors each, below the 65,536 that service managers give; a long poll holds one.
            connections_max: 8192,
            grace: Duration::from_secs(10),
        }
    }
}

/// Who is at the other end of a connection. An extension of every request, and an extractor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody at an address.
    Tcp(SocketAddr),
    /// A process on this machine.
    Unix {
        /// Its id when it connected, where the system tells.
        pid: Option<i32>,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ProblemResponse> {
        parts.extensions.get().copied().ok_or_else(|| {
            ProblemResponse::new(Fault::new(
                ErrorCode::Internal,
                "the request came from no listener of `web`",
            ))
        })
    }
}

/// Tells a handler whose answer takes long that the listener stops. An extension of every request, and an extractor.
#[derive(Clone, Debug)]
pub struct Stopping(CancellationToken);

impl Stopping {
    /// Waits until the stop begins.
    ///
    /// # Cancel safety
    /// Waiting again goes on waiting.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}

impl<S: Sync> FromRequestParts<S> for Stopping {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ProblemResponse> {
        // A router that is called without a listener is never stopped by one.
        Ok(parts.extensions.get().cloned().unwrap_or_else(|| Self(CancellationToken::new())))
    }
}

/// Serving ended for another reason than the stop.
#[derive(Debug, thiserror::Error)]
#[error("can't accept connections on {name} any more")]
pub struct ServeError {
    /// The listener's name.
    pub name: &'static str,
    /// The system's reason.
    #[source]
    pub source: io::Error,
}

impl ServeError {
    /// Returns the error as a user sees it.
    pub fn fault(&self) -> Fault {
        Fault::from_error(ErrorCode::ListenFailed, self)
    }
}

/// Serves a router until the token is cancelled and every connection has ended.
///
/// # Errors
/// [`ServeError`] when the listener itself is broken. Errors of single connections end those connections only.
///
/// # Cancel safety
/// Dropping the future cuts every connection.
pub async fn serve(
    listener: Listener,
    router: Router,
    options: ServeOptions,
    token: CancellationToken,
) -> Result<(), ServeError> {
    let name = options.name;
    let stop = token.child_token();
    let cut = CancellationToken::new();
    let mut connections = TaskScope::new(&token);
    let limits = Limits::from(&options);
    let permits = Arc::new(Semaphore::new(options.connections_max));
    tracing::debug!(listener = name, address = %listener.address(), "listening");
    let result = loop {
        tokio::select! {
            // Cancel-safe: a token stays cancelled.
            () = token.cancelled() => break Ok(()),
            // Cancel-safe: `join_next` loses no task.
            Some(ended) = connections.join_next() => report(name, ended),
            // Cancel-safe: a permit comes back when dropped, and a connection is taken in the last await only.
            accepted = accept(&listener, &permits) => match accepted {
                Ok((socket, permit)) => {
                    let connection = Connection {
                        router: router.clone(),
                        limits,
                        stop: stop.clone(),
                        cut: cut.clone(),
                    };
                    connections.spawn("connection", async move {
                        match socket {
                            Socket::Tcp(stream, peer) => serve_connection(stream, peer, connection).await,
                            Socket::Unix(stream, peer) => serve_connection(stream, peer, connection).await,
                        }
                        drop(permit);
                    });
                }
                Err(error) if is_broken(&error) => break Err(ServeError { name, source: error }),
                Err(error) => {
                    tracing::warn!(listener = name, %error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    };
    drop(listener);
    stop.cancel();
    end(name, connections, options.grace, &cut).await;
    result
}

enum Socket {
    Tcp(TcpStream, Peer),
    Unix(UnixStream, Peer),
}

async fn accept(listener: &Listener, permits: &Arc<Semaphore>) -> io::Result<(Socket, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        let accepted = match listener {
            Listener::Tcp(socket) => socket.accept().await.map(|(stream, address)| {
                // Answers are written whole; waiting for more to send only delays them. A socket that refuses the
                // option is closing already.
                let _ = stream.set_nodelay(true);
                Socket::Tcp(stream, Peer::Tcp(address))
            }),
            Listener::Unix(socket) => socket.accept().await.and_then(|(stream, _)| {
                let credentials = stream.peer_cred()?;
                Ok(Socket::Unix(stream, peer_of(&credentials)))
            }),
        };
        match accepted {
            Ok(socket) => return Ok((socket, permit)),
            // The client gave up before it was served: no matter of ours.
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn peer_of(credentials: &UCred) -> Peer {
    Peer::Unix { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid() }
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

/// Tells a listener that can never accept again from one that lacks something for now.
fn is_broken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

async fn end(name: &'static str, mut connections: TaskScope, grace: Duration, cut: &CancellationToken) {
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            report(name, ended);
        }
    };
    if tokio::time::timeout(grace, all_ended).await.is_err() {
        tracing::info!(listener = name, connections = connections.len(), "cutting requests after the grace");
    }
    cut.cancel();
    if let Err(error) = connections.shutdown().await {
        tracing::error!(listener = name, %error, "a connection ended in a panic");
    }
}

fn report(name: &'static str, ended: Result<&'static str, base::TaskError>) {
    if let Err(error) = ended {
        tracing::error!(listener = name, %error, "a connection ended in a panic");
    }
}

#[cfg(test)]
mod tests;
