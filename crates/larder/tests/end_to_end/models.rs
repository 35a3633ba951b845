//! Models on the shelf as their users handle them: pulled, chosen, verified, repaired, pinned, evicted, imported.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::system::{DEADLINE, Prepared, Setting, System};

/// Returns bytes no two words of which are alike; those of another seed are others.
fn noise(bytes: u64, seed: u64) -> Vec<u8> {
    (0..bytes / 8)
        .flat_map(|word| (word + seed * bytes).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

/// Writes a repository with weights of its own.
fn write_model(models: &Path, name: &str, bytes: u64, seed: u64) {
    let folder = models.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), format!("{{\"seed\": {seed}}}")).unwrap();
    fs::write(folder.join("model.safetensors"), noise(bytes, seed)).unwrap();
}

/// Starts a Larder on a hub of these models; nothing starts workers.
async fn start(prepared: Prepared, models: &Path, hub: &[&str], up: &[&str]) -> System {
    let up_arguments = [&["--no-egress"], up].concat();
    let setting = Setting {
        models: Some(models),
        hub_arguments: hub,
        up_arguments: Some(&up_arguments),
        ..Setting::default()
    };
    System::start_with(prepared, setting).await
}

/// Returns the files of the store's blobs.
fn blobs(system: &System) -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { below(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    below(&system.data_folder().join("host/store/blobs"), &mut found);
    found
}

/// Returns how many bytes the store's blobs have together.
fn blob_bytes(system: &System) -> u64 {
    blobs(system).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
}

/// Returns what the one host knows of a model.
fn presence(system: &System, reference: &str) -> Value {
    let why = system.larder(&["model", "why", reference]);
    assert_eq!(why["hosts"].as_array().map(Vec::len), Some(1), "{why}");
    why["hosts"][0]["presence"].clone()
}

/// Returns a listed model by its repository and its choice.
fn listed(system: &System, repo: &str) -> Value {
    let list = system.larder(&["model", "list"]);
    let found = list["models"].as_array().unwrap().iter().find(|model| model["repo"] == repo);
    found.unwrap_or(&Value::Null).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_outlives_its_client_and_is_watched_by_others() {
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    // At the hub's rate this takes 4 s.
    write_model(models.path(), "Acme/Slow", 1_600_000, 1);
    let system = start(prepared, models.path(), &["--rate-max", "400kB"], &[]).await;

    let mut first = system.command(&["model", "pull", "Acme/Slow", "--events"]);
    let mut client = first.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let seen = loop {
        let line = lines.next().expect("the fetch moves before its events end").unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["end"], Value::Null, "{event}");
        if let Some(bytes) = event["model"]["status"]["bytesDone"].as_u64().filter(|bytes| *bytes > 0) {
            break bytes;
        }
    };
    client.kill().unwrap();
    client.wait().unwrap();

    let url = format!("http://{}/api/v2/models/events?reference=Acme/Slow", system.address);
    let request = reqwest::Client::new().get(url).bearer_auth(system.key()).timeout(DEADLINE);
    let watched = tokio::spawn(async move {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        answer.text().await.unwrap()
    });
    let again = system.try_larder(&["model", "pull", "Acme/Slow", "--events"]);
    assert!(again.status.success(), "{again:?}\n{}", system.logs());
    let again: Vec<Value> = String::from_utf8(again.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_events(&again, seen);
    let watched = watched.await.unwrap();
    let watched: Vec<Value> = watched
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_events(&watched, seen);

    let here = presence(&system, "Acme/Slow");
    assert_eq!(here["presence"], "here", "{here}");
    assert_eq!(here["arrival"]["bytes"], here["bytes"], "every byte came once: {here}");
}

/// The events of a fetch under way: they never go back behind what was seen before, and end with the model ready.
fn assert_events(events: &[Value], seen: u64) {
    let last = events.last().unwrap();
    assert_eq!(
        (&last["end"], &last["model"]["status"]["state"]),
        (&json!("ready"), &json!("ready")),
        "{last}"
    );
    let ends = events.iter().filter(|event| !event["end"].is_null()).count();
    assert_eq!(ends, 1, "only the last is an end: {events:?}");
    let done: Vec<u64> =
        events.iter().filter_map(|event| event["model"]["status"]["bytesDone"].as_u64()).collect();
    assert!(done.first() >= Some(&seen), "the fetch was taken up, not begun anew: {seen} {done:?}");
    assert!(done.is_sorted(), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_quantisations_share_what_they_can() {
    const SMALL: u64 = 200_000;
    const LARGE: u64 = 400_000;
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    let folder = models.path().join("Acme/Tiny");
    fs::create_dir_all(&folder).unwrap();
    let config = "{\"model_type\": \"llama\"}";
    fs::write(folder.join("config.json"), config).unwrap();
    fs::write(folder.join("tiny-Q4_K_M.gguf"), noise(SMALL, 1)).unwrap();
    fs::write(folder.join("tiny-Q8_0.gguf"), noise(LARGE, 2)).unwrap();
    let config = config.len() as u64;
    let system = start(prepared, models.path(), &[], &[]).await;

    let offer = system.larder(&["model", "show", "Acme/Tiny"]);
    let variants: Vec<(&Value, &Value, &Value)> = offer["hub"]["variants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variant| (&variant["name"], &variant["bytes"], &variant["hosts"]))
        .collect();
    for (name, bytes) in [("Q4_K_M", SMALL), ("Q8_0", LARGE)] {
        let expected = (&json!(name), &json!(bytes + config), &json!(0));
        assert!(variants.contains(&expected), "{expected:?} in {offer}");
    }
    assert_eq!(blob_bytes(&system), 0, "nothing was fetched for an answer");

    system.larder(&["model", "pull", "Acme/Tiny:Q4_K_M"]);
    assert_eq!(presence(&system, "Acme/Tiny:Q4_K_M")["arrival"]["bytes"], SMALL + config);
    system.larder(&["model", "pull", "Acme/Tiny:Q8_0"]);
    let large = presence(&system, "Acme/Tiny:Q8_0");
    assert_eq!(large["arrival"]["bytes"], LARGE, "the small file was there: {large}");
    assert_eq!(large["bytes"], LARGE + config, "{large}");
    assert_eq!(blob_bytes(&system), SMALL + LARGE + config);
    let offer = system.larder(&["model", "show", "Acme/Tiny"]);
    let hosts = |name: &str| {
        let variants = offer["hub"]["variants"].as_array().unwrap();
        variants.iter().find(|variant| variant["name"] == name).unwrap()["hosts"].clone()
    };
    assert_eq!((hosts("Q4_K_M"), hosts("Q8_0")), (json!(1), json!(1)), "{offer}");

    let removed = system.larder(&["model", "rm", "Acme/Tiny:Q8_0"]);
    // What the disk has free again: whole blocks.
    let freed = removed["freedBytes"].as_u64().unwrap();
    assert!((LARGE..LARGE + 65_536).contains(&freed), "{removed}");
    assert_eq!(blob_bytes(&system), SMALL + config, "its bytes are gone, the shared ones stay");
    let verified = system.larder(&["model", "verify", "Acme/Tiny:Q4_K_M"]);
    assert_eq!((&verified["files"], &verified["damaged"]), (&json!(2), &json!([])), "{verified}");
    let list = system.larder(&["model", "list"]);
    assert_eq!(list["models"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["models"][0]["choice"]["name"], "Q4_K_M", "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_found_and_mended() {
    const BYTES: u64 = 300_000;
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    write_model(models.path(), "Acme/Rot", BYTES, 1);
    let system = start(prepared, models.path(), &[], &[]).await;
    system.larder(&["model", "pull", "Acme/Rot"]);
    let is_weights = |path: &PathBuf| fs::metadata(path).unwrap().len() == BYTES;
    let weights = blobs(&system).into_iter().find(is_weights).unwrap();
    let file = fs::File::options().read(true).write(true).open(&weights).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, BYTES / 2).unwrap();
    file.write_all_at(&[!byte[0]], BYTES / 2).unwrap();
    file.sync_all().unwrap();

    let told = system.try_larder(&["model", "verify", "Acme/Rot", "--output", "json"]);
    let (stdout, stderr) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(!told.status.success(), "{stdout}");
    let view: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(view["damaged"], json!(["model.safetensors"]), "{view}");
    assert!(stderr.contains("content-mismatch") && stderr.contains("--repair"), "{stderr}");

    let repaired = system.larder(&["model", "verify", "Acme/Rot", "--repair"]);
    assert_eq!(repaired["damaged"], json!(["model.safetensors"]), "{repaired}");
    assert_eq!(repaired["repairing"].as_array().map(Vec::len), Some(1), "{repaired}");
    let clean = system.larder(&["model", "verify", "Acme/Rot"]);
    assert_eq!((&clean["files"], &clean["damaged"]), (&json!(2), &json!([])), "{clean}");
    let weights = blobs(&system).into_iter().find(is_weights).unwrap();
    assert!(fs::read(weights).unwrap() == noise(BYTES, 1), "the bytes are the hub's again");
    assert_eq!(listed(&system, "Acme/Rot")["status"]["state"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_tells_that_it_is_pinned_and_that_it_was_removed() {
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    write_model(models.path(), "Acme/Kept", 50_000, 1);
    let system = start(prepared, models.path(), &[], &[]).await;
    system.larder(&["model", "pull", "Acme/Kept"]);
    assert_eq!(listed(&system, "Acme/Kept")["pinned"], false);
    assert_eq!(presence(&system, "Acme/Kept")["pinnedSince"], Value::Null);
    system.larder(&["model", "pin", "Acme/Kept"]);
    assert_eq!(listed(&system, "Acme/Kept")["pinned"], true);
    testkit::wait_for("the host's pin", DEADLINE, async || {
        presence(&system, "Acme/Kept")["pinnedSince"].is_string().then_some(())
    })
    .await;
    let table = String::from_utf8(system.try_larder(&["model", "list"]).stdout).unwrap();
    assert!(table.contains("pinned"), "{table}");

    let refused = system.try_larder(&["model", "rm", "Acme/Kept", "--output", "json"]);
    let refused: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(refused["code"], "model-pinned", "{refused}");
    system.larder(&["model", "unpin", "Acme/Kept"]);
    assert_eq!(listed(&system, "Acme/Kept")["pinned"], false);
    let removed = system.larder(&["model", "rm", "Acme/Kept"]);
    assert!(removed["freedBytes"].as_u64() >= Some(50_000), "{removed}");
    assert_eq!(system.larder(&["model", "list"])["models"], json!([]));
    let gone = presence(&system, "Acme/Kept");
    assert_eq!((&gone["presence"], &gone["cause"]["cause"]), (&json!("gone"), &json!("removed")), "{gone}");
    assert_eq!(blob_bytes(&system), 0);
    let words = String::from_utf8(system.try_larder(&["model", "why", "Acme/Kept"]).stdout).unwrap();
    assert!(words.contains("removed, "), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_valuable_model_makes_room_and_a_pinned_one_stays() {
    const BYTES: u64 = 4_000_000;
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    for (seed, name) in ["First", "Second", "Third"].into_iter().enumerate() {
        write_model(models.path(), &format!("Acme/{name}"), BYTES, seed as u64);
    }
    let system = start(prepared, models.path(), &[], &["--cache-bytes-max", "10MB"]).await;
    // The oldest would go first, were it not pinned.
    system.larder(&["model", "pull", "Acme/First", "--pin"]);
    system.larder(&["model", "pull", "Acme/Second"]);
    assert_eq!(presence(&system, "Acme/First")["presence"], "here");
    assert_eq!(presence(&system, "Acme/Second")["presence"], "here");
    system.larder(&["model", "pull", "Acme/Third"]);
    assert_eq!(presence(&system, "Acme/First")["presence"], "here");
    assert_eq!(presence(&system, "Acme/Third")["presence"], "here");
    let gone = presence(&system, "Acme/Second");
    assert_eq!((&gone["presence"], &gone["cause"]["cause"]), (&json!("gone"), &json!("evicted")), "{gone}");
    assert!(gone["cause"]["roomFor"].as_str().unwrap().contains("Acme/Third"), "{gone}");
    assert!(!gone["cause"]["score"].as_str().unwrap().is_empty(), "{gone}");
    assert!(gone["freed"].as_u64() >= Some(BYTES), "{gone}");
    assert!(blob_bytes(&system) < 10_000_000);
    let words = String::from_utf8(system.try_larder(&["model", "why", "Acme/Second"]).stdout).unwrap();
    assert!(words.contains("evicted for ") && words.contains("why this one: "), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hugging_face_cache_is_taken_over_without_a_byte_from_the_hub() {
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    write_model(models.path(), "Acme/Moved", 500_000, 1);
    let mut system = start(prepared, models.path(), &[], &[]).await;
    let home = system.folder.path().join("hf");
    let done = Command::new(system.prepared.venv.join("bin/hf"))
        .args(["download", "Acme/Moved"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", system.folder.path())
        .env("HF_HOME", &home)
        .env("HF_ENDPOINT", format!("http://{}", system.hub_address))
        .env("HF_HUB_DISABLE_UPDATE_CHECK", "1")
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    system.end_hub();

    let imported = system.larder(&["model", "import", &home.to_string_lossy()]);
    let snapshot = &imported["snapshots"][0];
    assert_eq!(
        (&snapshot["repo"], &snapshot["outcome"]),
        (&json!("Acme/Moved"), &json!("imported")),
        "{imported}"
    );
    assert_eq!((&snapshot["files"], &snapshot["flaws"]), (&json!(2), &Value::Null), "{imported}");
    let model = listed(&system, "Acme/Moved");
    assert_eq!(model["status"]["state"], "ready", "{}", system.larder(&["model", "list"]));
    assert_eq!(model["commit"], snapshot["commit"], "{model}");
    let here = presence(&system, "Acme/Moved");
    assert_eq!((&here["presence"], &here["arrival"]["way"]), (&json!("here"), &json!("imported")), "{here}");
    let verified = system.larder(&["model", "verify", "Acme/Moved"]);
    assert_eq!((&verified["files"], &verified["damaged"]), (&json!(2), &json!([])), "{verified}");
    let again = system.larder(&["model", "import", &home.to_string_lossy()]);
    assert_eq!(again["snapshots"][0]["outcome"], "already_here", "{again}");
}
