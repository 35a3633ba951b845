//! What goes wrong: limits of time, cancels, crashes, links that break, late and doubled results, a full disk.

use api::{EndReason, JobEventKind, WorkerIntent};
use types::{ErrorCode, JobStatus, WorkerPhase};

use super::harness::{Agent, SECOND, World, done, host};

const PLAIN: &str = r#"{"name":"work","command":["x"]}"#;

async fn one_job_with_a_worker(world: &World, agent: &mut Agent) -> (types::JobId, api::Assignment) {
    world.endpoint(PLAIN).await;
    let job = world.send("work", "1").await;
    agent.bring_up().await;
    (job, agent.assignment().await)
}

#[tokio::test]
async fn a_cancelled_job_ends_at_once_and_its_late_result_is_ignored() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let (job, assignment) = one_job_with_a_worker(&world, &mut agent).await;
    let (handle, admin) = (world.handle(), world.admin());
    let cancelled = handle.cancel_job(&admin, "work", job.as_str()).await.unwrap();
    assert_eq!(cancelled.status, JobStatus::Cancelled);
    let stop = agent.until("a stop", |agent| agent.stops.pop()).await;
    assert_eq!(stop.jobs, std::slice::from_ref(&job));
    let number = agent.tell_durably(&assignment, done("1")).await;
    agent.acknowledged(number).await;
    let view = world.job("work", &job).await;
    assert_eq!((view.status, view.output.is_none()), (JobStatus::Cancelled, true));
    // The result said that the worker is free again.
    let workers = handle.workers(&admin, None).await.unwrap().workers;
    assert_eq!((workers[0].phase, workers[0].jobs.len()), (WorkerPhase::Idle, 0));
    let queued = world.send("work", "2").await;
    assert_eq!(handle.purge_queue(&admin, "work").await.unwrap().removed, 1);
    assert_eq!(world.job("work", &queued).await.status, JobStatus::Cancelled);
}

#[tokio::test]
async fn limits_of_time_end_jobs_and_retention_forgets_them() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let (job, assignment) = one_job_with_a_worker(&world, &mut agent).await;
    agent.tell(&assignment, JobEventKind::Accepted).await;
    let (handle, admin) = (world.handle(), world.admin());
    handle.job(&admin, "work", job.as_str()).await.unwrap();
    let waiting = world.send_body("work", r#"{"input":1,"policy":{"ttl":10000}}"#).await;
    world.advance(10_000);
    let view = world.job_until("work", &waiting, |view| view.status == JobStatus::TimedOut).await;
    assert_eq!(view.worker_id.as_deref(), Some(""));
    assert!(view.error.unwrap().contains("no worker was free"));
    world.advance(590_000);
    let view = world.job_until("work", &job, |view| view.status == JobStatus::TimedOut).await;
    assert!(view.error.unwrap().contains("longer than 600 s"));
    agent.until("a stop", |agent| agent.stops.pop()).await;
    world.advance(30 * 60_000);
    let forgotten = async {
        while handle.job(&admin, "work", job.as_str()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), forgotten).await.unwrap();
    let health = handle.health(&admin, "work").await.unwrap();
    assert_eq!((health.jobs.failed, health.jobs.in_progress), (2, 0));
}

/// Has a worker ask that has lost the only job that waits: it does not get it again, it is replaced.
async fn replaced(agent: &mut Agent, lost: &types::WorkerId) {
    agent.take(lost).await;
    let other = |agent: &mut Agent| {
        let mut workers = agent.desired.workers.iter();
        let stopped = workers.any(|worker| worker.worker == *lost && worker.intent == WorkerIntent::Stop);
        let run = agent.desired.workers.iter().find(|worker| worker.intent == WorkerIntent::Run)?;
        stopped.then(|| run.worker.clone())
    };
    let next = agent.until("another worker in its place", other).await;
    assert!(agent.assigned.is_empty(), "{lost} got its job again");
    agent.report_alive(&next).await;
    agent.report_ended(lost, EndReason::Stopped).await;
    agent.report_ping(&next, &[]).await;
    agent.take(&next).await;
}

#[tokio::test]
async fn a_job_that_is_not_accepted_or_vanishes_gets_another_attempt() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let (job, first) = one_job_with_a_worker(&world, &mut agent).await;
    world.advance(25_000);
    world.job_until("work", &job, |view| view.status == JobStatus::InQueue).await;
    replaced(&mut agent, &first.worker).await;
    let second = agent.assignment().await;
    assert_eq!(second.attempt, SECOND);
    agent.tell(&second, JobEventKind::Accepted).await;
    agent.tell(&second, JobEventKind::Vanished).await;
    let view = world.job_until("work", &job, |view| view.status == JobStatus::InQueue).await;
    let codes: Vec<_> = view.attempts.iter().map(|attempt| attempt.fault.as_ref().unwrap().code).collect();
    assert_eq!(codes, [ErrorCode::JobNotAccepted, ErrorCode::ResultLost]);
    replaced(&mut agent, &second.worker).await;
    let third = agent.assignment().await;
    agent.tell(&third, JobEventKind::Returned).await;
    agent.take(&third.worker).await;
    let again = agent.assignment().await;
    assert_eq!(again.attempt, third.attempt, "a hand-over that did not happen is no attempt");
    agent.tell_durably(&again, done("1")).await;
    let view = world.job_until("work", &job, |view| view.status == JobStatus::Completed).await;
    assert_eq!(view.retries, Some(2));
    assert_eq!(world.handle().health(&world.admin(), "work").await.unwrap().jobs.retried, 1);
}

