//! Endpoints: checked here, resolved here, decided by the owner.

use std::sync::Arc;

use api::{
    Answer, CreateEndpoint, EndpointList, EndpointView, FieldProblem, Problem, Question, UpdateEndpoint,
};
use base::Redacted;
use state::KeyScope;
use types::{ErrorCode, Fault, Launch, SelectionWish};

use super::{Handle, asking::odd_answer, models::ANSWER_TIMEOUT};
use crate::{
    Caller, ModelQuestion,
    owner::{ChosenModel, ResolvedSpec},
    validate::{HubChoice, ModelDraft, SpecDraft, create_draft, update_draft},
};

impl Handle {
    /// Makes an endpoint: checks every field, resolves its models with its own token.
    ///
    /// # Errors
    /// `field-invalid` with the fields named; what the hub answered, by its code; `endpoint-name-taken`;
    /// `python-unusable` when a connected host says so.
    pub async fn create_endpoint(
        &self,
        caller: &Caller,
        body: CreateEndpoint,
    ) -> Result<EndpointView, Problem> {
        caller.needs(KeyScope::Admin)?;
        let (name, draft, scaling) = create_draft(body, &self.shared.options.hubs)?;
        // Asked first, so that a name that is taken costs no question to a hub.
        let (tenant, wanted, launch) = (caller.tenant.clone(), name.clone(), draft.launch.clone());
        self.call(move |owner| {
            owner.check_name(&tenant, &wanted)?;
            owner.check_folder(&tenant, &launch)
        })
        .await?;
        let warning = self.inspect_python(&draft.launch).await?;
        let spec = self.resolve_spec(draft).await?;
        let tenant = caller.tenant.clone();
        let view = self.call(move |owner| owner.create_endpoint(&tenant, name, spec, scaling)).await?;
        Ok(with_warning(view, warning))
    }

    /// Changes what is given of an endpoint.
    ///
    /// # Errors
    /// As [`Handle::create_endpoint`] for what is given, and `endpoint-not-found`.
    pub async fn update_endpoint(
        &self,
        caller: &Caller,
        endpoint: &str,
        body: UpdateEndpoint,
    ) -> Result<EndpointView, Problem> {
        caller.needs(KeyScope::Admin)?;
        let python_given = body.python.is_some();
        let models_given = body.models.is_some() || body.hub_endpoint.is_some() || body.hub_token.is_some();
        let (tenant, name) = (caller.tenant.clone(), endpoint.to_owned());
        let (present, models, scaling) = self
            .call(move |owner| {
                let (present, scaling) = owner.present_spec(&tenant, &name)?;
                Ok((present, owner.present_models(&tenant, &name)?, scaling))
            })
            .await?;
        let (draft, scaling) = update_draft(body, present, &scaling, &self.shared.options.hubs)?;
        let warning = match &draft {
            Some(draft) if python_given => self.inspect_python(&draft.launch).await?,
            Some(_) | None => None,
        };
        let spec = match draft {
            None => None,
            Some(draft) if models_given => Some(self.resolve_spec(draft).await?),
            Some(draft) => Some(ResolvedSpec { draft, models }),
        };
        let (tenant, name) = (caller.tenant.clone(), endpoint.to_owned());
        let view = self.call(move |owner| owner.update_endpoint(&tenant, &name, spec, scaling)).await?;
        Ok(with_warning(view, warning))
    }

    /// Deletes an endpoint: its jobs are cancelled, its workers end.
    ///
    /// # Errors
    /// `endpoint-not-found`.
    pub async fn delete_endpoint(&self, caller: &Caller, endpoint: &str) -> Result<(), Problem> {
        caller.needs(KeyScope::Admin)?;
        let (tenant, name) = (caller.tenant.clone(), endpoint.to_owned());
        self.call(move |owner| owner.delete_endpoint(&tenant, &name)).await
    }

    /// Returns an endpoint.
    ///
    /// # Errors
    /// `endpoint-not-found`.
    pub async fn endpoint(&self, caller: &Caller, endpoint: &str) -> Result<EndpointView, Problem> {
        caller.needs(KeyScope::Read)?;
        let (tenant, name) = (caller.tenant.clone(), endpoint.to_owned());
        self.call(move |owner| owner.endpoint_view(&tenant, &name)).await
    }

