//! Making, showing and changing endpoints.

use expect_test::expect;
use serde_json::json;

use crate::canned::check;
use crate::views::{endpoint, problem};

#[tokio::test]
async fn an_endpoint_is_made_and_its_commit_shown() {
    check(
        "endpoint create text-embed --model sentence-transformers/all-MiniLM-L6-v2 --command 'python handler.py' \
         --env A=1 --idle-timeout 1m --workers-max 5 --scaler request-count:2 --hf-token hf_secret --gpu L4:2 \
         --python venv --no-dir",
        &[("POST /api/v2/serverless", 200, endpoint())],
        expect![[r#"
            > POST /api/v2/serverless {"name":"text-embed","command":["python","handler.py"],"python":"/FOLDER/venv","env":{"A":"1"},"models":[{"reference":"sentence-transformers/all-MiniLM-L6-v2"}],"hubToken":"hf_secret","gpu":{"pools":["L4"],"count":2},"workers":{"min":null,"max":5,"idleTimeout":60.0},"scaling":{"type":"REQUEST_COUNT","requestCount":2}}
            Created text-embed (ep_1), release 1
              model     sentence-transformers/all-MiniLM-L6-v2 at 1110a243 (90.9 MB, 12 files): on no host yet
              command   python 'my handler.py'
              folder    0123456789ab
              env       A
              hub       offline: libraries take what is on the shelf
              workers   0 to 3, warm for 5 s; another when a job has waited 4 s
              url       http://127.0.0.1:8380/v2/ep_1/runsync
            ! Send it a job: larder run text-embed '{…}'
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_folder_is_stored_only_when_the_server_lacks_it() {
    let missing = problem("folder-not-found", 422, "there is no such folder", None);
    let there = json!({"digest": "d", "bytes": 2048});
    check(
        "endpoint create text-embed --command 'python handler.py'",
        &[
            ("GET /api/v2/folders/*", 422, missing),
            ("PUT /api/v2/folders/*", 200, there.clone()),
            ("POST /api/v2/serverless", 200, endpoint()),
        ],
        expect![[r#"
            > GET /api/v2/folders/*
            > PUT /api/v2/folders/* (2048 bytes)
            > POST /api/v2/serverless {"name":"text-embed","command":["python","handler.py"],"folder":"d"}
            Created text-embed (ep_1), release 1
              model     sentence-transformers/all-MiniLM-L6-v2 at 1110a243 (90.9 MB, 12 files): on no host yet
              command   python 'my handler.py'
              folder    0123456789ab
              env       A
              hub       offline: libraries take what is on the shelf
              workers   0 to 3, warm for 5 s; another when a job has waited 4 s
              url       http://127.0.0.1:8380/v2/ep_1/runsync
            ! storing /FOLDER (1 file, 2.0 kB)
            ! Send it a job: larder run text-embed '{…}'
        "#]],
    )
    .await;
    check(
        "endpoint update text-embed --dir .",
        &[("GET /api/v2/folders/*", 200, there), ("PATCH /api/v2/serverless/text-embed", 200, endpoint())],
        expect![[r#"
            > GET /api/v2/folders/*
            > PATCH /api/v2/serverless/text-embed {"folder":"d"}
            Updated text-embed (ep_1), release 1
              model     sentence-transformers/all-MiniLM-L6-v2 at 1110a243 (90.9 MB, 12 files): on no host yet
              command   python 'my handler.py'
              folder    0123456789ab
              env       A
              hub       offline: libraries take what is on the shelf
              workers   0 to 3, warm for 5 s; another when a job has waited 4 s
              url       http://127.0.0.1:8380/v2/ep_1/runsync
            ! storing /FOLDER (1 file, 2.0 kB)
        "#]],
    )
    .await;
}

#[tokio::test]
async fn endpoints_are_listed_shown_and_deleted() {
    let mut waiting = endpoint();
    waiting["waiting"] = json!({
        "reason": "the fetch failed",
        "fault": {"code": "repo-gated-no-token", "message": "acme/secret is gated", "hint": "give --hf-token"},
    });
    waiting["warnings"] =
        json!(["MODEL_NAME is set but the endpoint names no model; add --model acme/secret"]);
    check(
        "endpoint list",
        &[("GET /api/v2/serverless", 200, json!({"endpoints": [endpoint(), waiting]}))],
        expect![[r#"
            > GET /api/v2/serverless
            NAME        ID    RELEASE  MODELS                                  WORKERS  CREATED     NOTE
            text-embed  ep_1        1  sentence-transformers/all-MiniLM-L6-v2  1 idle   3 days ago
            text-embed  ep_1        1  sentence-transformers/all-MiniLM-L6-v2  1 idle   3 days ago  the fetch failed: acme/secret is gated (repo-gated-no-token)
            ! warning: text-embed: MODEL_NAME is set but the endpoint names no model; add --model acme/secret
        "#]],
    )
    .await;
    check(
        "endpoint get text-embed",
        &[("GET /api/v2/serverless/text-embed", 200, waiting)],
        expect![[r#"
        > GET /api/v2/serverless/text-embed
        text-embed (ep_1), release 1
          model     sentence-transformers/all-MiniLM-L6-v2 at 1110a243 (90.9 MB, 12 files): on no host yet
          command   python 'my handler.py'
          folder    0123456789ab
          env       A
          hub       offline: libraries take what is on the shelf
          workers   0 to 3, warm for 5 s; another when a job has waited 4 s
          url       http://127.0.0.1:8380/v2/ep_1/runsync
          now       1 idle
          waiting   the fetch failed: acme/secret is gated (repo-gated-no-token)
          hint      give --hf-token
        ! warning: MODEL_NAME is set but the endpoint names no model; add --model acme/secret
    "#]],
    )
    .await;
    check(
        "endpoint list",
        &[("GET /api/v2/serverless", 200, json!({"endpoints": []}))],
        expect![[r#"
        > GET /api/v2/serverless
        ! there are no endpoints; make one with `larder endpoint create`
    "#]],
    )
    .await;
    check(
        "endpoint delete text-embed",
        &[("DELETE /api/v2/serverless/text-embed", 204, json!(null))],
        expect![[r#"
            > DELETE /api/v2/serverless/text-embed
            ! Deleted text-embed
        "#]],
    )
    .await;
}
