//! Lives of workers, written out, and the property that the ledger depends on.

use std::fmt::Write;

use expect_test::{Expect, expect};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::Step;
use types::ErrorCode;

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// Plays events at their seconds and compares what each caused.
fn check(first: &Worker, events: &[(i64, WorkerEvent)], expected: &Expect) {
    let mut worker = first.clone();
    let mut shown = String::new();
    for (at, event) in events {
        let name = format!("{event:?}");
        let name = name.split(['(', ' ']).next().unwrap_or_default();
        match worker.step(event, second(*at)) {
            Step::Next(next, effects) => {
                writeln!(shown, "{at} {name}: {}", next.phase()).unwrap();
                worker = next;
                effects.iter().for_each(|effect| writeln!(shown, "    {}", line(effect)).unwrap());
            }
            Step::Denied(reason) => writeln!(shown, "{at} {name}: denied, {reason}").unwrap(),
            Step::Ignored(reason) => writeln!(shown, "{at} {name}: ignored, {reason}").unwrap(),
        }
    }
    expected.assert_eq(&shown);
}

fn line(effect: &WorkerEffect) -> String {
    match effect {
        WorkerEffect::Interval(LedgerInterval { phase, from, to }) => {
            format!("{phase} from {} to {}", from.as_millis() / 1000, to.as_millis() / 1000)
        }
        WorkerEffect::Mark(mark, _) => format!("mark {}", mark.as_str()),
        WorkerEffect::JobsLost(fault) => format!("jobs lost: {fault}"),
        WorkerEffect::CrashCounted(fault) => format!("crash: {fault} ({})", fault.code),
        WorkerEffect::ReleasePolls => "release polls".to_owned(),
        WorkerEffect::EndProcess => "end process".to_owned(),
        WorkerEffect::CrashesForgotten => "crashes forgotten".to_owned(),
    }
}

