//! The hub edge: answers the Hugging Face Hub's protocol to the workers of this host, on the listeners of the relay.
//!
//! ```text
//! worker ── HF_ENDPOINT=http://…/hub/WORKER/KEY ──▶ edge
//!     a model of its endpoint, at the pinned commit ──▶ listing and bytes of its view, at once, also while the hub
//!                                                       is down or `main` has moved
//!     a file of it that was not kept ─────────────────▶ "no such file", at once
//!     anything else ──────────────────────────────────▶ the hub, with the worker's own token; or refused, where
//!                                                       workers have no way out
//! ```
//!
//! **Invariant:** a worker gets bytes of its own views and nobody else's: what is looked up is what its start leased.
//! The endpoint's token is not known here. It owns no task: requests are tasks of `web`.

mod answers;
mod files;
mod listing;
mod passing;
mod place;
mod refusal;
mod shelf;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use api::HubOrigin;
use axum::{
    Router, extract::Request, extract::State, response::IntoResponse, response::Response, routing::any,
};
use base::{Clock, Disk, Redacted};
use hub::{Elsewhere, Hub};
use runtime::Egress;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::{Store, ViewId, ViewLease};
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use types::{ModelKey, RepoName, WorkerId};

use passing::Upstreams;
use place::Place;
use refusal::Refusal;
use shelf::ModelShelf;

/// Requests that are answered for one worker at once; `hf download` keeps 8 going, and its library probes beside them.
const REQUESTS_PER_WORKER_MAX: usize = 32;
/// For all workers together. Each holds at most two chunks of [`files`], so that all of them stay below 64 MiB.
const REQUESTS_MAX: usize = 256;
/// A request waits this long for its turn, as long as a library waits for the head of an answer.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);
/// A request with a wrong key is answered after this, so that guessing is slow.
const WRONG_KEY_HOLD: Duration = Duration::from_secs(1);
/// What the key is derived with, so that it says nothing of the relay's secret: libraries print addresses in errors.
const KEY_PURPOSE: &str = "larder hub edge 1";
/// Hex digits of a key: 160 bits, as many as the secret has.
const KEY_DIGITS: usize = 40;

/// What becomes of requests for repositories that are not the endpoint's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassThrough {
    /// They go to the hub, with the worker's own token.
    Allowed,
    /// They are refused: on a host without egress the agent is no way out either.
    Refused,
}

/// Reaches the edge. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Edge(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    disk: Arc<dyn Disk>,
    clock: Clock,
    pass_through: PassThrough,
    elsewhere: Elsewhere,
    guests: Mutex<BTreeMap<WorkerId, Arc<Guest>>>,
    /// One for each view, however many workers have it.
    shelves: Mutex<HashMap<ViewId, Weak<ModelShelf>>>,
    upstreams: Upstreams,
    turns: Arc<Semaphore>,
}

/// A worker that the edge answers.
#[derive(Debug)]
struct Guest {
    key: Redacted<String>,
    record: EdgeRecord,
    /// Its models, by the names that it may use for them in lower case.
    shelves: BTreeMap<String, Arc<ModelShelf>>,
    turns: Arc<Semaphore>,
}

/// What must survive the agent for a worker that goes on: written by [`crate::records`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EdgeRecord {
    /// Where what is not here is asked for.
    pub(crate) hub: Option<HubOrigin>,
    /// How its owner wrote the names of its models.
    pub(crate) spellings: Vec<Spelling>,
}

/// A model's name as an owner wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spelling {
    pub(crate) name: RepoName,
    pub(crate) key: ModelKey,
}

