//! The unmodified `runpod` SDK as a worker, against the relay.
//!
//! `LARDER_TEST_VENV` names a virtual environment that holds it; without it these tests say that they are skipped.
//! The SDK's start-up checks, which would connect to a public address, are switched off by the agent (the tests'
//! hosts have no egress) and once more here.

use std::{path::PathBuf, sync::Arc, time::Duration};

use agent::{AgentLimits, RelayLimits};
use api::{EndReason, JobEventKind, WorkerIntent, WorkerState};
use types::StartMark;

use crate::{
    bench::{Bench, desired, worker},
    child::ChildDriver,
    server::{Commits, show},
};

const HANDLER: &str = r#"
import sys, time
import runpod

def handler(job):
    task = job["input"]
    if task.get("boom"):
        raise ValueError("boom")
    if task.get("half"):
        runpod.serverless.progress_update(job, "half")
        time.sleep(1)
    return {"echo": task, "number": 1.10}

def stream(job):
    for token in range(3):
        yield {"token": token}

async def slow(job):
    import asyncio
    await asyncio.sleep(60)
    return "never"

kind = sys.argv[1]
if kind == "generator":
    runpod.serverless.start({"handler": stream, "return_aggregate_stream": True,
                             "concurrency_modifier": lambda current: 2})
elif kind == "slow":
    runpod.serverless.start({"handler": slow})
elif kind == "refresh":
    runpod.serverless.start({"handler": handler, "refresh_worker": True})
else:
    runpod.serverless.start({"handler": handler})
"#;

/// A bench with one worker that runs the SDK, or `None` without the SDK.
async fn start(kind: &str) -> Option<(Bench, Arc<ChildDriver>)> {
    let Some(environment) = std::env::var_os("LARDER_TEST_VENV").map(PathBuf::from) else {
        eprintln!("skipped: LARDER_TEST_VENV is not set");
        return None;
    };
    let mut driver = ChildDriver::new();
    let off = |name: &str| (name.to_owned(), "true".to_owned());
    driver.extra_env = vec![
        off("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"),
        off("RUNPOD_SKIP_GPU_CHECK"),
        ("RUNPOD_PING_INTERVAL".to_owned(), "1000".to_owned()),
    ];
    let driver = Arc::new(driver);
    let limits = AgentLimits {
        relay: RelayLimits { hold: Duration::from_secs(5), ..RelayLimits::default() },
        stop_grace: Duration::from_secs(10),
        ..AgentLimits::default()
    };
    let bench = Bench::new(driver.clone(), limits, Commits::AtOnce).await;
    let python = environment.join("bin/python");
    let order = worker("wk_1", WorkerIntent::Run, &[python.to_str().unwrap(), "-c", HANDLER, kind]);
    bench.server.desire(desired(1, vec![order]));
    Some((bench, driver))
}

async fn stop(bench: &Bench, driver: &ChildDriver) {
    bench.server.desire(desired(2, vec![worker("wk_1", WorkerIntent::Drain, &["python"])]));
    let ended = bench.state("wk_1", |state| matches!(state, WorkerState::Ended { .. })).await;
    let WorkerState::Ended { reason, .. } = ended else { unreachable!("it was waited for") };
    assert_eq!(reason, EndReason::Stopped, "{}", driver.log(&"wk_1".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_handler_answers_raises_and_reports_progress() {
    let Some((bench, driver)) = start("sync").await else { return };
    let id = "wk_1".parse().unwrap();
    bench.server.offer(&id, 1).await;
    bench.server.assign(&id, &[("job-1", r#"{"id":"job-1","input":{"prompt":"hi"},"webhook":null}"#)]);
    assert_eq!(
        bench.server.result("job-1").await,
        r#"job-1 attempt 1: done output={"echo": {"prompt": "hi"}, "number": 1.1} error=-"#,
    );
    bench.server.offer(&id, 1).await;
    bench.server.assign(&id, &[("job-2", r#"{"id":"job-2","input":{"boom":true}}"#)]);
    let raised = bench.server.result("job-2").await;
    assert!(
        raised.contains(r#"error={"error_type": "<class 'ValueError'>", "error_message": "boom""#),
        "{raised}"
    );
    bench.server.offer(&id, 1).await;
    bench.server.assign(&id, &[("job-3", r#"{"id":"job-3","input":{"half":true}}"#)]);
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.contains("done")) {
        lines.push(show(&bench.server.event("job-3").await).replace("job-3 attempt 1: ", ""));
    }
    assert!(lines.contains(&r#"progress "half""#.to_owned()), "{lines:?}");
    let marks = [StartMark::FirstPing, StartMark::FirstTake, StartMark::FirstDone];
    bench
        .server
        .observe("the marks", |observed| {
            marks.iter().all(|mark| observed.workers[0].marks.contains_key(mark))
        })
        .await;
    stop(&bench, &driver).await;
    assert_eq!(bench.handle.status().relay, agent::RelayCounts::default());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generator_streams_two_jobs_of_one_batch() {
    let Some((bench, driver)) = start("generator").await else { return };
    let id = "wk_1".parse().unwrap();
    bench.server.offer(&id, 2).await;
    bench.server.assign(
        &id,
        &[("g-1", r#"{"id":"g-1","input":{"p":1}}"#), ("g-2", r#"{"id":"g-2","input":{"p":2}}"#)],
    );
    let mut chunks = 0;
    let mut ends = 0;
    while ends < 2 {
        let event = bench
            .server
            .hear("an event", |message| match message {
                api::AgentMessage::Job(event) => Some(event.clone()),
                _ => None,
            })
            .await;
        match event.kind {
            JobEventKind::Chunk { .. } => chunks += 1,
            JobEventKind::Done { outcome, streamed, .. } => {
                assert!(streamed);
                assert_eq!(outcome.output.unwrap().get(), r#"[{"token": 0}, {"token": 1}, {"token": 2}]"#);
                ends += 1;
            }
            JobEventKind::Accepted | JobEventKind::Progress(_) => {}
            JobEventKind::Returned | JobEventKind::NotAccepted | JobEventKind::Vanished => {
                panic!("{event:?}")
            }
        }
    }
    assert_eq!(chunks, 6);
    stop(&bench, &driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_async_job_vanishes_from_the_pings() {
    let Some((bench, driver)) = start("slow").await else { return };
    let id = "wk_1".parse().unwrap();
    bench.server.offer(&id, 1).await;
    bench.server.assign(&id, &[("job-1", r#"{"id":"job-1","input":{"p":1}}"#)]);
    assert_eq!(show(&bench.server.event("job-1").await), "job-1 attempt 1: accepted");
    bench.server.stop(&id, &["job-1"]);
    assert_eq!(show(&bench.server.event("job-1").await), "job-1 attempt 1: vanished");
    bench.server.offer(&id, 1).await;
    stop(&bench, &driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_refreshes_itself_ends_after_its_job() {
    let Some((bench, _driver)) = start("refresh").await else { return };
    let id = "wk_1".parse().unwrap();
    bench.server.offer(&id, 1).await;
    bench.server.assign(&id, &[("job-1", r#"{"id":"job-1","input":{"p":1}}"#)]);
    let expected = r#"job-1 attempt 1: done output={"echo": {"p": 1}, "number": 1.1} error=- stop"#;
    assert_eq!(bench.server.result("job-1").await, expected);
    let ended = bench.state("wk_1", |state| matches!(state, WorkerState::Ended { .. })).await;
    let WorkerState::Ended { reason, .. } = ended else { unreachable!("it was waited for") };
    assert_eq!(reason, EndReason::Exited(0));
}
