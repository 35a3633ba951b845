//! Models: bringing, keeping, watching and removing them.

use std::time::Duration;

use api::{
    Answer, ModelEvent, ModelList, ModelPathView, ModelView, Problem, PullModel, Question, RemovedView,
};
use base::Timestamp;
use state::{KeyScope, Retention};
use types::{ErrorCode, Fault, HostId, Manifest};

use super::{Handle, asking::odd_answer};
use crate::{
    Caller,
    owner::{ChosenModel, PullDraft},
    validate::{ModelDraft, pull_draft},
};

/// What a host has in memory, or finds by a few calls to its disk, takes it milliseconds.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

impl Handle {
    /// Returns the models that the caller's endpoints and pulls use.
    ///
    /// # Errors
    /// `key-forbidden`.
    pub async fn models(&self, caller: &Caller) -> Result<ModelList, Problem> {
        caller.needs(KeyScope::Read)?;
        let tenant = caller.tenant.clone();
        self.call(move |owner| Ok(owner.model_list(&tenant))).await
    }

    /// Brings a model to the hosts. Once it is there it is a cached one like any other, unless it is pinned.
    ///
    /// # Errors
    /// What the hub answered, by its code; `model-too-large` when it fits on no host.
    pub async fn pull_model(&self, caller: &Caller, body: PullModel) -> Result<ModelView, Problem> {
        caller.needs(KeyScope::Admin)?;
        let ModelDraft { reference, hub, wish } = pull_draft(&body, &self.shared.options.hubs)?;
        let token = body.hub_token;
        let chosen = self.resolve_model("reference", &reference, &wish, &hub, token.as_ref()).await?;
        let ChosenModel { manifest, choice } = chosen;
        self.check_size("reference", &manifest).await?;
        let tenant = caller.tenant.clone();
        let draft = PullDraft { reference, hub_endpoint: hub.endpoint, token, choice, pin: body.pin };
        self.call(move |owner| owner.pull_model(&tenant, draft, &manifest)).await
    }

    /// Refuses a model that is larger than any host may ever hold.
    pub(super) async fn check_size(&self, field: &str, manifest: &Manifest) -> Result<(), Problem> {
        let (name, bytes) = (manifest.key().repo.name.clone(), manifest.bytes());
        let largest = self.call(|owner| Ok(owner.largest_store())).await?;
        let Some((host, room)) = largest.filter(|(_, room)| bytes > *room) else { return Ok(()) };
        let reason =
            format!("{name} has {bytes}, and {host}, the host with the most room, holds {room} at most");
        let fault = Fault::new(ErrorCode::ModelTooLarge, reason.clone()).with_hint(
            "choose a smaller variant (larder model show lists them), or allow more with --cache-bytes-max",
        );
        let mut problem = Problem::from(fault);
        problem.errors = vec![api::FieldProblem { field: field.to_owned(), message: reason }];
        Err(problem)
    }

    /// Returns where a model stands, once that differs from what the caller has seen, or nothing at the deadline.
    ///
    /// # Errors
    /// `model-not-found`.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn watch_model(
        &self,
        caller: &Caller,
        reference: &str,
        seen: Option<&ModelEvent>,
        deadline: Timestamp,
    ) -> Result<Option<ModelEvent>, Problem> {
        caller.needs(KeyScope::Read)?;
        loop {
            let (tenant, text) = (caller.tenant.clone(), reference.to_owned());
            let mut look = self.call(move |owner| owner.look_at_model(&tenant, &text)).await?;
            if seen != Some(&look.event) {
                return Ok(Some(look.event));
            }
            if self.shared.clock.now() >= deadline {
                return Ok(None);
            }
            tokio::select! {
                // A change that is missed here is seen by looking again; an error means that the owner is another.
                _ = look.changed.changed() => {}
                // Nothing is lost: it only waits.
                () = self.shared.clock.sleep_until(deadline) => {}
            }
        }
    }

    /// Calls the fetch of a pulled model off.
    ///
    /// # Errors
    /// `model-not-found`; `model-not-fetching` when no pull brings it.
    pub async fn cancel_pull(&self, caller: &Caller, reference: &str) -> Result<ModelView, Problem> {
        caller.needs(KeyScope::Admin)?;
        let (tenant, text) = (caller.tenant.clone(), reference.to_owned());
        self.call(move |owner| owner.cancel_pull(&tenant, &text)).await
    }

    /// Keeps a model from eviction, or lets it go when room is needed. A host that is away learns it when it returns.
    ///
    /// # Errors
    /// `model-not-found`.
    pub async fn retain_model(
        &self,
        caller: &Caller,
        reference: &str,
        retention: Retention,
    ) -> Result<ModelView, Problem> {
        caller.needs(KeyScope::Admin)?;
        let (tenant, text) = (caller.tenant.clone(), reference.to_owned());
        self.call(move |owner| owner.retain_model(&tenant, &text, retention)).await
    }

    /// Removes a model from the hosts, a fetch of it included; returns how many bytes are free again.
    ///
    /// # Errors
    /// `model-not-found`; `model-in-use`.
    pub async fn remove_model(&self, caller: &Caller, reference: &str) -> Result<RemovedView, Problem> {
        caller.needs(KeyScope::Admin)?;
        let (tenant, text) = (caller.tenant.clone(), reference.to_owned());
        let released = self.call(move |owner| owner.release_model(&tenant, &text)).await?;
        let mut view = RemovedView { away: released.away, ..RemovedView::default() };
        for host in released.connected {
            match self.ask(&host, Question::RemoveModel(released.key.clone()), ANSWER_TIMEOUT).await {
                Ok(answer) => {
                    let Answer::Removed(bytes) = answer else { return Err(odd_answer(&host)) };
                    view.freed_bytes += bytes;
                }
                // It was on its way, or evicted meanwhile: nothing of it is whole there.
                Err(problem) if problem.code == ErrorCode::ModelNotFound => {}
                Err(problem) => return Err(problem),
            }
            let (key, asked) = (released.key.clone(), host.clone());
            self.call(move |owner| {
                owner.model_removed(&asked, &key);
                Ok(())
            })
            .await?;
            view.hosts.push(host);
        }
        Ok(view)
    }

    /// Returns where a model stands for a worker, and on a host when one holds it and can be asked.
    ///
    /// # Errors
    /// `model-not-found`.
    pub async fn model_path(&self, caller: &Caller, reference: &str) -> Result<ModelPathView, Problem> {
        caller.needs(KeyScope::Read)?;
        let (tenant, text) = (caller.tenant.clone(), reference.to_owned());
        let (key, mut view, hosts) = self
            .call(move |owner| {
                let (_, key) = owner.model_of(&tenant, &text)?;
                let (view, hosts) = (owner.worker_path(&key), owner.hosts_with(&key));
                Ok((key, view, hosts))
            })
            .await?;
        for host in hosts {
            if let Ok(Answer::Path(path)) =
                self.ask(&host, Question::ModelPath(key.clone()), ANSWER_TIMEOUT).await
            {
                view.host_path = Some(path.to_string_lossy().into_owned());
                break;
            }
        }
        Ok(view)
    }
}

/// The largest store among hosts: whose it is, and how much models may take there.
pub(crate) type LargestStore = Option<(HostId, base::ByteSize)>;
