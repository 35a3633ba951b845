//! The face of the control plane inside the process: what `server` calls for its clients.
//!
//! Every method checks the caller's scope, sees only the caller's tenant, and returns after what it did is durable.
//! Endpoints are named by id or name.

mod asking;
mod endpoints;
mod fleet;
mod folders;
mod jobs;
mod models;
mod offers;
mod shelf;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use api::Problem;
use base::{Clock, Entropy, Redacted};
use state::State;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot},
};
use types::{ErrorCode, Fault};

pub use asking::{HostWork, WorkSender};
pub use jobs::StreamRead;
pub(crate) use jobs::{job_not_found, parse_job};
pub(crate) use models::LargestStore;

use crate::{
    Caller, ControlOptions, ModelResolver,
    event::Event,
    link,
    owner::{Keys, Owner},
    service::gone,
};

/// What the service, its handles and its links share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Arc<ControlOptions>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) state: State,
    pub(crate) resolver: Arc<dyn ModelResolver>,
    pub(crate) keys: Keys,
    pub(crate) events: mpsc::Sender<Event>,
    links: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        options: ControlOptions,
        clock: Clock,
        entropy: Entropy,
        state: State,
        resolver: Arc<dyn ModelResolver>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let (options, keys, links) = (Arc::new(options), Keys::default(), AtomicU64::new(1));
        Self { options, clock, entropy, state, resolver, keys, events, links }
    }

    /// Returns a number that no other link of this process has.
    pub(crate) fn next_link(&self) -> u64 {
        self.links.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns where archives of folders stand.
    pub(crate) fn folders(&self) -> PathBuf {
        self.options.data_folder.join("folders")
    }
}

/// Asks the control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns whose key this is.
    ///
    /// # Errors
    /// `key-wrong` when no tenant has it.
    pub fn authenticate(&self, key: &Redacted<String>) -> Result<Caller, Problem> {
        let hash = self.shared.state.hash_key(key);
        self.shared.keys.find(&hash).ok_or_else(|| {
            Fault::new(ErrorCode::KeyWrong, "no tenant has this key")
                .with_hint("the first start wrote an admin key to admin.key in the data folder")
                .into()
        })
    }

    /// Serves one agent until its link ends.
    ///
    /// # Errors
    /// [`api::LinkError`] when the link broke rather than ended.
    ///
    /// # Cancel safety
    /// Dropping the future ends the link; the agent dials anew and loses nothing.
    pub async fn attach_agent<S>(&self, stream: S) -> Result<(), api::LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        link::serve(&self.shared, stream).await
    }

    /// Lets the owner do something, and returns its answer once it is durable.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Owner) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (answer, answered) = oneshot::channel();
        let call = Box::new(move |owner: Result<&mut Owner, Problem>| match owner {
            // A caller that no longer waits needs no answer, here and below.
            Err(problem) => drop(answer.send(Err(problem))),
            Ok(owner) => {
                let result = work(owner);
                owner.answer_after(move |committed| drop(answer.send(committed.and(result))));
            }
        });
        self.shared.events.send(Event::Call(call)).await.map_err(|_| Problem::from(gone()))?;
        answered.await.map_err(|_| Problem::from(gone()))?
    }
}
