//! Sending a file's bytes: a body that reads ahead while it is sent, harmed where a drill has it so.
//!
//! Reads run on the pool for blocking work, [`READ_AHEAD`] chunks at a time, so a connection holds at most three
//! chunks. No task is spawned: a connection that goes away drops its reads.

use std::{fs::File, io, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use base::{ByteSize, Clock};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, Method};
use web::{FileFacts, Ranges};

use crate::faults::Harm;

/// Bytes read at a time. Large enough that handing work to the pool (some 10 µs) costs little beside reading it
/// (70 µs from the page cache at 7 GB/s), small enough that a thousand connections fit in memory.
const CHUNK_BYTES: u64 = 512 * 1024;
/// Chunks being read while one is being sent.
const READ_AHEAD: usize = 2;
/// A connection with a rate gets its bytes in so many portions a second, so that it flows rather than jerks.
const PORTIONS_PER_SECOND: u64 = 20;

/// A file that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) file: File,
    pub(crate) facts: FileFacts,
}

/// How the bytes are sent.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) clock: Clock,
    pub(crate) rate_max: Option<ByteSize>,
    pub(crate) harms: Vec<Harm>,
    pub(crate) ignore_ranges: bool,
}

/// Answers a GET or HEAD for a file: whole, in part, unchanged, or not at all.
pub(crate) fn answer(method: &Method, request: &HeaderMap, outgoing: Outgoing, manner: Manner) -> Response {
    let Outgoing { file, facts } = outgoing;
    let ranges = if manner.ignore_ranges { Ranges::Ignored } else { Ranges::Served };
    web::answer_file(method, request, &facts, ranges, |first, count| {
        Body::from_stream(chunks(Arc::new(file), first, count, manner))
    })
}

/// Reads `count` bytes from `first` in chunks, at the given rate, harmed as ordered.
fn chunks(
    file: Arc<File>,
    first: u64,
    count: u64,
    manner: Manner,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let Manner { clock, rate_max, harms, ignore_ranges: _ } = manner;
    let cut = harms.iter().filter_map(|harm| match harm {
        Harm::TruncateAfter(bytes) | Harm::StallAfter(bytes) if *bytes < count => Some((*bytes, *harm)),
        Harm::TruncateAfter(_) | Harm::StallAfter(_) | Harm::FlipByteAt(_) => None,
    });
    let cut = cut.min_by_key(|(bytes, _)| *bytes);
    let sent_max = cut.map_or(count, |(bytes, _)| bytes);
    let chunk_bytes = match rate_max {
        Some(rate) => (rate.bytes() / PORTIONS_PER_SECOND).clamp(1, CHUNK_BYTES),
        None => CHUNK_BYTES,
    };
    let starts = (0..sent_max.div_ceil(chunk_bytes)).map(move |number| number * chunk_bytes);
    let read = stream::iter(starts)
        .map(move |start| {
            let file = Arc::clone(&file);
            let len = chunk_bytes.min(sent_max - start);
            async move {
                let bytes = tokio::task::spawn_blocking(move || read_exactly(&file, first + start, len));
                Ok((start, bytes.await.map_err(io::Error::other)??))
            }
        })
        .buffered(READ_AHEAD);
    let begun = clock.now();
    let paced = read.then(move |chunk: io::Result<(u64, Vec<u8>)>| {
        let clock = clock.clone();
        let flips: Vec<u64> = harms
            .iter()
            .filter_map(|harm| match harm {
                Harm::FlipByteAt(offset) => Some(*offset),
                Harm::TruncateAfter(_) | Harm::StallAfter(_) => None,
            })
            .collect();
        async move {
            let (start, mut bytes) = chunk?;
            if let Some(rate) = rate_max {
                let due = Duration::from_secs_f64(start as f64 / rate.bytes().max(1) as f64);
                clock.sleep_until(begun + due).await;
            }
            for offset in flips {
                let within = offset.checked_sub(first + start).and_then(|at| usize::try_from(at).ok());
                if let Some(byte) = within.and_then(|at| bytes.get_mut(at)) {
                    *byte = !*byte;
                }
            }
            Ok(Bytes::from(bytes))
        }
    });
    paced.chain(ending(cut.map(|(_, harm)| harm)))
}

/// What follows the last chunk: nothing, a broken connection, or silence.
fn ending(cut: Option<Harm>) -> stream::BoxStream<'static, io::Result<Bytes>> {
    match cut {
        None | Some(Harm::FlipByteAt(_)) => stream::empty().boxed(),
        Some(Harm::TruncateAfter(_)) => {
            let broken = async {
                // A body that has nothing yet has what came before sent first, the head of the answer too.
                tokio::task::yield_now().await;
                Err(io::Error::other("the answer ends early, as ordered"))
            };
            stream::once(broken).boxed()
        }
        Some(Harm::StallAfter(_)) => stream::pending().boxed(),
    }
}

fn read_exactly(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = offset + bytes.len() as u64;
        let read = rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at)?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
        }
    }
    // The system may have given the vector more room than was asked for, and filled it.
    bytes.truncate(len);
    Ok(bytes)
}
