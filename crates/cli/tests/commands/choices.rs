//! Which files of a model: what is shown before anything is fetched, and what is told of what was chosen.

use expect_test::expect;
use serde_json::{Value, json};

use crate::{
    canned::{check, check_json},
    views::{endpoint, model, problem},
};

fn left_out() -> Value {
    json!([
        {"what": "ONNX", "files": 9, "bytes": 498_800_000_u64, "ask": ":onnx :onnx-O4 …"},
        {"what": "pickled PyTorch", "files": 1, "bytes": 90_900_000_u64, "ask": ":pytorch --weights any"},
        {"what": "pictures, films and papers", "files": 2, "bytes": 5000},
    ])
}

fn choice() -> Value {
    json!({"name": "safetensors", "weights": "safe", "pickled": false, "leftOut": left_out()})
}

fn offer() -> Value {
    let variant = |name: &str, format: &str, bytes: u64, default: bool, pickled: bool, hosts: u64| {
        json!({"name": name, "format": format, "files": 14, "bytes": bytes, "default": default,
            "pickled": pickled, "selection": "0".repeat(64), "hosts": hosts})
    };
    let mut held = model(&json!({"state": "ready"}));
    held["choice"] = choice();
    json!({
        "reference": "sentence-transformers/all-MiniLM-L6-v2",
        "hub": {
            "hub": "huggingface", "repo": "sentence-transformers/all-MiniLM-L6-v2",
            "commit": "1110a243fdf4706b3f48f1d95db1a4f5529b4d41", "visibility": "public",
            "layout": "a model for transformers and what is like it",
            "chosen": {"choice": choice(), "selection": "0".repeat(64), "files": 14, "bytes": 91_600_000_u64},
            "variants": [
                variant("safetensors", "safetensors", 91_600_000, true, false, 1),
                variant("pytorch", "PyTorch", 91_700_000, false, true, 0),
                variant("onnx", "ONNX", 91_200_000, false, false, 0),
            ],
        },
        "held": [held],
    })
}

