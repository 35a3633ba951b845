//! Whole commands against a canned server: what goes out, what the user sees, how the command ends.

#[cfg(test)]
#[path = "commands/canned.rs"]
mod canned;
#[cfg(test)]
#[path = "commands/views.rs"]
mod views;

use canned::{check, check_json};
use expect_test::expect;
use serde_json::json;
use views::{endpoint, fetching, job, model, problem, worker};

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

#[tokio::test]
async fn what_is_wrong_is_told_with_a_code_and_a_hint() {
    check("endpoint create abc --command x --model ../x --no-dir", &[], expect![[r#"
        ! error: "../x" is not a model reference: a name holds no two dashes and no two dots in a row (model-ref-invalid)
        ! hint: write org/name, org/name@revision, org/name:variant, or a link to the model's page
        exit 6
    "#]]).await;
    check(
        "endpoint create abc --model a/b",
        &[],
        expect![[r#"
        ! error: an endpoint needs something that its workers run (field-invalid)
        ! hint: give --command "python handler.py", or --image NAME
        exit 6
    "#]],
    )
    .await;
    check(
        "endpoint create abc --command 'python \"x' --no-dir",
        &[],
        expect![[r#"
        ! error: the command ends inside a quotation: python "x (field-invalid)
        exit 6
    "#]],
    )
    .await;
    check(
        "run text-embed {text:1}",
        &[],
        expect![[r#"
        ! error: the input is not JSON: key must be a string at line 1 column 2 (body-not-json)
        ! hint: quote it for the shell: larder run NAME '{"text": "hello"}'
        exit 6
    "#]],
    )
    .await;
    let unknown =
        problem("endpoint-not-found", 404, "there is no endpoint nope", Some("see `larder endpoint list`"));
    check(
        "endpoint get nope",
        &[("GET /api/v2/serverless/nope", 404, unknown.clone())],
        expect![[r#"
        > GET /api/v2/serverless/nope
        ! error: there is no endpoint nope (endpoint-not-found)
        ! hint: see `larder endpoint list`
        exit 5
    "#]],
    )
    .await;
    check_json("endpoint get nope", &[("GET /api/v2/serverless/nope", 404, unknown)], expect![[r#"
        > GET /api/v2/serverless/nope
        ! {"code":"endpoint-not-found","message":"there is no endpoint nope","hint":"see `larder endpoint list`"}
        exit 5
    "#]]).await;
    let full = json!({"error": "the queue holds 50 jobs", "code": "queue-full", "hint": "wait", "errors": [
        {"field": "policy.ttl", "message": "must be 10 s or more"},
    ]});
    check("run text-embed 1", &[("POST /v2/text-embed/run", 429, full)], expect![[r#"
        > POST /v2/text-embed/run {"input":1}
        ! error: the queue holds 50 jobs (policy.ttl: must be 10 s or more) (queue-full)
        ! hint: wait
        exit 6
    "#]]).await;
    let key = problem("key-wrong", 401, "the key is not known", None);
    check("host list", &[("GET /api/v2/hosts", 401, key)], expect![[r#"
        > GET /api/v2/hosts
        ! error: the key is not known (key-wrong)
        ! hint: the key comes from --key, from LARDER_KEY or else from /home/user/.local/share/larder/admin.key: check it
        exit 4
    "#]]).await;
    check(
        "host list",
        &[("GET /api/v2/hosts", 502, json!("<html>proxy</html>"))],
        expect![[r#"
        > GET /api/v2/hosts
        ! error: http://SERVER/ answers 502 Bad Gateway: <html>proxy</html> (internal)
        exit 1
    "#]],
    )
    .await;
    check("host list", &[("GET /api/v2/hosts", 200, json!("hello"))], expect![[r#"
        > GET /api/v2/hosts
        ! error: the answer of http://SERVER/ makes no sense: expected value at line 1 column 1: hello (internal)
        ! hint: the server may be of another version, or no Larder server
        exit 1
    "#]]).await;
    check(
        "host list --server http://127.0.0.1:9",
        &[],
        expect![[r#"
        ! error: no server answers at http://127.0.0.1:9/: Connection refused (os error 111) (server-away)
        ! hint: start one with `larder up`, or name another with --server
        exit 3
    "#]],
    )
    .await;
}

#[tokio::test]
async fn a_job_is_sent_and_waited_for() {
    let sent = json!({"id": "j-u1", "status": "IN_QUEUE"});
    check(
        r#"run text-embed '{"text": "hello"}'"#,
        &[
            ("POST /v2/text-embed/run", 200, sent.clone()),
            ("GET /api/v2/jobs/text-embed/j-u1", 200, job("IN_QUEUE", json!({"waiting": fetching(0)}))),
            ("GET /api/v2/jobs/text-embed/j-u1", 200, job("IN_QUEUE", json!({"waiting": fetching(10_000_000)}))),
            ("GET /api/v2/jobs/text-embed/j-u1", 200, job("IN_QUEUE", json!({"waiting": fetching(60_000_000)}))),
            (
                "GET /api/v2/jobs/text-embed/j-u1",
                200,
                job("IN_QUEUE", json!({"waiting": {"reason": "its worker starts"}})),
            ),
            ("GET /api/v2/jobs/text-embed/j-u1", 200, job("IN_PROGRESS", json!({"workerId": "wk_1"}))),
            (
                "GET /api/v2/jobs/text-embed/j-u1",
                200,
                job(
                    "COMPLETED",
                    json!({"workerId": "wk_1", "delayTime": 3120, "executionTime": 42, "output": {"n": 1.50}}),
                ),
            ),
        ],
        expect![[r#"
            > POST /v2/text-embed/run {"input":{"text": "hello"}}
            > GET /api/v2/jobs/text-embed/j-u1
            {"n":1.5}
            ! fetching the model: 0 B of 90.9 MB at 98.0 MB/s, 460 ms left
            ! fetching the model: 60.0 MB of 90.9 MB at 98.0 MB/s, 460 ms left
            ! its worker starts
            ! running on wk_1
            ! COMPLETED: 3.1 s in the queue, 42 ms running on wk_1
        "#]],
    )
    .await;
    check(
        r#"run text-embed '{"input": 1, "policy": {"ttl": 60000}}' --async"#,
        &[("POST /v2/text-embed/run", 200, sent.clone())],
        expect![[r#"
            > POST /v2/text-embed/run {"input": 1, "policy": {"ttl": 60000}}
            j-u1
            ! Wait for it: larder job wait text-embed j-u1
        "#]],
    )
    .await;
    check(
        "run text-embed 1 --timeout 5",
        &[
            ("POST /v2/text-embed/run", 200, sent),
            ("GET /api/v2/jobs/text-embed/j-u1", 200, job("IN_QUEUE", json!({}))),
        ],
        expect![[r#"
            > POST /v2/text-embed/run {"input":1}
            > GET /api/v2/jobs/text-embed/j-u1
            ! in the queue
            ! error: job j-u1 has not ended (timeout)
            ! hint: it goes on; wait again with `larder job wait text-embed j-u1`
            exit 8
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_job_that_ends_badly_is_told() {
    let raised = json!({
        "error_type": "<class 'ValueError'>", "error_message": "no text", "error_traceback": "Traceback: line 1",
        "hostname": "h", "worker_id": "wk_1", "runpod_version": "1.12.0",
    });
    let ended = |status: &str, error: &str| {
        job(
            status,
            json!({"error": error, "workerId": "wk_1", "delayTime": 5, "executionTime": 7, "retries": 1}),
        )
    };
    let wait = "GET /api/v2/jobs/text-embed/j-u1";
    check(
        "job wait text-embed j-u1",
        &[(wait, 200, ended("FAILED", &raised.to_string()))],
        expect![[r#"
        > GET /api/v2/jobs/text-embed/j-u1
        ! FAILED: 5 ms in the queue, 7 ms running on wk_1, attempt 2
        ! error: the handler raised ValueError: no text (job-failed)
        ! hint: the handler's traceback:
        ! Traceback: line 1
        exit 7
    "#]],
    )
    .await;
    check(
        "job wait text-embed j-u1",
        &[(wait, 200, ended("FAILED", "out of memory"))],
        expect![[r#"
        > GET /api/v2/jobs/text-embed/j-u1
        ! FAILED: 5 ms in the queue, 7 ms running on wk_1, attempt 2
        ! error: out of memory (job-failed)
        exit 7
    "#]],
    )
    .await;
    check(
        "job wait text-embed j-u1",
        &[(wait, 200, ended("TIMED_OUT", "it ran longer than 600 s"))],
        expect![[r#"
            > GET /api/v2/jobs/text-embed/j-u1
            ! TIMED_OUT: 5 ms in the queue, 7 ms running on wk_1, attempt 2
            ! error: it ran longer than 600 s (execution-timeout)
            exit 7
        "#]],
    )
    .await;
    check(
        "job wait text-embed j-u1",
        &[(wait, 200, ended("CANCELLED", ""))],
        expect![[r#"
        > GET /api/v2/jobs/text-embed/j-u1
        ! CANCELLED: 5 ms in the queue, 7 ms running on wk_1, attempt 2
        ! error: job j-u1 was cancelled (job-cancelled)
        exit 7
    "#]],
    )
    .await;
    let mut retried = ended("FAILED", "lost");
    retried["attempts"] = json!([{
        "attempt": 1, "workerId": "wk_1", "givenAt": "2023-11-14T22:00:00Z", "endedAt": "2023-11-14T22:00:01Z",
        "fault": {"code": "worker-lost", "message": "the worker ended"},
    }]);
    check(
        "job show text-embed j-u1",
        &[(wait, 200, retried)],
        expect![[r#"
        > GET /api/v2/jobs/text-embed/j-u1
        j-u1 FAILED: 5 ms in the queue, 7 ms running on wk_1, attempt 2
          attempt  1 on wk_1 from 2023-11-14T22:00:00Z to 2023-11-14T22:00:01Z: the worker ended (worker-lost)
          error    lost
    "#]],
    )
    .await;
}

#[tokio::test]
async fn a_model_is_brought_and_looked_after() {
    let list = |status| json!({"models": [model(&status)]});
    check(
        "model pull sentence-transformers/all-MiniLM-L6-v2",
        &[
            ("POST /api/v2/models/pull", 200, model(&json!({"state": "waiting"}))),
            (
                "GET /api/v2/models",
                200,
                list(json!({"state": "fetching", "filesTotal": 12, "filesDone": 0, "bytesTotal": 90_900_000,
                    "bytesDone": 45_000_000, "bytesPerSecond": 98_000_000, "eta": 460})),
            ),
            ("GET /api/v2/models", 200, list(json!({"state": "ready"}))),
        ],
        expect![[r#"
            > POST /api/v2/models/pull {"reference":"sentence-transformers/all-MiniLM-L6-v2"}
            > GET /api/v2/models
            sentence-transformers/all-MiniLM-L6-v2 at 1110a243fdf4706b3f48f1d95db1a4f5529b4d41: ready (12 files, 90.9 MB)
            ! waiting for sentence-transformers/all-MiniLM-L6-v2 at 1110a243
            ! fetching sentence-transformers/all-MiniLM-L6-v2 at 1110a243: 45.0 MB of 90.9 MB at 98.0 MB/s, 460 ms left
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
    let ready = list(json!({"state": "ready"}));
    check(
        "model show SENTENCE-transformers/all-MiniLM-L6-v2@1110a243",
        &[("GET /api/v2/models", 200, ready.clone())],
        expect![[r#"
            > GET /api/v2/models
            sentence-transformers/all-MiniLM-L6-v2
              commit     1110a243fdf4706b3f48f1d95db1a4f5529b4d41
              hub        huggingface
              size       90.9 MB in 12 files
              status     ready
              hosts      host_1
              endpoints  text-embed
        "#]],
    )
    .await;
    check(
        "model show other/model",
        &[("GET /api/v2/models", 200, ready)],
        expect![[r#"
        > GET /api/v2/models
        ! error: other/model is on no host and no endpoint wants it (model-not-found)
        ! hint: bring it with `larder model pull other/model`
        exit 5
    "#]],
    )
    .await;
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
    check(
        "model verify a/b",
        &[("POST /api/v2/models/verify", 200, damaged)],
        expect![[r#"
        > POST /api/v2/models/verify?reference=a%2Fb
        2 files read, 1.0 kB
        damaged: model.safetensors
        ! reading the files of a/b
        ! error: 1 of the files of a/b are damaged (content-mismatch)
        ! hint: remove it and bring it again: `larder model rm a/b`
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
        HOST    AGENT      ISOLATION  WORKERS  GPUS   MODELS    FREE
        host_1  connected  NONE             1  none  90.9 MB  2.0 TB
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

#[tokio::test]
async fn the_grammar_tells_about_itself() {
    check(
        "completion fish | head -3",
        &[],
        expect![[r#"
        # Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
        function __fish_larder_global_optspecs
            string join \n server= key= data-dir= output= h/help
    "#]],
    )
    .await;
    check(
        "man | head -3",
        &[],
        expect![[r#"
        .ie \n(.g .ds Aq \(aq
        .el .ds Aq '
        .TH larder 1  "larder " 
    "#]],
    )
    .await;
}
