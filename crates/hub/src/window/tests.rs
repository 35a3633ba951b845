//! Headers that ask for a pause, and who has to wait when.

use proptest::prelude::*;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// 21 October 2026, 07:28:00 UTC.
const OCTOBER: i64 = 1_792_567_680;

#[test]
fn a_pause_is_as_long_as_told_within_reason() {
    let check = |pairs: &[(&'static str, &str)], expected: u64| {
        assert_eq!(pause(&headers(pairs), at(OCTOBER)).as_secs(), expected, "{pairs:?}");
    };
    let used_up = r#""resolvers";r=0;t=217"#;
    check(&[("ratelimit", used_up)], 218);
    check(&[("ratelimit", used_up), ("retry-after", "3")], 218);
    check(&[("ratelimit", r#""api";r=5;t=217"#), ("retry-after", "3")], 3);
    check(&[("ratelimit", r#""api"; r=0; t=4"#)], 5);
    check(&[("ratelimit", r#""api";r=9;t=4, "resolvers";r=0;t=6"#)], 7);
    check(&[("retry-after", "99999999999")], 900);
    check(&[("retry-after", "99999999999999999999999999999")], 900);
    check(&[("retry-after", "0")], 1);
    check(&[("ratelimit", r#""api";r=0;t=18446744073709551615"#)], 900);
    // A moment, in the three forms of HTTP, after this host's clock or the hub's own.
    check(&[("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT")], 30);
    check(&[("retry-after", "Wednesday, 21-Oct-26 07:28:30 GMT")], 30);
    check(&[("retry-after", "Wed Oct 21 07:28:30 2026")], 30);
    check(&[("retry-after", "Wed, 21 Oct 2026 08:00:09 GMT"), ("date", "Wed, 21 Oct 2026 08:00:00 GMT")], 9);
    check(&[("retry-after", "Wed, 21 Oct 2026 07:00:00 GMT")], 1);
    check(&[("retry-after", "Fri, 21 Oct 2050 07:28:00 GMT")], 900);
    check(&[("retry-after", "soon")], 10);
    check(&[("ratelimit", "nonsense")], 10);
    check(&[], 10);
}

#[test]
fn a_window_is_kept_before_it_is_used_up() {
    let windows = Arc::new(Windows::default());
    let caller = || Caller::home(None, Bucket::Files);
    let tell = |ratelimit: &str, quota: &str| {
        let map = headers(&[("ratelimit", ratelimit), ("ratelimit-policy", quota)]);
        let asking = windows.ask(caller(), at(0)).unwrap();
        asking.answered(Told::read(StatusCode::OK, &map, at(0)), at(0));
    };
    let may_ask = |now: i64| windows.ask(caller(), at(now)).map(drop).map_err(|wait| wait.as_secs());
    tell(r#""resolvers";r=2;t=9"#, r#""fixed window";"resolvers";q=10;w=300"#);
    assert_eq!(may_ask(0), Ok(()));
    assert_eq!(may_ask(0), Ok(()));
    assert_eq!(may_ask(4), Err(6), "the answers did not say otherwise, so two questions were two");
    // Somebody else asks on.
    assert!(windows.ask(Caller::home(Some(&Redacted::new("t".to_owned())), Bucket::Files), at(4)).is_ok());
    assert!(windows.ask(Caller::home(None, Bucket::Api), at(4)).is_ok());
    assert_eq!(may_ask(10), Ok(()), "a new window");
    // A part of a large window is left to others.
    tell(r#""resolvers";r=16;t=9"#, r#""fixed window";"resolvers";q=3000;w=300"#);
    assert_eq!(may_ask(0), Ok(()));
    assert_eq!(may_ask(0), Err(10));
}

#[test]
fn questions_on_their_way_count() {
    let windows = Arc::new(Windows::default());
    let caller = || Caller::Elsewhere("cdn.test:443".to_owned());
    let open: Vec<Asking> = (0..3).map(|_| windows.ask(caller(), at(0)).unwrap()).collect();
    let mut open = open.into_iter();
    let map = headers(&[("ratelimit", r#""bytes";r=3;t=9"#)]);
    open.next().unwrap().answered(Told::read(StatusCode::OK, &map, at(0)), at(0));
    // Three are left, and two that the server may not have counted are on their way.
    assert!(windows.ask(caller(), at(0)).is_ok());
    assert!(windows.ask(caller(), at(0)).is_err());
}

#[test]
fn a_pause_stops_everyone_with_the_same_token() {
    let caller = || Caller::home(Some(&Redacted::new("t".to_owned())), Bucket::Api);
    let map = headers(&[("retry-after", "7")]);
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
        let windows = Arc::new(Windows::default());
        windows.ask(caller(), at(0)).unwrap().answered(Told::read(status, &map, at(0)), at(0));
        assert_eq!(windows.ask(caller(), at(2)).unwrap_err(), Duration::from_secs(5));
        assert!(windows.ask(caller(), at(7)).is_ok());
    }
}

#[test]
fn the_callers_stay_bounded() {
    let windows = Arc::new(Windows::default());
    for number in 0..CALLERS_MAX + 9 {
        assert!(windows.ask(Caller::Elsewhere(number.to_string()), at(0)).is_ok());
    }
    assert!(windows.lock().len() <= CALLERS_MAX);
}

#[derive(Clone, Debug)]
enum Event {
    Ask,
    Answer { left: u64, ends_in: u64 },
    Lose,
    Pass(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Ask),
        3 => (0u64..6, 0u64..9).prop_map(|(left, ends_in)| Event::Answer { left, ends_in }),
        1 => Just(Event::Lose),
        1 => (0u8..9).prop_map(Event::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(testkit::cases(500)))]

    #[test]
    fn a_hub_that_tells_the_truth_never_has_to_refuse(quota in 1u64..8, waits in prop::collection::vec(0u8..4, 1..60)) {
        // A hub with a fixed window of ten seconds, asked by one client, one question at a time.
        let windows = Arc::new(Windows::default());
        let (mut now, mut used, mut window) = (0i64, 0, 0);
        for wait in waits {
            now += i64::from(wait);
            let Ok(asking) = windows.ask(Caller::home(None, Bucket::Api), at(now)) else { continue };
            if now / 10 != window {
                (window, used) = (now / 10, 0);
            }
            used += 1;
            prop_assert!(used <= quota, "one too many at {}", now);
            let told = Told {
                left: Some(quota - used),
                quota: Some(quota),
                ends_in: Some(Duration::from_secs(10 - now.rem_euclid(10).unsigned_abs())),
                pause: None,
            };
            asking.answered(told, at(now));
        }
    }

    #[test]
    fn nobody_waits_for_ever(events in prop::collection::vec(event(), 1..60)) {
        let windows = Arc::new(Windows::default());
        let (mut now, mut open) = (0, Vec::new());
        for event in events {
            match event {
                Event::Ask => match windows.ask(Caller::home(None, Bucket::Api), at(now)) {
                    Ok(asking) => open.push(asking),
                    Err(wait) => prop_assert!(wait > Duration::ZERO && wait <= PAUSE_MAX),
                },
                Event::Answer { left, ends_in } => {
                    let told = Told {
                        left: Some(left),
                        quota: None,
                        ends_in: Some(Duration::from_secs(ends_in)),
                        pause: None,
                    };
                    if let Some(asking) = open.pop() {
                        asking.answered(told, at(now));
                    }
                }
                Event::Lose => drop(open.pop()),
                Event::Pass(seconds) => now += i64::from(seconds),
            }
        }
        drop(open);
        let standing = windows.lock().values().next().copied().unwrap_or_default();
        prop_assert_eq!(standing.in_flight, 0);
        let later = at(now) + PAUSE_MAX;
        prop_assert!(windows.ask(Caller::home(None, Bucket::Api), later).is_ok());
    }
}
