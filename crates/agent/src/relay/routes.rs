//! The worker protocol as HTTP routes. The paths and their meanings are those that published SDKs request.
//!
//! | route | answers |
//! |---|---|
//! | `GET /v2/{endpoint}/job-take/{worker}` | 200 a job · 204 none · 429 server away |
//! | `GET /v2/{endpoint}/job-take-batch/{worker}?batch_size=N` | 200 a list of jobs · 204 none · 429 server away |
//! | `GET /v2/{endpoint}/job-stop/{worker}` | 200 `{"jobsToStop":[…]}` · 204 none |
//! | `POST /v2/{endpoint}/job-done/{worker}/{job}` | 200 |
//! | `POST /v2/{endpoint}/job-stream/{worker}/{job}` | 200 |
//! | `GET /v2/{endpoint}/ping/{worker}` | 200 |

use std::time::Duration;

use api::Assignment;
use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use base::{ByteSize, Redacted, Timestamp};
use bytes::BytesMut;
use futures::StreamExt;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use types::{JobId, WorkerId};
use url::form_urlencoded;

use super::{
    Relay, result,
    serving::{Caller, FinalResult},
};
use crate::{edge::Edge, spool::Durability};

/// The SDK lists the jobs that it holds in the address of a ping, up to 64 KiB of them; the rest is headers.
const HEAD_BYTES_MAX: ByteSize = ByteSize::kib(96);
/// A request with a wrong key is answered after this: an SDK with a key of another worker would spin otherwise.
const WRONG_KEY_HOLD: Duration = Duration::from_secs(1);
/// A body above its limit is read to its end and thrown away up to here, so that the worker hears the answer.
const BODY_BYTES_DRAINED: u64 = 256 * 1024 * 1024;
/// A worker on the same host that sends nothing of a body for this long is stuck or gone.
const BODY_STALL_MAX: Duration = Duration::from_secs(60);
/// The most jobs that one request can ask for; above the concurrency of any worker seen.
const BATCH_MAX: u32 = 1000;
/// What a worker's reason for being unhealthy is cut at. The SDK cuts at 256 characters.
const REASON_CHARACTERS_MAX: usize = 1000;
/// Connections of one listener: with egress all workers of the host share one.
const CONNECTIONS_MAX: usize = 4096;

/// Serves the protocol, and the hub edge beside it, on a listener until cancelled.
///
/// # Errors
/// When the listener is broken.
pub(crate) async fn serve(
    relay: Relay,
    edge: &Edge,
    listener: web::Listener,
    token: CancellationToken,
) -> Result<(), web::ServeError> {
    let options = web::ServeOptions {
        name: "relay",
        head_bytes_max: HEAD_BYTES_MAX,
        connections_max: CONNECTIONS_MAX,
        // Long polls would hold a stop up, and an agent's end loses nothing that was answered.
        grace: Duration::from_secs(1),
        ..web::ServeOptions::default()
    };
    web::serve(listener, router(relay).merge(edge.router()), options, token).await
}

fn router(relay: Relay) -> Router {
    Router::new()
        .route("/v2/{endpoint}/job-take/{worker}", get(take))
        .route("/v2/{endpoint}/job-take-batch/{worker}", get(take_batch))
        .route("/v2/{endpoint}/job-stop/{worker}", get(stop))
        .route("/v2/{endpoint}/job-done/{worker}/{job}", any(done))
        .route("/v2/{endpoint}/job-stream/{worker}/{job}", any(stream))
        .route("/v2/{endpoint}/ping/{worker}", any(ping))
        .with_state(relay)
}