/// Held while a request is answered.
type Turn = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Edge {
    pub(crate) fn new(
        store: Store,
        disk: Arc<dyn Disk>,
        clock: Clock,
        egress: Egress,
        pass_through: PassThrough,
    ) -> Self {
        Self(Arc::new(Shared {
            store,
            disk,
            upstreams: Upstreams::default(),
            clock,
            pass_through,
            elsewhere: match egress {
                Egress::Shared => Elsewhere::Tell,
                Egress::None => Elsewhere::Follow,
            },
            guests: Mutex::default(),
            shelves: Mutex::default(),
            turns: Arc::new(Semaphore::new(REQUESTS_MAX)),
        }))
    }

    /// Answers a worker from now on. `secret` is the one that it has for the relay, `leases` its views.
    pub(crate) fn admit(
        &self,
        worker: WorkerId,
        secret: &Redacted<String>,
        record: EdgeRecord,
        leases: &[ViewLease],
    ) {
        let mut shelves = BTreeMap::new();
        for shelf in leases.iter().filter_map(|lease| self.shelf(lease)) {
            let spelled = record.spellings.iter().filter(|spelling| spelling.key == *shelf.key());
            for name in spelled.map(|spelling| &spelling.name).chain([&shelf.key().repo.name]) {
                shelves.entry(name.to_lowercase().to_string()).or_insert_with(|| Arc::clone(&shelf));
            }
        }
        let turns = Arc::new(Semaphore::new(REQUESTS_PER_WORKER_MAX));
        let guest = Guest { key: key(secret), record, shelves, turns };
        lock(&self.0.guests).insert(worker, Arc::new(guest));
    }

    /// Answers a worker no more. What is on its way to it still arrives.
    pub(crate) fn dismiss(&self, worker: &WorkerId) {
        lock(&self.0.guests).remove(worker);
    }

    /// Returns what must survive the agent for a worker.
    pub(crate) fn record(&self, worker: &WorkerId) -> Option<EdgeRecord> {
        lock(&self.0.guests).get(worker).map(|guest| guest.record.clone())
    }

    /// Returns the routes of the edge, for the listeners that workers reach.
    pub(crate) fn router(&self) -> Router {
        Router::new().route("/hub/{*rest}", any(handle)).with_state(self.clone())
    }

    fn shelf(&self, lease: &ViewLease) -> Option<Arc<ModelShelf>> {
        let mut shelves = lock(&self.0.shelves);
        shelves.retain(|_, shelf| shelf.strong_count() > 0);
        if let Some(shelf) = shelves.get(&lease.id()).and_then(Weak::upgrade) {
            return Some(shelf);
        }
        let Some(model) = self.0.store.get(&lease.spec().key) else {
            tracing::warn!(model = %lease.spec().key, "a leased model is not in the store; the edge has none of it");
            return None;
        };
        let shelf = Arc::new(ModelShelf::new(model, lease.spec().refs.clone(), lease.path()));
        shelves.insert(lease.id(), Arc::downgrade(&shelf));
        Some(shelf)
    }

    /// Returns the worker that an address belongs to, if its key is right.
    fn guest(&self, place: &Place<'_>) -> Option<Arc<Guest>> {
        let worker: WorkerId = place.worker.parse().ok()?;
        let guest = lock(&self.0.guests).get(&worker).cloned()?;
        bool::from(place.key.as_bytes().ct_eq(guest.key.expose().as_bytes())).then_some(guest)
    }

    /// Waits for the turn of a request.
    async fn turn(&self, guest: &Guest) -> Result<Turn, Refusal> {
        let turn = async {
            let own = Arc::clone(&guest.turns).acquire_owned().await.ok()?;
            let shared = Arc::clone(&self.0.turns).acquire_owned().await.ok()?;
            Some((own, shared))
        };
        let waited = tokio::time::timeout(TURN_WAIT_MAX, turn).await;
        waited.ok().flatten().ok_or(Refusal::Busy)
    }

    fn upstream(&self, guest: &Guest) -> Option<Hub> {
        guest.record.hub.as_ref().and_then(|origin| self.0.upstreams.hub(origin))
    }
}

/// Returns the path that a worker's `HF_ENDPOINT` ends with.
pub(crate) fn path(worker: &WorkerId, secret: &Redacted<String>) -> Redacted<String> {
    Redacted::new(format!("/hub/{worker}/{}", key(secret).expose()))
}

fn key(secret: &Redacted<String>) -> Redacted<String> {
    let digest = Sha256::digest(format!("{KEY_PURPOSE}\n{}", secret.expose()));
    let mut digits = data_encoding::HEXLOWER.encode(&digest);
    digits.truncate(KEY_DIGITS);
    Redacted::new(digits)
}

async fn handle(State(edge): State<Edge>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(place) = Place::parse(&parts) else { return Refusal::NoRoute.into_response() };
    let Some(guest) = edge.guest(&place) else {
        edge.0.clock.sleep(WRONG_KEY_HOLD).await;
        return Refusal::Stranger.into_response();
    };
    if place.leaves_its_folder() {
        return Refusal::BadPath.into_response();
    }
    let turn = match edge.turn(&guest).await {
        Ok(turn) => turn,
        Err(refusal) => return refusal.into_response(),
    };
    edge.answer(&guest, &parts, &place, body, turn).await.unwrap_or_else(IntoResponse::into_response)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
