//! What there is to choose from, before anything is fetched: the hub's word, and what is on hosts already.

use api::{
    ChoiceView, ChosenView, HubOffer, ModelOffer, ModelStatus, ModelView, OfferModel, Problem, VariantView,
};
use hub::{OfferedModel, RepoKind, Visibility};
use state::KeyScope;

use super::Handle;
use crate::{
    Caller, ModelQuestion,
    validate::{ModelDraft, offer_draft},
};

impl Handle {
    /// Returns what a hub offers under a reference, and which of it is on hosts. When the hub can't be asked and
    /// something of the repository is held, that is the answer, with a note.
    ///
    /// # Errors
    /// `field-invalid` and `model-ref-invalid`; what the hub answered, by its code, when nothing is held.
    pub async fn offer_model(&self, caller: &Caller, body: OfferModel) -> Result<ModelOffer, Problem> {
        caller.needs(KeyScope::Read)?;
        if body.hub_endpoint.is_some() {
            // The server asks addresses of a caller's choice for administrators only.
            caller.needs(KeyScope::Admin)?;
        }
        let ModelDraft { reference, hub, wish } = offer_draft(&body, &self.shared.options.hubs)?;
        let question = ModelQuestion {
            hub: hub.name,
            endpoint: hub.endpoint,
            reference: reference.clone(),
            wish,
            token: body.hub_token,
        };
        let offered = self.shared.resolver.offer(&question).await;
        let repo =
            offered.as_ref().map_or_else(|_| reference.repo.clone(), |offered| offered.repo.name.clone());
        let tenant = caller.tenant.clone();
        let held = self.call(move |owner| Ok(owner.models_of_repo(&tenant, &repo))).await?;
        let mut view = ModelOffer { reference: body.reference, hub: None, held, notes: Vec::new() };
        match offered {
            Ok(offered) => {
                view.notes = notes(&offered);
                view.hub = Some(hub_offer(offered, &view.held));
                Ok(view)
            }
            Err(fault) if view.held.is_empty() => Err(fault.into()),
            Err(fault) => {
                view.notes
                    .push(format!("what the hub has can't be told: {} ({})", fault.message, fault.code));
                Ok(view)
            }
        }
    }
}

fn hub_offer(offered: OfferedModel, held: &[ModelView]) -> HubOffer {
    let hosts = |selection| {
        let holding = held.iter().filter(|view| {
            let is_ready = matches!(view.status, ModelStatus::Ready);
            view.commit == offered.commit && view.selection == selection && is_ready
        });
        holding.map(|view| view.hosts.len() as u64).max().unwrap_or(0)
    };
    let variants = offered.offers.iter().map(|offer| VariantView {
        name: offer.name.clone(),
        format: offer.format.to_owned(),
        files: offer.files,
        bytes: offer.bytes.bytes(),
        default: offer.is_default,
        pickled: offer.is_pickled,
        selection: offer.selection,
        hosts: hosts(offer.selection),
    });
    let variants = variants.collect();
    let chosen = offered.selected.as_ref().ok().map(|selected| ChosenView {
        choice: ChoiceView::from(&selected.choice),
        selection: selected.manifest.key().selection,
        files: selected.manifest.files().len() as u64,
        bytes: selected.manifest.bytes().bytes(),
    });
    let visibility = match offered.visibility {
        Visibility::Public => "public",
        Visibility::Gated => "gated",
        Visibility::Private => "private",
    };
    let layout = match offered.kind {
        RepoKind::Transformers => "a model for transformers and what is like it",
        RepoKind::Diffusers => "a pipeline for diffusers",
        RepoKind::Gguf => "GGUF quantisations",
        RepoKind::Adapter => "an adapter",
        RepoKind::Onnx => "exports to ONNX",
        RepoKind::Unknown => "none that is known: all of it is taken",
    };
    HubOffer {
        hub: offered.repo.hub,
        repo: offered.repo.name,
        commit: offered.commit,
        visibility: visibility.to_owned(),
        layout: layout.to_owned(),
        chosen,
        variants,
    }
}

/// Returns what a person should know before they choose.
fn notes(offered: &OfferedModel) -> Vec<String> {
    let mut notes = Vec::new();
    if let Err(error) = &offered.selected {
        let fault = error.fault();
        let hint = fault.hint.map_or_else(String::new, |hint| format!("; {hint}"));
        notes.push(format!("{} ({}){hint}", fault.message, fault.code));
    }
    if let Some(base) = &offered.base_model {
        notes.push(format!("the adapter needs {base} beside it: ask for both, each with --model"));
    }
    if offered.has_code {
        notes.push("Python code comes along; some loaders run it when they are told to trust it".to_owned());
    }
    notes
}