#[test]
fn a_whole_life_is_billed_from_process_start() {
    let events = [
        (1, WorkerEvent::FetchStarted),
        (50, WorkerEvent::InitTimeout),
        (100, WorkerEvent::ModelReady),
        (110, WorkerEvent::Released),
        (111, WorkerEvent::ViewMounted),
        (112, WorkerEvent::ProcessStarted),
        (114, WorkerEvent::Ping),
        (115, WorkerEvent::Take),
        (120, WorkerEvent::JobGiven),
        (121, WorkerEvent::JobGiven),
        (130, WorkerEvent::JobEnded),
        (140, WorkerEvent::JobEnded),
        (145, WorkerEvent::StopRequested(StopReason::IdleTimeout)),
        (146, WorkerEvent::JobGiven),
        (147, WorkerEvent::Exited { exit: Exit::Code { code: 0 }, last_lines: Vec::new() }),
        (148, WorkerEvent::Ping),
    ];
    check(
        &Worker::held(second(0)),
        &events,
        &expect![[r#"
        1 FetchStarted: initializing
            mark fetch started
        50 InitTimeout: denied, the init timeout runs from the start of the process
        100 ModelReady: throttled
            mark fetched
            initializing from 0 to 100
        110 Released: initializing
            throttled from 100 to 110
        111 ViewMounted: initializing
            mark view mounted
        112 ProcessStarted: starting
            mark process started
            initializing from 110 to 112
        114 Ping: starting
            mark first ping
        115 Take: idle
            mark first take
            starting from 112 to 115
        120 JobGiven: running
            idle from 115 to 120
        121 JobGiven: running
        130 JobEnded: running
            mark done
            crashes forgotten
        140 JobEnded: idle
            executing from 120 to 140
        145 StopRequested: draining
            release polls
            idle from 140 to 145
            end process
        146 JobGiven: denied, the worker gets no more jobs
        147 Exited: stopped
            draining from 145 to 147
        148 Ping: ignored, the worker has ended
    "#]],
    );
}

#[test]
fn a_worker_that_never_pinged_costs_nothing() {
    let events = [
        (1, WorkerEvent::ProcessStarted),
        (2, WorkerEvent::Complained("fitness check failed".to_owned())),
        (60, WorkerEvent::InitTimeout),
        (61, WorkerEvent::Exited { exit: Exit::Signal { signal: 9 }, last_lines: Vec::new() }),
    ];
    check(
        &Worker::launching(second(0)),
        &events,
        &expect![[r#"
        1 ProcessStarted: starting
            mark process started
            initializing from 0 to 1
        2 Complained: starting
        60 InitTimeout: draining
            release polls
            unhealthy from 1 to 60
            end process
        61 Exited: unhealthy
            unhealthy from 60 to 61
            crash: the worker did not report once in the 59 s since its process started; it complained: fitness check failed (handler-never-pinged)
    "#]],
    );
}

#[test]
fn a_crash_loses_jobs_and_counts() {
    let events = [
        (1, WorkerEvent::ProcessStarted),
        (2, WorkerEvent::Take),
        (3, WorkerEvent::JobGiven),
        (9, WorkerEvent::Exited { exit: Exit::OutOfMemory, last_lines: Vec::new() }),
        (10, WorkerEvent::HostReturned),
    ];
    check(
        &Worker::launching(second(0)),
        &events,
        &expect![[r#"
        1 ProcessStarted: starting
            mark process started
            initializing from 0 to 1
        2 Take: idle
            mark first ping
            mark first take
            starting from 1 to 2
        3 JobGiven: running
            idle from 2 to 3
        9 Exited: unhealthy
            executing from 3 to 9
            crash: the worker's process was killed because memory ran out (handler-exited)
            jobs lost: the worker's process was killed because memory ran out
        10 HostReturned: unhealthy
            end process
    "#]],
    );
}

#[test]
fn a_start_that_fails_says_why() {
    let fault = Fault::new(ErrorCode::DriverFailed, "no such image");
    let events = [(1, WorkerEvent::StartFailed(fault))];
    check(
        &Worker::launching(second(0)),
        &events,
        &expect![[r#"
        1 StartFailed: unhealthy
            initializing from 0 to 1
            crash: no such image (driver-failed)
    "#]],
    );
}

#[test]
fn a_draining_worker_finishes_its_jobs() {
    let events = [
        (1, WorkerEvent::ProcessStarted),
        (2, WorkerEvent::Take),
        (3, WorkerEvent::JobGiven),
        (4, WorkerEvent::StopRequested(StopReason::Outdated)),
        (5, WorkerEvent::StopRequested(StopReason::Outdated)),
        (9, WorkerEvent::JobEnded),
        (10, WorkerEvent::Exited { exit: Exit::Code { code: 0 }, last_lines: Vec::new() }),
    ];
    check(
        &Worker::launching(second(0)),
        &events,
        &expect![[r#"
        1 ProcessStarted: starting
            mark process started
            initializing from 0 to 1
        2 Take: idle
            mark first ping
            mark first take
            starting from 1 to 2
        3 JobGiven: running
            idle from 2 to 3
        4 StopRequested: draining
            release polls
            executing from 3 to 4
        5 StopRequested: ignored, the worker ends already
        9 JobEnded: draining
            mark done
            crashes forgotten
            end process
        10 Exited: stopped
            draining from 4 to 10
    "#]],
    );
}

#[test]
fn time_that_nobody_saw_is_not_billed() {
    let events = [
        (1, WorkerEvent::ProcessStarted),
        (2, WorkerEvent::Take),
        (3, WorkerEvent::JobGiven),
        (90, WorkerEvent::HostLost(second(40))),
        (95, WorkerEvent::HostReturned),
    ];
    check(
        &Worker::launching(second(0)),
        &events,
        &expect![[r#"
        1 ProcessStarted: starting
            mark process started
            initializing from 0 to 1
        2 Take: idle
            mark first ping
            mark first take
            starting from 1 to 2
        3 JobGiven: running
            idle from 2 to 3
        90 HostLost: stopped
            executing from 3 to 40
            jobs lost: the worker's host was away for too long
        95 HostReturned: stopped
            end process
    "#]],
    );
}

#[test]
fn a_held_start_may_move_and_wait_again() {
    let events = [
        (5, WorkerEvent::FetchFailed(Fault::new(ErrorCode::HubUnreachable, "the hub is down"))),
        (6, WorkerEvent::Released),
        (7, WorkerEvent::FetchProgress),
        (9, WorkerEvent::ModelReady),
        (20, WorkerEvent::Moved),
        (30, WorkerEvent::ModelReady),
        (31, WorkerEvent::StopRequested(StopReason::NotNeeded)),
    ];
    check(
        &Worker::held(second(0)),
        &events,
        &expect![[r#"
        5 FetchFailed: initializing
        6 Released: denied, the worker's models are not all there
        7 FetchProgress: initializing
        9 ModelReady: throttled
            mark fetched
            initializing from 0 to 9
        20 Moved: initializing
            mark placed
            throttled from 9 to 20
        30 ModelReady: throttled
            mark fetched
            initializing from 20 to 30
        31 StopRequested: stopped
            throttled from 30 to 31
    "#]],
    );
}

fn any_event() -> impl Strategy<Value = WorkerEvent> {
    let fault = || Fault::new(ErrorCode::Internal, "for the test");
    prop_oneof![
        1 => Just(WorkerEvent::FetchStarted),
        1 => Just(WorkerEvent::FetchProgress),
        1 => Just(WorkerEvent::FetchFailed(fault())),
        3 => Just(WorkerEvent::ModelReady),
        1 => Just(WorkerEvent::Moved),
        3 => Just(WorkerEvent::Released),
        1 => Just(WorkerEvent::ViewMounted),
        3 => Just(WorkerEvent::ProcessStarted),
        1 => Just(WorkerEvent::StartFailed(fault())),
        2 => Just(WorkerEvent::Ping),
        1 => Just(WorkerEvent::Complained("no".to_owned())),
        3 => Just(WorkerEvent::Take),
        3 => Just(WorkerEvent::JobGiven),
        3 => Just(WorkerEvent::JobEnded),
        1 => Just(WorkerEvent::JobDropped),
        1 => Just(WorkerEvent::StopRequested(StopReason::Operator)),
        1 => Just(WorkerEvent::Exited { exit: Exit::Unknown, last_lines: Vec::new() }),
        1 => Just(WorkerEvent::InitTimeout),
        1 => (0i64..400).prop_map(|at| WorkerEvent::HostLost(second(at))),
        1 => Just(WorkerEvent::HostReturned),
    ]
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(testkit::cases(500)))]

    /// Every moment of a worker from its making to its end is in exactly one interval, whatever happens and however
    /// the clock jumps; nothing is billed before the first sign of life of its process.
    #[test]
    fn intervals_touch_and_cover_the_life(
        first in prop_oneof![
            Just(Worker::held(second(100))),
            Just(Worker::throttled(second(100))),
            Just(Worker::launching(second(100))),
        ],
        events in proptest::collection::vec((any_event(), -3i64..20), 0..40),
        ping_millis in any::<u16>(),
    ) {
        let mut worker = first;
        let mut now = second(100) + std::time::Duration::from_millis(u64::from(ping_millis));
        let mut covered = second(100);
        let mut alive_at = None;
        for (event, seconds) in events {
            now = Timestamp::from_micros(now.as_micros() + seconds * 1_000_000);
            let before = worker.clone();
            let Step::Next(next, effects) = worker.step(&event, now) else {
                continue;
            };
            for effect in &effects {
                if let WorkerEffect::Mark(StartMark::FirstPing, at) = effect {
                    alive_at = Some(*at);
                }
            }
            for effect in &effects {
                if let WorkerEffect::Interval(interval) = effect {
                    prop_assert_eq!(interval.from, covered);
                    prop_assert!(interval.from < interval.to);
                    prop_assert!(alive_at.is_some() || !interval.phase.is_billed());
                    prop_assert_eq!(Some(interval.phase), before.ledger_phase().map(|phase| {
                        if alive_at.is_some() && phase == LedgerPhase::Unhealthy && !before.pinged
                            && matches!(event, WorkerEvent::Take) { LedgerPhase::Starting } else { phase }
                    }));
                    covered = interval.to;
                }
            }
            prop_assert_eq!(next.interval_from(), covered);
            if before.phase().is_over() {
                prop_assert_eq!(&next, &before);
            }
            if let WorkerState::Running { jobs } = next.state() {
                prop_assert!(*jobs > 0);
            }
            prop_assert_eq!(next.phase().is_over(), next.ledger_phase().is_none());
            worker = next;
        }
    }
}
