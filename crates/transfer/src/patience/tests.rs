//! How failures add up and are forgiven, and what counts as a stall.

use base::ByteSize;

use super::*;

fn options() -> TransferOptions {
    TransferOptions {
        failures_max: 3,
        pauses_max: 2,
        progress_bytes_min: ByteSize(100),
        ..Default::default()
    }
}

/// What happens to a range: bytes arrive, or it fails.
enum Event {
    Bytes(u64),
    Fails(Retry),
}

#[test]
fn failures_in_a_row_end_it_and_progress_forgives() {
    use Event::{Bytes, Fails};
    let soon = || Fails(Retry::Soon);
    let pause = || Fails(Retry::After(Duration::from_secs(7)));
    let check = |events: &[Event], expected: &[&str]| {
        let mut patience = Patience::default();
        let mut verdicts = Vec::new();
        for event in events {
            match event {
                Bytes(bytes) => patience.progressed(*bytes, &options()),
                Fails(retry) => verdicts.push(match patience.failed(*retry, &options(), 0) {
                    Verdict::TryAfter(wait) => format!("try after {}", wait.as_millis()),
                    Verdict::GiveUp => "give up".to_owned(),
                }),
            }
        }
        assert_eq!(verdicts, expected);
    };
    // Without luck the wait is half of what the pace says, and doubles.
    check(
        &[soon(), soon(), soon(), soon()],
        &["try after 250", "try after 500", "try after 1000", "give up"],
    );
    check(
        &[soon(), soon(), Bytes(60), Bytes(60), soon(), soon(), soon(), soon()],
        &["try after 250", "try after 500", "try after 250", "try after 500", "try after 1000", "give up"],
    );
    check(
        &[soon(), Bytes(40), soon(), Bytes(40), soon(), Bytes(40), soon(), Bytes(40), soon()],
        &["try after 250", "try after 500", "try after 1000", "try after 250", "try after 500"],
    );
    check(
        &[soon(), Bytes(30), soon(), Bytes(30), soon(), Bytes(30), soon()],
        &["try after 250", "try after 500", "try after 1000", "give up"],
    );
    check(&[pause(), pause(), pause()], &["try after 7000", "try after 7000", "give up"]);
    check(&[Fails(Retry::Never)], &["give up"]);
}

#[test]
fn a_stall_is_a_window_of_waiting_with_too_little() {
    let check = |waits: &[(u64, u64)], expected: &[bool]| {
        let mut meter = StallMeter::new(&options());
        let stalled: Vec<bool> = waits
            .iter()
            .map(|(seconds, bytes)| meter.is_stalled_after(Duration::from_secs(*seconds), *bytes))
            .collect();
        assert_eq!(stalled, expected, "{waits:?}");
    };
    check(&[(29, 0), (1, 0)], &[false, true]);
    check(&[(29, 0), (1, 100)], &[false, false]);
    check(&[(10, 50), (10, 50), (10, 0), (29, 0), (1, 99)], &[false, false, false, false, true]);
    check(&[(300, 5_000)], &[false]);
    let mut meter = StallMeter::new(&options());
    assert_eq!(meter.left(), Duration::from_secs(30));
    meter.is_stalled_after(Duration::from_secs(12), 0);
    assert_eq!(meter.left(), Duration::from_secs(18));
}
