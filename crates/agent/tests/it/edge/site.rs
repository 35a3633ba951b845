//! A hub that serves a folder, an agent whose workers have models of it, and a client that follows nothing.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use agent::PassThrough;
use api::{DesiredModel, DesiredWorker, HubOrigin, ViewOrder, WorkerIntent};
use base::{Clock, Entropy};
use hub_server::{AccessRules, HubHandle, HubServer, HubServerOptions, Origin};
use reqwest::{Client, Method, Response, header::HeaderMap, redirect::Policy};
use runtime::Egress;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use types::{HubAccess, Manifest, ManifestFile, ModelKey, RepoId, SelectionKey, WorkerId};

use crate::{
    bench::{Bench, desired, patient, with_models, worker},
    drivers::WatchedDriver,
};

/// Not kept by any endpoint here, though the hub has it.
pub(super) const LEFT_OUT: &str = "pytorch_model.bin";
const RULES: &str = r#"
[repos."acme/secret"]
access = "private"
[[tokens]]
token = "hf_alice"
user = "alice"
repos = ["acme/secret"]
"#;

pub(super) fn weights() -> Vec<u8> {
    (0..400_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A hub that is being served.
pub(super) struct Site {
    pub(super) hub: HubHandle,
    folder: TempDir,
    token: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl Site {
    pub(super) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in [
            ("acme/tiny/config.json", b"{\"a\": 1}\n".to_vec()),
            ("acme/tiny/model.safetensors", weights()),
            ("acme/tiny/nested/a b/\u{fc}.txt", b"umlaut".to_vec()),
            ("acme/tiny/pytorch_model.bin", b"the same, pickled".to_vec()),
            ("acme/tiny@dev/config.json", b"{\"a\": 2}\n".to_vec()),
            ("acme/other/config.json", b"{\"other\": true}\n".to_vec()),
            ("acme/other/model.safetensors", b"other weights".to_vec()),
            ("acme/secret/config.json", b"{}".to_vec()),
            ("acme/secret/model.safetensors", b"secret weights".to_vec()),
        ] {
            write(folder.path(), path, &content);
        }
        let mut options = HubServerOptions::new(folder.path());
        options.access = AccessRules::parse(RULES).unwrap();
        options.rescan_after = std::time::Duration::ZERO;
        // So that listings have pages.
        options.page_entries_max = 2;
        let server = HubServer::new(options, Clock::System, Entropy::System).await.unwrap();
        let (hub, token) = (server.handle(), CancellationToken::new());
        let until = token.clone();
        let serving = Some(tokio::spawn(async move { server.run(until).await.unwrap() }));
        Self { hub, folder, token, serving }
    }

    pub(super) fn write(&self, path: &str, content: &[u8]) {
        write(self.folder.path(), path, content);
    }

    /// Takes the hub down.
    pub(super) async fn close(&mut self) {
        self.token.cancel();
        if let Some(serving) = self.serving.take() {
            serving.await.unwrap();
        }
    }

    /// Returns what the hub was asked since the last time.
    pub(super) fn asked(&self) -> Vec<String> {
        let requests = self.hub.requests();
        self.hub.clear_requests();
        requests
            .iter()
            .map(|request| {
                let origin = match request.origin {
                    Origin::Hub => "",
                    Origin::Cdn => "cdn ",
                };
                let path = if request.path.starts_with("/cdn/") { "/cdn" } else { &request.path };
                let token = if request.authorized { " with a token" } else { "" };
                format!("{origin}{} {path}{token}", request.method)
            })
            .collect()
    }

    /// Returns a model as an endpoint has it that keeps all but what is left out.
    pub(super) async fn model(&self, name: &str, token: Option<&str>) -> Manifest {
        let http = Client::new();
        let get = |path: String| {
            let mut request = http.get(format!("{}{path}", self.endpoint()));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            async move { request.send().await.unwrap() }
        };
        let told: Value = get(format!("/api/models/{name}?blobs=true")).await.json().await.unwrap();
        let siblings = told["siblings"].as_array().unwrap().iter();
        let files: Vec<ManifestFile> = siblings
            .map(|file| ManifestFile {
                path: file["rfilename"].as_str().unwrap().parse().unwrap(),
                size: file["size"].as_u64().unwrap(),
                digest: file["lfs"]["sha256"]
                    .as_str()
                    .unwrap_or_else(|| file["blobId"].as_str().unwrap())
                    .parse()
                    .unwrap(),
            })
            .filter(|file| file.path.as_str() != LEFT_OUT)
            .collect();
        let selection = Sha256::digest(Manifest::selection_input(&files));
        let key = ModelKey {
            repo: RepoId {
                hub: "main".parse().unwrap(),
                name: told["id"].as_str().unwrap().parse().unwrap(),
            },
            commit: told["sha"].as_str().unwrap().parse().unwrap(),
            selection: SelectionKey::from_bytes(selection.into()),
        };
        Manifest::new(key, files, BTreeSet::from(["tokenizer.model".parse().unwrap()])).unwrap()
    }

    pub(super) fn endpoint(&self) -> String {
        self.hub.endpoint().trim_end_matches('/').to_owned()
    }

    fn origin(&self) -> HubOrigin {
        HubOrigin { name: "main".parse().unwrap(), endpoint: self.endpoint().parse().unwrap() }
    }
}

fn write(folder: &Path, path: &str, content: &[u8]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// An agent with workers that have models.
pub(super) struct House {
    pub(super) bench: Bench,
    pub(super) driver: Arc<WatchedDriver>,
    generation: u64,
    models: Vec<DesiredModel>,
    workers: Vec<DesiredWorker>,
}

impl House {
    pub(super) async fn new(egress: Egress, pass_through: PassThrough) -> Self {
        let driver = Arc::new(WatchedDriver::new());
        let bench = Bench::with_edge(driver.clone(), egress, pass_through, patient()).await;
        Self { bench, driver, generation: 0, models: Vec::new(), workers: Vec::new() }
    }

    /// Starts a worker with a model, spelt and at a revision as its owner wrote it, and returns how it asks the edge.
    pub(super) async fn worker(&mut self, site: &Site, id: &str, model: &Manifest, spelled: &str) -> Guest {
        let order = with_edge(worker(id, WorkerIntent::Run, &["run"]), site, &[(model, spelled)]);
        self.models.push(DesiredModel {
            manifest: model.clone(),
            hub_endpoint: site.endpoint().parse().unwrap(),
            hub_trusted: true,
            tenant: "tn_default".parse().unwrap(),
            token: None,
        });
        self.workers.push(order);
        self.desire();
        self.bench.alive(id).await;
        Guest::of(&self.driver, id)
    }

    /// Has a worker ended.
    pub(super) async fn end_worker(&mut self, id: &str) {
        let id: WorkerId = id.parse().unwrap();
        self.workers.retain(|order| order.worker != id);
        self.desire();
        self.bench.server.observe("the end", |seen| seen.workers.iter().all(|one| one.worker != id)).await;
    }

    fn desire(&mut self) {
        self.generation += 1;
        let desired = desired(self.generation, self.workers.clone());
        self.bench.server.desire(with_models(desired, self.models.clone()));
    }
}

fn with_edge(mut order: DesiredWorker, site: &Site, models: &[(&Manifest, &str)]) -> DesiredWorker {
    order.hub_access = HubAccess::Edge;
    order.hub = Some(site.origin());
    for (model, spelled) in models {
        let reference: types::ModelRef = spelled.parse().unwrap();
        let refs = reference.revision.iter().cloned().collect();
        order.views.push(ViewOrder { reference, key: model.key().clone(), refs });
    }
    order
}

/// A worker as the edge hears it.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    /// Its `HF_ENDPOINT`.
    pub(super) address: String,
    http: Client,
}

impl Guest {
    pub(super) fn of(driver: &WatchedDriver, worker: &str) -> Self {
        Self::at(&driver.seen(&worker.parse().unwrap()).env["HF_ENDPOINT"])
    }

    pub(super) fn at(address: &str) -> Self {
        let http = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { address: address.to_owned(), http }
    }

    pub(super) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
        self.ask_with(method, path, headers, Vec::new()).await
    }

    pub(super) async fn ask_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Response {
        let mut request = self.http.request(method, format!("{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.body(body);
        }
        request.send().await.unwrap()
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, &[]).await
    }

    pub(super) async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }
}

/// Status, and the named headers, as text.
pub(super) fn shown(response: &Response, names: &[&str]) -> String {
    let header = |name: &&str| text(response.headers(), name);
    let headers: Vec<String> = names.iter().map(header).collect();
    format!("{} {}", response.status().as_u16(), headers.join(" ")).trim_end().to_owned()
}

pub(super) fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned()
}
