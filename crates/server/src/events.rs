//! Streams of events (`text/event-stream`): each event is a name and one line of JSON.
//!
//! A stream tells the present, not a history: whoever reconnects misses nothing that still matters. It ends with its
//! subject, with its client, or when the server stops.

use std::{convert::Infallible, future::Future, pin::Pin, time::Duration};

use api::{ModelEvent, Problem, WorkView};
use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue,
        header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use control::HostWork;
use futures::stream;
use serde::Serialize;
use tokio::sync::watch;
use web::Stopping;

use crate::router::Faces;

/// Between two events of a stream at least: five times a second look smooth.
const PERIOD: Duration = Duration::from_millis(200);
/// A stream without news says so this often. Proxies cut what is silent for 30 to 60 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
const MEDIA_TYPE: &str = "text/event-stream";

type Chunk = Result<Bytes, Infallible>;
type Work = Pin<Box<dyn Future<Output = (&'static str, String)> + Send>>;

/// Returns whether a client wants events rather than one answer.
pub(crate) fn are_taken(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with(MEDIA_TYPE))
}

/// Streams where a model stands: `status` events, the last of them with its end.
pub(crate) fn of_model(
    faces: Faces,
    caller: control::Caller,
    reference: String,
    first: Option<ModelEvent>,
    stopping: Stopping,
) -> Response {
    let watching = Watching { faces, caller, reference, seen: None, next: first, is_over: false };
    let chunks = stream::unfold((watching, stopping), |(mut watching, stopping)| async move {
        let chunk = tokio::select! {
            // Nothing is lost: each event tells the whole present.
            chunk = watching.next_chunk() => chunk?,
            () = stopping.begun() => return None,
        };
        Some((Chunk::Ok(chunk), (watching, stopping)))
    });
    respond(Body::from_stream(chunks))
}

/// One client that watches a model.
struct Watching {
    faces: Faces,
    caller: control::Caller,
    reference: String,
    seen: Option<ModelEvent>,
    next: Option<ModelEvent>,
    is_over: bool,
}

impl Watching {
    /// Returns the next piece of the stream, or nothing after its last.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let event = match self.next.take() {
            Some(first) => Ok(Some(first)),
            None => {
                let clock = &self.faces.clock;
                clock.sleep(PERIOD).await;
                let deadline = clock.now() + HEARTBEAT;
                let seen = self.seen.as_ref();
                self.faces.control.watch_model(&self.caller, &self.reference, seen, deadline).await
            }
        };
        Some(match event {
            Ok(Some(event)) => {
                self.is_over = event.end.is_some();
                let chunk = event_chunk("status", &to_json(&event));
                self.seen = Some(event);
                chunk
            }
            Ok(None) => Bytes::from_static(b": still here\n\n"),
            Err(problem) => {
                self.is_over = true;
                event_chunk("problem", &to_json(&problem))
            }
        })
    }
}

/// Streams how far work is (`progress` events), and then what came of it: `done` with the answer, or `problem`.
pub(crate) fn of_work<T: Serialize>(
    faces: Faces,
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    progress: watch::Receiver<Option<HostWork>>,
    stopping: Stopping,
) -> Response {
    let work: Work = Box::pin(async move {
        match work.await {
            Ok(answer) => ("done", to_json(&answer)),
            Err(problem) => ("problem", to_json(&problem)),
        }
    });
    let state = Some((faces, work, progress, stopping));
    let chunks = stream::unfold(state, |state| async move {
        let (faces, mut work, mut progress, stopping) = state?;
        let (chunk, is_over) = tokio::select! {
            // It goes on where it stands when another arm is first.
            (name, answer) = &mut work => (event_chunk(name, &answer), true),
            // The latest is kept; an error means that the work is about to end.
            Ok(()) = progress.changed() => {
                let shown = progress.borrow_and_update().clone().map(work_view);
                let chunk = shown.map_or_else(Bytes::new, |shown| event_chunk("progress", &to_json(&shown)));
                (chunk, false)
            }
            // Nothing is lost: it only waits.
            () = faces.clock.sleep(HEARTBEAT) => (Bytes::from_static(b": still here\n\n"), false),
            () = stopping.begun() => return None,
        };
        Some((Chunk::Ok(chunk), (!is_over).then_some((faces, work, progress, stopping))))
    });
    respond(Body::from_stream(chunks))
}

fn work_view(work: HostWork) -> WorkView {
    let HostWork { host, progress } = work;
    WorkView {
        host,
        at: progress.at,
        files_done: progress.files_done,
        files_total: progress.files_total,
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
    }
}

fn respond(body: Body) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body).into_response()
}

fn event_chunk(name: &str, json: &str) -> Bytes {
    // JSON as `serde_json` writes it has no line break.
    Bytes::from(format!("event: {name}\ndata: {json}\n\n"))
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("shapes of the API are plain data")
}
