//! Being told to end: Ctrl-C and SIGTERM mean the same.

use tokio::signal::unix::{Signal, SignalKind, signal};
use types::{ErrorCode, Fault};

/// Hears every request to end from the moment that it is made.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Begins to listen: from now on the signals do not end the process by themselves.
    ///
    /// # Errors
    /// A fault when the system refuses.
    pub(crate) fn listen() -> Result<Self, Fault> {
        let hear = |kind| signal(kind).map_err(|error| Fault::from_error(ErrorCode::Internal, &error));
        Ok(Self { interrupt: hear(SignalKind::interrupt())?, terminate: hear(SignalKind::terminate())? })
    }

    /// Waits for the next request to end.
    ///
    /// # Cancel safety
    /// Dropping the future loses no request.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            // Cancel-safe: a signal stays delivered until it is received.
            _ = self.interrupt.recv() => {}
            // Cancel-safe: as above.
            _ = self.terminate.recv() => {}
        }
    }
}
