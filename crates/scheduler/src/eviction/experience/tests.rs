//! What a shelf learns, as cases.

use std::time::Duration;

use base::{ByteSize, Timestamp};

use super::{Experience, MODELS_REMEMBERED_MAX, Outlook, Used};

const HOUR: Duration = Duration::from_secs(3600);
/// Room for four of the models of these cases.
const CAPACITY: ByteSize = ByteSize(40);

/// Plays a use an hour of models of 10 bytes each.
fn played(models: impl Iterator<Item = u32>) -> Experience<u32> {
    let mut experience = Experience::default();
    let mut now = Timestamp::from_millis(0);
    for model in models {
        experience.record(&model, used(10), CAPACITY, now);
        now = now + HOUR;
    }
    experience
}

fn used(bytes: u64) -> Used {
    Used { bytes: ByteSize(bytes), fetch_time: Duration::from_secs(bytes) }
}

#[test]
fn a_shelf_finds_the_outlook_that_fits() {
    let check = |models: &mut dyn Iterator<Item = u32>, expected: &[Outlook]| {
        let outlook = played(models).outlook();
        assert!(expected.contains(&outlook), "{outlook}, not {expected:?}");
    };
    check(&mut std::iter::empty(), &[Outlook::Habit]);
    check(&mut std::iter::repeat_n(1, 500), &[Outlook::Habit]);
    // In a round of six, whoever keeps four of them does better than whoever throws each out before its turn.
    check(&mut (0..600).map(|turn| turn % 6), &[Outlook::Loyal]);
    // Three at a time, used often and never again: what was used often is no longer wanted.
    let bursts = (0..1200).map(|turn| turn / 60 * 3 + turn % 3);
    // Between them, in turns, what only habit would keep out.
    let disturbed = bursts.flat_map(|model| [model, 10_000 + model % 7]);
    check(&mut disturbed.into_iter(), &[Outlook::Recent, Outlook::Latest, Outlook::Balanced]);
}

#[test]
fn imagined_shelves_hold_no_more_than_the_real_one() {
    let experience = played((0..500).map(|turn| turn * turn % 23));
    for at in 0..Outlook::ALL.len() {
        let here = experience.models.values().filter(|model| model.shelves & (1 << at) != 0);
        let taken: ByteSize = here.map(|model| model.bytes).sum();
        assert_eq!(taken, CAPACITY);
    }
}

#[test]
fn what_is_gone_is_remembered_within_a_limit() {
    let mut experience = Experience::default();
    let now = Timestamp::from_millis(0);
    for model in 0..MODELS_REMEMBERED_MAX + 3 {
        experience.record(&model, used(100), CAPACITY, now + Duration::from_secs(model as u64));
    }
    assert_eq!(experience.models.len(), MODELS_REMEMBERED_MAX);
    assert!(experience.uses(&0).is_none(), "the least used one is forgotten");
    assert!(experience.uses(&(MODELS_REMEMBERED_MAX + 2)).is_some());
}
