//! Sending jobs and waiting for them.

use expect_test::expect;
use serde_json::json;

use crate::canned::check;
use crate::views::{fetching, job};

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
async fn a_start_that_fails_is_told_once_with_its_hint() {
    let waiting = |reason: &str| {
        json!({"waiting": {"reason": reason, "fault": {
            "code": "python-unusable", "message": "/nope is no environment", "hint": "make one with: python3 -m venv",
        }}})
    };
    let route = "GET /api/v2/jobs/text-embed/j-u1";
    let crashed = |count: u32| {
        waiting(&format!("waits after crash {count} in a row: /nope is no environment (python-unusable)"))
    };
    check(
        "job wait text-embed j-u1",
        &[
            (route, 200, job("IN_QUEUE", crashed(1))),
            (route, 200, job("IN_QUEUE", crashed(2))),
            (route, 200, job("COMPLETED", json!({"workerId": "wk_1", "output": 1}))),
        ],
        expect![[r#"
            > GET /api/v2/jobs/text-embed/j-u1
            1
            ! warning: a start failed, and is tried again: /nope is no environment (python-unusable)
            ! hint: make one with: python3 -m venv
            ! waits after crash 1 in a row
            ! waits after crash 2 in a row
            ! COMPLETED: 0 ms in the queue, 0 ms running on wk_1
        "#]],
    )
    .await;
    check(
        "job show text-embed j-u1",
        &[(route, 200, job("IN_QUEUE", crashed(2)))],
        expect![[r#"
            > GET /api/v2/jobs/text-embed/j-u1
            j-u1 IN_QUEUE: 0 ms in the queue, 0 ms running on no worker
              waiting  waits after crash 2 in a row: /nope is no environment (python-unusable)
              hint     make one with: python3 -m venv
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