#[tokio::test]
async fn a_handler_that_exits_at_once_is_started_again_with_growing_pauses() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    world.endpoint(PLAIN).await;
    let job = world.send("work", "1").await;
    let mut crashed = Vec::new();
    for pause in [2000, 4000, 8000] {
        let worker = agent.worker(WorkerIntent::Run).await;
        assert!(!crashed.contains(&worker.worker));
        agent.report_alive(&worker.worker).await;
        agent.report_ended(&worker.worker, EndReason::Exited(1)).await;
        agent.until("no worker", |agent| agent.desired.workers.is_empty().then_some(())).await;
        agent.observed.workers.clear();
        agent.report().await;
        let said = |view: &api::JobView| view.waiting.as_ref().is_some_and(|wait| wait.retry_at.is_some());
        let waiting = world.job_until("work", &job, said).await.waiting.unwrap();
        assert_eq!(waiting.fault.unwrap().code, ErrorCode::HandlerExited);
        assert_eq!(world.handle().health(&world.admin(), "work").await.unwrap().workers.unhealthy, 1);
        crashed.push(worker.worker);
        world.advance(pause - 1);
        assert!(world.job("work", &job).await.waiting.unwrap().retry_at.is_some());
        world.advance(1);
    }
    agent.worker(WorkerIntent::Run).await;
    let (phases, billed) = world.usage().await;
    assert_eq!((billed, phases.get("starting")), (0, None), "a worker that never pinged is not billed");
}

#[tokio::test]
async fn a_worker_that_never_takes_is_ended_and_says_so() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    world.endpoint(r#"{"name":"work","command":["x"],"initTimeout":60000}"#).await;
    world.send("work", "1").await;
    let worker = agent.worker(WorkerIntent::Run).await;
    agent.report_alive(&worker.worker).await;
    let (handle, admin) = (world.handle(), world.admin());
    while handle.worker(&admin, worker.worker.as_str()).await.unwrap().phase != WorkerPhase::Starting {
        tokio::task::yield_now().await;
    }
    world.advance(60_000);
    agent.worker(WorkerIntent::Stop).await;
    agent.report_ended(&worker.worker, EndReason::Stopped).await;
    agent.until("another state", |agent| agent.desired.workers.is_empty().then_some(())).await;
    let view = handle.worker(&admin, worker.worker.as_str()).await.unwrap();
    assert_eq!(view.fault.unwrap().code, ErrorCode::HandlerNeverPinged);
    assert_eq!(world.usage().await.1, 0);
}

#[tokio::test]
async fn a_repeated_result_is_taken_once_also_over_another_link() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let (job, assignment) = one_job_with_a_worker(&world, &mut agent).await;
    let number = agent.tell_durably(&assignment, done("\"first\"")).await;
    agent.acknowledged(number).await;
    agent.tell_numbered(number, &assignment, done("\"again\"")).await;
    agent.tell_durably(&assignment, done("\"other\"")).await;
    let observed = agent.observed.clone();
    drop(agent);
    let mut agent = Agent::dial_with(&world, observed, 0).await;
    assert!(agent.welcome.unwrap().acknowledged >= number);
    let number = agent.tell_durably(&assignment, done("\"late\"")).await;
    agent.acknowledged(number).await;
    let view = world.job("work", &job).await;
    assert_eq!((view.status, view.output.unwrap().get()), (JobStatus::Completed, "\"first\""));
    assert_eq!(world.handle().health(&world.admin(), "work").await.unwrap().jobs.completed, 1);
}

#[tokio::test]
async fn jobs_of_a_lost_host_go_to_another_attempt_and_its_workers_are_not_billed_on() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let (job, assignment) = one_job_with_a_worker(&world, &mut agent).await;
    agent.tell(&assignment, JobEventKind::Accepted).await;
    world.advance(1000);
    drop(agent);
    let (handle, admin) = (world.handle(), world.admin());
    while handle.hosts(&admin).await.unwrap().hosts[0].connected {
        tokio::task::yield_now().await;
    }
    let asked = handle.worker_logs(&admin, assignment.worker.as_str(), 5).await;
    assert_eq!(asked.unwrap_err().code, ErrorCode::HostAway);
    world.advance(29_000);
    assert_eq!(world.job("work", &job).await.status, JobStatus::InProgress, "it may come back");
    world.advance(1000);
    let view = world.job_until("work", &job, |view| view.status == JobStatus::InQueue).await;
    assert_eq!(view.attempts[0].fault.as_ref().unwrap().code, ErrorCode::WorkerLost);
    assert_eq!(world.usage().await.0["executing"], 1000);
    // The host is back, and what still runs there is not wanted any more.
    let mut agent = Agent::dial(&world).await;
    let worker = agent.worker(WorkerIntent::Run).await;
    assert_ne!(worker.worker, assignment.worker);
    assert_eq!(handle.hosts(&admin).await.unwrap().hosts[0].id, host());
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let world = World::begin_with(Some(110)).await;
    world.endpoint(PLAIN).await;
    let (handle, admin) = (world.handle(), world.admin());
    let large = "x".repeat(30_000);
    let (mut kept, mut refusal) = (Vec::new(), None);
    for _ in 0..20 {
        let body = serde_json::from_str(&format!(r#"{{"input":"{large}"}}"#)).unwrap();
        match handle.submit(&admin, "work", types::JobRoute::Async, body).await {
            Ok(acknowledged) => kept.push(acknowledged.id),
            Err(problem) => {
                refusal = Some(problem);
                break;
            }
        }
    }
    assert_eq!(refusal.unwrap().code, ErrorCode::StateError);
    // It loads everything again after a pause.
    let first = kept[0].as_str();
    let returned = async {
        while handle.job(&admin, "work", first).await.is_err() {
            world.advance(1000);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), returned).await.unwrap();
    for job in &kept {
        assert_eq!(world.job("work", job).await.status, JobStatus::InQueue);
    }
}
