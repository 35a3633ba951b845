//! What hosts do with the models that they hold, and know of those that they held: reading them again, repairing,
//! importing, telling why.

use api::{
    Answer, DamagedFiles, HostWhy, ImportModels, ImportOrder, ImportView, ImportWay, Problem, Question,
    VerifyView, WhyView,
};
use state::KeyScope;
use types::{ErrorCode, Fault, HostId, HubName, ModelKey};

use super::{
    Handle,
    asking::{WorkSender, odd_answer},
    models::ANSWER_TIMEOUT,
};
use crate::{Caller, owner::problem, validate::FieldErrors};

impl Handle {
    /// Reads every byte of a model again, on each host that holds it, and shows how far that is. With a repair, damaged
    /// files are moved aside, and those hosts fetch them again: only those.
    ///
    /// # Errors
    /// `model-not-found`; `host-away`.
    pub async fn verify_model(
        &self,
        caller: &Caller,
        reference: &str,
        damaged: DamagedFiles,
        shown: &WorkSender,
    ) -> Result<VerifyView, Problem> {
        caller.needs(KeyScope::Admin)?;
        let (key, hosts) = self.holders(caller, reference, damaged).await?;
        let mut view = VerifyView { files: 0, bytes: 0, damaged: Vec::new(), repairing: Vec::new() };
        for host in hosts {
            let question = Question::VerifyModel { key: key.clone(), damaged };
            let Answer::Verified(report) = self.have_done(&host, question, shown).await? else {
                return Err(odd_answer(&host));
            };
            view.files += report.files;
            view.bytes += report.bytes;
            if !report.damaged.is_empty() && damaged == DamagedFiles::Quarantine {
                let (tenant, key, asked) = (caller.tenant.clone(), key.clone(), host.clone());
                self.call(move |owner| {
                    owner.want_again(&tenant, &key, &asked);
                    Ok(())
                })
                .await?;
                view.repairing.push(host);
            }
            view.damaged.extend(report.damaged);
        }
        Ok(view)
    }

    /// Returns which model a reference means, and the hosts that hold it: at least one. One that is to be repaired may
    /// lack files.
    async fn holders(
        &self,
        caller: &Caller,
        reference: &str,
        damaged: DamagedFiles,
    ) -> Result<(ModelKey, Vec<HostId>), Problem> {
        let (tenant, text) = (caller.tenant.clone(), reference.to_owned());
        let (key, hosts) = self
            .call(move |owner| {
                let (_, key) = owner.model_of(&tenant, &text)?;
                let hosts = match damaged {
                    DamagedFiles::Report => owner.hosts_with(&key),
                    DamagedFiles::Quarantine => owner.hosts_with_any(&key),
                };
                Ok((key, hosts))
            })
            .await?;
        if hosts.is_empty() {
            return Err(problem(ErrorCode::ModelNotFound, format!("no host holds {key} yet")));
        }
        Ok((key, hosts))
    }

    /// Tells why a model is where it is, or why it is gone. Hosts that can't be asked are named.
    ///
    /// # Errors
    /// `model-not-found` for one of which nothing is known.
    pub async fn why_model(&self, caller: &Caller, reference: &str) -> Result<WhyView, Problem> {
        caller.needs(KeyScope::Read)?;
        let (tenant, text) = (caller.tenant.clone(), reference.to_owned());
        let (key, mut view, hosts) = self.call(move |owner| owner.why_model(&tenant, &text)).await?;
        for host in hosts {
            let asked = self.ask(&host, Question::WhyModel(key.clone()), ANSWER_TIMEOUT).await;
            view.hosts.push(match asked {
                Ok(answer) => {
                    let Answer::Why(presence) = answer else { return Err(odd_answer(&host)) };
                    HostWhy { host, presence: Some(*presence), trouble: None }
                }
                Err(problem) => HostWhy { host, presence: None, trouble: Some(problem.detail) },
            });
        }
        Ok(view)
    }

    /// Takes over the models of a Hugging Face cache that stands on a host, and shows how far that is.
    ///
    /// # Errors
    /// `field-invalid`; `host-not-found`; what the host says of the folder.
    pub async fn import_models(
        &self,
        caller: &Caller,
        body: ImportModels,
        shown: &WorkSender,
    ) -> Result<ImportView, Problem> {
        caller.needs(KeyScope::Admin)?;
        let hub = self.import_hub(body.hub.as_deref())?;
        let configured = self.shared.options.hubs.iter().find(|known| known.name == hub);
        let trusted = configured.is_some_and(|known| known.trusted);
        let wished = body.host;
        let host = self.call(move |owner| owner.import_host(wished)).await?;
        let order = ImportOrder {
            folder: body.folder.into(),
            hub,
            hub_trusted: trusted,
            tenant: caller.tenant.clone(),
            way: if body.link { ImportWay::Link } else { ImportWay::Copy },
        };
        let Answer::Imported(report) = self.have_done(&host, Question::ImportCache(order), shown).await?
        else {
            return Err(odd_answer(&host));
        };
        let (tenant, imported, at) = (caller.tenant.clone(), report.models, host.clone());
        self.call(move |owner| {
            for model in imported {
                owner.imported(&tenant, &at, model);
            }
            Ok(())
        })
        .await?;
        Ok(ImportView { host, summary: report.summary })
    }

    fn import_hub(&self, name: Option<&str>) -> Result<HubName, Problem> {
        let hubs = &self.shared.options.hubs;
        let known = |name: &HubName| hubs.iter().any(|hub| hub.name == *name);
        let mut errors = FieldErrors::default();
        match name {
            None => {
                if let Some(first) = hubs.first() {
                    return Ok(first.name.clone());
                }
                errors.add("hub", "no hub is configured: name the one that the models came from");
            }
            Some(name) => match name.parse::<HubName>() {
                Ok(name) if known(&name) => return Ok(name),
                Ok(name) => errors.add("hub", format!("no hub is named {name}; configure it first")),
                Err(error) => errors.add("hub", error.to_string()),
            },
        }
        errors.check()?;
        Err(Fault::new(ErrorCode::FieldInvalid, "the hub can't be used").into())
    }
}
