//! Restarts and kills: what was promised is there afterwards.

use std::process::Command;

use serde_json::json;

use crate::system::{DEADLINE, Prepared, System};

const MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_finds_everything_as_it_was() {
    let Some(prepared) = Prepared::find() else { return };
    let mut system = System::start(prepared).await;
    system.create_endpoint("plain", "kinds.py", &["--model", MODEL, "--workers-max", "1"]);
    let (_, done) = system.request("POST", "/v2/plain/runsync", Some(json!({"input": "before"}))).await;
    assert_eq!(done["status"], "COMPLETED", "{done}");
    assert!(done.get("attempts").is_none(), "attempts are shown on our own routes only: {done}");
    system.end_up();
    system.start_up().await;
    system.end_hub();
    let endpoints = system.larder(&["endpoint", "list"]);
    assert_eq!(endpoints["endpoints"][0]["name"], "plain", "{endpoints}");
    let models = system.larder(&["model", "list"]);
    assert_eq!(models["models"][0]["status"]["state"], "ready", "a cached start needs no hub: {models}");
    let (_, after) = system.request("POST", "/v2/plain/runsync", Some(json!({"input": "after"}))).await;
    assert_eq!(
        (&after["status"], &after["output"]["echo"]),
        (&json!("COMPLETED"), &json!("after")),
        "{after}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_in_use_is_refused_to_others_and_the_first_goes_on() {
    let Some(prepared) = Prepared::find() else { return };
    let system = System::start(prepared).await;
    let before = ["server", "agent"].map(|role| system.pid_of(role));
    let refused = |mut command: Command, code: &str| {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{command:?}: {said}");
        assert!(said.contains(code), "{command:?}: {said}");
        assert!(said.contains(&system.data_folder().display().to_string()), "it names the folder: {said}");
    };
    refused(system.up_command(), "state-locked");
    refused(system.command(&["server", "--listen", "127.0.0.1:0"]), "listen-failed");
    refused(system.command(&["agent", "--no-egress"]), "store-locked");
    assert_eq!(["server", "agent"].map(|role| system.pid_of(role)), before);
    system.create_endpoint("plain", "kinds.py", &[]);
    let (_, done) = system.request("POST", "/v2/plain/runsync", Some(json!({"input": "on"}))).await;
    assert_eq!(done["status"], "COMPLETED", "{done}");
}

/// Kills roles in the middle of a job; the job ends all the same, once.
async fn job_survives(roles: &[&str]) {
    let Some(prepared) = Prepared::find() else { return };
    let system = System::start(prepared).await;
    system.create_endpoint("plain", "kinds.py", &[]);
    let (_, job) = system.request("POST", "/v2/plain/run", Some(json!({"input": {"sleep": 3}}))).await;
    let id = job["id"].as_str().unwrap().to_owned();
    let path = format!("/v2/plain/status/{id}");
    testkit::wait_for("the job to run", DEADLINE, async || {
        let (_, view) = system.request("GET", &path, None).await;
        (view["status"] == "IN_PROGRESS").then_some(())
    })
    .await;
    for role in roles {
        system.kill(role);
    }
    let view = system.ended_job_after_restart("plain", &id).await;
    assert_eq!(view["status"], "COMPLETED", "{view}");
    assert_eq!(view["output"]["echo"], json!({"sleep": 3}), "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_survives_the_death_of_the_server() {
    job_survives(&["server"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_survives_the_death_of_the_agent() {
    job_survives(&["agent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_survives_the_death_of_both() {
    job_survives(&["server", "agent"]).await;
}

/// Kills roles in the middle of a fetch; it goes on where it was, and the job that waits for it ends.
async fn fetch_survives(roles: &[&str]) {
    let Some(prepared) = Prepared::find() else { return };
    let models = prepared.models.clone();
    // The weights are eleven extents of 8 MiB, each over a connection of its own at 1 MB/s. The first four connections
    // begin before the others, so their extents are whole when the kill comes.
    let system = System::start_with_hub(prepared, &models, &["--rate-max", "1MB"]).await;
    system.create_endpoint("plain", "kinds.py", &["--model", MODEL]);
    let (_, job) = system.request("POST", "/v2/plain/run", Some(json!({"input": "hi"}))).await;
    let id = job["id"].as_str().unwrap().to_owned();
    let fetched = testkit::wait_for("bytes", DEADLINE, async || {
        let (_, endpoint) = system.request("GET", "/api/v2/serverless/plain", None).await;
        endpoint["waiting"]["fetch"]["bytesDone"].as_u64().filter(|bytes| *bytes > 80_000_000)
    })
    .await;
    for role in roles {
        system.kill(role);
    }
    let view = system.ended_job_after_restart("plain", &id).await;
    assert_eq!(view["status"], "COMPLETED", "{view}");
    let usage = system.larder(&["usage"]);
    let bytes = usage["records"][0]["fetchedBytes"].as_u64().unwrap();
    // While only the server is away the agent fetches on; a new agent counts what it fetches itself, and finds the
    // extents that were whole. How much may come twice at most is `kills`' matter.
    let whole = 4 * (8 << 20);
    let most = if roles.contains(&"agent") { 91_618_861 - whole } else { 91_618_861 };
    assert!(bytes <= most, "it went on where it was: {bytes} after {fetched} the first time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_survives_the_death_of_the_server() {
    fetch_survives(&["server"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_survives_the_death_of_the_agent() {
    fetch_survives(&["agent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_survives_the_death_of_both() {
    fetch_survives(&["agent", "server"]).await;
}
