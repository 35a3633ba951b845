//! Starts that come to nothing, or slowly: what is shown, what is billed, and what goes on.

use std::{fs, path::Path};

use base::{Clock, Entropy};
use hub_server::{Faults, HubServer, HubServerOptions, ListingLie};
use nix::unistd::Uid;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::system::{DEADLINE, Prepared, Setting, System};

/// Writes a repository whose weights have so many bytes, no two extents alike.
fn write_model(folder: &Path, name: &str, bytes: u64) {
    fs::create_dir_all(folder.join(name)).unwrap();
    fs::write(folder.join(name).join("config.json"), "{}").unwrap();
    let weights: Vec<u8> =
        (0..bytes / 8).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    fs::write(folder.join(name).join("model.safetensors"), weights).unwrap();
}

/// Sends a job and returns the path of its status.
async fn send(system: &System, endpoint: &str) -> String {
    let (status, job) =
        system.request("POST", &format!("/v2/{endpoint}/run"), Some(json!({"input": "hi"}))).await;
    assert_eq!(status, 200, "{job}");
    format!("/v2/{endpoint}/status/{}", job["id"].as_str().unwrap())
}

/// Waits until a queued job's status gives a reason, and returns it.
async fn reason(system: &System, job: &str) -> Value {
    testkit::wait_for("the reason", DEADLINE, async || {
        let (_, view) = system.request("GET", job, None).await;
        assert_eq!(view["status"], "IN_QUEUE", "{view}");
        Some(view["waiting"]["fault"].clone()).filter(|fault| !fault.is_null())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_never_pings_is_ended_explained_and_not_billed() {
    let Some(prepared) = Prepared::find() else { return };
    let system = System::start(prepared).await;
    let arguments = ["--command", "sleep 600", "--no-dir", "--init-timeout", "2"];
    system.larder(&[&["endpoint", "create", "silent"][..], &arguments].concat());
    let job = send(&system, "silent").await;
    let fault = reason(&system, &job).await;
    assert_eq!(fault["code"], "handler-never-pinged", "{fault}");
    assert!(fault["message"].as_str().unwrap().contains("did not report once"), "{fault}");
    assert!(fault["hint"].as_str().unwrap().contains("--init-timeout"), "{fault}");
    let (_, endpoint) = system.request("GET", "/api/v2/serverless/silent", None).await;
    assert_eq!(endpoint["waiting"]["fault"]["code"], "handler-never-pinged", "{endpoint}");
    let workers = system.larder(&["worker", "list"]);
    let first = workers["workers"].as_array().unwrap().iter().find(|worker| !worker["fault"].is_null());
    assert_eq!(first.unwrap()["fault"]["code"], "handler-never-pinged", "{workers}");
    assert_eq!(system.larder(&["usage"])["records"][0]["billedSeconds"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_hub_is_shown_and_no_timeout_ends_the_start() {
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    // One connection fetches an extent of 8 MiB, so this takes 20 s: twice what the worker may take to start.
    write_model(models.path(), "Acme/Slow", 8_000_000);
    let system = System::start_with_hub(prepared, models.path(), &["--rate-max", "400kB"]).await;
    system.create_endpoint("slow", "kinds.py", &["--model", "Acme/Slow", "--init-timeout", "10"]);
    let job = send(&system, "slow").await;
    let mut seen = 0;
    // Thrice, so that it moves.
    for _ in 0..3 {
        seen = testkit::wait_for("progress", DEADLINE, async || {
            let (_, view) = system.request("GET", &job, None).await;
            assert_eq!(view["status"], "IN_QUEUE", "{view}");
            let fetch = &view["waiting"]["fetch"];
            assert!(fetch["bytesDone"].as_u64() <= Some(8_000_002), "{view}");
            fetch["bytesDone"].as_u64().filter(|bytes| *bytes > seen)
        })
        .await;
    }
    let workers = system.larder(&["worker", "list"]);
    assert_eq!(workers["workers"][0]["phase"], "initializing", "the start is held: {workers}");
    let ended = system.ended_job("slow", job.rsplit('/').next().unwrap()).await;
    assert_eq!(ended["status"], "COMPLETED", "{ended}");
    let workers = system.larder(&["worker", "list"]);
    assert_eq!(workers["workers"].as_array().unwrap().len(), 1, "the first start is the one: {workers}");
    let initializing = workers["workers"][0]["phases"]["initializing"].as_u64().unwrap();
    assert!(initializing > 15_000, "the fetch outlasted the init timeout: {workers}");
    let usage = system.larder(&["usage"]);
    let billed = usage["records"][0]["billedSeconds"].as_u64().unwrap();
    assert!(billed < initializing / 1000, "the fetch is not billed: {usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_the_reason_and_no_half_model_is_seen() {
    let Some(prepared) = Prepared::find() else { return };
    if !Uid::effective().is_root() {
        return testkit::skip("a small file system of one's own takes root");
    }
    let models = tempfile::tempdir().unwrap();
    write_model(models.path(), "Acme/Large", 40_000_000);
    let setting = Setting { models: Some(models.path()), disk_size: Some("60m"), ..Setting::default() };
    let system = System::start_with(prepared, setting).await;
    system.create_endpoint("large", "kinds.py", &["--model", "Acme/Large"]);
    // Somebody else fills the disk: the planner has seen room, and the store finds none.
    let ballast = system.data_folder().join("ballast");
    fs::write(&ballast, vec![1; 40_000_000]).unwrap();
    let job = send(&system, "large").await;
    let fault = reason(&system, &job).await;
    assert_eq!(fault["code"], "cache-full", "{fault}");
    assert!(!fault["hint"].as_str().unwrap_or_default().is_empty(), "{fault}");
    let (_, endpoint) = system.request("GET", "/api/v2/serverless/large", None).await;
    assert_eq!(endpoint["waiting"]["fault"]["code"], "cache-full", "{endpoint}");
    let path = system.try_larder(&["model", "path", "Acme/Large", "--host"]);
    assert!(!path.status.success(), "{path:?}");
    let blobs = system.data_folder().join("host/store/blobs");
    let whole = files_below(&blobs).into_iter().filter(|bytes| *bytes >= 40_000_000).count();
    assert_eq!(whole, 0, "no blob of the weights stands among the verified ones");
    fs::remove_file(&ballast).unwrap();
    let ended = system.ended_job("large", job.rsplit('/').next().unwrap()).await;
    assert_eq!(ended["status"], "COMPLETED", "{ended}");
}

fn files_below(folder: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let lengths = entries.flat_map(|entry| {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() { files_below(&path) } else { vec![meta.len()] }
    });
    lengths.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_name_that_leaves_its_folder_is_refused_when_the_endpoint_is_made() {
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    write_model(models.path(), "Acme/Sly", 100);
    let mut options = HubServerOptions::new(models.path());
    options.faults = lie("../../x");
    let server = HubServer::new(options, Clock::System, Entropy::System).await.unwrap();
    let hub = server.handle();
    let token = CancellationToken::new();
    let serving = tokio::spawn(server.run(token.clone()));
    let hub_address = hub.endpoint().to_string().trim_start_matches("http://").to_owned();
    let setting = Setting { hub_address: Some(hub_address), ..Setting::default() };
    let system = System::start_with(prepared, setting).await;
    let spec = json!({"name": "sly", "command": ["true"], "models": [{"reference": "Acme/Sly"}]});
    for shown in
        ["../../x", "/etc/passwd", "a/../../x", "a\\..\\x", ".git/hooks/x", "a//x", "a/./x", "a\u{0}x"]
    {
        hub.set_faults(lie(shown));
        let (status, problem) = system.request("POST", "/api/v2/serverless", Some(spec.clone())).await;
        assert_eq!((status, &problem["code"]), (422, &json!("path-refused")), "{shown:?}: {problem}");
        assert!(problem["hint"].is_string(), "{problem}");
    }
    let (_, list) = system.request("GET", "/api/v2/serverless", None).await;
    assert_eq!(list["endpoints"], json!([]), "nothing was made");
    hub.set_faults(Faults::default());
    let (status, made) = system.request("POST", "/api/v2/serverless", Some(spec)).await;
    assert!((200..300).contains(&status), "the listing was the only trouble: {made}");
    token.cancel();
    serving.await.unwrap().unwrap();
}

fn lie(shown: &str) -> Faults {
    let path = "config.json".to_owned();
    Faults { listing: vec![ListingLie::Path { path, shown: shown.to_owned() }], ..Faults::default() }
}
