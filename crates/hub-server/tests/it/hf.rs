//! The real Hugging Face clients against this hub, byte for byte.
//!
//! Needs a Python environment with `huggingface_hub`, which `LARDER_TEST_VENV` names; skipped by name without it.
//! Every call goes to loopback and telemetry is off.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hub_server::{HubHandle, Origin};
use tempfile::TempDir;

use crate::served::{Served, header, tree};

/// The clients in one environment, with a cache of their own.
struct Clients {
    venv: PathBuf,
    home: TempDir,
    endpoint: String,
}

impl Clients {
    fn find(test: &str, hub: &HubHandle) -> Option<Self> {
        match std::env::var_os("LARDER_TEST_VENV") {
            Some(venv) => {
                let home = tempfile::tempdir().unwrap();
                Some(Self { venv: venv.into(), home, endpoint: hub.endpoint() })
            }
            None => {
                println!("skipped: {test}: LARDER_TEST_VENV names no Python environment");
                None
            }
        }
    }

    fn command(&self, program: &str, token: Option<&str>) -> Command {
        let mut command = Command::new(self.venv.join("bin").join(program));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", self.home.path())
            .env("HF_HOME", self.home.path().join("hf"))
            .env("HF_ENDPOINT", &self.endpoint)
            .env("HF_HUB_DISABLE_TELEMETRY", "1")
            .env("HF_HUB_DISABLE_UPDATE_CHECK", "1")
            .env("NO_PROXY", "*");
        if let Some(token) = token {
            command.env("HF_TOKEN", token);
        }
        command
    }

    /// Runs a client off the runtime's threads, which serve it.
    async fn run(&self, program: &str, arguments: &[&str], token: Option<&str>) -> Output {
        let mut command = self.command(program, token);
        command.args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn hf(&self, arguments: &[&str], token: Option<&str>) -> Result<String, String> {
        told(&self.run("hf", arguments, token).await)
    }

    async fn python(&self, script: &str, token: Option<&str>) -> Result<String, String> {
        told(&self.run("python", &["-c", script], token).await)
    }

    fn snapshot(&self, repo: &str, commit: &str) -> PathBuf {
        let folder = format!("models--{}", repo.replace('/', "--"));
        self.home.path().join("hf/hub").join(folder).join("snapshots").join(commit)
    }
}

fn told(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{}\n{}", text(&output.stdout), text(&output.stderr)))
    }
}

