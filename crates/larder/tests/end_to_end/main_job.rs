//! The main job: a request whose model is nowhere, then a cached cold start, then a warm request.

use serde_json::{Value, json};

use crate::system::{Prepared, System};

const MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_nowhere_is_fetched_and_answers() {
    let Some(prepared) = Prepared::find() else { return };
    let system = System::start(prepared).await;
    let created = create_text_embed(&system);
    assert_eq!(created["models"][0]["repo"], MODEL);
    assert_eq!(created["models"][0]["commit"].as_str().unwrap().len(), 40, "the resolved commit is shown");

    let question = json!({"texts": ["A dog runs.", "Stocks fell."], "query": "a puppy in motion"});
    for round in ["nothing anywhere", "cached cold start", "warm"] {
        let answer = system.larder(&["run", "text-embed", &question.to_string()]);
        assert_eq!(answer["nearest"], "A dog runs.", "{round}: {answer}");
        if round == "nothing anywhere" {
            system.scaled_to_zero("text-embed").await;
        }
    }

    let workers = system.larder(&["worker", "list"]);
    let workers = workers["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2, "one start fetched, one found the model there: {workers:?}");
    let first = workers.iter().find(|worker| has_mark(worker, "fetched")).expect("a start that fetched");
    let second = workers.iter().find(|worker| !has_mark(worker, "fetched")).expect("a start that did not");
    for mark in
        ["queued", "placed", "view_mounted", "process_started", "first_ping", "first_take", "first_done"]
    {
        assert!(has_mark(first, mark) && has_mark(second, mark), "{mark} is missing: {workers:?}");
    }
    assert!(first["phases"]["initializing"].as_u64() > Some(0), "{first}");

    let usage = system.larder(&["usage"]);
    let record = &usage["records"][0];
    assert!(record["fetchedBytes"].as_u64() > Some(90_000_000), "{usage}");
    let initializing = phase(record, "initializing");
    assert_eq!(initializing["billed"], false);
    assert!(initializing["seconds"].as_f64() > Some(0.0), "the fetch is in the ledger: {usage}");
    let billed: f64 = record["phases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|phase| phase["billed"] == true)
        .map(|phase| phase["seconds"].as_f64().unwrap())
        .sum();
    let billed_seconds = record["billedSeconds"].as_u64().unwrap() as f64;
    assert!(billed <= billed_seconds && billed_seconds <= billed.ceil() + 2.0, "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_pulled_listed_verified_and_removed() {
    let Some(prepared) = Prepared::find() else { return };
    let system = System::start(prepared).await;
    system.larder(&["model", "pull", MODEL]);
    let list = system.larder(&["model", "list"]);
    assert_eq!(list["models"][0]["status"]["state"], "ready", "{list}");
    let path = system.larder(&["model", "path", MODEL]);
    let worker_path = path["workerPath"].as_str().unwrap();
    let commit = list["models"][0]["commit"].as_str().unwrap();
    assert_eq!(
        worker_path,
        format!(
            "/runpod-volume/huggingface-cache/hub/models--sentence-transformers--all-MiniLM-L6-v2/snapshots/{commit}"
        )
    );
    let verified = system.larder(&["model", "verify", MODEL]);
    assert_eq!(verified["damaged"], json!([]));
    assert!(verified["bytes"].as_u64() > Some(90_000_000));
    system.larder(&["model", "rm", MODEL]);
    let list = system.larder(&["model", "list"]);
    assert_eq!(list["models"], json!([]), "{list}");
}

fn create_text_embed(system: &System) -> Value {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/text-embed");
    let venv = system.prepared.venv.to_string_lossy().into_owned();
    system.larder(&[
        "endpoint",
        "create",
        "text-embed",
        "--model",
        MODEL,
        "--command",
        "python handler.py",
        "--dir",
        &examples.to_string_lossy(),
        "--python",
        &venv,
        "--idle-timeout",
        "1",
    ])
}

fn has_mark(worker: &Value, mark: &str) -> bool {
    worker["timeline"].as_array().unwrap().iter().any(|entry| entry["mark"] == mark)
}

fn phase<'a>(record: &'a Value, name: &str) -> &'a Value {
    record["phases"].as_array().unwrap().iter().find(|phase| phase["phase"] == name).unwrap_or(&Value::Null)
}
