//! Whole lives: a cold start, a cached one, a warm one, streams, the end of an endpoint.

use api::{EndReason, FetchProgress, JobEventKind, ModelState, WorkerIntent};
use serde_json::value::RawValue;
use types::{JobId, JobStatus, StartMark, WorkerId, WorkerPhase};

use super::harness::{Agent, MODEL_BYTES, World, done, failed};

const WITH_MODEL: &str = r#"{"name":"embed","command":["python","handler.py"],"env":{"A":"b"},
    "models":[{"reference":"Org/Model@v1"}],"hubToken":"hf_secret"}"#;

/// A quarter of the model has come, and everybody who waits can see it.
async fn show_progress(world: &World, agent: &mut Agent, job: &JobId, worker: &WorkerId) {
    let progress = FetchProgress {
        started_at: world.now(),
        files_total: 1,
        bytes_total: MODEL_BYTES,
        bytes_done: 250,
        bytes_per_second: 250,
        eta_millis: Some(3000),
        ..FetchProgress::default()
    };
    agent.report_model(ModelState::Fetching(progress), 250).await;
    let fetching = |view: &api::JobView| view.waiting.as_ref().is_some_and(|wait| wait.fetch.is_some());
    let view = world.job_until("embed", job, fetching).await;
    let waiting = view.waiting.unwrap();
    assert_eq!(waiting.worker_id, Some(worker.clone()));
    assert_eq!(waiting.fetch.unwrap().eta, Some(3000));
    let health = world.handle().health(&world.admin(), "embed").await.unwrap();
    assert_eq!((health.jobs.in_queue, health.workers.initializing), (1, 1));
}

