//! Models, workers, hosts and usage.

use expect_test::expect;
use serde_json::json;

use crate::canned::check;
use crate::views::{model, problem, status, stream, worker};

#[tokio::test]
async fn a_model_is_brought_and_looked_after() {
    let list = |status| json!({"models": [model(&status)]});
    let fetching = json!({"state": "fetching", "filesTotal": 12, "filesDone": 0, "bytesTotal": 90_900_000,
        "bytesDone": 45_000_000, "bytesPerSecond": 98_000_000, "eta": 460, "sources": ["hub huggingface"],
        "files": [{"path": "model.safetensors", "bytesTotal": 90_900_000, "bytesDone": 45_000_000}]});
    let pull = "POST /api/v2/models/pull";
    let events = "GET /api/v2/models/events";
    let waiting = || (pull, 200, model(&json!({"state": "waiting"})));
    check(
        "model pull sentence-transformers/all-MiniLM-L6-v2",
        &[
            waiting(),
            // The server goes away in the middle, and then tells the rest.
            (events, 200, stream(&[status(&json!({"state": "waiting"}), None), status(&fetching, None)])),
            (events, 503, problem("unavailable", 503, "the server is starting", None)),
            (events, 200, stream(&[status(&json!({"state": "ready"}), Some("ready"))])),
        ],
        expect![[r#"
            > POST /api/v2/models/pull {"reference":"sentence-transformers/all-MiniLM-L6-v2","pin":false}
            > GET /api/v2/models/events?reference=huggingface%21sentence-transformers%2Fall-MiniLM-L6-v2%401110a243fdf4706b3f48f1d95db1a4f5529b4d41
            sentence-transformers/all-MiniLM-L6-v2 at 1110a243fdf4706b3f48f1d95db1a4f5529b4d41: ready (12 files, 90.9 MB)
            ! waiting for sentence-transformers/all-MiniLM-L6-v2 at 1110a243
            ! fetching sentence-transformers/all-MiniLM-L6-v2 at 1110a243 from hub huggingface: 45.0 MB of 90.9 MB at 98.0 MB/s, 460 ms left
            ! the server is away; the fetch goes on
        "#]],
    )
    .await;
    check(
        "model pull sentence-transformers/all-MiniLM-L6-v2 --pin --events",
        &[
            waiting(),
            (
                events,
                200,
                stream(&[status(&fetching, None), status(&json!({"state": "ready"}), Some("ready"))]),
            ),
        ],
        expect![[r#"
            > POST /api/v2/models/pull {"reference":"sentence-transformers/all-MiniLM-L6-v2","pin":true}
            > GET /api/v2/models/events?reference=huggingface%21sentence-transformers%2Fall-MiniLM-L6-v2%401110a243fdf4706b3f48f1d95db1a4f5529b4d41
            {"model":{"reference":"sentence-transformers/all-MiniLM-L6-v2","hub":"huggingface","repo":"sentence-transformers/all-MiniLM-L6-v2","commit":"1110a243fdf4706b3f48f1d95db1a4f5529b4d41","selection":"0000000000000000000000000000000000000000000000000000000000000000","choice":{"name":"","weights":"safe","pickled":false},"bytes":90900000,"files":12,"status":{"state":"fetching","filesTotal":12,"filesDone":0,"bytesTotal":90900000,"bytesDone":45000000,"bytesPerSecond":98000000,"eta":460,"sources":["hub huggingface"],"files":[{"path":"model.safetensors","bytesTotal":90900000,"bytesDone":45000000}]},"hosts":["host_1"],"endpoints":["text-embed"],"pinned":false}}
            {"model":{"reference":"sentence-transformers/all-MiniLM-L6-v2","hub":"huggingface","repo":"sentence-transformers/all-MiniLM-L6-v2","commit":"1110a243fdf4706b3f48f1d95db1a4f5529b4d41","selection":"0000000000000000000000000000000000000000000000000000000000000000","choice":{"name":"","weights":"safe","pickled":false},"bytes":90900000,"files":12,"status":{"state":"ready"},"hosts":["host_1"],"endpoints":["text-embed"],"pinned":false},"end":"ready"}
        "#]],
    )
    .await;
    check("model pull a/b --detach", &[waiting()], expect![[r#"
        > POST /api/v2/models/pull {"reference":"a/b","pin":false}
        sentence-transformers/all-MiniLM-L6-v2 at 1110a243fdf4706b3f48f1d95db1a4f5529b4d41: wanted (12 files, 90.9 MB)
    "#]]).await;
    check(
        "model pull a/b --timeout 10m",
        &[waiting(), (events, 200, stream(&[status(&fetching, None)]))],
        expect![[r#"
            > POST /api/v2/models/pull {"reference":"a/b","pin":false}
            > GET /api/v2/models/events?reference=huggingface%21sentence-transformers%2Fall-MiniLM-L6-v2%401110a243fdf4706b3f48f1d95db1a4f5529b4d41
            ! fetching sentence-transformers/all-MiniLM-L6-v2 at 1110a243 from hub huggingface: 45.0 MB of 90.9 MB at 98.0 MB/s, 460 ms left
            ! error: a/b is not there yet; its fetch goes on (timeout)
            ! hint: run the same command again to watch it, or call it off with `larder model cancel a/b`
            exit 8
        "#]],
    )
    .await;
    let failing = |code: &str, detail: &str| {
        json!({"state": "failed", "fault": {"code": code, "message": detail, "hint": "do this"},
            "retryAt": "2023-12-15T22:23:20.000Z"})
    };
    check(
        "model pull a/b",
        &[
            waiting(),
            (
                events,
                200,
                stream(&[
                    status(&failing("hub-server-error", "the hub has an error"), None),
                    status(&failing("repo-gated-not-granted", "the token has no access"), Some("failed")),
                ]),
            ),
        ],
        expect![[r#"
            > POST /api/v2/models/pull {"reference":"a/b","pin":false}
            > GET /api/v2/models/events?reference=huggingface%21sentence-transformers%2Fall-MiniLM-L6-v2%401110a243fdf4706b3f48f1d95db1a4f5529b4d41
            ! sentence-transformers/all-MiniLM-L6-v2 at 1110a243: the hub has an error (hub-server-error); tried again in 31 days
            ! error: the token has no access (repo-gated-not-granted)
            ! hint: do this
            exit 6
        "#]],
    )
    .await;
    check(
        "model pull a/b",
        &[waiting(), (events, 200, stream(&[status(&json!({"state": "absent"}), Some("cancelled"))]))],
        expect![[r#"
            > POST /api/v2/models/pull {"reference":"a/b","pin":false}
            > GET /api/v2/models/events?reference=huggingface%21sentence-transformers%2Fall-MiniLM-L6-v2%401110a243fdf4706b3f48f1d95db1a4f5529b4d41
            ! error: the fetch of a/b was called off (model-not-fetching)
            exit 6
        "#]],
    )
    .await;
    let failed = json!({"state": "failed",
        "fault": {"code": "hub-unreachable", "message": "the hub does not answer", "hint": "see the network"}});
    check("model list", &[("GET /api/v2/models", 200, list(failed))], expect![[r#"
        > GET /api/v2/models
        MODEL                                   COMMIT       SIZE  FILES  STATUS                                             HOSTS  ENDPOINTS
        sentence-transformers/all-MiniLM-L6-v2  1110a243  90.9 MB     12  failed: the hub does not answer (hub-unreachable)      1  text-embed
    "#]]).await;
    let paths = json!({"workerPath": "/runpod-volume/x", "hostPath": "/data/views/x"});
    check(
        "model path a/b",
        &[("GET /api/v2/models/path", 200, paths.clone())],
        expect![[r#"
        > GET /api/v2/models/path?reference=a%2Fb
        /runpod-volume/x
    "#]],
    )
    .await;
    check(
        "model path a/b --host",
        &[("GET /api/v2/models/path", 200, paths)],
        expect![[r#"
        > GET /api/v2/models/path?reference=a%2Fb
        /data/views/x
    "#]],
    )
    .await;
    let damaged = json!({"files": 2, "bytes": 1000, "damaged": ["model.safetensors"]});
    let verify = "POST /api/v2/models/verify";
    let work = json!({"host": "host_1", "at": "model.safetensors", "filesDone": 1, "filesTotal": 2,
        "bytesDone": 500, "bytesTotal": 1000});
    check(
        "model verify a/b",
        &[(verify, 200, stream(&[("progress", work.clone()), ("progress", work), ("done", damaged)]))],
        expect![[r#"
            > POST /api/v2/models/verify?reference=a%2Fb
            2 files read, 1.0 kB
            damaged: model.safetensors
            ! reading the files of a/b
            ! reading the files of a/b on host_1
            ! error: 1 of the files of a/b are damaged (content-mismatch)
            ! hint: fetch them again, and only them: `larder model verify a/b --repair`
            exit 1
        "#]],
    )
    .await;
    let in_use = problem("model-in-use", 409, "a/b is used by text-embed", Some("delete the endpoint first"));
    check(
        "model rm a/b",
        &[("DELETE /api/v2/models", 409, in_use)],
        expect![[r#"
        > DELETE /api/v2/models?reference=a%2Fb
        ! error: a/b is used by text-embed (model-in-use)
        ! hint: delete the endpoint first
        exit 6
    "#]],
    )
    .await;
}

#[tokio::test]
async fn models_are_kept_called_off_and_removed() {
    let pinned = |pinned: bool| {
        let mut view = model(&json!({"state": "ready"}));
        view["pinned"] = json!(pinned);
        view
    };
    check(
        "model pin a/b",
        &[("POST /api/v2/models/pin", 200, pinned(true))],
        expect![[r#"
        > POST /api/v2/models/pin?reference=a%2Fb
        ! Pinned sentence-transformers/all-MiniLM-L6-v2
    "#]],
    )
    .await;
    check(
        "model unpin a/b",
        &[("DELETE /api/v2/models/pin", 200, pinned(false))],
        expect![[r#"
        > DELETE /api/v2/models/pin?reference=a%2Fb
        ! Unpinned sentence-transformers/all-MiniLM-L6-v2
    "#]],
    )
    .await;
    let list = json!({"models": [pinned(true)]});
    check(
        "model list",
        &[("GET /api/v2/models", 200, list)],
        expect![[r#"
        > GET /api/v2/models
        MODEL                                   COMMIT       SIZE  FILES  STATUS         HOSTS  ENDPOINTS
        sentence-transformers/all-MiniLM-L6-v2  1110a243  90.9 MB     12  ready, pinned      1  text-embed
    "#]],
    )
    .await;
    let idle = problem("model-not-fetching", 409, "no pull brings a/b", Some("see model why"));
    check(
        "model cancel a/b",
        &[("POST /api/v2/models/cancel", 409, idle)],
        expect![[r#"
        > POST /api/v2/models/cancel?reference=a%2Fb
        ! error: no pull brings a/b (model-not-fetching)
        ! hint: see model why
        exit 6
    "#]],
    )
    .await;
    check(
        "model cancel a/b",
        &[("POST /api/v2/models/cancel", 200, model(&json!({"state": "absent"})))],
        expect![[r#"
            > POST /api/v2/models/cancel?reference=a%2Fb
            ! Called off the fetch of sentence-transformers/all-MiniLM-L6-v2
        "#]],
    )
    .await;
    let removed = json!({"freedBytes": 90_900_000, "hosts": ["host_1"], "away": ["host_2"]});
    check(
        "model rm a/b",
        &[("DELETE /api/v2/models", 200, removed)],
        expect![[r#"
        > DELETE /api/v2/models?reference=a%2Fb
        ! Removed a/b: 90.9 MB are free again
        ! warning: host_2 is away: what it has of the model stays until its room is needed
    "#]],
    )
    .await;
}

#[tokio::test]
async fn workers_hosts_and_usage_are_shown() {
    let list = json!({"workers": [worker("running"), worker("stopped")]});
    check(
        "worker list --endpoint text-embed",
        &[("GET /api/v2/serverless/text-embed/workers", 200, list)],
        expect![[r#"
            > GET /api/v2/serverless/text-embed/workers
            WORKER  ENDPOINT    RELEASE  PHASE    HOST    JOBS  WANTED      NOTE
            wk_1    text-embed        1  running  host_1     1  3 days ago
            wk_1    text-embed        1  stopped  host_1     1  3 days ago  it ended with code 1 (handler-exited)
        "#]],
    )
    .await;
    check(
        "worker show wk_1",
        &[("GET /api/v2/workers/wk_1", 200, worker("idle"))],
        expect![[r#"
        > GET /api/v2/workers/wk_1
        wk_1 of text-embed, release 1
          phase      idle on host_1
          wanted     3 days ago
          isolation  namespaces
          job        j-u1

        START         AFTER      STEP
        queued         0 ms     +0 ms
        placed         3 ms     +3 ms
        fetched     1200 ms  +1197 ms
        first take  3400 ms  +2200 ms

        PHASE          TIME  BILLED
        initializing  1.1 s  no
        starting      2.2 s  yes
        idle            5 s  yes
    "#]],
    )
    .await;
    let logs = json!({"lines": [
        {"source": "system", "line": "model ready", "ts": "2023-11-14T22:00:00.000Z"},
        {"source": "container", "line": "--- Starting Serverless Worker", "ts": "2023-11-14T22:00:01.000Z"},
    ]});
    check(
        "worker logs wk_1 --tail 5",
        &[("GET /api/v2/workers/wk_1/logs", 200, logs)],
        expect![[r#"
        > GET /api/v2/workers/wk_1/logs?tail=5
        2023-11-14T22:00:00.000Z larder: model ready
        2023-11-14T22:00:01.000Z --- Starting Serverless Worker
    "#]],
    )
    .await;
    let hosts = json!({"hosts": [{
        "id": "host_1", "connected": true, "isolation": "none", "cacheBytes": 90_900_000_u64,
        "diskAvailable": 2_000_000_000_000_u64, "workers": 1, "gpus": [],
        "warnings": ["workers are not kept apart from this host"],
    }]});
    check(
        "host list",
        &[("GET /api/v2/hosts", 200, hosts)],
        expect![[r#"
            > GET /api/v2/hosts
            HOST    AGENT      ISOLATION  WORKERS  GPUS   MODELS  LIMIT  EVICTABLE    FREE
            host_1  connected  NONE             1  none  90.9 MB    0 B        0 B  2.0 TB
            ! warning: host_1: workers are not kept apart from this host
        "#]],
    )
    .await;
    let usage = json!({"records": [{
        "endpointId": "ep_1", "endpointName": "text-embed", "workers": 2, "billedSeconds": 9,
        "fetchedBytes": 90_900_000_u64, "phases": [
            {"phase": "initializing", "seconds": 3.214, "billed": false},
            {"phase": "starting", "seconds": 2.1, "billed": true},
            {"phase": "idle", "seconds": 5.0, "billed": true},
        ],
    }]});
    check(
        "usage --endpoint text-embed",
        &[("GET /api/v2/usage", 200, usage)],
        expect![[r#"
        > GET /api/v2/usage?endpoint=text-embed
        ENDPOINT    PHASE           TIME  BILLED
        text-embed  initializing   3.2 s  no
        text-embed  starting       2.1 s  yes
        text-embed  idle             5 s  yes
        text-embed  in all        10.3 s  9 s billed, 90.9 MB fetched, 2 workers
    "#]],
    )
    .await;
}
