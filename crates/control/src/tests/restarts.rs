//! Restarts of the server: what was acknowledged goes on, what runs is taken up again.

use api::{EndReason, JobEventKind, WorkerIntent};
use types::{ErrorCode, JobStatus, WorkerPhase};

use super::harness::{Agent, World, done};

const PLAIN: &str = r#"{"name":"work","command":["x"],"env":{"A":"b"},"models":[{"reference":"org/model"}]}"#;

#[tokio::test]
async fn a_running_job_ends_under_the_next_server() {
    let mut world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    world.endpoint(PLAIN).await;
    let job = world.send("work", "1").await;
    let waiting = world.send("work", "2").await;
    let worker = agent.bring_up().await.worker;
    let assignment = agent.assignment().await;
    agent.tell(&assignment, JobEventKind::Accepted).await;
    world.job_until("work", &job, |view| view.status == JobStatus::InProgress).await;
    let (observed, number, first) = (agent.observed.clone(), agent.number, agent.desired.stamp);
    world.crash().await;
    world.advance(3000);
    world.start().await;
    assert_eq!(world.job("work", &job).await.status, JobStatus::InProgress);
    let mut agent = Agent::dial_with(&world, observed, number).await;
    agent.report_ping(&worker, std::slice::from_ref(&job)).await;
    let again = agent.worker(WorkerIntent::Run).await;
    assert_eq!(again.worker, worker, "the worker is taken up again");
    assert!(agent.desired.stamp > first, "the stamp of a new server is newer");
    assert_eq!(agent.secrets[again.env.as_ref().unwrap()].expose(), r#"{"A":"b"}"#);
    agent.tell_durably(&assignment, done("\"one\"")).await;
    agent.take(&worker).await;
    let next = agent.assignment().await;
    assert_eq!(next.job, waiting);
    assert!(next.epoch > assignment.epoch);
    agent.tell_durably(&next, done("\"two\"")).await;
    let view = world.job_until("work", &waiting, |view| view.status == JobStatus::Completed).await;
    assert_eq!(view.output.unwrap().get(), "\"two\"");
    let view = world.job("work", &job).await;
    assert_eq!((view.output.unwrap().get(), view.retries), ("\"one\"", None));
}

#[tokio::test]
async fn what_ended_while_the_server_was_away_is_noticed() {
    let mut world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    world.endpoint(PLAIN).await;
    let job = world.send("work", "1").await;
    let worker = agent.bring_up().await.worker;
    let assignment = agent.assignment().await;
    agent.tell(&assignment, JobEventKind::Accepted).await;
    world.job_until("work", &job, |view| view.status == JobStatus::InProgress).await;
    let mut observed = agent.observed.clone();
    world.stop().await;
    world.start().await;
    // The machine was switched off in between.
    observed.workers.clear();
    let _agent = Agent::dial_with(&world, observed, 0).await;
    let view = world.job_until("work", &job, |view| view.status == JobStatus::InQueue).await;
    assert_eq!(view.attempts[0].fault.as_ref().unwrap().code, ErrorCode::WorkerLost);
    let shown = world.handle().worker(&world.admin(), worker.as_str()).await.unwrap();
    assert_eq!(shown.phase, WorkerPhase::Unhealthy);
}

#[tokio::test]
async fn a_host_that_does_not_come_back_is_given_up_after_ten_seconds() {
    let mut world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    world.endpoint(PLAIN).await;
    let job = world.send("work", "1").await;
    agent.bring_up().await;
    let assignment = agent.assignment().await;
    world.job_until("work", &job, |view| view.status == JobStatus::InProgress).await;
    world.stop().await;
    // Its time to be accepted passes while nobody could have said so.
    world.advance(3_600_000);
    world.start().await;
    assert_eq!(world.job("work", &job).await.status, JobStatus::InProgress);
    world.advance(9_999);
    assert_eq!(world.job("work", &job).await.status, JobStatus::InProgress);
    world.advance(1);
    let view = world.job_until("work", &job, |view| view.status == JobStatus::InQueue).await;
    assert_eq!(view.attempts.len(), 1);
    assert_eq!(view.attempts[0].worker_id, assignment.worker);
    assert!(world.usage().await.1 < 60, "an hour that nobody saw is not billed");
}

#[tokio::test]
async fn endpoints_jobs_and_results_are_as_they_were() {
    let mut world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let endpoint = world.endpoint(PLAIN).await;
    let job = world.send("work", "1").await;
    let worker = agent.bring_up().await.worker;
    let assignment = agent.assignment().await;
    let number = agent.tell_durably(&assignment, done("[1, 2]")).await;
    agent.acknowledged(number).await;
    let key = std::fs::read_to_string(world.folder.path().join("admin.key")).unwrap();
    world.stop().await;
    world.start().await;
    assert_eq!(std::fs::read_to_string(world.folder.path().join("admin.key")).unwrap(), key);
    let view = world.handle().endpoint(&world.admin(), "work").await.unwrap();
    assert_eq!((view.id, view.release.id), (endpoint.id, endpoint.release.id));
    let view = world.job("work", &job).await;
    assert_eq!((view.status, view.output.unwrap().get()), (JobStatus::Completed, "[1, 2]"));
    let health = world.handle().health(&world.admin(), "work").await.unwrap();
    assert_eq!(health.jobs.completed, 1);
    // Deleted while its host is away, and then gone for good.
    world.handle().delete_endpoint(&world.admin(), "work").await.unwrap();
    world.stop().await;
    world.start().await;
    assert!(world.handle().endpoints(&world.admin()).await.unwrap().endpoints.is_empty());
    let mut agent = Agent::dial_with(&world, agent.observed.clone(), number).await;
    agent.worker(WorkerIntent::Stop).await;
    agent.report_ended(&worker, EndReason::Stopped).await;
    agent.until("nothing", |agent| agent.desired.workers.is_empty().then_some(())).await;
    world.stop().await;
    world.start().await;
    world.endpoint(PLAIN).await;
}

#[tokio::test]
async fn the_pause_after_crashes_goes_on_after_a_restart() {
    let mut world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    world.endpoint(r#"{"name":"work","command":["x"]}"#).await;
    let job = world.send("work", "1").await;
    let worker = agent.worker(WorkerIntent::Run).await.worker;
    agent.report_alive(&worker).await;
    agent.report_ended(&worker, EndReason::Exited(1)).await;
    let said = |view: &api::JobView| view.waiting.as_ref().is_some_and(|wait| wait.retry_at.is_some());
    let before = world.job_until("work", &job, said).await.waiting.unwrap();
    world.stop().await;
    world.start().await;
    let _agent = Agent::dial(&world).await;
    let after = world.job_until("work", &job, said).await.waiting.unwrap();
    assert_eq!(after.retry_at, before.retry_at);
    assert_eq!(after.fault.unwrap().code, ErrorCode::HandlerExited);
}
