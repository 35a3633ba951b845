//! The unmodified `runpod` SDK as a worker, against the relay.
//!
//! `LARDER_TEST_VENV` names a virtual environment that holds it; without it these tests say that they are skipped.
//! The SDK's start-up checks, which would connect to a public address, are switched off by the agent (the tests'
//! hosts have no egress) and once more here.

use std::{sync::Arc, time::Duration};

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
    if task.get("refresh"):
        return {"refresh_worker": True, "left": 1}
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

together = 0

async def meet(job):
    import asyncio
    global together
    together += 1
    while together < 4:
        await asyncio.sleep(0.01)
    return "met"

kind = sys.argv[1]
if kind == "four":
    runpod.serverless.start({"handler": meet, "concurrency_modifier": lambda current: 4})
elif kind == "generator":
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
    let python = testkit::python()?;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_four_slots_works_on_four_jobs_at_once() {
    let Some((bench, driver)) = start("four").await else { return };
    let id = "wk_1".parse().unwrap();
    bench.server.offer(&id, 4).await;
    let jobs = ["job-1", "job-2", "job-3", "job-4"];
    let bodies = jobs.map(|job| format!(r#"{{"id":"{job}","input":{{}}}}"#));
    let given: Vec<(&str, &str)> = jobs.into_iter().zip(bodies.iter().map(String::as_str)).collect();
    bench.server.assign(&id, &given);
    let mut results = Vec::new();
    while results.len() < jobs.len() {
        let done = bench.server.hear("a result", |message| match message {
            api::AgentMessage::Job(event) => Some(show(event)).filter(|line| line.contains("done")),
            _ => None,
        });
        results.push(done.await);
    }
    results.sort();
    assert_eq!(results, jobs.map(|job| format!(r#"{job} attempt 1: done output="met" error=-"#)));
    stop(&bench, &driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_asks_for_a_fresh_worker_is_the_last_of_its_worker() {
    let Some((bench, driver)) = start("sync").await else { return };
    let id = "wk_1".parse().unwrap();
    bench.server.offer(&id, 1).await;
    bench.server.assign(&id, &[("job-1", r#"{"id":"job-1","input":{"refresh":true}}"#)]);
    let expected = r#"job-1 attempt 1: done output={"left": 1} error=- stop"#;
    assert_eq!(bench.server.result("job-1").await, expected);
    // The SDK itself goes on and asks for more: what is sent to it all the same comes back.
    bench.server.assign(&id, &[("job-2", r#"{"id":"job-2","input":{}}"#)]);
    assert_eq!(show(&bench.server.event("job-2").await), "job-2 attempt 1: returned");
    stop(&bench, &driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_drains_finishes_its_job_and_then_ends_by_itself() {
    let Some((bench, driver)) = start("sync").await else { return };
    let id = "wk_1".parse().unwrap();
    bench.server.offer(&id, 1).await;
    bench.server.assign(&id, &[("job-1", r#"{"id":"job-1","input":{"half":true}}"#)]);
    assert_eq!(show(&bench.server.event("job-1").await), "job-1 attempt 1: accepted");
    let began = std::time::Instant::now();
    stop(&bench, &driver).await;
    assert!(bench.server.result("job-1").await.contains(r#"done output={"echo": {"half": true}"#));
    assert!(began.elapsed() < Duration::from_secs(8), "it did not wait for its open requests");
}