/// The parameters behind the question mark, by name. What can't be read is as if it were not there.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(query: Option<&str>) -> Self {
        let query = query.unwrap_or_default().as_bytes();
        Self(form_urlencoded::parse(query).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

async fn take(
    State(relay): State<Relay>,
    Path((_endpoint, worker)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let jobs = match wait_for_jobs(&relay, &worker, &headers, 1).await {
        Ok(jobs) => jobs,
        Err(answer) => return answer,
    };
    match jobs.into_iter().next() {
        Some(job) => json(job.body.get().to_owned()),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn take_batch(
    State(relay): State<Relay>,
    Path((_endpoint, worker)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let parameters = Parameters::of(query.as_deref());
    let size = parameters.get("batch_size").and_then(|size| size.parse::<u32>().ok()).unwrap_or(1);
    let jobs = match wait_for_jobs(&relay, &worker, &headers, size.clamp(1, BATCH_MAX)).await {
        Ok(jobs) => jobs,
        Err(answer) => return answer,
    };
    if jobs.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let bodies: Vec<&str> = jobs.iter().map(|job| job.body.get()).collect();
    json(format!("[{}]", bodies.join(",")))
}

/// Holds a request for jobs. The error is the answer when there is nothing to wait for.
async fn wait_for_jobs(
    relay: &Relay,
    worker: &str,
    headers: &HeaderMap,
    slots: u32,
) -> Result<Vec<Assignment>, Response> {
    let worker = own_worker(relay, worker, headers).await?;
    let Some(poll) = relay.open_take(&worker, slots) else {
        return Err(nothing_after(relay, relay.0.limits.drain_hold).await);
    };
    let jobs = poll.answer(hold_until(relay)).await;
    if jobs.is_empty() && !relay.0.outbox.is_connected() {
        // It held as long as any request: the worker has not asked in vain at once, and now pauses for 5 s.
        return Err(StatusCode::TOO_MANY_REQUESTS.into_response());
    }
    Ok(jobs)
}

async fn stop(
    State(relay): State<Relay>,
    Path((_endpoint, worker)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let worker = match own_worker(&relay, &worker, &headers).await {
        Ok(worker) => worker,
        Err(answer) => return answer,
    };
    let jobs = match relay.open_stop(&worker) {
        Err(jobs) => jobs,
        Ok(Some(poll)) => poll.answer(hold_until(&relay)).await,
        Ok(None) => return nothing_after(&relay, relay.0.limits.drain_hold).await,
    };
    if jobs.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    json(serde_json::json!({ "jobsToStop": jobs }).to_string())
}

async fn done(
    State(relay): State<Relay>,
    Path((_endpoint, worker, job)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Posted { worker, job, body, _room } = match receive(&relay, &worker, &job, &headers, body).await {
        Ok(posted) => posted,
        Err(answer) => return answer,
    };
    let posted = match body {
        ReadBody::Whole(bytes) => result::parse_result(&bytes),
        ReadBody::TooLarge => result::too_large(relay.0.limits.body_bytes_max),
        // The worker is gone or tries again; half a result is none.
        ReadBody::Broken => return StatusCode::BAD_REQUEST.into_response(),
    };
    match posted {
        result::Posted::Progress(update) => relay.progress(&worker, &job, update),
        result::Posted::Final { outcome, stop_worker } => {
            let streamed = Parameters::of(query.as_deref()).get("isStream") == Some("true");
            let result = FinalResult { outcome, stop_worker, streamed };
            if let Some(number) = relay.settle(&worker, &job, result) {
                relay.0.outbox.secure(number, Durability::Synced).await;
            }
        }
    }
    thanks()
}

async fn stream(
    State(relay): State<Relay>,
    Path((_endpoint, worker, job)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Posted { worker, job, body, _room } = match receive(&relay, &worker, &job, &headers, body).await {
        Ok(posted) => posted,
        Err(answer) => return answer,
    };
    let chunk = match body {
        ReadBody::Whole(bytes) => result::parse_chunk(&bytes),
        ReadBody::TooLarge | ReadBody::Broken => None,
    };
    match chunk {
        Some(output) => {
            if let Some(number) = relay.chunk(&worker, &job, output) {
                relay.0.outbox.secure(number, Durability::Written).await;
            }
        }
        None => tracing::warn!(%worker, %job, "a chunk of a stream was no JSON and is dropped"),
    }
    thanks()
}

async fn ping(
    State(relay): State<Relay>,
    Path((_endpoint, worker)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Ok(worker) = worker.parse::<WorkerId>() else {
        relay.count(&relay.0.counters.foreign);
        return thanks();
    };
    match relay.caller(&worker, web::key_of(&headers).as_ref()) {
        Caller::Own => {}
        Caller::WrongKey => return StatusCode::UNAUTHORIZED.into_response(),
        Caller::Unknown => return thanks(),
    }
    let parameters = Parameters::of(query.as_deref());
    let jobs = parameters.get("job_id").unwrap_or_default();
    let jobs = jobs.split(',').filter_map(|job| job.trim().parse().ok()).collect();
    let unhealthy = (parameters.get("status") == Some("unhealthy")).then(|| {
        let check = parameters.get("check").unwrap_or("a check");
        let reason = parameters.get("reason").unwrap_or("no reason given");
        format!("{check}: {reason}").chars().take(REASON_CHARACTERS_MAX).collect()
    });
    relay.ping(&worker, jobs, unhealthy);
    thanks()
}

/// Returns the worker that asks, or the answer for one that must not.
async fn own_worker(relay: &Relay, worker: &str, headers: &HeaderMap) -> Result<WorkerId, Response> {
    let Ok(worker) = worker.parse::<WorkerId>() else {
        relay.count(&relay.0.counters.foreign);
        return Err(nothing_after(relay, relay.0.limits.hold).await);
    };
    match relay.caller(&worker, web::key_of(headers).as_ref()) {
        Caller::Own => Ok(worker),
        Caller::WrongKey => {
            relay.0.clock.sleep(WRONG_KEY_HOLD).await;
            Err(StatusCode::UNAUTHORIZED.into_response())
        }
        Caller::Unknown => Err(nothing_after(relay, relay.0.limits.hold).await),
    }
}

/// What a worker posted for a job of its own.
struct Posted {
    worker: WorkerId,
    job: JobId,
    body: ReadBody,
    /// Held until what was posted is safe.
    _room: Option<OwnedSemaphorePermit>,
}

/// Reads what is posted for a job, or returns the answer when it is nobody's here; of that nothing is kept.
async fn receive(
    relay: &Relay,
    worker: &str,
    job: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Posted, Response> {
    let limit = relay.0.limits.body_bytes_max;
    match job_of(relay, worker, job, headers) {
        Ok((worker, job)) => {
            let bytes = body.size_hint().upper().map_or(limit, |bytes| limit.min(ByteSize(bytes)));
            let room = relay.body_room(&worker, bytes).await;
            Ok(Posted { worker, job, body: read_body(body, limit).await, _room: room })
        }
        Err(answer) => {
            // To its end, or the sender would not hear the answer.
            read_body(body, ByteSize(0)).await;
            Err(answer)
        }
    }
}

/// Returns whose result it is, or the answer when it is nobody's here.
fn job_of(
    relay: &Relay,
    worker: &str,
    job: &str,
    headers: &HeaderMap,
) -> Result<(WorkerId, JobId), Response> {
    let (Ok(worker), Ok(job)) = (worker.parse::<WorkerId>(), job.parse::<JobId>()) else {
        relay.count(&relay.0.counters.foreign);
        return Err(thanks());
    };
    match relay.caller(&worker, web::key_of(headers).as_ref()) {
        Caller::Own => Ok((worker, job)),
        Caller::WrongKey => Err(StatusCode::UNAUTHORIZED.into_response()),
        Caller::Unknown => Err(thanks()),
    }
}

fn hold_until(relay: &Relay) -> Timestamp {
    let limits = &relay.0.limits;
    let spread = limits.hold_spread.as_micros().max(1) as u64;
    relay.0.clock.now() + limits.hold + Duration::from_micros(relay.0.entropy.number() % spread)
}

async fn nothing_after(relay: &Relay, hold: Duration) -> Response {
    relay.0.clock.sleep(hold).await;
    StatusCode::NO_CONTENT.into_response()
}

fn thanks() -> Response {
    json("{}".to_owned())
}

fn json(text: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

enum ReadBody {
    Whole(BytesMut),
    TooLarge,
    Broken,
}

/// Reads a body to its end also when it is too long: a worker that is cut off drops the result without a word.
async fn read_body(body: Body, limit: ByteSize) -> ReadBody {
    let announced = usize::try_from(body.size_hint().lower().min(limit.bytes())).unwrap_or(0);
    let mut bytes = BytesMut::with_capacity(announced);
    let mut seen = 0;
    let mut chunks = body.into_data_stream();
    loop {
        let chunk = match tokio::time::timeout(BODY_STALL_MAX, chunks.next()).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => return ReadBody::Broken,
        };
        seen += chunk.len() as u64;
        if seen <= limit.bytes() {
            bytes.extend_from_slice(&chunk);
        } else {
            bytes.clear();
        }
        if seen > BODY_BYTES_DRAINED {
            break;
        }
    }
    if seen > limit.bytes() { ReadBody::TooLarge } else { ReadBody::Whole(bytes) }
}

/// A key that a worker is given: 160 random bits as text.
pub(crate) fn make_secret(entropy: &base::Entropy) -> Redacted<String> {
    let bytes: [u8; 20] = entropy.bytes();
    Redacted::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
