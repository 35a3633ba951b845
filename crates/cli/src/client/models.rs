//! One method for each route about models.

use api::{
    ImportModels, ImportView, ModelEvent, ModelList, ModelOffer, ModelPathView, ModelView, OfferModel,
    PullModel, RemovedView, VerifyView, WhyView, WorkView,
};
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use types::{ErrorCode, Fault};

use super::{Client, calls::managed, events::Events, read_problem};

/// A model as it stands from moment to moment.
#[derive(Debug)]
pub struct ModelEvents(Events);

impl Client {
    /// Returns every model on a host or wanted.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn models(&self) -> Result<ModelList, Fault> {
        self.get(&managed(&["models"]), &[]).await
    }

    /// Wants a model on the hosts.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn pull(&self, body: &PullModel) -> Result<ModelView, Fault> {
        self.send(Method::POST, &managed(&["models", "pull"]), body).await
    }

    /// Asks what a hub has to choose from, and which of it is on hosts.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn offer_model(&self, body: &OfferModel) -> Result<ModelOffer, Fault> {
        self.send(Method::POST, &managed(&["models", "offer"]), body).await
    }

    /// Watches a model.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn model_events(&self, reference: &str) -> Result<ModelEvents, Fault> {
        let path = managed(&["models", "events"]);
        let request = self.request_by(&self.streams, Method::GET, &path, &[("reference", reference)]);
        Ok(ModelEvents(self.events(request).await?))
    }

    /// Calls the fetch of a pulled model off.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn cancel_pull(&self, reference: &str) -> Result<ModelView, Fault> {
        self.answer(self.model_request(Method::POST, &["models", "cancel"], reference)).await
    }

    /// Keeps a model from eviction.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn pin_model(&self, reference: &str) -> Result<ModelView, Fault> {
        self.answer(self.model_request(Method::POST, &["models", "pin"], reference)).await
    }

    /// Lets a pinned model go when its room is needed.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn unpin_model(&self, reference: &str) -> Result<ModelView, Fault> {
        self.answer(self.model_request(Method::DELETE, &["models", "pin"], reference)).await
    }

    /// Removes a model from its hosts.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn remove_model(&self, reference: &str) -> Result<RemovedView, Fault> {
        self.answer(self.model_request(Method::DELETE, &["models"], reference)).await
    }

    /// Returns where a model's files are.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn model_path(&self, reference: &str) -> Result<ModelPathView, Fault> {
        self.get(&managed(&["models", "path"]), &[("reference", reference)]).await
    }

    /// Reads a model's files again, and shows how far that is; with a repair, what is damaged is fetched again.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn verify_model(
        &self,
        reference: &str,
        repair: bool,
        show: impl FnMut(&WorkView),
    ) -> Result<VerifyView, Fault> {
        let path = managed(&["models", "verify"]);
        let mut query = vec![("reference", reference)];
        query.extend(repair.then_some(("repair", "true")));
        let request = self.request_by(&self.streams, Method::POST, &path, &query);
        self.work(request, show).await
    }

    /// Takes over a cache on a host, and shows how far that is.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn import_models(
        &self,
        body: &ImportModels,
        show: impl FnMut(&WorkView),
    ) -> Result<ImportView, Fault> {
        let path = managed(&["models", "import"]);
        let request = self.request_by(&self.streams, Method::POST, &path, &[]).json(body);
        self.work(request, show).await
    }

    /// Returns why a model is where it is.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn why_model(&self, reference: &str) -> Result<WhyView, Fault> {
        self.get(&managed(&["models", "why"]), &[("reference", reference)]).await
    }

    fn model_request(&self, method: Method, path: &[&str], reference: &str) -> RequestBuilder {
        self.request(method, &managed(path), &[("reference", reference)])
    }

    /// Has work done that takes long, and shows how far it is.
    async fn work<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        mut show: impl FnMut(&WorkView),
    ) -> Result<T, Fault> {
        let mut events = self.events(request).await?;
        while let Some(event) = events.next().await? {
            match event.name.as_str() {
                "progress" => show(&self.read(event.data.as_bytes())?),
                "done" => return self.read(event.data.as_bytes()),
                "problem" => return Err(self.told_problem(&event.data)),
                // Of a later server; what it tells can be done without.
                _ => {}
            }
        }
        let server = self.server();
        Err(Fault::new(ErrorCode::ServerAway, format!("{server} went away before the work was done"))
            .with_hint("what the host has begun it goes on with; run the command again to see"))
    }

    fn told_problem(&self, data: &str) -> Fault {
        read_problem(data.as_bytes()).unwrap_or_else(|| {
            Fault::new(ErrorCode::Internal, format!("{} fails without a reason", self.server()))
        })
    }
}

impl ModelEvents {
    /// Returns how the model stands next, or nothing when the server has no more to tell.
    ///
    /// # Errors
    /// What the server says; `server-away` when the connection breaks.
    ///
    /// # Cancel safety
    /// An event that has come whole is not lost.
    pub async fn next(&mut self) -> Result<Option<ModelEvent>, Fault> {
        while let Some(event) = self.0.next().await? {
            match event.name.as_str() {
                "status" => return self.0.client().read(event.data.as_bytes()).map(Some),
                "problem" => return Err(self.0.client().told_problem(&event.data)),
                // Of a later server; what it tells can be done without.
                _ => {}
            }
        }
        Ok(None)
    }
}
