//! Each wrong field is named, and right bodies pass.

use std::collections::BTreeMap;

use api::{CreateEndpoint, UpdateEndpoint};
use types::{HubName, Launch, Scaler};

use super::*;
use crate::HubConfig;

fn hubs() -> Vec<HubConfig> {
    vec![
        HubConfig {
            name: HubName::hugging_face(),
            endpoint: "https://huggingface.co".parse().unwrap(),
            trusted: true,
        },
        HubConfig {
            name: "inner".parse().unwrap(),
            endpoint: "http://hub.inner/".parse().unwrap(),
            trusted: true,
        },
    ]
}

fn body(text: &str) -> CreateEndpoint {
    serde_json::from_str(text).unwrap()
}

#[test]
fn wrong_fields_of_an_endpoint_are_named() {
    let check = |text: &str, expected: &[&str]| {
        let problem = create_draft(body(text), &hubs()).unwrap_err();
        let fields: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, expected, "{text}");
    };
    check(r#"{"name":"abc"}"#, &["command"]);
    check(r#"{"name":"abc","command":[]}"#, &["command"]);
    check(r#"{"name":"abc","command":["x"],"image":"y"}"#, &["image"]);
    check(r#"{"name":"abc","image":"y"}"#, &["image"]);
    check(r#"{"name":"abc","command":["x"],"folder":"12"}"#, &["folder"]);
    check(r#"{"name":"abc","command":["x"],"python":"venv"}"#, &["python"]);
    check(r#"{"name":"abc","command":["x"],"python":"/a/../b"}"#, &["python"]);
    check(r#"{"name":"abc","command":["x"],"env":{"1A":"x","B":"\u0000"}}"#, &["env.1A", "env.B"]);
    check(r#"{"name":"abc","command":["x"],"hubEndpoint":"ftp://x/"}"#, &["hubEndpoint"]);
    check(r#"{"name":"abc","command":["x"],"workers":{"min":2,"max":1}}"#, &["workers.min"]);
    check(r#"{"name":"abc","command":["x"],"workers":{"idleTimeout":0}}"#, &["workers.idleTimeout"]);
    check(
        r#"{"name":"abc","command":["x"],"scaling":{"type":"QUEUE_DELAY","queueDelay":0.1},"timeout":1,"jobTtl":1}"#,
        &["scaling.queueDelay", "timeout", "jobTtl"],
    );
    check(r#"{"name":"abc","command":["x"],"gpu":{"count":99}}"#, &["gpu.count"]);
    let models =
        r#"{"name":"abc","command":["x"],"models":[{"reference":"../x"},{"reference":"other!a/b"}]}"#;
    check(models, &["models[0].reference", "models[1].reference"]);
    assert_eq!(create_draft(body(models), &hubs()).unwrap_err().code, ErrorCode::ModelRefInvalid);
}

#[test]
fn models_come_from_the_hub_that_is_meant() {
    let check = |own: &str, reference: &str, expected: &str| {
        let own = (!own.is_empty()).then(|| own.parse().unwrap());
        let choice = hub_choice(&reference.parse().unwrap(), own.as_ref(), &hubs());
        let shown = match choice {
            Ok(hub) => format!("{} {} {}", hub.name, hub.endpoint, hub.trusted),
            Err(reason) => reason,
        };
        assert_eq!(shown, expected);
    };
    check("", "a/b", "huggingface https://huggingface.co/ true");
    check("", "inner!a/b", "inner http://hub.inner/ true");
    check(
        "",
        "other!a/b",
        "no hub other is configured; known are: huggingface (https://huggingface.co/), inner (http://hub.inner/); \
         give the address of another with --hub-endpoint",
    );
    // A link names a hub by its host.
    check("", "https://huggingface.co/a/b", "huggingface https://huggingface.co/ true");
    check("", "https://hub.inner/a/b", "inner http://hub.inner/ true");
    check("", "http://hub.inner:80/a/b/tree/main", "inner http://hub.inner/ true");
    check(
        "",
        "https://example.com/a/b",
        "no hub example.com is configured; known are: huggingface (https://huggingface.co/), inner \
         (http://hub.inner/); give the address of another with --hub-endpoint",
    );
    check("https://huggingface.co/", "a/b", "huggingface https://huggingface.co/ true");
    check("http://127.0.0.1:8080", "a/b", "127.0.0.1:8080 http://127.0.0.1:8080/ false");
}

#[test]
fn files_are_wanted_by_patterns_that_can_be_read() {
    let long = "a".repeat(256);
    let check = |model: &str, expected: &[&str]| {
        let text = format!(r#"{{"name":"abc","command":["x"],"models":[{{"reference":"a/b"}},{model}]}}"#);
        let fields: Vec<String> = match create_draft(body(&text), &hubs()) {
            Ok(_) => Vec::new(),
            Err(problem) => problem.errors.into_iter().map(|error| error.field).collect(),
        };
        assert_eq!(fields, expected, "{text}");
    };
    check(r#"{"reference":"c/d","include":["*.json","onnx/"],"exclude":["[!a]*"],"weights":"any"}"#, &[]);
    check(
        r#"{"reference":"c/d","include":["x",""],"exclude":["a\u0000"]}"#,
        &["models[1].include[1]", "models[1].exclude[0]"],
    );
    check(&format!(r#"{{"reference":"c/d","exclude":["{long}"]}}"#), &["models[1].exclude[0]"]);
    check(r#"{"reference":"c/d:Q8_0","include":["x"]}"#, &["models[1].include"]);
    check(r#"{"reference":"c/d:Q8_0","exclude":["x"]}"#, &["models[1].exclude"]);
    let many = vec![r#""x""#; 33].join(",");
    check(&format!(r#"{{"reference":"c/d","include":[{many}]}}"#), &["models[1].include"]);
}

#[test]
fn an_update_changes_only_what_is_given() {
    let text = r#"{"name":"abc","command":["x","y"],"env":{"A":"1"},"models":[{"reference":"a/b"}]}"#;
    let (_, spec, scaling) = create_draft(body(text), &hubs()).unwrap();
    let update = |text: &str| {
        let body: UpdateEndpoint = serde_json::from_str(text).unwrap();
        update_draft(body, spec.clone(), &scaling, &hubs()).unwrap()
    };
    let (none, changed) = update(r#"{"workers":{"max":7}}"#);
    assert!(none.is_none());
    assert_eq!((changed.workers_max, changed.workers_min), (7, 0));
    assert!(matches!(changed.scaler, Scaler::QueueDelay { .. }));
    let (changed, _) = update(r#"{"env":{"B":"2"}}"#);
    let changed = changed.unwrap();
    assert_eq!(changed.env, BTreeMap::from([("B".to_owned(), Redacted::new("2".to_owned()))]));
    assert_eq!(changed.models, spec.models);
    let (changed, _) = update(r#"{"python":"/opt/venv"}"#);
    match changed.unwrap().launch {
        Launch::Command { command, python, .. } => {
            assert_eq!(command.words(), ["x", "y"]);
            assert_eq!(python.unwrap().to_str(), Some("/opt/venv"));
        }
        Launch::Image { .. } => panic!("the launch changed its kind"),
    }
}

#[test]
fn wrong_fields_of_a_job_are_named() {
    let check = |text: &str, expected: &[&str]| {
        let fields = match job_draft(serde_json::from_str(text).unwrap()) {
            Ok(_) => Vec::new(),
            Err(problem) => problem.errors.into_iter().map(|error| error.field).collect(),
        };
        assert_eq!(fields, expected, "{text}");
    };
    check("{}", &["input"]);
    check(r#"{"input":null}"#, &[]);
    check(r#"{"input":{},"webhook":"mailto:x"}"#, &["webhook"]);
    check(r#"{"input":{},"s3Config":[]}"#, &["s3Config"]);
    let policy = r#"{"input":{},"policy":{"executionTimeout":4999,"ttl":604800001}}"#;
    check(policy, &["policy.executionTimeout", "policy.ttl"]);
    check(r#"{"input":{},"policy":{"executionTimeout":5000,"ttl":10000,"lowPriority":true},"more":1}"#, &[]);
}
