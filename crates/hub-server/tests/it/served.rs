//! A hub that serves a folder made for one test, and a client that follows nothing by itself.

use std::{fs, path::PathBuf, time::Duration};

use base::{Clock, Entropy};
use hub_server::{AccessRules, Faults, HubHandle, HubServer, HubServerError, HubServerOptions};
use reqwest::{Client, Method, Response, redirect::Policy};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No value is waited on for longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Weights: in large-file storage by their suffix.
pub(crate) fn weights() -> Vec<u8> {
    (0..3_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The repositories of every test, as (path, content).
pub(crate) fn tree() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("acme/tiny/config.json", b"{\"a\": 1}\n".to_vec()),
        ("acme/tiny/README.md", b"# Tiny\n".to_vec()),
        ("acme/tiny/empty.txt", Vec::new()),
        ("acme/tiny/1_Pooling/config.json", b"{}".to_vec()),
        ("acme/tiny/a b/\u{fc}.txt", b"umlaut".to_vec()),
        ("acme/tiny/model.safetensors", weights()),
        ("acme/tiny/.git/HEAD", b"ref: x".to_vec()),
        ("acme/tiny/.cache/huggingface/x", b"left by a client".to_vec()),
        ("acme/tiny@dev/config.json", b"{\"a\": 2}\n".to_vec()),
        ("acme/tiny@dev/model.bin", b"dev weights".to_vec()),
        ("acme/tiny@refs%2Fpr%2F1/config.json", b"{\"a\": 3}\n".to_vec()),
        ("acme/gated/config.json", b"{}".to_vec()),
        ("acme/gated/model.safetensors", b"gated weights".to_vec()),
        ("acme/secret/config.json", b"{}".to_vec()),
        ("acme/secret/model.safetensors", b"secret weights".to_vec()),
        ("acme/gone/config.json", b"{}".to_vec()),
        ("Other/Mixed-Case/config.json", b"{}".to_vec()),
        ("Other/gated/config.json", b"{}".to_vec()),
    ]
}

const RULES: &str = r#"
[repos."acme/gated"]
access = "gated"
[repos."acme/secret"]
access = "private"
[repos."acme/gone"]
access = "disabled"

[[tokens]]
token = "hf_alice"
user = "alice"
repos = ["acme/gated", "acme/secret"]

[[tokens]]
token = "hf_bob"
user = "bob"
"#;

/// A hub that is being served.
pub(crate) struct Served {
    pub(crate) hub: HubHandle,
    pub(crate) folder: TempDir,
    client: Client,
    token: CancellationToken,
    ended: JoinHandle<Result<(), HubServerError>>,
}

impl Served {
    /// Serves the tree.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Serves the tree with options changed.
    pub(crate) async fn start_with(change: impl FnOnce(&mut HubServerOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in tree() {
            write(folder.path().join(path), &content);
        }
        let mut options = HubServerOptions::new(folder.path());
        options.access = AccessRules::parse(RULES).unwrap();
        options.rescan_after = Duration::ZERO;
        options.grace = Duration::from_millis(200);
        change(&mut options);
        let server = HubServer::new(options, Clock::System, Entropy::System).await.unwrap();
        let hub = server.handle();
        let token = CancellationToken::new();
        let ended = tokio::spawn(server.run(token.clone()));
        let client = Client::builder().redirect(Policy::none()).no_proxy().timeout(DEADLINE).build().unwrap();
        Self { hub, folder, client, token, ended }
    }

    /// Serves the tree with faults.
    pub(crate) async fn start_faulty(faults: Faults) -> Self {
        Self::start_with(|options| options.faults = faults).await
    }

    /// Asks the hub; a path that begins with `http` is taken as it is. Headers are lines of `name: value`.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Response {
        self.try_ask(method, path, headers).await.unwrap()
    }

    /// Asks the hub, where the connection may end instead.
    pub(crate) async fn try_ask(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
    ) -> reqwest::Result<Response> {
        let url =
            if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.hub.endpoint()) };
        let mut request = self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        for header in headers {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        request.send().await
    }

    /// Asks for JSON.
    pub(crate) async fn json(&self, path: &str) -> serde_json::Value {
        let response = self.ask("GET", path, &[]).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// Posts a body.
    pub(crate) async fn post(&self, path: &str, content_type: &str, body: &'static str) -> Response {
        let request = self.client.post(format!("{}{path}", self.hub.endpoint()));
        request.header("content-type", content_type).body(body).send().await.unwrap()
    }

    /// Returns the commit of a revision.
    pub(crate) async fn commit(&self, repo: &str, revision: &str) -> String {
        let told = self.json(&format!("/api/models/{repo}/revision/{revision}")).await;
        told["sha"].as_str().unwrap().to_owned()
    }

    /// Returns the signed link to a file.
    pub(crate) async fn link(&self, path: &str, headers: &[&str]) -> String {
        let response = self.ask("GET", path, headers).await;
        assert_eq!(response.status(), 302, "{path}");
        header(&response, "location").to_owned()
    }

    /// Writes a file into the served folder.
    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        write(self.folder.path().join(path), content);
    }

    /// Stops the hub and waits for its end.
    pub(crate) async fn stop(self) {
        self.token.cancel();
        tokio::time::timeout(DEADLINE, self.ended).await.expect("the hub does not stop").unwrap().unwrap();
    }
}

/// Returns a header as text, or the empty text.
pub(crate) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn write(path: PathBuf, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}
