//! Sockets that listen: bound here, or bound elsewhere and adopted.
//!
//! A worker's relay socket is bound inside the worker's network namespace and handed over, and a duplicate outlives
//! the process that serves it; so a listener can also come from a descriptor.

use std::{
    fmt, io,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    str::FromStr,
};

use tokio::net::{TcpListener, UnixListener, UnixStream};
use types::{ErrorCode, Fault};

/// Who may connect to a socket that is a file: its owner only.
const SOCKET_MODE: u32 = 0o600;

/// Where to listen: `127.0.0.1:8000`, `[::1]:8000`, or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A socket that is a file.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A text that is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address to listen on: write 127.0.0.1:8000, [::1]:8000 or unix:/path")]
pub struct ParseListenAddressError {
    /// The text as given.
    pub text: String,
}

impl FromStr for ListenAddress {
    type Err = ParseListenAddressError;

    fn from_str(text: &str) -> Result<Self, ParseListenAddressError> {
        let error = || ParseListenAddressError { text: text.to_owned() };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(error()) } else { Ok(Self::Unix(path.into())) };
        }
        // A name would need a resolver and could mean several addresses; this one means loopback to everyone.
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        numeric.parse().map(Self::Tcp).map_err(|_| error())
    }
}

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Binding failed.
    #[error("can't listen on {address}")]
    Bind {
        /// The address.
        address: ListenAddress,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another process listens on the file already.
    #[error("can't listen on unix:{}: another process listens there", path.display())]
    SocketInUse {
        /// The file.
        path: PathBuf,
    },
    /// A descriptor that was handed over is no listening socket of a kind that can be served.
    #[error("the socket that was handed over can't be listened on")]
    Adopt(#[source] io::Error),
}

impl ListenError {
    /// Returns the error as a user sees it.
    pub fn fault(&self) -> Fault {
        let fault = Fault::from_error(ErrorCode::ListenFailed, self);
        let kind = match self {
            Self::Bind { source, .. } => source.kind(),
            Self::SocketInUse { .. } => io::ErrorKind::AddrInUse,
            Self::Adopt(_) => return fault,
        };
        match kind {
            io::ErrorKind::AddrInUse => {
                fault.with_hint("stop the process that listens there, or choose another address")
            }
            io::ErrorKind::PermissionDenied => {
                fault.with_hint("choose a port above 1023 or a folder of your own")
            }
            io::ErrorKind::AddrNotAvailable => fault.with_hint("choose an address that this machine has"),
            // Not our enum, and open.
            _ => fault,
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// On an address and port.
    Tcp(TcpListener),
    /// On a file.
    Unix(UnixListener),
}

impl Listener {
    /// Binds an address.
    ///
    /// A socket file that nobody listens on any more is replaced; a new one can be used by its owner only.
    ///
    /// # Errors
    /// [`ListenError`] by condition.
    pub async fn bind(address: &ListenAddress) -> Result<Self, ListenError> {
        match address {
            ListenAddress::Tcp(socket) => TcpListener::bind(socket).await.map(Self::Tcp),
            ListenAddress::Unix(path) => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(ListenError::SocketInUse { path: path.clone() });
                }
                bind_file(path).map(Self::Unix)
            }
        }
        .map_err(|source| ListenError::Bind { address: address.clone(), source })
    }

    /// Adopts a listening TCP socket that was bound elsewhere.
    ///
    /// # Errors
    /// [`ListenError::Adopt`].
    pub fn from_std_tcp(socket: std::net::TcpListener) -> Result<Self, ListenError> {
        let adopt = || {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        };
        adopt().map(Self::Tcp).map_err(ListenError::Adopt)
    }

    /// Adopts a listening socket file that was bound elsewhere.
    ///
    /// # Errors
    /// [`ListenError::Adopt`].
    pub fn from_std_unix(socket: std::os::unix::net::UnixListener) -> Result<Self, ListenError> {
        let adopt = || {
            socket.set_nonblocking(true)?;
            UnixListener::from_std(socket)
        };
        adopt().map(Self::Unix).map_err(ListenError::Adopt)
    }

    /// Adopts a listening socket of either kind from its descriptor, as another process hands it over.
    ///
    /// # Errors
    /// [`ListenError::Adopt`], also when the descriptor is no socket.
    pub fn from_descriptor(descriptor: OwnedFd) -> Result<Self, ListenError> {
        let unix = std::os::unix::net::UnixListener::from(descriptor);
        // Only a socket of the file kind can tell its name in that form.
        if unix.local_addr().is_ok() {
            return Self::from_std_unix(unix);
        }
        let tcp = std::net::TcpListener::from(OwnedFd::from(unix));
        tcp.local_addr().map_err(ListenError::Adopt)?;
        Self::from_std_tcp(tcp)
    }

    /// Returns where it listens, with the port that the system chose.
    pub fn address(&self) -> ListenAddress {
        match self {
            Self::Tcp(socket) => {
                ListenAddress::Tcp(socket.local_addr().expect("a bound socket knows its own address"))
            }
            Self::Unix(socket) => {
                let name = socket.local_addr().expect("a bound socket knows its own name");
                ListenAddress::Unix(name.as_pathname().unwrap_or(Path::new("")).to_owned())
            }
        }
    }
}

fn bind_file(path: &Path) -> io::Result<UnixListener> {
    // Only a socket is removed: whatever else stands there is somebody's file, and binding then fails.
    let stale = std::fs::symlink_metadata(path).is_ok_and(|entry| entry.file_type().is_socket());
    if stale {
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