/// Reads a folder into (path, content), through links.
fn read(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Returns what the test tree has in a folder, less what is left out.
fn expected(folder: &str) -> BTreeMap<String, Vec<u8>> {
    let below =
        |path: &str| path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/').map(str::to_owned));
    let files = tree().into_iter().filter_map(|(path, content)| Some((below(path)?, content)));
    files.filter(|(path, _)| !path.starts_with(".git/") && !path.starts_with(".cache/")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hf_download_brings_every_branch_byte_for_byte() {
    let served = Served::start().await;
    let Some(clients) = Clients::find("hf_download_brings_every_branch_byte_for_byte", &served.hub) else {
        return served.stop().await;
    };
    for (revision, branch, folder) in [
        (None, "main", "acme/tiny"),
        (Some("dev"), "dev", "acme/tiny@dev"),
        (Some("refs/pr/1"), "refs%2Fpr%2F1", "acme/tiny@refs%2Fpr%2F1"),
    ] {
        let mut arguments = vec!["download", "acme/tiny"];
        arguments.extend(revision.into_iter().flat_map(|revision| ["--revision", revision]));
        clients.hf(&arguments, None).await.unwrap();
        let commit = served.commit("acme/tiny", branch).await;
        assert_eq!(read(&clients.snapshot("acme/tiny", &commit)), expected(folder), "{branch}");
    }
    // Files in large-file storage came from the other origin, and no token went there.
    let cdn: Vec<_> = served.hub.requests().into_iter().filter(|r| r.origin == Origin::Cdn).collect();
    assert_eq!(cdn.len(), 2, "{cdn:?}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hf_verifies_what_it_brought_and_finds_what_was_harmed() {
    let served = Served::start().await;
    let Some(clients) = Clients::find("hf_verifies_what_it_brought_and_finds_what_was_harmed", &served.hub)
    else {
        return served.stop().await;
    };
    clients.hf(&["download", "acme/tiny"], None).await.unwrap();
    clients.hf(&["cache", "verify", "acme/tiny"], None).await.unwrap();
    let commit = served.commit("acme/tiny", "main").await;
    let blob = clients.snapshot("acme/tiny", &commit).join("model.safetensors");
    let mut bytes = fs::read(&blob).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(fs::canonicalize(&blob).unwrap(), bytes).unwrap();
    let error = clients.hf(&["cache", "verify", "acme/tiny"], None).await.unwrap_err();
    assert!(error.contains("model.safetensors"), "{error}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hf_opens_closed_repositories_with_the_right_token_only() {
    let served = Served::start().await;
    let Some(clients) = Clients::find("hf_opens_closed_repositories_with_the_right_token_only", &served.hub)
    else {
        return served.stop().await;
    };
    let refused = async |repo: &str, token: Option<&str>, expected: &str| {
        let error = clients.hf(&["download", repo], token).await.unwrap_err();
        assert!(error.contains(expected), "{repo} {token:?}: {error}");
    };
    refused("acme/gated", None, "gated").await;
    refused("acme/gated", Some("hf_bob"), "gated").await;
    refused("acme/secret", None, "not found").await;
    refused("acme/secret", Some("hf_bob"), "not found").await;
    refused("acme/tiny", Some("hf_mallory"), "Invalid").await;
    for repo in ["acme/gated", "acme/secret"] {
        clients.hf(&["download", repo], Some("hf_alice")).await.unwrap();
        let told =
            served.ask("GET", &format!("/api/models/{repo}"), &["authorization: Bearer hf_alice"]).await;
        let told: serde_json::Value = told.json().await.unwrap();
        let commit = told["sha"].as_str().unwrap();
        assert_eq!(read(&clients.snapshot(repo, commit)), expected(repo));
    }
    assert!(served.hub.requests().iter().all(|r| r.origin == Origin::Hub || !r.authorized));
    let told = clients.hf(&["auth", "whoami"], Some("hf_alice")).await.unwrap();
    assert!(told.contains("alice"), "{told}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_reads_the_api_as_it_reads_the_public_hub() {
    let served = Served::start_with(|options| options.page_entries_max = 2).await;
    let Some(clients) = Clients::find("the_library_reads_the_api_as_it_reads_the_public_hub", &served.hub)
    else {
        return served.stop().await;
    };
    let script = r#"
import os
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
api = HfApi()
info = api.model_info("acme/tiny", files_metadata=True)
print(info.id, info.gated, info.private, len(info.siblings), info.siblings[-1].lfs.size)
tree = list(api.list_repo_tree("acme/tiny", recursive=True, expand=True))
print(len(tree), tree[0].path, tree[-1].lfs.size, tree[-1].last_commit.title)
print([entry.path for entry in api.get_paths_info("acme/tiny", ["config.json", "1_Pooling", "none"])])
refs = api.list_repo_refs("acme/tiny", include_pull_requests=True)
print(sorted(ref.name for ref in refs.branches), [ref.ref for ref in refs.pull_requests])
print(api.file_exists("acme/tiny", "nope"), api.file_exists("acme/tiny", "empty.txt"), api.repo_exists("acme/none"))
print(api.revision_exists("acme/tiny", "dev"), api.revision_exists("acme/tiny", "nope"))
path = snapshot_download("acme/tiny", allow_patterns=["*.json"])
print(sorted(os.listdir(path)))
print(snapshot_download("acme/tiny", allow_patterns=["*.json"], local_files_only=True) == path)
print(open(hf_hub_download("tiny", "config.json")).read().strip())
print(open(hf_hub_download("ACME/Tiny", "config.json", revision="dev")).read().strip())
"#;
    let told = clients.python(script, None).await.unwrap();
    let expected = "acme/tiny False False 6 3000000
8 1_Pooling 3000000 Serve a folder
['1_Pooling', 'config.json']
['dev', 'main'] ['refs/pr/1']
False True False
True False
['1_Pooling', 'config.json']
True
{\"a\": 1}
{\"a\": 2}
";
    assert_eq!(told, expected);
    served.stop().await;
}

/// The real weights of all-MiniLM-L6-v2: what the public Hub names `model.safetensors` by.
const MINILM_SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

#[tokio::test(flavor = "multi_thread")]
async fn real_weights_have_the_name_that_the_public_hub_gives_them() {
    let Some(models) = std::env::var_os("LARDER_TEST_MODELS") else {
        println!(
            "skipped: real_weights_have_the_name_that_the_public_hub_gives_them: LARDER_TEST_MODELS names no folder"
        );
        return;
    };
    let served = Served::start_with(|options| options.folder = models.into()).await;
    let path = "/sentence-transformers/all-MiniLM-L6-v2/resolve/main/model.safetensors";
    let response = served.ask("HEAD", path, &[]).await;
    assert_eq!(header(&response, "x-linked-etag"), format!("\"{MINILM_SHA256}\""));
    if let Some(clients) =
        Clients::find("real_weights_have_the_name_that_the_public_hub_gives_them", &served.hub)
    {
        let repo = "sentence-transformers/all-MiniLM-L6-v2";
        clients.hf(&["download", repo], None).await.unwrap();
        clients.hf(&["cache", "verify", repo], None).await.unwrap();
    }
    served.stop().await;
}
