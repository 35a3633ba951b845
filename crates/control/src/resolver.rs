//! What the control plane asks hubs: which commit and files a reference means, and whether a token may read them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use base::Redacted;
use futures::future::BoxFuture;
use hub::{Hub, HubOptions, OfferedModel, Visibility};
use types::{Choice, Fault, HubName, Manifest, ModelRef, SelectionWish};
use url::Url;

/// Hubs that a client is kept for. Endpoints may name any address, so the number is bounded.
const CLIENTS_MAX: usize = 64;

/// A question about one model.
#[derive(Clone, Debug)]
pub struct ModelQuestion {
    /// The hub's name.
    pub hub: HubName,
    /// Where it answers.
    pub endpoint: Url,
    /// What was asked for.
    pub reference: ModelRef,
    /// Which of its files are wanted, apart from the variant in the reference.
    pub wish: SelectionWish,
    /// The asker's own token, which must prove the right to read, also when the bytes are here already.
    pub token: Option<Redacted<String>>,
}

/// A model that the asker may read.
#[derive(Clone, Debug)]
pub struct FoundModel {
    /// Its files at the commit; the key holds the hub's own spelling of the name.
    pub manifest: Manifest,
    /// What was chosen of the repository, and what not.
    pub choice: Choice,
}

/// Resolves models and proves rights. Implemented for hubs, and by tests.
pub trait ModelResolver: Send + Sync + fmt::Debug + 'static {
    /// Resolves one model.
    ///
    /// # Errors
    /// The hub's reason, by its code.
    fn resolve<'a>(&'a self, question: &'a ModelQuestion) -> BoxFuture<'a, Result<FoundModel, Fault>>;

    /// Says what there is to choose from. Proves nothing.
    ///
    /// # Errors
    /// The hub's reason, by its code.
    fn offer<'a>(&'a self, question: &'a ModelQuestion) -> BoxFuture<'a, Result<OfferedModel, Fault>>;
}

/// Asks real hubs, with one client for each address.
#[derive(Debug)]
pub struct HubResolver {
    template: HubOptions,
    clients: Mutex<HashMap<(HubName, Url), Hub>>,
}

impl HubResolver {
    /// Makes a resolver whose clients have these settings, but for name and address.
    pub fn new(template: HubOptions) -> Self {
        Self { template, clients: Mutex::new(HashMap::new()) }
    }

    fn client(&self, question: &ModelQuestion) -> Result<Hub, Fault> {
        let key = (question.hub.clone(), question.endpoint.clone());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let options = HubOptions { name: key.0.clone(), endpoint: key.1.clone(), ..self.template.clone() };
        let client = Hub::new(options).map_err(|error| error.fault())?;
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

impl ModelResolver for HubResolver {
    fn resolve<'a>(&'a self, question: &'a ModelQuestion) -> BoxFuture<'a, Result<FoundModel, Fault>> {
        Box::pin(async move {
            let client = self.client(question)?;
            let found = client
                .resolve_selection(&question.reference, &question.wish, question.token.as_ref())
                .await
                .map_err(|error| error.fault())?;
            let public = matches!(found.visibility, Visibility::Public);
            tracing::info!(repo = %found.repo, commit = %found.commit, public, bytes = %found.bytes, "model resolved");
            Ok(FoundModel { manifest: found.manifest, choice: found.choice })
        })
    }

    fn offer<'a>(&'a self, question: &'a ModelQuestion) -> BoxFuture<'a, Result<OfferedModel, Fault>> {
        Box::pin(async move {
            let client = self.client(question)?;
            let offered = client.offer(&question.reference, &question.wish, question.token.as_ref()).await;
            offered.map_err(|error| error.fault())
        })
    }
}