#[tokio::test]
async fn variants_are_shown_before_anything_is_fetched() {
    check(
        "model show sentence-transformers/all-MiniLM-L6-v2",
        &[("POST /api/v2/models/offer", 200, offer())],
        expect![[r#"
            > POST /api/v2/models/offer {"reference":"sentence-transformers/all-MiniLM-L6-v2"}
            sentence-transformers/all-MiniLM-L6-v2 at 1110a243fdf4706b3f48f1d95db1a4f5529b4d41 on huggingface
              access     public
              layout     a model for transformers and what is like it

            VARIANT      FORMAT          SIZE  FILES  HOSTS  NOTE
            safetensors  safetensors  91.6 MB     14      1  default
            pytorch      PyTorch      91.7 MB     14      0  pickled: needs --weights any
            onnx         ONNX         91.2 MB     14      0

            sentence-transformers/all-MiniLM-L6-v2 takes safetensors: 91.6 MB in 14 files
              without ONNX (498.8 MB: :onnx :onnx-O4 …)
              without pickled PyTorch (90.9 MB: :pytorch --weights any)
              without pictures, films and papers (5.0 kB)

            sentence-transformers/all-MiniLM-L6-v2
              commit     1110a243fdf4706b3f48f1d95db1a4f5529b4d41
              hub        huggingface
              size       safetensors, 90.9 MB in 12 files
              status     ready
              hosts      host_1
              endpoints  text-embed
        "#]],
    )
    .await;
    let mut alone = offer();
    alone["held"] = json!([]);
    alone["hub"]["chosen"] = Value::Null;
    alone["notes"] = json!(["the weights are pickled (weights-pickled); consent with --weights any"]);
    check(
        "model show sentence-transformers/all-MiniLM-L6-v2 --hf-token t --hub-endpoint http://hub --exclude '*.md'",
        &[("POST /api/v2/models/offer", 200, alone)],
        expect![[r#"
            > POST /api/v2/models/offer {"reference":"sentence-transformers/all-MiniLM-L6-v2","exclude":["*.md"],"hubToken":"t","hubEndpoint":"http://hub/"}
            sentence-transformers/all-MiniLM-L6-v2 at 1110a243fdf4706b3f48f1d95db1a4f5529b4d41 on huggingface
              access     public
              layout     a model for transformers and what is like it

            VARIANT      FORMAT          SIZE  FILES  HOSTS  NOTE
            safetensors  safetensors  91.6 MB     14      1  default
            pytorch      PyTorch      91.7 MB     14      0  pickled: needs --weights any
            onnx         ONNX         91.2 MB     14      0
            ! Note: the weights are pickled (weights-pickled); consent with --weights any
        "#]],
    )
    .await;
}

#[tokio::test]
async fn what_is_held_is_shown_while_the_hub_is_down() {
    let mut down = offer();
    down["hub"] = Value::Null;
    down["notes"] = json!(["what the hub has can't be told: the hub does not answer (hub-unreachable)"]);
    down["held"][0]["choice"]["include"] = json!(["*.safetensors", "*.json"]);
    down["held"][0]["choice"]["pickled"] = json!(true);
    check(
        "model show SENTENCE-transformers/all-MiniLM-L6-v2@1110a243",
        &[("POST /api/v2/models/offer", 200, down)],
        expect![[r#"
            > POST /api/v2/models/offer {"reference":"SENTENCE-transformers/all-MiniLM-L6-v2@1110a243"}
            sentence-transformers/all-MiniLM-L6-v2
              commit     1110a243fdf4706b3f48f1d95db1a4f5529b4d41
              hub        huggingface
              size       safetensors, pickled weights by consent, 90.9 MB in 12 files
              include    *.safetensors *.json
              status     ready
              hosts      host_1
              endpoints  text-embed
            ! Note: what the hub has can't be told: the hub does not answer (hub-unreachable)
        "#]],
    )
    .await;
    let away = problem("hub-unreachable", 502, "the hub does not answer", None);
    check(
        "model show a/b",
        &[("POST /api/v2/models/offer", 502, away)],
        expect![[r#"
        > POST /api/v2/models/offer {"reference":"a/b"}
        ! error: the hub does not answer (hub-unreachable)
        exit 1
    "#]],
    )
    .await;
    let empty = json!({"reference": "a/b", "held": []});
    check_json(
        "model show a/b",
        &[("POST /api/v2/models/offer", 200, empty)],
        expect![[r#"
        > POST /api/v2/models/offer {"reference":"a/b"}
        {
          "reference": "a/b",
          "held": []
        }
    "#]],
    )
    .await;
}

#[tokio::test]
async fn what_the_default_leaves_out_is_told_when_it_is_chosen() {
    let mut pulled = model(&json!({"state": "ready"}));
    pulled["choice"] = choice();
    check(
        "model pull a/b --detach --include '*.json' --exclude 'onnx/' --weights any",
        &[("POST /api/v2/models/pull", 200, pulled.clone())],
        expect![[r#"
            > POST /api/v2/models/pull {"reference":"a/b","include":["*.json"],"exclude":["onnx/"],"weights":"any","pin":false}
            sentence-transformers/all-MiniLM-L6-v2 at 1110a243fdf4706b3f48f1d95db1a4f5529b4d41: ready (safetensors, 12 files, 90.9 MB)
            ! Left out of a/b: ONNX (498.8 MB: :onnx :onnx-O4 …), pickled PyTorch (90.9 MB: :pytorch --weights any) (all of it: larder model show a/b)
        "#]],
    )
    .await;
    let mut created = endpoint();
    created["models"] = json!([pulled]);
    check(
        "endpoint create text-embed --command python --no-dir --model a/b:onnx --weights any",
        &[("POST /api/v2/serverless", 201, created)],
        expect![[r#"
            > POST /api/v2/serverless {"name":"text-embed","command":["python"],"models":[{"reference":"a/b:onnx","weights":"any"}]}
            Created text-embed (ep_1), release 1
              model     sentence-transformers/all-MiniLM-L6-v2 at 1110a243 (safetensors, 90.9 MB, 12 files): ready
              command   python 'my handler.py'
              folder    0123456789ab
              env       A
              hub       offline: libraries take what is on the shelf
              workers   0 to 3, warm for 5 s; another when a job has waited 4 s
              url       http://127.0.0.1:8380/v2/ep_1/runsync
            ! Left out of sentence-transformers/all-MiniLM-L6-v2: ONNX (498.8 MB: :onnx :onnx-O4 …), pickled PyTorch (90.9 MB: :pytorch --weights any) (all of it: larder model show sentence-transformers/all-MiniLM-L6-v2)
            ! Send it a job: larder run text-embed '{…}'
        "#]],
    )
    .await;
    check("endpoint update text-embed --weights any", &[], expect![[r#"
        ! error: --include, --exclude and --weights say which files of a model, and no model is named (field-invalid)
        ! hint: name the models again with --model
        exit 6
    "#]]).await;
}
