//! HTTP listening: sockets, limits of connections, problem answers, bodies within limits, graceful stop.
//!
//! What every face that listens has in common. It knows no route and no word of the domain but [`types::Fault`],
//! keeps no state between requests, and reads no configuration.

mod body;
mod extract;
mod file;
mod key;
mod listener;
mod observe;
mod problem;
mod range;
mod serve;

pub use body::{BodyError, BytesBody, JsonBody, OptionalJsonBody, parse_json, read_body};
pub use extract::{Path, Query};
pub use file::{FileFacts, Ranges, answer_file, is_unchanged};
pub use key::key_of;
pub use listener::{ListenAddress, ListenError, Listener, ParseListenAddressError};
pub use observe::{REQUEST_ID_HEADER, RequestId, observed, problem_fallbacks};
pub use problem::ProblemResponse;
pub use serve::{Peer, ServeError, ServeOptions, Stopping, serve};
