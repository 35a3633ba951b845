//! What stands where in the data folder, as far as more than one role must know.

use std::{fs, os::unix::fs::DirBuilderExt as _, path::Path};

use types::{ErrorCode, Fault};

/// The socket that the agent dials.
pub(crate) const LINK_SOCKET: &str = "agent.sock";

/// The agent's own folder: store, spool, workers.
pub(crate) const HOST_FOLDER: &str = "host";

/// Makes a folder that only its owner may enter, and those above it.
///
/// # Errors
/// A fault with the system's reason.
pub(crate) fn make_private(folder: &Path) -> Result<(), Fault> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        let message = format!("the data folder {} can't be used: {error}", folder.display());
        Fault::new(ErrorCode::DiskError, message).with_hint("name another with --data-dir")
    })
}
