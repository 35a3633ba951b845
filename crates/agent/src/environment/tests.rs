//! Whole environments, as a worker would print them.

use std::fmt::Write as _;

use api::{ViewOrder, WorkerIntent};
use expect_test::{Expect, expect};
use types::{CommandLine, Launch, ModelRef, SelectionKey};

use super::*;

fn model(reference: &str, canonical: &str) -> ViewOrder {
    let reference: ModelRef = reference.parse().unwrap();
    let repo = types::RepoId { hub: "main".parse().unwrap(), name: canonical.parse().unwrap() };
    let commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    let key = ModelKey { repo, commit, selection: SelectionKey::from_bytes([0; 32]) };
    ViewOrder { reference, key, refs: std::collections::BTreeSet::new() }
}

fn order(views: Vec<ViewOrder>, hub_access: HubAccess, gpus: &[&str]) -> DesiredWorker {
    DesiredWorker {
        worker: "wk_1".parse().unwrap(),
        tenant: "tn_default".parse().unwrap(),
        endpoint: "ep_1".parse().unwrap(),
        endpoint_name: "embed".parse().unwrap(),
        release: "rel_1".parse().unwrap(),
        intent: WorkerIntent::Run,
        launch: Launch::Command {
            command: CommandLine::try_from(vec!["python".to_owned()]).unwrap(),
            folder: None,
            python: None,
        },
        env: None,
        views,
        hub_access,
        hub: None,
        gpus: gpus.iter().map(|gpu| (*gpu).to_owned()).collect(),
        limits: types::WorkerLimits::default(),
    }
}

fn check(order: &DesiredWorker, egress: Egress, owner: &[(&str, &str)], expected: &Expect) {
    expected.assert_eq(&shown(order, egress, owner));
}

fn shown(order: &DesiredWorker, egress: Egress, owner: &[(&str, &str)]) -> String {
    let owner =
        owner.iter().map(|(name, value)| ((*name).to_owned(), Redacted::new((*value).to_owned()))).collect();
    let model_folders: Vec<String> = order.views.iter().map(|view| model_folder(&view.key)).collect();
    let circumstances = Circumstances {
        owner: &owner,
        secret: &Redacted::new("s3cret".to_owned()),
        egress,
        hub_cache: Some(HUB_FOLDER),
        model_folders: &model_folders,
        gpu_kind: (!order.gpus.is_empty()).then_some("NVIDIA L4"),
        hostname: "host_1",
    };
    let environment = compose(order, &circumstances);
    let mut shown = String::new();
    for (name, value) in &environment.values {
        writeln!(shown, "{name}={}", value.expose()).unwrap();
    }
    for (name, path) in &environment.relay_paths {
        writeln!(shown, "{name}=RELAY{}", path.expose()).unwrap();
    }
    shown
}