#[tokio::test]
async fn a_cold_start_fetches_first_and_nobody_pays_for_it() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let endpoint = world.endpoint(WITH_MODEL).await;
    assert_eq!(endpoint.models[0].commit.to_string(), "07".repeat(20));
    let job = world.send("embed", r#"{"text": "x"}"#).await;

    let held = agent.worker(WorkerIntent::Hold).await;
    assert_eq!(agent.desired.models[0].manifest.bytes().bytes(), MODEL_BYTES);
    let token = agent.desired.models[0].token.clone().unwrap();
    assert_eq!(agent.secrets[&token].expose(), "hf_secret");
    assert_eq!(agent.secrets[held.env.as_ref().unwrap()].expose(), r#"{"A":"b"}"#);
    assert!(!held.views[0].refs.is_empty());
    world.advance(1000);
    let started_at = world.now();
    show_progress(&world, &mut agent, &job, &held.worker).await;

    world.advance(600_000);
    agent.report_ready(Some(started_at)).await;
    let worker = agent.worker(WorkerIntent::Run).await;
    assert_eq!(worker.worker, held.worker);
    agent.report_alive(&worker.worker).await;
    world.advance(2000);
    agent.report_ping(&worker.worker, &[]).await;
    agent.take(&worker.worker).await;
    let assignment = agent.assignment().await;
    assert_eq!(assignment.body.get(), format!(r#"{{"id":"{job}","input":{{"text": "x"}}}}"#));
    agent.tell(&assignment, JobEventKind::Accepted).await;
    world.job_until("embed", &job, |view| view.status == JobStatus::InProgress).await;
    world.advance(3000);
    let number = agent.tell_durably(&assignment, done(r#"{"vector": [1.50]}"#)).await;
    agent.acknowledged(number).await;

    let view = world.job("embed", &job).await;
    assert_eq!(view.status, JobStatus::Completed);
    assert_eq!(view.output.unwrap().get(), r#"{"vector": [1.50]}"#);
    assert_eq!((view.delay_time, view.execution_time), (Some(603_000), Some(3000)));
    assert_eq!((view.worker_id, view.retries), (Some(worker.worker.to_string()), None));
    let (phases, billed) = world.usage().await;
    assert_eq!(phases["initializing"], 601_000);
    assert_eq!((phases["starting"], phases["executing"]), (2000, 3000));
    assert_eq!(billed, 5, "the fetch is not billed");
    let view = world.handle().worker(&world.admin(), worker.worker.as_str()).await.unwrap();
    let marks: Vec<_> = view.timeline.iter().map(|mark| (mark.mark, mark.after)).collect();
    assert_eq!(
        marks,
        [
            (StartMark::Queued, 0),
            (StartMark::Placed, 0),
            (StartMark::FetchStarted, 1000),
            (StartMark::Fetched, 601_000),
            (StartMark::ViewMounted, 601_000),
            (StartMark::ProcessStarted, 601_000),
            (StartMark::FirstPing, 603_000),
            (StartMark::FirstTake, 603_000),
            (StartMark::FirstDone, 606_000),
        ]
    );
    assert_eq!(view.phase, WorkerPhase::Idle);
}

#[tokio::test]
async fn a_cached_start_waits_for_no_fetch() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    world.endpoint(WITH_MODEL).await;
    world.send("embed", "1").await;
    let first = agent.bring_up().await;
    let assignment = agent.assignment().await;
    let number = agent.tell_durably(&assignment, done("2")).await;
    agent.acknowledged(number).await;
    // Warm for its idle timeout, and then no more.
    world.advance(5000);
    let stopped = agent.worker(WorkerIntent::Stop).await;
    assert_eq!(stopped.worker, first.worker);
    agent.report_ended(&first.worker, EndReason::Stopped).await;
    agent.until("no worker", |agent| agent.desired.workers.is_empty().then_some(())).await;
    assert_eq!(world.usage().await.0["idle"], 5000);
    agent.observed.workers.clear();
    agent.report().await;

    let job = world.send("embed", "3").await;
    let second = agent.until("a worker", |agent| agent.desired.workers.first().cloned()).await;
    assert_eq!(second.intent, WorkerIntent::Run, "its model is there");
    agent.report_alive(&second.worker).await;
    agent.take(&second.worker).await;
    let assignment = agent.assignment().await;
    assert_eq!(assignment.job, job);
    agent.tell_durably(&assignment, done("4")).await;
    world.job_until("embed", &job, |view| view.status == JobStatus::Completed).await;
    let timeline = world.handle().worker(&world.admin(), second.worker.as_str()).await.unwrap().timeline;
    assert!(
        timeline.iter().all(|mark| mark.mark != StartMark::FetchStarted && mark.mark != StartMark::Fetched)
    );
}

#[tokio::test]
async fn a_failed_fetch_is_said_everywhere_and_tried_again() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    world.endpoint(WITH_MODEL).await;
    let job = world.send("embed", "1").await;
    agent.worker(WorkerIntent::Hold).await;
    let fault = types::Fault::new(types::ErrorCode::HubServerError, "the hub has an error of its own");
    let retry_at = world.now() + std::time::Duration::from_secs(7);
    agent.report_model(ModelState::Failed { fault: fault.clone(), failures: 1, retry_at }, 0).await;
    let said = |view: &api::JobView| view.waiting.as_ref().is_some_and(|wait| wait.fault.is_some());
    let waiting = world.job_until("embed", &job, said).await.waiting.unwrap();
    assert_eq!(waiting.fault, Some(fault.clone()));
    assert_eq!(waiting.retry_at, Some(retry_at.to_rfc3339()));
    let (handle, admin) = (world.handle(), world.admin());
    let endpoint = handle.endpoint(&admin, "embed").await.unwrap();
    assert_eq!(endpoint.waiting.unwrap().fault, Some(fault.clone()));
    assert_eq!(handle.workers(&admin, Some("embed")).await.unwrap().workers[0].fault, Some(fault.clone()));
    world.advance(7000);
    let progress =
        FetchProgress { started_at: world.now(), bytes_total: MODEL_BYTES, ..FetchProgress::default() };
    agent.report_model(ModelState::Fetching(progress), 0).await;
    // A fetch that has just begun again has not got over the failure.
    let fetching = |view: &api::JobView| view.waiting.as_ref().is_some_and(|wait| wait.fetch.is_some());
    assert_eq!(world.job_until("embed", &job, fetching).await.waiting.unwrap().fault, Some(fault));
    agent.report_ready(Some(world.now())).await;
    agent.worker(WorkerIntent::Run).await;
}

#[tokio::test]
async fn streams_are_read_once_and_in_order() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    world.endpoint(r#"{"name":"gen","command":["x"]}"#).await;
    let job = world.send("gen", "{}").await;
    agent.bring_up().await;
    let assignment = agent.assignment().await;
    let chunk = |index: u32| JobEventKind::Chunk {
        index,
        output: RawValue::from_string(format!("\"part {index}\"")).unwrap(),
    };
    agent.tell_durably(&assignment, chunk(0)).await;
    let (handle, admin, later) =
        (world.handle(), world.admin(), world.now() + std::time::Duration::from_secs(9));
    let texts = |read: &crate::StreamRead| {
        read.chunks.iter().map(|chunk| chunk.get().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let read = handle.stream(&admin, "gen", job.as_str(), later).await.unwrap();
    assert_eq!((texts(&read).as_str(), read.status), ("\"part 0\"", JobStatus::InProgress));
    let read = handle.stream(&admin, "gen", job.as_str(), world.now()).await.unwrap();
    assert!(read.chunks.is_empty());
    agent.tell_durably(&assignment, chunk(1)).await;
    agent.tell_durably(&assignment, chunk(2)).await;
    agent.tell_durably(&assignment, done("[]")).await;
    world.job_until("gen", &job, |view| view.status == JobStatus::Completed).await;
    let read = handle.stream(&admin, "gen", job.as_str(), world.now()).await.unwrap();
    assert_eq!((texts(&read).as_str(), read.status), ("\"part 1\" \"part 2\"", JobStatus::Completed));
    let read = handle.stream(&admin, "gen", job.as_str(), later).await.unwrap();
    assert!(read.chunks.is_empty(), "an ended stream answers at once");
}

#[tokio::test]
async fn progress_and_errors_are_shown_as_sent() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    world.endpoint(r#"{"name":"gen","command":["x"]}"#).await;
    let job = world.send("gen", "null").await;
    agent.bring_up().await;
    let assignment = agent.assignment().await;
    assert!(assignment.body.get().contains(r#""input":{}"#));
    let progress = RawValue::from_string("{\"step\": 1}".to_owned()).unwrap();
    agent.tell(&assignment, JobEventKind::Progress(progress)).await;
    let view = world.job_until("gen", &job, |view| view.output.is_some()).await;
    assert_eq!(view.output.unwrap().get(), "{\"step\": 1}");
    let text = r#"{"error_type":"ValueError"}"#;
    agent.tell_durably(&assignment, failed(text)).await;
    let view = world.job_until("gen", &job, |view| view.status == JobStatus::Failed).await;
    assert_eq!((view.error.as_deref(), view.output.is_none()), (Some(text), true));
    let retried = world.handle().retry_job(&world.admin(), "gen", job.as_str()).await.unwrap();
    assert_eq!(retried.status, JobStatus::InQueue);
    assert!(world.job("gen", &job).await.error.is_none());
}

#[tokio::test]
async fn a_deleted_endpoint_is_gone_when_its_workers_are() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    world.endpoint(WITH_MODEL).await;
    let job = world.send("embed", "1").await;
    let worker = agent.bring_up().await;
    let assignment = agent.assignment().await;
    world.advance(2000);
    let (handle, admin) = (world.handle(), world.admin());
    handle.delete_endpoint(&admin, "embed").await.unwrap();
    assert!(handle.job(&admin, "embed", job.as_str()).await.is_err());
    assert!(handle.endpoints(&admin).await.unwrap().endpoints.is_empty());
    agent.until("a stop of the job", |agent| agent.stops.first().cloned()).await;
    agent.worker(WorkerIntent::Drain).await;
    // Its handler can't be interrupted and ends late.
    let number = agent.tell_durably(&assignment, done("1")).await;
    agent.acknowledged(number).await;
    agent.worker(WorkerIntent::Stop).await;
    agent.report_ended(&worker.worker, EndReason::Stopped).await;
    agent
        .until("nothing", |agent| {
            (agent.desired.workers.is_empty() && agent.desired.models.is_empty()).then_some(())
        })
        .await;
    world.endpoint(WITH_MODEL).await;
    // What it cost stays.
    assert_eq!(world.usage().await.0["executing"], 2000);
}
