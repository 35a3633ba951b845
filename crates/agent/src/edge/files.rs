//! The bytes of a file of a view, whole or in part.
//!
//! Reads run on the pool for blocking work, one ahead of what is being sent, so that a request holds two chunks at
//! most. No task is spawned: a connection that goes away drops its reads.

use std::{io, sync::Arc};

use axum::{body::Body, response::Response};
use base::{Access, DiskFile};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderName, HeaderValue, request::Parts};
use types::{Digest, ManifestFile};
use web::{FileFacts, Ranges};

use super::{Edge, Turn, refusal::Refusal, shelf::ModelShelf};

/// Bytes read at a time: handing work to the pool (some 10 µs) costs little beside reading this much (20 µs from the
/// page cache at 7 GB/s), and [`super::REQUESTS_MAX`] requests fit into 64 MiB.
const CHUNK_BYTES: u64 = 128 * 1024;
/// Chunks being read or waiting to be sent.
const CHUNKS_HELD: usize = 2;
/// Small files are configurations and texts.
const SMALL_TYPE: &str = "text/plain; charset=utf-8";
const LARGE_TYPE: &str = "application/octet-stream";

impl Edge {
    /// Answers a GET or HEAD for a file that is here.
    ///
    /// All that describes the file is on this one answer: after a redirect to the same origin `huggingface_hub` would
    /// not look at what the redirect said.
    pub(super) async fn send(
        &self,
        parts: &Parts,
        shelf: &ModelShelf,
        file: &ManifestFile,
        turn: Turn,
    ) -> Result<Response, Refusal> {
        let (disk, place) = (Arc::clone(&self.0.disk), shelf.place(file));
        let opened = tokio::task::spawn_blocking(move || disk.open(&place, Access::Read)).await;
        let opened: Arc<dyn DiskFile> = match opened.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(opened) => Arc::from(opened),
            Err(error) => {
                tracing::error!(model = %shelf.key(), path = %file.path, %error, "a file of a view can't be opened");
                return Err(Refusal::Disk { path: file.path.to_string() });
            }
        };
        let facts = facts(shelf, file);
        Ok(web::answer_file(&parts.method, &parts.headers, &facts, Ranges::Served, |first, count| {
            let chunks = chunks(opened, first, count);
            Body::from_stream(chunks.map(move |chunk| {
                // Until the last byte is sent.
                let _held = &turn;
                chunk
            }))
        }))
    }
}

fn facts(shelf: &ModelShelf, file: &ManifestFile) -> FileFacts {
    let etag = file.digest.to_string();
    let (content_type, linked) = match file.digest {
        Digest::Sha256(_) => (LARGE_TYPE, true),
        Digest::GitSha1(_) => (SMALL_TYPE, false),
    };
    let mut headers = vec![(HeaderName::from_static("x-repo-commit"), ascii(&shelf.commit().to_string()))];
    if linked {
        headers.push((HeaderName::from_static("x-linked-size"), HeaderValue::from(file.size)));
        headers.push((HeaderName::from_static("x-linked-etag"), ascii(&format!("\"{etag}\""))));
    }
    FileFacts { len: file.size, etag, content_type, headers }
}

fn chunks(
    file: Arc<dyn DiskFile>,
    first: u64,
    count: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let starts = (0..count.div_ceil(CHUNK_BYTES)).map(move |number| number * CHUNK_BYTES);
    stream::iter(starts)
        .map(move |start| {
            let file = Arc::clone(&file);
            let len = CHUNK_BYTES.min(count - start);
            async move {
                let read = tokio::task::spawn_blocking(move || read(&*file, first + start, len));
                read.await.map_err(io::Error::other)?
            }
        })
        .buffered(CHUNKS_HELD)
}

fn read(file: &dyn DiskFile, offset: u64, len: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter")),
            read => filled += read,
        }
    }
    Ok(bytes.into())
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digests and commits are hex digits")
}