#[test]
fn a_worker_with_models_and_no_egress() {
    let views = vec![model("qwen/qwen3-0.6b", "Qwen/Qwen3-0.6B"), model("acme/tiny", "acme/tiny")];
    check(
        &order(views, HubAccess::Offline, &[]),
        Egress::None,
        &[],
        &expect![[r#"
        HF_HUB_CACHE=/runpod-volume/huggingface-cache/hub
        HF_HUB_DISABLE_TELEMETRY=1
        HF_HUB_OFFLINE=1
        LARDER_MODELS=[{"id":"Qwen/Qwen3-0.6B","commit":"0123456789abcdef0123456789abcdef01234567","path":"/runpod-volume/huggingface-cache/hub/models--Qwen--Qwen3-0.6B/snapshots/0123456789abcdef0123456789abcdef01234567"},{"id":"acme/tiny","commit":"0123456789abcdef0123456789abcdef01234567","path":"/runpod-volume/huggingface-cache/hub/models--acme--tiny/snapshots/0123456789abcdef0123456789abcdef01234567"}]
        MODEL_NAME=Qwen/Qwen3-0.6B
        MODEL_REVISION=0123456789abcdef0123456789abcdef01234567
        RUNPOD_AI_API_KEY=s3cret
        RUNPOD_ENDPOINT_ID=ep_1
        RUNPOD_PING_INTERVAL=4000
        RUNPOD_POD_HOSTNAME=host_1
        RUNPOD_POD_ID=wk_1
        RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true
        RUNPOD_SKIP_GPU_CHECK=true
        TRANSFORMERS_OFFLINE=1
        RUNPOD_WEBHOOK_GET_JOB=RELAY/v2/ep_1/job-take/$ID?gpu=none
        RUNPOD_WEBHOOK_POST_OUTPUT=RELAY/v2/ep_1/job-done/$RUNPOD_POD_ID/$ID?gpu=none
        RUNPOD_WEBHOOK_POST_STREAM=RELAY/v2/ep_1/job-stream/$RUNPOD_POD_ID/$ID?gpu=none
        RUNPOD_WEBHOOK_PING=RELAY/v2/ep_1/ping/$RUNPOD_POD_ID
    "#]],
    );
}

#[test]
fn a_worker_without_a_model_and_with_a_gpu() {
    check(
        &order(Vec::new(), HubAccess::Online, &["GPU-1", "GPU-2"]),
        Egress::Shared,
        &[],
        &expect![[r#"
        CUDA_VISIBLE_DEVICES=GPU-1,GPU-2
        HF_HUB_DISABLE_TELEMETRY=1
        NVIDIA_DRIVER_CAPABILITIES=compute,utility
        NVIDIA_VISIBLE_DEVICES=GPU-1,GPU-2
        RUNPOD_AI_API_KEY=s3cret
        RUNPOD_ENDPOINT_ID=ep_1
        RUNPOD_GPU_COUNT=2
        RUNPOD_PING_INTERVAL=4000
        RUNPOD_POD_HOSTNAME=host_1
        RUNPOD_POD_ID=wk_1
        RUNPOD_WEBHOOK_GET_JOB=RELAY/v2/ep_1/job-take/$ID?gpu=NVIDIA+L4
        RUNPOD_WEBHOOK_POST_OUTPUT=RELAY/v2/ep_1/job-done/$RUNPOD_POD_ID/$ID?gpu=NVIDIA+L4
        RUNPOD_WEBHOOK_POST_STREAM=RELAY/v2/ep_1/job-stream/$RUNPOD_POD_ID/$ID?gpu=NVIDIA+L4
        RUNPOD_WEBHOOK_PING=RELAY/v2/ep_1/ping/$RUNPOD_POD_ID
    "#]],
    );
}

#[test]
fn a_worker_reaches_the_hub_through_the_edge() {
    let order = order(vec![model("acme/tiny", "acme/tiny")], HubAccess::Edge, &[]);
    let about_the_hub = |egress, owner: &[(&str, &str)]| {
        let shown = shown(&order, egress, owner);
        let lines = shown.lines().filter(|line| line.starts_with("HF_") || line.starts_with("TRANSFORMERS"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let cache = "HF_HUB_CACHE=/runpod-volume/huggingface-cache/hub";
    let telemetry = "HF_HUB_DISABLE_TELEMETRY=1";
    // `printf 'larder hub edge 1\ns3cret' | sha256sum`, its first 40 digits.
    let edge = "HF_ENDPOINT=RELAY/hub/wk_1/8db2c417afeaa14f41b2b7c42b42dd8268a85f69";
    assert_eq!(about_the_hub(Egress::Shared, &[]), [cache, telemetry, edge]);
    let without =
        ["HF_HUB_CACHE=/runpod-volume/huggingface-cache/hub", telemetry, "HF_HUB_DISABLE_XET=1", edge];
    assert_eq!(about_the_hub(Egress::None, &[]), without);
    let own = [("HF_ENDPOINT", "http://mine"), ("HF_HUB_OFFLINE", "1")];
    let expected = ["HF_ENDPOINT=http://mine", cache, telemetry, "HF_HUB_OFFLINE=1"];
    assert_eq!(about_the_hub(Egress::Shared, &own), expected);
}

#[test]
fn what_the_owner_set_wins() {
    let owner = [
        ("MODEL_NAME", "mine"),
        ("HF_HUB_OFFLINE", "0"),
        ("RUNPOD_SKIP_GPU_CHECK", ""),
        ("RUNPOD_AI_API_KEY", "own"),
        ("RUNPOD_WEBHOOK_PING", "http://elsewhere"),
        ("HELLO", "world"),
    ];
    let views = vec![model("acme/tiny", "acme/tiny")];
    check(
        &order(views, HubAccess::Offline, &[]),
        Egress::None,
        &owner,
        &expect![[r#"
        HELLO=world
        HF_HUB_CACHE=/runpod-volume/huggingface-cache/hub
        HF_HUB_DISABLE_TELEMETRY=1
        HF_HUB_OFFLINE=0
        LARDER_MODELS=[{"id":"acme/tiny","commit":"0123456789abcdef0123456789abcdef01234567","path":"/runpod-volume/huggingface-cache/hub/models--acme--tiny/snapshots/0123456789abcdef0123456789abcdef01234567"}]
        MODEL_NAME=mine
        MODEL_REVISION=0123456789abcdef0123456789abcdef01234567
        RUNPOD_AI_API_KEY=own
        RUNPOD_ENDPOINT_ID=ep_1
        RUNPOD_PING_INTERVAL=4000
        RUNPOD_POD_HOSTNAME=host_1
        RUNPOD_POD_ID=wk_1
        RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true
        RUNPOD_SKIP_GPU_CHECK=
        RUNPOD_WEBHOOK_PING=http://elsewhere
        TRANSFORMERS_OFFLINE=1
        RUNPOD_WEBHOOK_GET_JOB=RELAY/v2/ep_1/job-take/$ID?gpu=none
        RUNPOD_WEBHOOK_POST_OUTPUT=RELAY/v2/ep_1/job-done/$RUNPOD_POD_ID/$ID?gpu=none
        RUNPOD_WEBHOOK_POST_STREAM=RELAY/v2/ep_1/job-stream/$RUNPOD_POD_ID/$ID?gpu=none
    "#]],
    );
}
