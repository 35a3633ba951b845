//! Models: bringing, checking and removing them; folders.

use std::{sync::Arc, time::Duration};

use api::{
    Answer, FolderView, ModelList, ModelPathView, ModelView, Problem, PullModel, Question, VerifyView,
};
use bytes::Bytes;
use state::{FolderRow, KeyScope, Mutation};
use types::{Digest, ErrorCode, Fault, HostId};

use super::Handle;
use crate::{
    Caller, folders,
    owner::problem,
    validate::{FieldErrors, hub_choice},
};

/// Reading 70 GB at the slowest disk rate that we know (0.27 GB/s) takes four minutes; the largest models ten times that.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(3600);
/// Anything else that a host is asked takes it milliseconds.
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

    /// Brings a model to the hosts and keeps it there.
    ///
    /// # Errors
    /// What the hub answered, by its code.
    pub async fn pull_model(&self, caller: &Caller, body: PullModel) -> Result<ModelView, Problem> {
        caller.needs(KeyScope::Admin)?;
        let mut errors = FieldErrors::default();
        let parsed = match body.reference.parse::<types::ModelRef>() {
            Ok(reference) => hub_choice(&reference, body.hub_endpoint.as_ref(), &self.shared.options.hubs)
                .map(|hub| (reference, hub))
                .map_err(|reason| errors.add("reference", reason)),
            Err(error) => {
                errors.add("reference", error.to_string());
                errors.check_as(ErrorCode::ModelRefInvalid)?;
                return Err(problem(ErrorCode::ModelRefInvalid, "the reference can't be parsed"));
            }
        };
        errors.check()?;
        let Ok((reference, hub)) = parsed else {
            return Err(problem(ErrorCode::FieldInvalid, "the reference names no hub that is known"));
        };
        let manifest = self.resolve_model("reference", &reference, &hub, body.hub_token.as_ref()).await?;
        let (tenant, token) = (caller.tenant.clone(), body.hub_token);
        self.call(move |owner| owner.pull_model(&tenant, &reference, hub.endpoint, token, &manifest)).await
    }

    /// Removes a model from the hosts; returns how many bytes are free again.
    ///
    /// # Errors
    /// `model-not-found`; `model-in-use`.
    pub async fn remove_model(&self, caller: &Caller, reference: &str) -> Result<u64, Problem> {
        caller.needs(KeyScope::Admin)?;
        let (tenant, text) = (caller.tenant.clone(), reference.to_owned());
        let (key, hosts) = self.call(move |owner| owner.release_model(&tenant, &text)).await?;
        let mut freed = 0;
        for host in hosts {
            match self.ask(&host, Question::RemoveModel(key.clone()), ANSWER_TIMEOUT).await? {
                Answer::Removed(bytes) => freed += bytes,
                Answer::Verified(_) | Answer::Path(_) | Answer::Logs(_) | Answer::PythonUsable => {
                    return Err(odd_answer(&host));
                }
            }
            let key = key.clone();
            self.call(move |owner| {
                owner.model_removed(&host, &key);
                Ok(())
            })
            .await?;
        }
        Ok(freed)
    }

    /// Reads every byte of a model again, on each host that holds it.
    ///
    /// # Errors
    /// `model-not-found`; `host-away`.
    pub async fn verify_model(&self, caller: &Caller, reference: &str) -> Result<VerifyView, Problem> {
        caller.needs(KeyScope::Admin)?;
        let (tenant, text) = (caller.tenant.clone(), reference.to_owned());
        let (key, hosts) = self
            .call(move |owner| {
                let (_, key) = owner.model_of(&tenant, &text)?;
                let hosts = owner.hosts_with(&key);
                Ok((key, hosts))
            })
            .await?;
        if hosts.is_empty() {
            return Err(problem(ErrorCode::ModelNotFound, format!("no host holds {key} yet")));
        }
        let mut view = VerifyView { files: 0, bytes: 0, damaged: Vec::new() };
        for host in hosts {
            match self.ask(&host, Question::VerifyModel(key.clone()), VERIFY_TIMEOUT).await? {
                Answer::Verified(report) => {
                    view.files += report.files;
                    view.bytes += report.bytes;
                    view.damaged.extend(report.damaged);
                }
                Answer::Removed(_) | Answer::Path(_) | Answer::Logs(_) | Answer::PythonUsable => {
                    return Err(odd_answer(&host));
                }
            }
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

    /// Keeps a folder's archive, named by its SHA-256 in hex.
    ///
    /// # Errors
    /// `field-invalid` when the bytes are others; `folder-too-large`.
    pub async fn put_folder(
        &self,
        caller: &Caller,
        digest: &str,
        bytes: Bytes,
    ) -> Result<FolderView, Problem> {
        caller.needs(KeyScope::Admin)?;
        let limit = self.shared.options.folder_bytes_max;
        let len = bytes.len() as u64;
        if len > limit.bytes() {
            let fault = Fault::new(
                ErrorCode::FolderTooLarge,
                format!("the archive has {len} bytes, the limit is {limit}"),
            )
            .with_hint("leave out what is not code with an ignore file; weights belong into --model");
            return Err(fault.into());
        }
        let found = folders::digest_of(&bytes);
        if digest.parse::<Digest>().ok() != Some(found) {
            let mut errors = FieldErrors::default();
            errors.add("digest", format!("the archive's SHA-256 is {found}"));
            errors.check()?;
        }
        folders::write(Arc::clone(&self.shared.options.disk), &self.shared.folders(), &found, bytes).await?;
        let (tenant, created_at) = (caller.tenant.clone(), self.shared.clock.now());
        let digest = found.to_string();
        self.call(move |owner| {
            let row = FolderRow { tenant: tenant.clone(), digest: digest.clone(), bytes: len, created_at };
            owner.write(Mutation::PutFolder(row.clone()));
            owner.folders.insert((tenant, digest.clone()), row);
            Ok(FolderView { digest, bytes: len })
        })
        .await
    }

    /// Returns a folder's archive that the caller has put.
    ///
    /// # Errors
    /// `folder-not-found`.
    pub async fn folder(&self, caller: &Caller, digest: &str) -> Result<FolderView, Problem> {
        caller.needs(KeyScope::Read)?;
        let (tenant, digest) = (caller.tenant.clone(), digest.to_owned());
        self.call(move |owner| {
            let found = owner.folders.get(&(tenant, digest.clone()));
            found.map(|row| FolderView { digest: row.digest.clone(), bytes: row.bytes }).ok_or_else(|| {
                let shown: String = digest.chars().take(80).collect();
                problem(ErrorCode::FolderNotFound, format!("no folder {shown:?} was uploaded"))
            })
        })
        .await
    }

    /// Asks a host something and waits for its answer.
    pub(super) async fn ask(
        &self,
        host: &HostId,
        question: Question,
        timeout: Duration,
    ) -> Result<Answer, Problem> {
        let asked = host.clone();
        let (id, answered) = self.call(move |owner| owner.ask(&asked, question)).await?;
        tokio::select! {
            // The answer is lost when this is dropped, and then nobody waits for it.
            answer = answered => match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(fault)) => Err(fault.into()),
                Err(_) => Err(problem(ErrorCode::HostAway, format!("{host} went away before it answered"))),
            },
            // Nothing is lost: it only waits.
            () = self.shared.clock.sleep(timeout) => {
                let asked = host.clone();
                self.call(move |owner| {
                    owner.forget_question(&asked, id);
                    Ok(())
                })
                .await?;
                Err(problem(ErrorCode::Timeout, format!("{host} did not answer within {} s", timeout.as_secs())))
            }
        }
    }
}

/// Says that a host answered something else.
pub(super) fn odd_answer(host: &HostId) -> Problem {
    problem(ErrorCode::Internal, format!("{host} answered another question than it was asked"))
}
