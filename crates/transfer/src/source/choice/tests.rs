//! Cases of choosing, and what holds for all of them.

use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

const NOW: i64 = 100;

fn fine() -> Candidate {
    Candidate::default()
}

#[test]
fn the_order_stands_unless_something_speaks_against_it() {
    let check = |candidates: &[Candidate], expected: Choice| {
        assert_eq!(choose(candidates, at(NOW)), expected, "{candidates:?}");
    };
    let rate = |rate: u64| Candidate { rate: Some(rate), ..fine() };
    let out = Candidate { is_out: true, ..fine() };
    let shaky = Candidate { shaky_until: at(NOW + 1), ..fine() };
    let paused = |seconds: i64| Candidate { ready_at: at(NOW + seconds), ..fine() };
    let whole = Candidate { is_whole_only: true, ..fine() };
    let wrong = |strikes: u32| Candidate { strikes, ..fine() };
    check(&[fine(), fine()], Choice::Ask(0));
    check(&[out, fine()], Choice::Ask(1));
    check(&[rate(100), rate(199)], Choice::Ask(0));
    check(&[rate(100), rate(200)], Choice::Ask(1));
    check(&[rate(100), rate(200), rate(400)], Choice::Ask(2));
    check(&[fine(), rate(200)], Choice::Ask(0));
    check(&[shaky, fine()], Choice::Ask(1));
    check(&[shaky, shaky], Choice::Ask(0));
    check(&[Candidate { shaky_until: at(NOW), ..fine() }, fine()], Choice::Ask(0));
    check(&[paused(5), fine()], Choice::Ask(1));
    check(&[paused(5), shaky], Choice::Ask(1));
    check(&[paused(5), paused(3)], Choice::WaitFor(1, at(NOW + 3)));
    check(&[paused(5), out], Choice::WaitFor(0, at(NOW + 5)));
    check(&[whole, fine()], Choice::Ask(1));
    check(&[whole, paused(5)], Choice::WaitFor(1, at(NOW + 5)));
    check(&[out, whole], Choice::WholeOnly(1));
    check(&[out, out], Choice::Nobody);
    // Wrong bytes: whoever has a clean record, then each once more and alone, the last first.
    check(&[wrong(1), fine()], Choice::Ask(1));
    check(&[wrong(1), paused(5)], Choice::WaitFor(1, at(NOW + 5)));
    check(&[wrong(1), wrong(1)], Choice::Ask(1));
    check(&[wrong(1), wrong(2)], Choice::Ask(0));
    check(&[wrong(2), wrong(2)], Choice::Nobody);
    check(&[wrong(1), out], Choice::Ask(0));
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let moment = || (NOW - 2..NOW + 3).prop_map(at);
    (any::<bool>(), any::<bool>(), 0..=STRIKES_MAX, moment(), moment(), prop::option::of(1u64..10)).prop_map(
        |(is_out, is_whole_only, strikes, ready_at, shaky_until, rate)| Candidate {
            is_out,
            is_whole_only,
            strikes,
            ready_at,
            shaky_until,
            rate,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(testkit::cases(2000)))]

    #[test]
    fn a_choice_can_be_carried_out(candidates in prop::collection::vec(candidate(), 0..5)) {
        let usable = |index: usize| !candidates[index].is_out && candidates[index].strikes < STRIKES_MAX;
        match choose(&candidates, at(NOW)) {
            Choice::Ask(index) => {
                prop_assert!(usable(index) && !candidates[index].is_whole_only);
                prop_assert!(candidates[index].ready_at <= at(NOW));
            }
            Choice::WaitFor(index, until) => {
                prop_assert!(usable(index) && until > at(NOW) && until == candidates[index].ready_at);
            }
            Choice::WholeOnly(index) => prop_assert!(usable(index) && candidates[index].is_whole_only),
            Choice::Nobody => prop_assert!((0..candidates.len()).all(|index| !usable(index))),
        }
    }

    #[test]
    fn whoever_gives_wrong_bytes_again_and_again_is_done_with(count in 1usize..5) {
        let mut candidates = vec![fine(); count];
        let mut rounds = 0;
        while let Choice::Ask(index) = choose(&candidates, at(NOW)) {
            candidates[index].strikes += 1;
            rounds += 1;
            prop_assert!(rounds <= 2 * count);
        }
        prop_assert_eq!(choose(&candidates, at(NOW)), Choice::Nobody);
        prop_assert!(candidates.iter().all(|one| one.strikes == STRIKES_MAX));
    }
}
