//! A hub server over a folder of made-up repositories, and a host that pulls from it.

use std::{ops::Deref, path::Path, sync::Arc, time::Duration};

use base::{Backoff, ByteSize, Clock, Entropy, RealDisk, Redacted, TaskScope};
use hub::{Hub, HubOptions};
use hub_server::{AccessRules, HubHandle, HubServer, HubServerOptions};
use store::{ExtentBytes, FileVerdict, HubStanding, Store, StoreOptions, Supplier, ViewSpec};
use tokio_util::sync::CancellationToken;
use transfer::{
    FetchError, FetchHandle, FetchReport, FetchRequest, HubSource, Source, SourceList, Transfer,
    TransferOptions,
};
use types::{Fault, Manifest, ModelRef, TenantId};

/// The size of the weights of each repository: some dozens of extents.
pub(crate) const WEIGHTS_BYTES: u64 = 2_000_003;
const EXTENT_BYTES: u64 = 65_536;

const RULES: &str = r#"
[repos."acme/secret"]
access = "private"
[repos."acme/gated"]
access = "gated"
[repos."acme/gone"]
access = "disabled"
[[tokens]]
token = "hf_right"
user = "alice"
repos = ["acme/secret"]
[[tokens]]
token = "hf_granted"
user = "bob"
repos = ["acme/gated"]
"#;

/// A hub, and a host with a store.
pub(crate) struct Site {
    pub(crate) hub: HubHandle,
    pub(crate) store: Store,
    transfer: Transfer,
    folder: tempfile::TempDir,
    hub_scope: Option<TaskScope>,
    _transfer_scope: TaskScope,
}

/// A fetch that is running.
pub(crate) struct Begun {
    handle: FetchHandle,
    pub(crate) manifest: Arc<Manifest>,
}

impl Deref for Begun {
    type Target = FetchHandle;

    fn deref(&self) -> &FetchHandle {
        &self.handle
    }
}

impl Begun {
    pub(crate) async fn join(self) -> Result<FetchReport, FetchError> {
        self.handle.join().await
    }
}

/// What a pull brought.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) report: FetchReport,
    pub(crate) manifest: Arc<Manifest>,
}