    /// Returns the endpoints, by name.
    ///
    /// # Errors
    /// `key-forbidden`.
    pub async fn endpoints(&self, caller: &Caller) -> Result<EndpointList, Problem> {
        caller.needs(KeyScope::Read)?;
        let tenant = caller.tenant.clone();
        self.call(move |owner| Ok(owner.endpoint_list(&tenant))).await
    }

    /// Has a host look at an endpoint's Python environment, so that one that no worker can be given is refused here and
    /// not at every start. Returns a warning when no host could say.
    async fn inspect_python(&self, launch: &Launch) -> Result<Option<String>, Problem> {
        let Launch::Command { python: Some(folder), .. } = launch else { return Ok(None) };
        let unseen = |why: &str| {
            let folder = folder.display();
            Some(format!(
                "{why}: whether workers can be given the Python environment {folder} shows at their start"
            ))
        };
        let Some(host) = self.call(|owner| Ok(owner.host_to_ask())).await? else {
            return Ok(unseen("no host is connected"));
        };
        match self.ask(&host, Question::InspectPython(folder.clone()), ANSWER_TIMEOUT).await {
            Ok(answer) => {
                let Answer::PythonUsable = answer else { return Err(odd_answer(&host)) };
                Ok(None)
            }
            Err(refused) if refused.code == ErrorCode::PythonUnusable => {
                let message = refused.detail.clone();
                let errors = vec![FieldProblem { field: "python".to_owned(), message }];
                Err(Problem { errors, ..refused })
            }
            Err(silent) => Ok(unseen(&silent.detail)),
        }
    }

    async fn resolve_spec(&self, draft: SpecDraft) -> Result<ResolvedSpec, Problem> {
        let mut models: Vec<ChosenModel> = Vec::with_capacity(draft.models.len());
        for (at, ModelDraft { reference, hub, wish }) in draft.models.iter().enumerate() {
            let field = format!("models[{at}].reference");
            let model = self.resolve_model(&field, reference, wish, hub, draft.hub_token.as_ref()).await?;
            self.check_size(&field, &model.manifest).await?;
            check_place(&field, &model, &models)?;
            models.push(model);
        }
        Ok(ResolvedSpec { draft, models })
    }

    /// Asks a hub which files a reference means, and for the proof that the token may read them.
    pub(super) async fn resolve_model(
        &self,
        field: &str,
        reference: &types::ModelRef,
        wish: &SelectionWish,
        hub: &HubChoice,
        token: Option<&Redacted<String>>,
    ) -> Result<ChosenModel, Problem> {
        let question = ModelQuestion {
            hub: hub.name.clone(),
            endpoint: hub.endpoint.clone(),
            reference: reference.clone(),
            wish: wish.clone(),
            token: token.cloned(),
        };
        match self.shared.resolver.resolve(&question).await {
            Ok(found) => Ok(ChosenModel { manifest: Arc::new(found.manifest), choice: found.choice }),
            Err(fault) => {
                let message = fault.message.clone();
                let mut problem = Problem::from(fault);
                problem.errors = vec![FieldProblem { field: field.to_owned(), message }];
                Err(problem)
            }
        }
    }
}

/// Refuses a model whose files would stand where those of another one do: a worker sees one folder for each
/// repository.
fn check_place(field: &str, model: &ChosenModel, others: &[ChosenModel]) -> Result<(), Problem> {
    let folder = |model: &ChosenModel| model.manifest.key().repo.name.to_lowercase();
    if others.iter().all(|other| folder(other) != folder(model)) {
        return Ok(());
    }
    let reason = format!(
        "{} stands in the list already, and a worker sees one selection of it",
        model.manifest.key().repo.name
    );
    let fault = Fault::new(ErrorCode::FieldInvalid, format!("{field}: {reason}"))
        .with_hint("name it once, and say with --include which files are wanted");
    let mut problem = Problem::from(fault);
    problem.errors = vec![FieldProblem { field: field.to_owned(), message: reason }];
    Err(problem)
}

fn with_warning(mut view: EndpointView, warning: Option<String>) -> EndpointView {
    view.warnings.extend(warning);
    view
}
