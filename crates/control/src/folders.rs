//! Released folders: archives kept by content in the data folder.

use std::{path::Path, sync::Arc};

use base::{Disk, RealDisk};
use bytes::Bytes;
use sha2::Sha256;
use types::{Digest, ErrorCode, Fault};

/// Above any configured limit of an archive; a longer file is none of ours.
const READ_BYTES_MAX: u64 = 1 << 30;

/// Returns the digest that a folder's archive is named by.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::Sha256(<Sha256 as sha2::Digest>::digest(bytes).into())
}

/// Writes an archive under its digest.
pub(crate) async fn write(
    disk: Arc<dyn Disk>,
    folder: &Path,
    digest: &Digest,
    bytes: Bytes,
) -> Result<(), Fault> {
    let (folder, path) = (folder.to_owned(), folder.join(digest.to_string()));
    let written = tokio::task::spawn_blocking(move || {
        disk.make_folder(&folder)?;
        base::write_privately(&disk, &path, &bytes)
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Fault::from_error(ErrorCode::DiskError, &error)
            .with_hint("check the room and the rights of the data folder")),
        Err(error) => Err(Fault::from_error(ErrorCode::Internal, &error)),
    }
}

/// Reads an archive, or returns none when it is not here.
pub(crate) async fn read(folder: &Path, digest: &Digest) -> Option<Vec<u8>> {
    let path = folder.join(digest.to_string());
    match tokio::task::spawn_blocking(move || RealDisk.read(&path, READ_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Some(bytes),
        Ok(Err(error)) => {
            tracing::warn!(%digest, %error, "a released folder can't be read");
            None
        }
        Err(_) => None,
    }
}
