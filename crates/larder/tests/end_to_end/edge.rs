//! The hub edge as workers use it: stock libraries in the worker, a real hub that stays up, moves on, or goes down.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::system::{Prepared, Setting, System};

/// One that never asks for anything outside, whatever the program does beside its work.
const QUIET: [&str; 6] = [
    "--env",
    "HF_HUB_DISABLE_UPDATE_CHECK=1",
    "--env",
    "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true",
    "--env",
    "RUNPOD_SKIP_GPU_CHECK=true",
];

fn write_model(models: &Path, name: &str, text: &str) {
    let folder = models.join(name);
    fs::create_dir_all(folder.join("nested")).unwrap();
    fs::write(folder.join("config.json"), format!("{{\"text\": \"{text}\"}}")).unwrap();
    fs::write(folder.join("model.safetensors"), text.repeat(500_000)).unwrap();
    fs::write(folder.join("nested/notes.txt"), text).unwrap();
}

/// Writes a model that `transformers` finds a tokenizer in, of three words.
fn write_tokenizer(models: &Path, name: &str) {
    write_model(models, name, "words");
    let folder = models.join(name);
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "the": 1, "shelf": 2}, "unk_token": "[UNK]"},
    });
    let config = json!({"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"});
    fs::write(folder.join("config.json"), "{\"model_type\": \"bert\"}").unwrap();
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

