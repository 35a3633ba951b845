//! The worker protocol over HTTP, case by case.

use std::{sync::Arc, time::Duration};

use agent::AgentLimits;
use api::{AgentMessage, JobEventKind, WorkerIntent, WorkerState};
use base::ByteSize;
use runtime::Egress;

use crate::{
    bench::{Answer, Bench, Client, desired, patient, quick, worker},
    drivers::WatchedDriver,
    server::{Commits, show},
};

fn json(body: &str) -> Answer {
    (200, "application/json".to_owned(), body.to_owned())
}

fn nothing() -> Answer {
    (204, String::new(), String::new())
}

/// Gives the worker a job that it asked for.
async fn give(bench: &Bench, client: &Client, job: &str) {
    let body = format!(r#"{{"id":"{job}","input":{{}}}}"#);
    let (asked, ()) = tokio::join!(client.take(), async {
        bench.server.offer(&client.id, 1).await;
        bench.server.assign(&client.id, &[(job, &body)]);
    });
    assert_eq!(asked, json(&body));
}

#[tokio::test]
async fn a_job_goes_to_the_letter_to_the_request_that_waits() {
    let (bench, _driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    let body = r#"{"id": "job-1", "input": {"b": 1.10, "a":[ ]}, "webhook":null}"#;
    let asked = async { client.take().await };
    let given = async {
        bench.server.offer(&client.id, 1).await;
        bench.server.assign(&client.id, &[("job-1", body)]);
    };
    assert_eq!(tokio::join!(asked, given).0, json(body));
    let (asked, ()) = tokio::join!(client.take_batch(3), async {
        bench.server.offer(&client.id, 3).await;
        bench.server.assign(
            &client.id,
            &[("job-2", r#"{"id":"job-2","input":1}"#), ("job-3", r#"{"id":"job-3","input":null}"#)],
        );
    });
    assert_eq!(asked, json(r#"[{"id":"job-2","input":1},{"id":"job-3","input":null}]"#));
    bench.end().await;
}

#[tokio::test]
async fn a_request_never_gets_more_jobs_than_it_asked_for() {
    let (bench, _driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    let (asked, ()) = tokio::join!(client.take_batch(2), async {
        bench.server.offer(&client.id, 2).await;
        bench.server.assign(&client.id, &[("a-1", "{}"), ("a-2", "{}"), ("a-3", "{}")]);
    });
    assert_eq!(asked, json("[{},{}]"));
    assert_eq!(show(&bench.server.event("a-3").await), "a-3 attempt 1: returned");
    // Old SDKs hold one request for each slot.
    let (first, second, ()) = tokio::join!(client.take(), client.take(), async {
        bench.server.offer(&client.id, 2).await;
        bench.server.assign(&client.id, &[("b-1", r#"{"n":1}"#), ("b-2", r#"{"n":2}"#)]);
    });
    let mut both = [first, second];
    both.sort();
    assert_eq!(both, [json(r#"{"n":1}"#), json(r#"{"n":2}"#)]);
    assert_eq!(bench.handle.status().relay.returned, 1);
}

#[tokio::test]
async fn requests_are_held_then_answered_with_nothing() {
    let (bench, _driver, client) = Bench::with_worker(quick(), Commits::AtOnce).await;
    let before = std::time::Instant::now();
    let answers = tokio::join!(client.take(), client.take_batch(2), client.stop());
    assert_eq!(answers, (nothing(), nothing(), nothing()));
    assert!(before.elapsed() >= quick().relay.hold);
    bench
        .server
        .hear("the end of the offer", |message| matches!(message, AgentMessage::TakeEnded(_)).then_some(()))
        .await;
}

#[tokio::test]
async fn while_the_server_is_away_a_worker_is_told_to_pause_and_its_offer_waits() {
    let (mut bench, _driver, client) = Bench::with_worker(quick(), Commits::AtOnce).await;
    bench.server.go_away();
    let before = std::time::Instant::now();
    assert_eq!(client.take().await.0, 429);
    assert!(before.elapsed() >= quick().relay.hold, "the refusal came at once");
    // The take is still open when the server comes back, and is offered to it.
    let patient = client.clone();
    let asked = tokio::spawn(async move {
        loop {
            let answer = patient.take().await;
            if answer.0 == 200 {
                return answer;
            }
        }
    });
    bench.server.come_back(Commits::AtOnce).await;
    bench.server.offer(&client.id, 1).await;
    bench.server.assign(&client.id, &[("job-1", "{}")]);
    assert_eq!(asked.await.unwrap(), json("{}"));
}

#[tokio::test]
async fn only_the_worker_itself_is_served() {
    let (bench, _driver, client) = Bench::with_worker(quick(), Commits::AtOnce).await;
    let bearer = client.with_key(&format!("Bearer {}", client.key()));
    assert_eq!(bearer.ping("").await, json("{}"));
    for stranger in [client.with_key("wrong"), client.with_key(""), client.with_key("Bearer wrong")] {
        let answers =
            tokio::join!(stranger.take(), stranger.stop(), stranger.ping(""), stranger.done("job-1", "{}"));
        assert_eq!([answers.0.0, answers.1.0, answers.2.0, answers.3.0], [401; 4]);
    }
    // Whoever is not known gets no hint, and no quick answer to a request for jobs.
    let unknown = client.as_worker("wk_other");
    assert_eq!(unknown.take().await, nothing());
    assert_eq!(unknown.ping("job-1").await, json("{}"));
    assert_eq!(unknown.done("job-1", "{}").await, json("{}"));
    assert_eq!(client.get("ping/..%2F..").await, json("{}"));
    let counts = bench.handle.status().relay;
    assert_eq!((counts.wrong_keys, counts.foreign), (12, 4));
}

#[tokio::test]
async fn every_kind_of_result_is_taken() {
    let (bench, _driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    let cases = [
        (r#"{"output": {"x": 1.0}}"#, r#"done output={"x": 1.0} error=-"#),
        ("{}", "done output=- error=-"),
        (r#"{"error": "boom", "stopPod": false}"#, "done output=- error=boom"),
        (
            r#"{"output": NaN}"#,
            "done output=- error=the worker sent a result that is not JSON: expected value at line 1 column 12",
        ),
    ];
    for (index, (body, expected)) in cases.into_iter().enumerate() {
        let job = format!("job-{index}");
        give(&bench, &client, &job).await;
        assert_eq!(client.done(&job, body).await, json("{}"));
        assert_eq!(bench.server.result(&job).await, format!("{job} attempt 1: {expected}"));
    }
    give(&bench, &client, "large").await;
    let body = format!(r#"{{"output": "{}"}}"#, "x".repeat(10_000));
    assert_eq!(client.done("large", &body).await, json("{}"));
    let expected =
        "large attempt 1: done output=- error=the worker's result is larger than 10.0 kB, which is the limit";
    assert_eq!(bench.server.result("large").await, expected);
}

#[tokio::test]
async fn a_body_may_come_in_chunks_of_unknown_length() {
    let (bench, _driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    give(&bench, &client, "job-1").await;
    let parts = [r#"{"output": "#, r#""in "#, r#"parts"}"#].map(Ok::<_, std::io::Error>);
    let body = reqwest::Body::wrap_stream(futures::stream::iter(parts));
    assert_eq!(client.post(&format!("job-done/{}/job-1?isStream=false", client.id), body).await, json("{}"));
    assert_eq!(bench.server.result("job-1").await, r#"job-1 attempt 1: done output="in parts" error=-"#);
}

#[tokio::test]
async fn progress_is_no_result_and_nothing_after_the_result_counts() {
    let (bench, _driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    give(&bench, &client, "job-1").await;
    client.done("job-1", r#"{"status": "IN_PROGRESS", "output": "half"}"#).await;
    assert_eq!(show(&bench.server.event("job-1").await), "job-1 attempt 1: accepted");
    assert_eq!(show(&bench.server.event("job-1").await), r#"job-1 attempt 1: progress "half""#);
    client.done("job-1", r#"{"output": {"status": "IN_PROGRESS"}}"#).await;
    let first = bench.server.event("job-1").await;
    assert_eq!(show(&first), r#"job-1 attempt 1: done output={"status": "IN_PROGRESS"} error=-"#);
    assert_eq!(client.done("job-1", r#"{"output": 2}"#).await, json("{}"));
    assert_eq!(client.done("job-1", r#"{"status": "IN_PROGRESS", "output": "late"}"#).await, json("{}"));
    assert_eq!(client.chunk("job-1", r#"{"output": "late"}"#).await, json("{}"));
    // A job that this worker was never given takes no room in the spool.
    let before = bench.handle.status().relay.foreign;
    assert_eq!(client.done("job-9", r#"{"output": 9}"#).await, json("{}"));
    let status = bench.handle.status();
    assert_eq!((status.relay.repeats, status.relay.foreign - before, status.unacknowledged), (2, 1, 0));
}

#[tokio::test]
async fn chunks_are_numbered_and_come_before_their_result() {
    let (bench, _driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    give(&bench, &client, "job-1").await;
    for token in 0..3 {
        assert_eq!(
            client.chunk("job-1", &format!(r#"{{"output": {{"token": {token}}}}}"#)).await,
            json("{}")
        );
    }
    client.post(&format!("job-done/{}/job-1?gpu=none&isStream=true", client.id), r#"{"output": []}"#).await;
    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(show(&bench.server.event("job-1").await).replace("job-1 attempt 1: ", ""));
    }
    let expected = [
        "accepted",
        r#"chunk 0 {"token": 0}"#,
        r#"chunk 1 {"token": 1}"#,
        r#"chunk 2 {"token": 2}"#,
        "done output=[] error=- streamed",
    ];
    assert_eq!(events, expected);
}

#[tokio::test]
async fn pings_accept_jobs_and_miss_them() {
    let (bench, _driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    give(&bench, &client, "job-1").await;
    give(&bench, &client, "job-2").await;
    // The comma comes encoded; ids of other workers are reported and not acted on.
    client.ping("job-1%2Cjob-2,foreign").await;
    assert_eq!(show(&bench.server.event("job-1").await), "job-1 attempt 1: accepted");
    assert_eq!(show(&bench.server.event("job-2").await), "job-2 attempt 1: accepted");
    let observed =
        bench.server.observe("the ping", |observed| observed.workers[0].pinged_jobs.len() == 3).await;
    assert!(observed.workers[0].last_ping_at.is_some());
    for _ in 0..3 {
        client.ping("job-2").await;
    }
    assert_eq!(show(&bench.server.event("job-1").await), "job-1 attempt 1: vanished");
    // Its result may come all the same.
    client.done("job-1", r#"{"output": 1}"#).await;
    assert_eq!(bench.server.result("job-1").await, "job-1 attempt 1: done output=1 error=-");
}

#[tokio::test]
async fn a_job_that_a_worker_never_shows_is_reported() {
    let (bench, _driver, client) = Bench::with_worker(quick(), Commits::AtOnce).await;
    give(&bench, &client, "job-1").await;
    assert_eq!(show(&bench.server.event("job-1").await), "job-1 attempt 1: not accepted");
}

#[tokio::test]
async fn a_job_for_a_request_that_is_gone_is_returned() {
    let (bench, _driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.take().await }
    });
    bench.server.offer(&client.id, 1).await;
    asking.abort();
    bench
        .server
        .hear("the end of the offer", |message| matches!(message, AgentMessage::TakeEnded(_)).then_some(()))
        .await;
    bench.server.assign(&client.id, &[("job-1", "{}")]);
    assert_eq!(show(&bench.server.event("job-1").await), "job-1 attempt 1: returned");
}

#[tokio::test]
async fn stops_reach_the_request_that_waits_or_wait_for_it() {
    let (bench, _driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    give(&bench, &client, "job-1").await;
    bench.server.stop(&client.id, &["job-1"]);
    assert_eq!(client.stop().await, json(r#"{"jobsToStop":["job-1"]}"#));
    let (answer, ()) = tokio::join!(client.stop(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.server.stop(&client.id, &["job-2", "job-3"]);
    });
    assert_eq!(answer, json(r#"{"jobsToStop":["job-2","job-3"]}"#));
}

#[tokio::test]
async fn a_draining_worker_is_released_finishes_and_ends() {
    let (bench, _driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    give(&bench, &client, "job-1").await;
    client.ping("job-1").await;
    let draining = worker("wk_1", WorkerIntent::Drain, &["run"]);
    let (take, stop, ()) = tokio::join!(client.take(), client.stop(), async {
        bench.server.offer(&client.id, 1).await;
        bench.server.desire(desired(2, vec![draining]));
    });
    assert_eq!((take, stop), (nothing(), nothing()));
    assert_eq!(client.take().await, nothing(), "later requests are answered slowly, not held");
    bench.alive("wk_1").await;
    assert_eq!(client.done("job-1", r#"{"output": 1}"#).await, json("{}"));
    let ended = bench.state("wk_1", |state| matches!(state, WorkerState::Ended { .. })).await;
    let WorkerState::Ended { reason, .. } = ended else { unreachable!("it was waited for") };
    assert_eq!(reason, api::EndReason::Stopped);
    assert_eq!(bench.server.result("job-1").await, "job-1 attempt 1: done output=1 error=-");
}

#[tokio::test]
async fn a_worker_that_asks_to_be_replaced_gets_no_more_jobs() {
    let (bench, _driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    give(&bench, &client, "job-1").await;
    let (take, stop, _) = tokio::join!(client.take(), client.stop(), async {
        bench.server.offer(&client.id, 1).await;
        client.done("job-1", r#"{"output": 1, "stopPod": true}"#).await
    });
    assert_eq!((take, stop), (nothing(), nothing()));
    assert_eq!(bench.server.result("job-1").await, "job-1 attempt 1: done output=1 error=- stop");
}

#[tokio::test]
async fn results_wait_in_the_spool_for_a_server_that_is_away() {
    let (mut bench, _driver, client) = Bench::with_worker(patient(), Commits::Never).await;
    for job in ["job-1", "job-2"] {
        give(&bench, &client, job).await;
    }
    // The server hears and does not commit: the worker is answered all the same.
    assert_eq!(client.done("job-1", r#"{"output": 1}"#).await, json("{}"));
    assert_eq!(bench.server.result("job-1").await, "job-1 attempt 1: done output=1 error=-");
    bench.server.go_away();
    assert_eq!(client.chunk("job-2", r#"{"output": "a"}"#).await, json("{}"));
    assert_eq!(client.done("job-2", r#"{"output": 2}"#).await, json("{}"));
    assert_eq!(bench.handle.status().unacknowledged, 3);
    bench.server.come_back(Commits::AtOnce).await;
    let mut heard = Vec::new();
    for job in ["job-1", "job-2", "job-2"] {
        let event = bench.server.event(job).await;
        assert!(event.number > 0);
        heard.push((event.number, show(&event)));
    }
    let lines: Vec<&str> = heard.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "job-1 attempt 1: done output=1 error=-",
            "job-2 attempt 1: chunk 0 \"a\"",
            "job-2 attempt 1: done output=2 error=-",
        ],
    );
    assert!(heard.is_sorted_by(|a, b| a.0 < b.0));
    bench.end().await;
}

#[tokio::test]
async fn a_result_that_can_not_be_stored_waits_for_the_server() {
    let limits = AgentLimits { spool_bytes_max: ByteSize(10), ..patient() };
    let (mut bench, _driver, client) = Bench::with_worker(limits, Commits::AtOnce).await;
    give(&bench, &client, "job-1").await;
    bench.server.go_away();
    let done = client.done("job-1", r#"{"output": 1}"#);
    let mut done = std::pin::pin!(done);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut done).await;
    assert!(early.is_err(), "the worker was answered before its result was safe");
    bench.server.come_back(Commits::AtOnce).await;
    assert_eq!(bench.server.result("job-1").await, "job-1 attempt 1: done output=1 error=-");
    assert_eq!(done.await, json("{}"));
}

#[tokio::test]
async fn bodies_that_are_not_safe_yet_are_bounded_for_each_worker() {
    let limits = AgentLimits { spool_bytes_max: ByteSize(10), ..patient() };
    let (mut bench, _driver, client) = Bench::with_worker(limits, Commits::AtOnce).await;
    let jobs: Vec<String> = (0..6).map(|number| format!("job-{number}")).collect();
    for job in &jobs {
        give(&bench, &client, job).await;
    }
    bench.server.go_away();
    // Each fills the limit of a body, and none can be stored: four are held, the others not even read.
    let body = format!(r#"{{"output": "{}"}}"#, "x".repeat(9_900));
    let posts = jobs.iter().map(|job| client.done(job, &body));
    let mut posts = std::pin::pin!(futures::future::join_all(posts));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut posts).await;
    assert!(early.is_err(), "a worker was answered before its result was safe");
    assert_eq!(bench.handle.status().unacknowledged, 4);
    bench.server.come_back(Commits::AtOnce).await;
    assert_eq!(posts.await, vec![json("{}"); 6]);
    for job in &jobs {
        assert!(bench.server.result(job).await.contains("done output="));
    }
}

#[tokio::test]
async fn workers_with_egress_share_one_listener() {
    let driver = Arc::new(WatchedDriver::new());
    let bench = Bench::with_egress(driver.clone(), Egress::Shared, patient()).await;
    let two = |intent| vec![worker("wk_1", WorkerIntent::Run, &["run"]), worker("wk_2", intent, &["run"])];
    bench.server.desire(desired(1, two(WorkerIntent::Run)));
    bench.alive("wk_1").await;
    bench.alive("wk_2").await;
    let (first, second) = (Client::of(&driver, "wk_1"), Client::of(&driver, "wk_2"));
    assert!(!driver.seen(&first.id).env.contains_key("RUNPOD_SKIP_GPU_CHECK"));
    give(&bench, &first, "job-1").await;
    give(&bench, &second, "job-2").await;
    assert_eq!(first.as_worker("wk_2").take().await.0, 401, "a neighbour's key was taken");
    bench.server.desire(desired(2, two(WorkerIntent::Stop)));
    bench.state("wk_2", |state| matches!(state, WorkerState::Ended { .. })).await;
    // What it sent before its end still counts; a ping process that outlives it does not.
    assert_eq!(second.done("job-2", r#"{"output": 2}"#).await, json("{}"));
    assert_eq!(bench.server.result("job-2").await, "job-2 attempt 1: done output=2 error=-");
    let before = bench.handle.status().relay.foreign;
    assert_eq!(second.ping("job-2").await, json("{}"));
    assert_eq!(bench.handle.status().relay.foreign, before + 1);
    assert_eq!(second.take().await, nothing());
    give(&bench, &first, "job-3").await;
}

#[tokio::test]
async fn an_unhealthy_worker_tells_why_and_marks_are_kept() {
    let (bench, driver, client) = Bench::with_worker(quick(), Commits::AtOnce).await;
    let report = format!("ping/{}?status=unhealthy&check=memory&reason=too+little%20of+it", client.id);
    assert_eq!(client.get(&report).await, json("{}"));
    driver.sim.exit(&client.id, runtime::ExitReason::Code(1));
    let ended = bench.state("wk_1", |state| matches!(state, WorkerState::Ended { .. })).await;
    let WorkerState::Ended { reason, last_lines, .. } = ended else { unreachable!("it was waited for") };
    assert_eq!(reason, api::EndReason::Exited(1));
    assert_eq!(last_lines, ["larder: the worker reported itself unhealthy: memory: too little of it"]);
}

#[tokio::test]
async fn the_marks_of_a_start_are_reported() {
    use types::StartMark::{FirstDone, FirstPing, FirstTake, ProcessStarted};
    let (bench, _driver, client) = Bench::with_worker(patient(), Commits::AtOnce).await;
    client.ping("").await;
    give(&bench, &client, "job-1").await;
    client.done("job-1", "{}").await;
    let event = bench.server.event("job-1").await;
    assert!(matches!(event.kind, JobEventKind::Done { .. }));
    let wanted = [ProcessStarted, FirstPing, FirstTake, FirstDone];
    let observed = bench
        .server
        .observe("the marks", |observed| {
            wanted.iter().all(|mark| observed.workers[0].marks.contains_key(mark))
        })
        .await;
    let marks: Vec<_> = wanted.iter().map(|mark| observed.workers[0].marks[mark]).collect();
    assert!(marks.is_sorted(), "{marks:?}");
}
