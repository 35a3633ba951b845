//! What leaves a shelf, as cases.

use std::time::Duration;

use base::{ByteSize, Timestamp};

use super::{EvictionPolicy, Outlook, Shelf, Shelved, Standing, Uses, choose};

const DAY: Duration = Duration::from_secs(86_400);

/// A model: its key, its blobs with their bytes, its standing, and how many days ago it was used.
type Line<'a> = (&'static str, &'a [(usize, u64)], Standing, u32);

fn check(needed: u64, models: &[Line<'_>], expected: &str) {
    let now = Timestamp::from_millis(0) + 30 * DAY;
    let mut shelf = Shelf::new();
    let mut known = std::collections::BTreeMap::new();
    for (key, blobs, standing, days_ago) in models {
        let blobs = blobs
            .iter()
            .map(|(name, bytes)| *known.entry(*name).or_insert_with(|| shelf.blob(ByteSize(*bytes))));
        let blobs = blobs.collect();
        shelf.model(Shelved {
            key: *key,
            blobs,
            standing: *standing,
            uses: Uses::first(now - *days_ago * DAY),
            refetch_rate_bytes: 1000,
            copies_elsewhere: 0,
        });
    }
    let plan = choose(&shelf, ByteSize(needed), now, &EvictionPolicy::default());
    let mut words: Vec<String> =
        plan.victims.iter().map(|victim| format!("{} {}", victim.key, victim.frees.bytes())).collect();
    if plan.short_by > ByteSize(0) {
        words.push(format!("short by {}", plan.short_by.bytes()));
    }
    assert_eq!(words.join(", "), expected);
}

#[test]
fn only_what_may_leave_leaves_and_only_what_must() {
    use Standing::{Free, Leased, Pinned, Wanted};
    check(0, &[("a", &[(0, 10)], Free, 1)], "");
    check(10, &[("a", &[(0, 10_000)], Free, 1), ("b", &[(1, 10_000)], Free, 2)], "b 10000");
    check(
        10,
        &[("a", &[(0, 10)], Leased, 1), ("b", &[(1, 10)], Pinned, 2), ("c", &[(2, 10)], Wanted, 3)],
        "short by 10",
    );
    // The revision that nobody uses frees nothing while the other one stays.
    let revisions: &[Line<'_>] =
        &[("old", &[(0, 10_000), (1, 5)], Free, 9), ("new", &[(0, 10_000), (2, 5)], Free, 1)];
    check(10_005, revisions, "old 5, new 10005");
    check(4, revisions, "old 5");
    // One that shares all its bytes with a leased one frees none.
    check(5, &[("a", &[(0, 10)], Leased, 1), ("b", &[(0, 10)], Free, 2), ("c", &[(1, 10)], Free, 1)], "c 10");
    // The small one is put back when the large one is enough.
    check(10_000, &[("a", &[(0, 1000)], Free, 20), ("b", &[(1, 10_000)], Free, 1)], "b 10000");
}

#[test]
fn a_use_that_lasts_is_fresh_and_counts_once() {
    let start = Timestamp::from_millis(1_000_000);
    let later = start + 30 * DAY;
    let mut lasting = Uses::first(start);
    lasting.prolong(later);
    assert_eq!((lasting.count(), lasting.last_at()), (1, later));
    assert_eq!(lasting.rate(later, Outlook::Recent), Uses::first(later).rate(later, Outlook::Recent));
    let mut often = Uses::first(start);
    (0..9).for_each(|_| often.record(start));
    let before = often.rate(start, Outlook::Recent);
    often.prolong(start);
    assert_eq!(often.rate(start, Outlook::Recent), before);
    often.prolong(start - DAY);
    assert_eq!(often.last_at(), start);
}