impl Site {
    pub(crate) async fn start(change: impl FnOnce(&mut HubServerOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for repo in ["tiny", "secret", "gated", "gone"] {
            write_repo(&folder.path().join("repos/acme").join(repo), repo);
        }
        let mut options = StoreOptions::at(folder.path().join("store"));
        options.extent_bytes = ExtentBytes::new(ByteSize(EXTENT_BYTES)).unwrap();
        let store = Store::open(Arc::new(RealDisk), Clock::System, options).unwrap();
        let options = TransferOptions {
            small_file_bytes_max: ByteSize(1000),
            range_bytes_max: ByteSize(4 * EXTENT_BYTES),
            backoff: Backoff { first: Duration::from_millis(5), longest: Duration::from_millis(50) },
            failures_max: 6,
            // A drip is noticed within a test; what flows, even slowly, brings this much in far less.
            stall_window: Duration::from_secs(2),
            progress_bytes_min: ByteSize::kib(16),
            ..TransferOptions::default()
        };
        let (transfer, service) = Transfer::new(options, store.clone(), Clock::System, Entropy::seeded(1));
        let mut scope = TaskScope::new(&CancellationToken::new());
        let token = scope.token();
        scope.spawn("transfer", service.run(token));
        let (hub, hub_scope) = serve(folder.path(), change).await;
        Self { hub, store, transfer, folder, hub_scope: Some(hub_scope), _transfer_scope: scope }
    }

    pub(crate) async fn start_hub(&mut self, change: impl FnOnce(&mut HubServerOptions)) {
        let (hub, scope) = serve(self.folder.path(), change).await;
        self.hub = hub;
        self.hub_scope = Some(scope);
    }

    pub(crate) async fn stop_hub(&mut self) {
        self.hub_scope.take().unwrap().shutdown().await.unwrap();
    }

    /// Resolves a model, and returns its files with the hub as their source.
    pub(crate) async fn resolve(
        &self,
        reference: &str,
        token: Option<&Redacted<String>>,
    ) -> Result<(Arc<Manifest>, Arc<dyn Source>), Fault> {
        let mut options = HubOptions::new("site".parse().unwrap(), self.hub.endpoint().parse().unwrap());
        options.stall_timeout = Duration::from_millis(400);
        options.backoff.first = Duration::from_millis(5);
        let hub = Hub::new(options).unwrap();
        let reference: ModelRef = reference.parse().unwrap();
        let model = hub.resolve_model(&reference, token).await.map_err(|error| error.fault())?;
        let source = HubSource::new(hub, model.repo.name, model.commit, token);
        Ok((Arc::new(model.manifest), Arc::new(source)))
    }

    /// Starts to fetch a model from sources.
    pub(crate) fn fetch(&self, manifest: &Arc<Manifest>, sources: SourceList) -> Begun {
        let request = FetchRequest::new(manifest.clone(), sources, supplier());
        Begun { handle: self.transfer.fetch(request), manifest: manifest.clone() }
    }

    /// Resolves a model and starts to fetch it.
    pub(crate) async fn begin(
        &self,
        reference: &str,
        token: Option<&Redacted<String>>,
    ) -> Result<Begun, Fault> {
        let (manifest, hub) = self.resolve(reference, token).await?;
        Ok(self.fetch(&manifest, SourceList::one(hub)))
    }

    /// Returns the folder that the hub serves.
    pub(crate) fn repos(&self) -> std::path::PathBuf {
        self.folder.path().join("repos")
    }

    /// Returns whether nothing of a model can be seen: no model, and no blob that is not what it says.
    pub(crate) fn shows_nothing(&self) -> bool {
        self.store.list().is_empty()
    }

    /// Resolves and fetches a model.
    pub(crate) async fn pull(
        &self,
        reference: &str,
        token: Option<&Redacted<String>>,
    ) -> Result<Ended, Fault> {
        let begun = self.begin(reference, token).await?;
        let manifest = begun.manifest.clone();
        let report = begun.join().await.map_err(|error| error.fault())?;
        Ok(Ended { report, manifest })
    }

    pub(crate) fn missing(&self, manifest: &Manifest) -> ByteSize {
        self.store.missing(manifest, &supplier()).bytes
    }

    /// Asserts that a worker would see the files of the hub's folder, byte for byte.
    pub(crate) fn assert_same(&self, repo: &str, manifest: &Manifest) {
        let report = self.store.verify(manifest.key()).unwrap();
        assert!(report.files.iter().all(|file| file.verdict == FileVerdict::Sound), "{report:?}");
        let spec = ViewSpec { key: manifest.key().clone(), refs: Default::default() };
        let view = self.store.view(&spec).unwrap();
        let snapshot = view.path().join("snapshots").join(manifest.key().commit.to_string());
        let folder = self.folder.path().join("repos").join(repo);
        for file in manifest.files() {
            let [seen, served] =
                [&snapshot, &folder].map(|at| std::fs::read(at.join(file.path.as_str())).unwrap());
            assert!(seen == served, "{} differs", file.path);
        }
    }
}

async fn serve(folder: &Path, change: impl FnOnce(&mut HubServerOptions)) -> (HubHandle, TaskScope) {
    let mut options = HubServerOptions::new(folder.join("repos"));
    options.access = AccessRules::parse(RULES).unwrap();
    options.grace = Duration::ZERO;
    change(&mut options);
    let server = HubServer::new(options, Clock::System, Entropy::seeded(2)).await.unwrap();
    let handle = server.handle();
    let mut scope = TaskScope::new(&CancellationToken::new());
    let token = scope.token();
    scope.spawn("hub", async move { server.run(token).await.unwrap() });
    (handle, scope)
}

fn supplier() -> Supplier {
    Supplier {
        hub: "site".parse().unwrap(),
        tenant: TenantId::default_tenant(),
        standing: HubStanding::Trusted,
    }
}

fn write_repo(folder: &Path, name: &str) {
    std::fs::create_dir_all(folder.join("1_Pooling")).unwrap();
    let write = |path: &str, bytes: &[u8]| std::fs::write(folder.join(path), bytes).unwrap();
    write("config.json", format!("{{\"name\":\"{name}\"}}").as_bytes());
    write("1_Pooling/config.json", b"{}");
    write("tokenizer_config.json", b"");
    write("vocab.txt", "one two three\n".repeat(1000).as_bytes());
    // Numbers that differ from place to place and from name to name, made faster than drawn ones.
    let mut number = name.len() as u64 + 1;
    let mut weights = Vec::with_capacity(WEIGHTS_BYTES as usize + 8);
    while weights.len() < WEIGHTS_BYTES as usize {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        weights.extend_from_slice(&number.to_be_bytes());
    }
    write("model.safetensors", &weights[..WEIGHTS_BYTES as usize]);
}