/// The files below a folder by their SHA-256, as the worker tells them.
fn digests(folder: &Path) -> Value {
    let files = ["config.json", "model.safetensors", "nested/notes.txt"];
    let digest = |file: &str| {
        let digest = Sha256::digest(fs::read(folder.join(file)).unwrap());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    json!(files.iter().map(|file| (*file, digest(file))).collect::<BTreeMap<_, _>>())
}

async fn ask(system: &System, endpoint: &str, input: Value) -> Value {
    let body = Some(json!({ "input": input }));
    let (status, job) = system.request("POST", &format!("/v2/{endpoint}/runsync"), body).await;
    assert_eq!(status, 200, "{job}");
    let ended = match job["status"].as_str() {
        Some("IN_QUEUE" | "IN_PROGRESS") => system.ended_job(endpoint, job["id"].as_str().unwrap()).await,
        _ => job,
    };
    assert_eq!(ended["status"], "COMPLETED", "{ended}\n{}", system.logs());
    ended["output"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_get_the_pinned_model_whatever_becomes_of_the_hub() {
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    write_model(models.path(), "Acme/Tiny", "one");
    write_model(models.path(), "Acme/Other", "other");
    write_tokenizer(models.path(), "Acme/Words");
    let pinned = digests(&models.path().join("Acme/Tiny"));
    let setting = Setting { models: Some(models.path()), up_arguments: Some(&[]), ..Setting::default() };
    let mut system = System::start_with(prepared, setting).await;
    let own = ["--model", "acme/tiny", "--model", "Acme/Words", "--idle-timeout", "600"];
    let arguments = [&own, &QUIET[..]].concat();
    let created = system.create_endpoint("edge", "edge.py", &arguments);
    let commit = created["models"][0]["commit"].as_str().unwrap().to_owned();

    let environment = ask(&system, "edge", json!({"do": "environment"})).await;
    let address = environment["HF_ENDPOINT"].as_str().unwrap().to_owned();
    assert!(address.starts_with("http://127.0.0.1:") && address.contains("/hub/wk_"), "{environment}");
    assert!(environment.get("HF_HUB_OFFLINE").is_none(), "{environment}");

    assert_pinned(&system, &commit, &pinned).await;
    // Another repository: from the hub, into the worker's own place.
    let other = ask(&system, "edge", json!({"do": "snapshot", "repo": "Acme/Other"})).await;
    assert_eq!(other["files"], digests(&models.path().join("Acme/Other")), "{other}\n{}", system.logs());
    assert!(other["path"].as_str().unwrap().contains("/hub/models--Acme--Other/"), "{other}");

    // The branch moves on. A revision by that name is still the pinned one; others are the hub's.
    write_model(models.path(), "Acme/Tiny", "two");
    write_model(models.path(), "Acme/Tiny@next", "three");
    assert_pinned(&system, &commit, &pinned).await;
    let next = json!({"do": "cli", "repo": "Acme/Tiny", "more": ["--revision", "next"]});
    let next = ask(&system, "edge", next).await;
    assert_eq!(next["files"], digests(&models.path().join("Acme/Tiny@next")), "{next}");

    system.end_hub();
    assert_pinned(&system, &commit, &pinned).await;
    let missing = json!({"do": "file", "repo": "Acme/Tiny", "file": "adapter_config.json"});
    let missing = ask(&system, "edge", missing).await;
    assert_eq!(missing["raised"], "RemoteEntryNotFoundError", "{missing}");
    assert!(missing["took"].as_f64().unwrap() < 10.0, "nothing is waited for: {missing}");
    outside_with_hf_hub(&system, &address, &commit);
    outside_with_readers(&system, &address, &commit);
}

/// Everything that reads the model gets the pinned one: from the view, and byte for byte over the edge.
async fn assert_pinned(system: &System, commit: &str, pinned: &Value) {
    let here = ask(system, "edge", json!({"do": "snapshot", "repo": "Acme/Tiny"})).await;
    let view = format!("/runpod-volume/huggingface-cache/hub/models--Acme--Tiny/snapshots/{commit}");
    assert_eq!((&here["path"], &here["files"]), (&json!(view), pinned), "{here}\n{}", system.logs());
    let lower = json!({"do": "file", "repo": "acme/tiny", "file": "config.json"});
    let lower = ask(system, "edge", lower).await;
    assert!(lower["path"].as_str().unwrap_or_default().contains(commit), "{lower}");
    let anew = ask(system, "edge", json!({"do": "snapshot", "repo": "Acme/Tiny", "cache": "fresh"})).await;
    assert_eq!(&anew["files"], pinned, "{anew}\n{}", system.logs());
    assert!(anew["path"].as_str().unwrap().ends_with(commit), "{anew}");
    let cli = ask(system, "edge", json!({"do": "cli", "repo": "Acme/Tiny"})).await;
    assert_eq!((&cli["code"], &cli["files"]), (&json!(0), pinned), "{cli}\n{}", system.logs());
}

/// `hf-hub` (Rust) against the same address, where somebody has built a program with it: it is given the address, a
/// cache folder, owner and name, and prints the snapshot's path.
fn outside_with_hf_hub(system: &System, address: &str, commit: &str) {
    let Some(program) = std::env::var_os("LARDER_TEST_HF_HUB") else { return };
    let cache = system.folder.path().join("hf-hub-cache");
    let done = Command::new(program).arg(address).arg(&cache).args(["Acme", "Tiny"]).output().unwrap();
    let path = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    assert!(done.status.success() && path.ends_with(commit), "{done:?}");
    let weights = fs::read(Path::new(&path).join("model.safetensors")).unwrap();
    assert!(weights == "one".repeat(500_000).as_bytes(), "the weights are the pinned ones");
}

/// `huggingface_hub` of several majors, and `transformers`, each into a cache of its own, all of it over the edge.
fn outside_with_readers(system: &System, address: &str, commit: &str) {
    let Some(readers) = testkit::prepared("LARDER_TEST_READERS") else { return };
    let snapshot = "from huggingface_hub import snapshot_download; print(snapshot_download('Acme/Tiny'))";
    let tokenizer = "from transformers import AutoTokenizer\n\
                     print(AutoTokenizer.from_pretrained('Acme/Words')('the new shelf')['input_ids'])";
    let mut names: Vec<_> = fs::read_dir(&readers).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert!(names.len() >= 2, "{names:?}");
    for name in names {
        let name = name.to_string_lossy();
        let (program, expected) =
            if name == "transformers" { (tokenizer, "[1, 0, 2]") } else { (snapshot, commit) };
        let done = Command::new(system.prepared.venv.join("bin/python"))
            .args(["-c", program])
            .env_clear()
            .env("PYTHONPATH", readers.join(&*name))
            .env("HOME", system.folder.path())
            .env("HF_HOME", system.folder.path().join(format!("home-{name}")))
            .env("HF_ENDPOINT", address)
            .env("HF_HUB_DISABLE_TELEMETRY", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && said.trim().ends_with(expected), "{name}: {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_egress_the_edge_gives_the_models_and_says_why_it_gives_nothing_else() {
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    write_model(models.path(), "Acme/Tiny", "one");
    write_model(models.path(), "Acme/Other", "other");
    let system = System::start_with_hub(prepared, models.path(), &[]).await;
    let arguments = [&["--model", "Acme/Tiny", "--idle-timeout", "600"], &QUIET[..]].concat();
    system.create_endpoint("edge", "edge.py", &arguments);
    let cli = ask(&system, "edge", json!({"do": "cli", "repo": "Acme/Tiny"})).await;
    assert_eq!(
        (&cli["code"], &cli["files"]),
        (&json!(0), &digests(&models.path().join("Acme/Tiny"))),
        "{cli}"
    );
    for refused in [
        json!({"do": "snapshot", "repo": "Acme/Other"}),
        json!({"do": "file", "repo": "Acme/Other", "file": "config.json"}),
    ] {
        let refused = ask(&system, "edge", refused).await;
        assert_eq!(refused["raised"], "GatedRepoError", "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("Add it with --model"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_worker_gets_nothing_of_anothers_models_through_the_edge() {
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    write_model(models.path(), "Acme/Tiny", "one");
    write_model(models.path(), "Acme/Private", "secret");
    let rules = models.path().join("rules.toml");
    let text = "[repos.\"Acme/Private\"]\naccess = \"private\"\n[[tokens]]\ntoken = \"hf_owner\"\nuser = \"owner\"\n\
                repos = [\"Acme/Private\"]\n";
    fs::write(&rules, text).unwrap();
    let access = ["--access", rules.to_str().unwrap()];
    let setting = Setting {
        models: Some(models.path()),
        hub_arguments: &access,
        up_arguments: Some(&[]),
        ..Setting::default()
    };
    let system = System::start_with(prepared, setting).await;
    let fixed = [&["--idle-timeout", "600"], &QUIET[..]].concat();
    let mine = [&["--model", "Acme/Tiny"], &fixed[..]].concat();
    let theirs = [&["--model", "Acme/Private", "--hf-token", "hf_owner"], &fixed[..]].concat();
    system.create_endpoint("hostile", "edge.py", &mine);
    system.create_endpoint("owner", "edge.py", &theirs);
    let own = ask(&system, "owner", json!({"do": "snapshot", "repo": "Acme/Private"})).await;
    assert_eq!(own["files"], digests(&models.path().join("Acme/Private")), "{own}\n{}", system.logs());
    let address = ask(&system, "owner", json!({"do": "environment"})).await["HF_ENDPOINT"].clone();
    let path = address.as_str().unwrap().splitn(4, '/').nth(3).unwrap().to_owned();
    let (prefix, key) = path.rsplit_once('/').unwrap();
    let file = "Acme/Private/resolve/main/config.json";
    let mut paths = vec![
        format!("OWN/{file}"),
        "OWN/api/models/Acme/Private".to_owned(),
        format!("/{prefix}/{}/{file}", "0".repeat(key.len())),
        format!("/{prefix}/{}/{file}", &key[1..]),
        format!("/{prefix}//{file}"),
        "OWN/Acme/Tiny/resolve/main/..%2f..%2f..%2f..%2fview.json".to_owned(),
        "OWN/Acme/Tiny/resolve/main/../../../../../../../etc/passwd".to_owned(),
        "OWN/Acme/Tiny/resolve/main/%2e%2e/%2e%2e/blobs".to_owned(),
        "OWN/Acme/Tiny/resolve/main//etc/passwd".to_owned(),
    ];
    paths.push("OWN/Acme/Tiny/resolve/main/config.json".to_owned());
    let told = ask(&system, "hostile", json!({"do": "raw", "paths": paths})).await;
    let statuses: Vec<u64> =
        told["statuses"].as_array().unwrap().iter().map(|one| one.as_u64().unwrap()).collect();
    let (own, foreign) = statuses.split_last().unwrap();
    assert_eq!(*own, 200, "{told}");
    assert!(foreign.iter().all(|status| matches!(status, 400 | 401 | 403 | 404)), "{told}");
}
