//! Lives of jobs, written out, and the property that exactly one end is recorded.

use std::fmt::Write;

use expect_test::{Expect, expect};
use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
use types::ErrorCode;

use super::*;
use crate::{ATTEMPT_HISTORY_MAX, Step};

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn worker(number: u8) -> WorkerId {
    format!("wk_{number}").parse().unwrap()
}

fn submitted() -> Job {
    let limits = JobLimits {
        execution_timeout: Duration::from_secs(100),
        ttl: Duration::from_secs(1000),
        attempts_max: 3,
    };
    Job::submitted(second(0), limits)
}

/// Plays events at their seconds and compares what each caused, and the history at the end.
fn check(events: &[(i64, JobEvent)], expected: &Expect) {
    let mut job = submitted();
    let mut shown = String::new();
    for (at, event) in events {
        match job.step(event, second(*at)) {
            Step::Next(next, effects) => {
                writeln!(shown, "{at} {event:?}: {}", next.status()).unwrap();
                job = next;
                effects.iter().for_each(|effect| writeln!(shown, "    {}", line(effect)).unwrap());
            }
            Step::Denied(reason) => writeln!(shown, "{at} {event:?}: denied, {reason}").unwrap(),
            Step::Ignored(reason) => writeln!(shown, "{at} {event:?}: ignored, {reason}").unwrap(),
        }
    }
    for record in job.attempts() {
        let end = match &record.ended {
            None => "lasts".to_owned(),
            Some((_, AttemptEnd::Result)) => "result".to_owned(),
            Some((_, AttemptEnd::Lost { fault })) => format!("{fault} ({})", fault.code),
            Some((_, AttemptEnd::Overtaken)) => "overtaken".to_owned(),
        };
        writeln!(shown, "attempt {} with {}: {end}", record.attempt, record.worker).unwrap();
    }
    let now = second(events.last().map_or(0, |(at, _)| *at));
    let (delay, ran) = (job.delay_time(now).as_secs(), job.execution_time(now).as_secs());
    writeln!(shown, "delayed {delay} s, ran {ran} s, {} retries", job.retries()).unwrap();
    expected.assert_eq(&shown);
}

fn line(effect: &JobEffect) -> String {
    match effect {
        JobEffect::AttemptLost(fault) => format!("attempt lost: {fault}"),
        JobEffect::Ended(status) => format!("ended {status}"),
        JobEffect::Enqueue
        | JobEffect::Dequeue
        | JobEffect::StopSignal(_)
        | JobEffect::WorkerDone(_)
        | JobEffect::WorkerDropped(_) => format!("{effect:?}"),
    }
}

