//! The unmodified `runpod` SDK: as worker with handlers of each kind, and as client.

use serde_json::{Value, json};

use crate::system::{Prepared, System, workers};

async fn run_sync(system: &System, endpoint: &str, input: Value) -> Value {
    let (status, view) =
        system.request("POST", &format!("/v2/{endpoint}/runsync"), Some(json!({"input": input}))).await;
    assert_eq!(status, 200, "{view}");
    if ["IN_QUEUE", "IN_PROGRESS"].contains(&view["status"].as_str().unwrap()) {
        return system.ended_job(endpoint, view["id"].as_str().unwrap()).await;
    }
    view
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_of_every_kind_give_their_result() {
    let Some(prepared) = Prepared::find() else { return };
    let system = System::start(prepared).await;
    for kind in ["plain", "coroutine", "generator", "async_generator"] {
        let name = kind.replace('_', "-");
        system.create_endpoint(&name, "kinds.py", &["--env", &format!("HANDLER={kind}")]);
    }
    let view = run_sync(&system, "plain", json!("hi")).await;
    assert_eq!((&view["status"], &view["output"]["echo"]), (&json!("COMPLETED"), &json!("hi")), "{view}");
    for field in ["delayTime", "executionTime", "workerId", "id"] {
        assert!(!view[field].is_null(), "{field} is missing: {view}");
    }
    let raised = run_sync(&system, "plain", json!({"raise": "boom"})).await;
    assert_eq!(raised["status"], "FAILED", "{raised}");
    let error: Value = serde_json::from_str(raised["error"].as_str().unwrap()).unwrap();
    assert_eq!(error["error_message"], "boom", "the SDK's own error text is kept");
    let refused = run_sync(&system, "plain", json!({"error": "no"})).await;
    assert_eq!((&refused["status"], &refused["error"]), (&json!("FAILED"), &json!("no")), "{refused}");

    let view = run_sync(&system, "coroutine", json!({"a": 1})).await;
    assert_eq!(view["output"], json!({"echo": {"a": 1}}), "{view}");
    for kind in ["generator", "async-generator"] {
        let view = run_sync(&system, kind, json!({"count": 3})).await;
        assert_eq!(view["output"], json!([{"number": 0}, {"number": 1}, {"number": 2}]), "{kind}: {view}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runpod_client_works_with_its_base_address_changed() {
    let Some(prepared) = Prepared::find() else { return };
    let system = System::start(prepared).await;
    let created = system.create_endpoint("plain", "kinds.py", &[]);
    let output = std::process::Command::new(system.prepared.venv.join("bin/python"))
        .arg(workers().join("client.py"))
        .arg(format!("http://{}/v2", system.address))
        .arg(system.key())
        .arg(created["id"].as_str().unwrap())
        .env("HOME", system.folder.path())
        .env("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true")
        .env("RUNPOD_SKIP_GPU_CHECK", "true")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), system.logs());
    let last_line = output.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap();
    let said: Value = serde_json::from_slice(last_line).unwrap();
    assert_eq!(said["run_sync"]["echo"], json!({"text": "one"}), "{said}");
    assert_eq!(said["run"]["echo"], json!({"text": "two"}), "{said}");
    assert_eq!((&said["status"], &said["failing"]), (&json!("COMPLETED"), &json!("FAILED")), "{said}");
    assert_eq!(said["cancelled"], "CANCELLED", "{said}");
    assert_eq!(said["health"]["jobs"]["completed"], 2, "{said}");
}
