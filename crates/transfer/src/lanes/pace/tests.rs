//! The controller on links made of numbers.

use proptest::prelude::*;

use super::*;

const MAX: usize = 32;

/// A link that gives each connection at most so much, and all together at most so much, in bytes a second.
struct Link {
    each: f64,
    all: f64,
}

impl Link {
    fn rate(&self, connections: usize) -> f64 {
        (self.each * connections as f64).min(self.all)
    }
}

/// Lets a controller run on a link for some seconds, in steps of 5 ms; returns the limits it passed through.
fn run(pace: &mut Pace, link: &Link, from: Timestamp, seconds: u64) -> (Timestamp, Vec<usize>) {
    let mut limits = vec![pace.limit()];
    let mut now = from;
    for _ in 0..seconds * 200 {
        now = now + Duration::from_millis(5);
        let bytes = (link.rate(pace.limit()) * 0.005) as u64;
        pace.received(bytes, Use { held: pace.limit(), wanted: true }, now);
        if limits.last() != Some(&pace.limit()) {
            limits.push(pace.limit());
        }
    }
    (now, limits)
}

fn fresh() -> Pace {
    Pace::new(4, MAX, Timestamp::EPOCH)
}

#[test]
fn connections_are_added_as_long_as_they_bring_more() {
    let check = |link: Link, seconds: u64, expected: &[usize]| {
        let (_, limits) = run(&mut fresh(), &link, Timestamp::EPOCH, seconds);
        assert_eq!(limits, expected);
    };
    // Each connection is capped to an eighth of the link: sixteen bring no more than eight.
    check(Link { each: 1e8, all: 8e8 }, 5, &[4, 8, 16, 8]);
    // Capped far below the link: as many as may be.
    check(Link { each: 1e7, all: 1e10 }, 9, &[4, 8, 16, 32]);
    // One connection fills the link.
    check(Link { each: 1e9, all: 1e9 }, 5, &[4, 8, 4]);
    // A slow link: the windows are of a second.
    check(Link { each: 1e6, all: 6e6 }, 9, &[4, 8, 16, 8]);
}

#[test]
fn it_tries_again_after_a_rest_and_more_gently() {
    let mut pace = fresh();
    let (now, _) = run(&mut pace, &Link { each: 1e9, all: 1e9 }, Timestamp::EPOCH, 2);
    assert_eq!(pace.limit(), 4);
    let (_, limits) = run(&mut pace, &Link { each: 1e8, all: 1e9 }, now, 60);
    assert_eq!(limits[..4], [4, 5, 7, 9]);
}

#[test]
fn a_refusal_halves_once_and_a_failure_takes_one() {
    let mut pace = fresh();
    let (now, _) = run(&mut pace, &Link { each: 1e7, all: 1e10 }, Timestamp::EPOCH, 9);
    assert_eq!(pace.limit(), 32);
    // Streams are refused together.
    for _ in 0..8 {
        pace.refused(now);
    }
    assert_eq!(pace.limit(), 16);
    let later = now + Duration::from_secs(5);
    pace.refused(later);
    assert_eq!(pace.limit(), 8);
    pace.failed(later + Duration::from_secs(5));
    assert_eq!(pace.limit(), 7);
    let (_, limits) = run(&mut pace, &Link { each: 1e7, all: 1e10 }, later + Duration::from_secs(5), 20);
    assert_eq!(limits, [7], "it rests");
}

#[test]
fn idle_connections_say_nothing() {
    let mut pace = fresh();
    let mut now = Timestamp::EPOCH;
    for _ in 0..1000 {
        now = now + Duration::from_millis(20);
        pace.received(1 << 20, Use { held: 2, wanted: false }, now);
    }
    assert_eq!(pace.limit(), 4);
}

#[test]
fn ranges_are_long_beside_the_time_to_their_first_byte() {
    let mut pace = fresh();
    assert_eq!(pace.range_bytes_worthwhile(), 0);
    pace.answered(Duration::from_millis(50));
    run(&mut pace, &Link { each: 4e7, all: 4e7 * 4.0 }, Timestamp::EPOCH, 2);
    let bytes = pace.range_bytes_worthwhile();
    assert!((30_000_000..50_000_000).contains(&bytes), "{bytes}");
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Bytes { bytes: u64, held: usize, wanted: bool, millis: u64 },
    Refused,
    Failed,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..50_000_000u64, 0..=MAX, any::<bool>(), 0..2000u64)
            .prop_map(|(bytes, held, wanted, millis)| Event::Bytes { bytes, held, wanted, millis }),
        1 => Just(Event::Refused),
        1 => Just(Event::Failed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: testkit::cases(128), ..ProptestConfig::default() })]

    /// The limit stays within its bounds, grows at most to the double at once, and never grows by trouble.
    #[test]
    fn the_limit_stays_within_bounds(first in 0..64usize, events in proptest::collection::vec(any_event(), 0..200)) {
        let mut now = Timestamp::EPOCH;
        let mut pace = Pace::new(first, MAX, now);
        for event in events {
            let before = pace.limit();
            match event {
                Event::Bytes { bytes, held, wanted, millis } => {
                    now = now + Duration::from_millis(millis);
                    let changed = pace.received(bytes, Use { held, wanted }, now);
                    prop_assert_eq!(changed, pace.limit() != before);
                    prop_assert!(pace.limit() <= 2 * before);
                }
                Event::Refused => {
                    pace.refused(now);
                    prop_assert!(pace.limit() <= before);
                }
                Event::Failed => {
                    pace.failed(now);
                    prop_assert!(pace.limit() <= before);
                }
            }
            prop_assert!((1..=MAX).contains(&pace.limit()));
        }
    }
}
