//! Bills of made-up workers, and the property that they add up.

use proptest::prelude::{prop_assert_eq, proptest};

use super::*;

fn worker(number: usize) -> WorkerId {
    format!("wk_{number}").parse().unwrap()
}

fn interval(phase: LedgerPhase, from: i64, to: i64) -> LedgerInterval {
    LedgerInterval { phase, from: Timestamp::from_millis(from), to: Timestamp::from_millis(to) }
}

fn window(from: i64, to: i64) -> Window {
    Window { from: Timestamp::from_millis(from), to: Timestamp::from_millis(to) }
}

fn check(intervals: &[(LedgerPhase, i64, i64)], (from, to): (i64, i64), expected: &[(LedgerPhase, u64)]) {
    let worker = worker(1);
    let rows = intervals.iter().map(|(phase, from, to)| (&worker, interval(*phase, *from, *to)));
    let usage = usage(rows, window(from, to));
    assert_eq!(usage.seconds, expected.iter().copied().collect());
}

#[test]
fn a_worker_is_rounded_up_once() {
    use LedgerPhase::{Executing, Idle, Initializing, Starting};
    check(
        &[(Starting, 0, 400), (Executing, 400, 900), (Idle, 900, 1100)],
        (0, 9000),
        &[(Starting, 1), (Idle, 1)],
    );
    check(
        &[(Initializing, 0, 160_000), (Starting, 160_000, 160_001)],
        (0, 999_000),
        &[(Initializing, 160), (Starting, 1)],
    );
    check(&[(Executing, 0, 10_000)], (2_500, 7_500), &[(Executing, 5)]);
    check(&[(Executing, 0, 10_000)], (10_000, 20_000), &[]);
    check(&[], (0, 10_000), &[]);
}

proptest! {
    /// Whatever the cuts: phases add up to the bill, and neighbouring windows to the whole.
    #[test]
    fn windows_and_phases_add_up(
        lengths in proptest::collection::vec((0usize..7, 1i64..4000), 1..20),
        cut in 0i64..40_000,
    ) {
        let workers = [worker(1), worker(2)];
        let mut rows = Vec::new();
        let mut ends = [0, 0];
        for (number, (phase, length)) in lengths.into_iter().enumerate() {
            let end = &mut ends[number % 2];
            rows.push((number % 2, interval(LedgerPhase::ALL[phase], *end, *end + length)));
            *end += length;
        }
        let ask = |from, to| usage(rows.iter().map(|(who, row)| (&workers[*who], *row)), window(from, to));
        let (whole, first, second) = (ask(0, 80_000), ask(0, cut), ask(cut, 80_000));
        prop_assert_eq!(first.billed_seconds() + second.billed_seconds(), whole.billed_seconds());
        prop_assert_eq!(first.unbilled_seconds() + second.unbilled_seconds(), whole.unbilled_seconds());
        let millis = |who: usize| -> i64 {
            let billed = rows.iter().filter(|(of, row)| *of == who && row.phase.is_billed());
            billed.map(|(_, row)| row.to.as_millis() - row.from.as_millis()).sum()
        };
        let bill: i64 = (0..2).map(|who| (millis(who) + 999) / 1000).sum();
        prop_assert_eq!(whole.billed_seconds(), bill.unsigned_abs());
    }
}
