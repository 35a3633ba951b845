//! Single-flight: one writer per blob, the others wait.

/// Waits for another's writer of the same blob.
#[derive(Debug)]
pub struct BlobWaiter(());

impl BlobWaiter {
    /// Waits until the other writer has finished or was dropped; then claim again.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn released(self) {
        unreachable!("being built")
    }
}
