//! Bad input and faults: each with its own stable code, a sentence and a hint, and nothing lost.

use std::fs;

use serde_json::{Value, json};

use crate::system::{DEADLINE, Prepared, System};

fn write_models(folder: &std::path::Path) {
    for name in ["Acme/Open", "Acme/Gated", "Acme/Secret"] {
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("config.json"), "{}").unwrap();
        fs::write(folder.join(name).join("model.safetensors"), name.repeat(1000)).unwrap();
    }
    fs::write(
        folder.join("access.toml"),
        r#"
[repos."Acme/Gated"]
access = "gated"
[repos."Acme/Secret"]
access = "private"
[[tokens]]
token = "hf_granted"
user = "anna"
repos = ["Acme/Gated", "Acme/Secret"]
[[tokens]]
token = "hf_other"
user = "ben"
repos = []
"#,
    )
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_a_code_a_sentence_and_a_hint() {
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    write_models(models.path());
    let access = models.path().join("access.toml").to_string_lossy().into_owned();
    let mut system = System::start_with_hub(prepared, models.path(), &["--access", &access]).await;

    let create = |model: &str, token: Option<&str>| json!({"name": "faulty", "command": ["true"], "models": [{"reference": model}], "hubToken": token});
    let cases = [
        (create("Acme/Missing", None), "repo-not-found-or-private"),
        (create("Acme/Missing", Some("hf_granted")), "repo-not-found"),
        (create("Acme/Gated", None), "repo-gated-no-token"),
        (create("Acme/Gated", Some("hf_other")), "repo-gated-not-granted"),
        (create("Acme/Open", Some("hf_wrong")), "hub-token-wrong"),
        (create("Acme/Open@nowhere", None), "revision-not-found"),
        (create("../x", None), "model-ref-invalid"),
        (create("", None), "model-ref-invalid"),
        (create("a/b/c/d", None), "model-ref-invalid"),
        (json!({"name": "faulty", "command": ["true"], "colour": 1}), "body-not-json"),
        (json!({"name": "Faulty!", "command": ["true"]}), "body-not-json"),
    ];
    for (body, code) in cases {
        let (status, problem) = system.request("POST", "/api/v2/serverless", Some(body.clone())).await;
        assert!((400..500).contains(&status), "{body}: {problem}");
        assert_eq!(problem["code"], code, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
        let page = problem["type"].as_str().unwrap();
        assert_eq!(system.request("GET", page, None).await.0, 200, "{page} explains it");
    }
    let (_, list) = system.request("GET", "/api/v2/serverless", None).await;
    assert_eq!(list["endpoints"], json!([]), "nothing was made");

    system.end_hub();
    let (_, problem) = system.request("POST", "/api/v2/serverless", Some(create("Acme/Open", None))).await;
    assert_eq!(problem["code"], "hub-unreachable", "{problem}");

    for (method, path, body, status, code) in [
        ("POST", "/v2/nowhere/run", Some(json!({"input": 1})), 404, "endpoint-not-found"),
        ("GET", "/v2/nowhere/status/x", None, 404, "endpoint-not-found"),
        ("GET", "/api/v2/workers/wk_none", None, 404, "worker-not-found"),
        ("GET", "/nowhere", None, 404, "route-not-found"),
        ("DELETE", "/readyz", None, 405, "method-not-allowed"),
    ] {
        let (got, problem) = system.request(method, path, body).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{method} {path}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_good_key_or_body_are_refused() {
    let Some(prepared) = Prepared::find() else { return };
    let system = System::start(prepared).await;
    system.create_endpoint("plain", "kinds.py", &[]);
    let client = reqwest::Client::new();
    let run = format!("http://{}/v2/plain/run", system.address);
    let post = |key: Option<&str>, body: String| {
        let mut request = client.post(&run).body(body);
        if let Some(key) = key {
            request = request.header("Authorization", key);
        }
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let key = system.key();
    let (status, answer) = post(None, "{}".into()).await;
    assert_eq!((status, &answer["code"]), (401, &json!("key-missing")), "{answer}");
    let (status, answer) = post(Some("Bearer lk_wrong"), "{}".into()).await;
    assert_eq!((status, &answer["code"]), (401, &json!("key-wrong")), "{answer}");
    let (status, answer) = post(Some(&key), "{\"input\": ".into()).await;
    assert_eq!((status, &answer["code"]), (400, &json!("body-not-json")), "a bare key is a key: {answer}");
    let (status, answer) = post(Some(&key), "{}".into()).await;
    assert_eq!((status, &answer["code"]), (400, &json!("field-invalid")), "{answer}");
    let large = format!("{{\"input\": \"{}\"}}", "x".repeat(11 * 1024 * 1024));
    let (status, answer) = post(Some(&key), large).await;
    assert_eq!((status, &answer["code"]), (413, &json!("body-too-large")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_environment_whose_base_can_not_be_mounted_is_refused() {
    let Some(prepared) = Prepared::find() else { return };
    let system = System::start(prepared).await;
    testkit::wait_for("the host", DEADLINE, async || {
        let (_, hosts) = system.request("GET", "/api/v2/hosts", None).await;
        hosts["hosts"][0]["connected"].as_bool().filter(|connected| *connected)
    })
    .await;
    // Its interpreter says that its base is a whole home folder.
    let interpreter = system.folder.path().join("venv/bin/python");
    fs::create_dir_all(interpreter.parent().unwrap()).unwrap();
    fs::write(&interpreter, "#!/bin/sh\necho /root\necho 3.11.0\n").unwrap();
    fs::set_permissions(&interpreter, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for folder in [system.folder.path().join("venv"), "/nowhere/venv".into()] {
        let body = json!({"name": "unusable", "command": ["true"], "python": folder});
        let (status, problem) = system.request("POST", "/api/v2/serverless", Some(body)).await;
        assert_eq!((status, &problem["code"]), (422, &json!("python-unusable")), "{problem}");
        assert_eq!(problem["errors"][0]["field"], "python", "{problem}");
    }
    let (_, list) = system.request("GET", "/api/v2/serverless", None).await;
    assert_eq!(list["endpoints"], json!([]), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_exits_is_explained_and_its_job_waits() {
    let Some(prepared) = Prepared::find() else { return };
    let system = System::start(prepared).await;
    system.larder(&["endpoint", "create", "exits", "--command", "sh -c 'echo the disk is on fire; exit 3'"]);
    let (_, job) = system.request("POST", "/v2/exits/run", Some(json!({"input": {}}))).await;
    let fault = testkit::wait_for("the reason", DEADLINE, async || {
        let (_, endpoint) = system.request("GET", "/api/v2/serverless/exits", None).await;
        let fault = endpoint["waiting"]["fault"].clone();
        (!fault.is_null()).then_some(fault)
    })
    .await;
    assert_eq!(fault["code"], "handler-exited", "{fault}");
    assert!(fault["message"].as_str().unwrap().contains("the disk is on fire"), "{fault}");
    let (_, view) =
        system.request("GET", &format!("/v2/exits/status/{}", job["id"].as_str().unwrap()), None).await;
    assert_eq!(view["status"], "IN_QUEUE", "{view}");
    assert_eq!(view["waiting"]["fault"]["code"], "handler-exited", "{view}");
    let workers = system.larder(&["worker", "list"]);
    assert_eq!(workers["workers"][0]["phase"], "unhealthy", "{workers}");
    let ended = workers["workers"][0]["id"].as_str().unwrap();
    let (status, logs) = system.request("GET", &format!("/api/v2/workers/{ended}/logs"), None).await;
    assert_eq!(status, 200, "the log of an ended worker is kept: {logs}");
    assert!(logs["lines"][0]["line"].as_str().unwrap().contains("the disk is on fire"), "{logs}");
    let usage = system.larder(&["usage"]);
    assert_eq!(usage["records"][0]["billedSeconds"], 0, "a worker that never pinged is not billed: {usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fetch_says_why_and_goes_on_when_the_hub_is_back() {
    let Some(prepared) = Prepared::find() else { return };
    let models = prepared.models.clone();
    let mut system = System::start(prepared).await;
    let model = "sentence-transformers/all-MiniLM-L6-v2";
    system.create_endpoint("plain", "kinds.py", &["--model", model]);
    system.end_hub();
    let (_, job) = system.request("POST", "/v2/plain/run", Some(json!({"input": "hi"}))).await;
    let id = job["id"].as_str().unwrap().to_owned();
    let path = format!("/v2/plain/status/{id}");
    let fault = testkit::wait_for("the reason", DEADLINE, async || {
        let (_, view) = system.request("GET", &path, None).await;
        assert_eq!(view["status"], "IN_QUEUE", "{view}");
        let fault = view["waiting"]["fault"].clone();
        (!fault.is_null()).then_some(fault)
    })
    .await;
    assert_eq!(fault["code"], "hub-unreachable", "{fault}");
    system.start_hub(&models, &[]);
    let view = system.ended_job("plain", &id).await;
    assert_eq!(view["status"], "COMPLETED", "{view}");
}