#[test]
fn a_job_is_done_once() {
    let events = [
        (5, JobEvent::Assigned(worker(1))),
        (6, JobEvent::Pinged(worker(1), Listing::Listed)),
        (7, JobEvent::Progress(worker(1))),
        (7, JobEvent::Done(worker(9), ResultKind::Output)),
        (8, JobEvent::Done(worker(1), ResultKind::Output)),
        (9, JobEvent::Done(worker(1), ResultKind::Error)),
        (9, JobEvent::CancelRequested),
        (9, JobEvent::RetryRequested),
    ];
    check(
        &events,
        &expect![[r#"
        5 Assigned(wk_1): IN_PROGRESS
            Dequeue
        6 Pinged(wk_1, Listed): IN_PROGRESS
        7 Progress(wk_1): ignored, nothing changed
        7 Done(wk_9, Output): denied, the job was never given to this worker
        8 Done(wk_1, Output): COMPLETED
            WorkerDone(wk_1)
            ended COMPLETED
        9 Done(wk_1, Error): ignored, the job is over
        9 CancelRequested: ignored, the job is over
        9 RetryRequested: denied, only a failed or timed out job can be tried again
        attempt 1 with wk_1: result
        delayed 5 s, ran 3 s, 0 retries
    "#]],
    );
}

#[test]
fn attempts_are_lost_for_reasons_until_there_are_none_left() {
    let gone = || Fault::new(ErrorCode::HandlerExited, "the process ended by itself with exit code 1");
    let events = [
        (1, JobEvent::Assigned(worker(1))),
        (2, JobEvent::Pinged(worker(1), Listing::Missing)),
        (9, JobEvent::NotAccepted),
        (26, JobEvent::NotAccepted),
        (30, JobEvent::Assigned(worker(2))),
        (31, JobEvent::Chunk(worker(2))),
        (40, JobEvent::Pinged(worker(2), Listing::Missing)),
        (50, JobEvent::Pinged(worker(2), Listing::Missing)),
        (55, JobEvent::Pinged(worker(2), Listing::Listed)),
        (60, JobEvent::Pinged(worker(2), Listing::Missing)),
        (70, JobEvent::Pinged(worker(2), Listing::Missing)),
        (80, JobEvent::Pinged(worker(2), Listing::Missing)),
        (81, JobEvent::Assigned(worker(3))),
        (82, JobEvent::WorkerGone(worker(2), gone())),
        (82, JobEvent::WorkerGone(worker(3), gone())),
        (83, JobEvent::RetryRequested),
        (84, JobEvent::Assigned(worker(4))),
    ];
    check(
        &events,
        &expect![[r#"
        1 Assigned(wk_1): IN_PROGRESS
            Dequeue
        2 Pinged(wk_1, Missing): ignored, the job is not accepted yet
        9 NotAccepted: denied, the worker still has time to accept
        26 NotAccepted: IN_QUEUE
            attempt lost: the worker did not take the job on within 25 s
            WorkerDropped(wk_1)
            Enqueue
        30 Assigned(wk_2): IN_PROGRESS
            Dequeue
        31 Chunk(wk_2): IN_PROGRESS
        40 Pinged(wk_2, Missing): IN_PROGRESS
        50 Pinged(wk_2, Missing): IN_PROGRESS
        55 Pinged(wk_2, Listed): IN_PROGRESS
        60 Pinged(wk_2, Missing): IN_PROGRESS
        70 Pinged(wk_2, Missing): IN_PROGRESS
        80 Pinged(wk_2, Missing): IN_QUEUE
            attempt lost: the worker dropped the job: 3 pings without it and no result
            WorkerDropped(wk_2)
            Enqueue
        81 Assigned(wk_3): IN_PROGRESS
            Dequeue
        82 WorkerGone(wk_2, Fault { code: HandlerExited, message: "the process ended by itself with exit code 1", hint: None }): ignored, the job is not with this worker
        82 WorkerGone(wk_3, Fault { code: HandlerExited, message: "the process ended by itself with exit code 1", hint: None }): FAILED
            attempt lost: the worker ended while it had the job: the process ended by itself with exit code 1
            WorkerDropped(wk_3)
            ended FAILED
        83 RetryRequested: IN_QUEUE
            Enqueue
        84 Assigned(wk_4): IN_PROGRESS
            Dequeue
        attempt 1 with wk_1: the worker did not take the job on within 25 s (job-not-accepted)
        attempt 2 with wk_2: the worker dropped the job: 3 pings without it and no result (result-lost)
        attempt 3 with wk_3: the worker ended while it had the job: the process ended by itself with exit code 1 (worker-lost)
        attempt 4 with wk_4: lasts
        delayed 1 s, ran 0 s, 3 retries
    "#]],
    );
}

#[test]
fn a_hand_over_that_did_not_happen_is_no_attempt() {
    let events = [
        (5, JobEvent::Assigned(worker(1))),
        (6, JobEvent::Returned(worker(2))),
        (6, JobEvent::Returned(worker(1))),
        (7, JobEvent::Assigned(worker(1))),
        (8, JobEvent::Progress(worker(1))),
        (9, JobEvent::Returned(worker(1))),
    ];
    check(
        &events,
        &expect![[r#"
        5 Assigned(wk_1): IN_PROGRESS
            Dequeue
        6 Returned(wk_2): ignored, the job is not with this worker
        6 Returned(wk_1): IN_QUEUE
            WorkerDropped(wk_1)
            Enqueue
        7 Assigned(wk_1): IN_PROGRESS
            Dequeue
        8 Progress(wk_1): IN_PROGRESS
        9 Returned(wk_1): ignored, the job is not with this worker
        attempt 1 with wk_1: lasts
        delayed 7 s, ran 2 s, 0 retries
    "#]],
    );
}

#[test]
fn a_result_of_an_attempt_given_up_counts_if_it_is_first() {
    let gone = Fault::new(ErrorCode::HostAway, "the host was away for too long");
    let events = [
        (1, JobEvent::Assigned(worker(1))),
        (2, JobEvent::WorkerGone(worker(1), gone)),
        (3, JobEvent::Assigned(worker(2))),
        (4, JobEvent::Done(worker(1), ResultKind::Output)),
        (5, JobEvent::Done(worker(2), ResultKind::Output)),
    ];
    check(
        &events,
        &expect![[r#"
        1 Assigned(wk_1): IN_PROGRESS
            Dequeue
        2 WorkerGone(wk_1, Fault { code: HostAway, message: "the host was away for too long", hint: None }): IN_QUEUE
            attempt lost: the worker ended while it had the job: the host was away for too long
            WorkerDropped(wk_1)
            Enqueue
        3 Assigned(wk_2): IN_PROGRESS
            Dequeue
        4 Done(wk_1, Output): COMPLETED
            StopSignal(wk_2)
            ended COMPLETED
        5 Done(wk_2, Output): ignored, the job is over
        attempt 1 with wk_1: result
        attempt 2 with wk_2: overtaken
        delayed 1 s, ran 1 s, 1 retries
    "#]],
    );
}

#[test]
fn limits_of_time_end_a_job() {
    let events = [
        (1, JobEvent::ExecutionTimeout),
        (1, JobEvent::Assigned(worker(1))),
        (2, JobEvent::Progress(worker(1))),
        (50, JobEvent::ExecutionTimeout),
        (102, JobEvent::ExecutionTimeout),
        (103, JobEvent::Done(worker(1), ResultKind::Output)),
        (104, JobEvent::RetryRequested),
        (500, JobEvent::TtlExpired),
        (1104, JobEvent::TtlExpired),
    ];
    check(
        &events,
        &expect![[r#"
        1 ExecutionTimeout: ignored, the job is with no worker
        1 Assigned(wk_1): IN_PROGRESS
            Dequeue
        2 Progress(wk_1): IN_PROGRESS
        50 ExecutionTimeout: denied, the job still has time to run
        102 ExecutionTimeout: TIMED_OUT
            StopSignal(wk_1)
            ended TIMED_OUT
        103 Done(wk_1, Output): ignored, the job is over
        104 RetryRequested: IN_QUEUE
            Enqueue
        500 TtlExpired: denied, the job's time is not over
        1104 TtlExpired: TIMED_OUT
            Dequeue
            ended TIMED_OUT
        attempt 1 with wk_1: overtaken
        delayed 1 s, ran 101 s, 0 retries
    "#]],
    );
}

#[test]
fn callers_end_jobs() {
    check(
        &[(3, JobEvent::Purged), (4, JobEvent::Assigned(worker(1)))],
        &expect![[r#"
        3 Purged: CANCELLED
            Dequeue
            ended CANCELLED
        4 Assigned(wk_1): denied, the job is over
        delayed 3 s, ran 0 s, 0 retries
    "#]],
    );
    let events = [
        (1, JobEvent::Assigned(worker(1))),
        (2, JobEvent::Purged),
        (3, JobEvent::CancelRequested),
        (4, JobEvent::Pinged(worker(1), Listing::Listed)),
    ];
    check(
        &events,
        &expect![[r#"
        1 Assigned(wk_1): IN_PROGRESS
            Dequeue
        2 Purged: ignored, a purge leaves jobs in progress alone
        3 CancelRequested: CANCELLED
            StopSignal(wk_1)
            ended CANCELLED
        4 Pinged(wk_1, Listed): ignored, the job is over
        attempt 1 with wk_1: overtaken
        delayed 1 s, ran 2 s, 0 retries
    "#]],
    );
}

#[test]
fn one_timer_is_enough() {
    let job = submitted();
    assert_eq!(job.deadline(), Some((second(1000), JobEvent::TtlExpired)));
    let (given, _) = job.step(&JobEvent::Assigned(worker(1)), second(10)).next().unwrap();
    assert_eq!(given.deadline(), Some((second(25), JobEvent::NotAccepted)));
    assert_eq!((given.due(second(24)), given.due(second(25))), (None, Some(JobEvent::NotAccepted)));
    let (accepted, _) = given.step(&JobEvent::Progress(worker(1)), second(11)).next().unwrap();
    assert_eq!(accepted.deadline(), Some((second(111), JobEvent::ExecutionTimeout)));
}

fn any_event() -> impl Strategy<Value = JobEvent> {
    let who = || (1u8..4).prop_map(worker);
    prop_oneof![
        6 => who().prop_map(JobEvent::Assigned),
        3 => who().prop_map(|worker| JobEvent::Pinged(worker, Listing::Listed)),
        3 => who().prop_map(|worker| JobEvent::Pinged(worker, Listing::Missing)),
        1 => who().prop_map(JobEvent::Progress),
        1 => who().prop_map(JobEvent::Chunk),
        1 => who().prop_map(|worker| JobEvent::Done(worker, ResultKind::Output)),
        1 => who().prop_map(|worker| JobEvent::Done(worker, ResultKind::Error)),
        1 => who().prop_map(JobEvent::Returned),
        3 => Just(JobEvent::NotAccepted),
        1 => who().prop_map(|worker| JobEvent::WorkerGone(worker, Fault::new(ErrorCode::WorkerLost, "gone"))),
        1 => Just(JobEvent::CancelRequested),
        1 => Just(JobEvent::Purged),
        1 => Just(JobEvent::ExecutionTimeout),
        1 => Just(JobEvent::TtlExpired),
        2 => Just(JobEvent::RetryRequested),
    ]
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(testkit::cases(500)))]

    /// A job that is over stays so, but for a retry from FAILED or TIMED_OUT; each end is told once; it is in the
    /// ready index exactly while it is in queue; attempts are bounded and well formed.
    #[test]
    fn exactly_one_end(events in proptest::collection::vec((any_event(), 0i64..40), 0..80)) {
        let mut job = submitted();
        let mut now = second(0);
        let (mut enqueued, mut in_a_row) = (true, 0);
        for (event, seconds) in events {
            now = now + Duration::from_secs(seconds.unsigned_abs());
            let before = job.clone();
            let Step::Next(next, effects) = job.step(&event, now) else {
                continue;
            };
            let ends = effects.iter().filter(|effect| matches!(effect, JobEffect::Ended(_))).count();
            for effect in &effects {
                match effect {
                    JobEffect::Enqueue => { prop_assert!(!enqueued); enqueued = true; }
                    JobEffect::Dequeue => { prop_assert!(enqueued); enqueued = false; }
                    JobEffect::Ended(status) => prop_assert_eq!(*status, next.status()),
                    JobEffect::StopSignal(_) | JobEffect::WorkerDone(_) | JobEffect::WorkerDropped(_)
                        | JobEffect::AttemptLost(_) => {}
                }
            }
            if before.status().is_terminal() {
                prop_assert_eq!(&event, &JobEvent::RetryRequested);
                prop_assert!(matches!(before.status(), JobStatus::Failed | JobStatus::TimedOut));
                prop_assert_eq!(next.status(), JobStatus::InQueue);
                in_a_row = 0;
            } else {
                prop_assert_eq!(ends, usize::from(next.status().is_terminal()));
            }
            in_a_row += u32::from(matches!(event, JobEvent::Assigned(_)));
            in_a_row -= u32::from(matches!(event, JobEvent::Returned(_)));
            prop_assert!(in_a_row <= next.limits().attempts_max);
            prop_assert_eq!(enqueued, next.status() == JobStatus::InQueue);
            // A worker that had it and gave no result is never one to give it to, for as long as that is remembered.
            for record in next.attempts() {
                let gave_result = matches!(&record.ended, Some((_, AttemptEnd::Result)));
                prop_assert!(gave_result || next.barred_from().any(|worker| *worker == record.worker));
            }
            prop_assert!(next.attempts().len() <= ATTEMPT_HISTORY_MAX);
            let open = next.attempts().iter().filter(|record| record.ended.is_none()).count();
            prop_assert_eq!(open, usize::from(next.status() == JobStatus::InProgress));
            prop_assert_eq!(next.deadline().is_none(), next.status().is_terminal());
            job = next;
        }
    }
}
