//! An agent that is killed, and the one that comes after it on the same folder.

use std::sync::Arc;

use api::{EndReason, WorkerIntent, WorkerState};
use runtime::{ExitReason, MountSource};

use crate::{
    bench::{Bench, Client, desired, patient, with_models, with_view, worker},
    converge::{bench_with_model, manifest, model},
    server::Commits,
};

async fn give(bench: &Bench, client: &Client, job: &str) {
    let (asked, ()) = tokio::join!(client.take(), async {
        bench.server.offer(&client.id, 1).await;
        bench.server.assign(&client.id, &[(job, "{}")]);
    });
    assert_eq!(asked.0, 200);
}

#[tokio::test]
async fn workers_and_their_jobs_outlive_the_agent() {
    let (mut bench, driver, client) = Bench::with_worker(patient(), Commits::Never).await;
    give(&bench, &client, "job-1").await;
    client.ping("job-1").await;
    client.chunk("job-1", r#"{"output": 0}"#).await;
    give(&bench, &client, "job-2").await;
    // Answered because it is in the spool: the server has heard it and not committed.
    assert_eq!(client.done("job-2", r#"{"output": 2}"#).await.0, 200);
    let before = bench.server.event("job-2").await.number;
    bench.kill().await;
    let driver = Arc::new(driver.restarted());
    // A connect meanwhile waits in the socket's queue.
    let late = tokio::spawn({
        let client = client.clone();
        async move { client.chunk("job-1", r#"{"output": 1}"#).await }
    });
    bench.reopen(driver.clone(), patient(), Commits::AtOnce).await;
    assert_eq!(late.await.unwrap().0, 200);
    assert_eq!(client.done("job-1", r#"{"output": [0, 1]}"#).await.0, 200);
    let mut lines = Vec::new();
    let mut numbers = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.contains("job-1 attempt 1: done")) {
        let event = bench
            .server
            .hear("an event", |message| match message {
                api::AgentMessage::Job(event) if event.number > 0 => Some(event.clone()),
                _ => None,
            })
            .await;
        lines.push(crate::server::show(&event));
        numbers.push(event.number);
    }
    let expected = [
        "job-1 attempt 1: chunk 0 0",
        "job-2 attempt 1: done output=2 error=-",
        "job-1 attempt 1: chunk 1 1",
        "job-1 attempt 1: done output=[0, 1] error=-",
    ];
    assert_eq!(lines, expected);
    assert!(numbers.is_sorted() && numbers.contains(&before), "{numbers:?} {before}");
    // The server's first word decides: a worker that it does not want is ended.
    bench.alive("wk_1").await;
    bench.server.desire(desired(2, Vec::new()));
    bench.server.observe("the end of the worker", |observed| observed.workers.is_empty()).await;
    bench.end().await;
}

#[tokio::test]
async fn a_job_of_which_only_the_agent_before_knew_is_the_servers_to_judge() {
    let (mut bench, driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    bench.kill().await;
    bench.reopen(Arc::new(driver.restarted()), patient(), Commits::AtOnce).await;
    assert_eq!(client.done("job-9", r#"{"output": 9}"#).await.0, 200);
    assert_eq!(bench.server.result("job-9").await, "job-9 attempt -: done output=9 error=-");
}

#[tokio::test]
async fn a_running_worker_keeps_a_view_that_can_not_be_leased_again() {
    let (mut bench, driver) = bench_with_model().await;
    let order = with_view(worker("wk_1", WorkerIntent::Run, &["run"]), manifest().key(), "Acme/Tiny");
    bench.server.desire(with_models(desired(1, vec![order]), vec![model("http://127.0.0.1:1")]));
    bench.alive("wk_1").await;
    let mounts = driver.seen(&"wk_1".parse().unwrap()).start.mounts;
    let view = mounts.iter().find_map(|mount| match &mount.source {
        MountSource::Private => None,
        MountSource::ReadOnly(path) => Some(path.clone()),
    });
    let main = view.unwrap().join("refs/main");
    assert!(main.is_file());
    bench.stop().await;
    std::fs::remove_dir_all(bench.folder.path().join("store/models")).unwrap();
    bench.reopen(Arc::new(driver.restarted()), patient(), Commits::AtOnce).await;
    bench.alive("wk_1").await;
    assert!(main.is_file(), "the files went from under the worker");
}

#[tokio::test]
async fn a_worker_that_ended_meanwhile_is_told_with_its_reason() {
    let (mut bench, driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    bench.kill().await;
    driver.sim.say(&client.id, "Segmentation fault");
    driver.sim.exit(&client.id, ExitReason::Signal(11));
    bench.reopen(Arc::new(driver.restarted()), patient(), Commits::AtOnce).await;
    let ended = |state: &WorkerState| matches!(state, WorkerState::Ended { reason: EndReason::Signalled(11), last_lines, .. } if last_lines == &["Segmentation fault"]);
    bench.state("wk_1", ended).await;
}

#[tokio::test]
async fn an_older_desired_state_is_refused_also_after_a_restart() {
    let (mut bench, driver, _client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    let mut newer = desired(7, vec![worker("wk_1", WorkerIntent::Run, &["run"])]);
    newer.stamp.incarnation = 5;
    bench.server.desire(newer.clone());
    bench.server.observe("the stamp", |observed| observed.stamp == newer.stamp).await;
    bench.server.desire(desired(9, Vec::new()));
    bench.kill().await;
    bench.reopen(Arc::new(driver.restarted()), patient(), Commits::AtOnce).await;
    bench.server.desire(desired(10, Vec::new()));
    bench.server.desire(newer.clone());
    let observed = bench.server.observe("the stamp again", |observed| observed.stamp == newer.stamp).await;
    assert_eq!(observed.workers[0].state, WorkerState::Alive);
}

#[tokio::test]
async fn the_host_keeps_its_name() {
    let (mut bench, driver, _client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    let first = bench.server.hello.take().unwrap();
    bench.kill().await;
    bench.reopen(Arc::new(driver.restarted()), patient(), Commits::AtOnce).await;
    let second = bench.server.hello.take().unwrap();
    assert_eq!((first.host, &second.host), (second.host.clone(), bench.handle.host()));
}

#[tokio::test]
async fn an_agent_that_closes_ends_its_workers_first() {
    let (bench, _driver, _client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    bench.handle.stop_workers().await;
    let ended = |state: &WorkerState| matches!(state, WorkerState::Ended { reason: EndReason::Stopped, .. });
    bench.state("wk_1", ended).await;
    assert_eq!(bench.handle.status().workers_alive, 0);
    bench.end().await;
}
