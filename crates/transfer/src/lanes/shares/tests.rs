//! Who gets the next connection, as cases and at random.

use proptest::prelude::*;

use super::*;

fn claim(fetch: u64, file: usize) -> Claim {
    Claim { fetch, file, source: "hub".to_owned() }
}

/// Lets these ask in order, and returns in what order they get connections, as `fetch.file`.
fn order(shares: &mut Shares, asks: &[(u64, usize)]) -> String {
    let mut tickets = BTreeMap::new();
    for (fetch, file) in asks {
        tickets.insert(shares.ask(claim(*fetch, *file)), format!("{fetch}.{file}"));
    }
    let mut given = Vec::new();
    while let Some(ticket) = shares.next(|_| usize::MAX) {
        given.push(tickets.remove(&ticket).unwrap());
    }
    given.join(" ")
}

#[test]
fn fetches_share_evenly_and_so_do_files() {
    let check = |connections: usize, asks: &[(u64, usize)], expected: &str| {
        assert_eq!(order(&mut Shares::new(connections), asks), expected);
    };
    check(3, &[(1, 1), (1, 1), (1, 2), (1, 2)], "1.1 1.2 1.1");
    check(4, &[(1, 1), (1, 1), (1, 1), (2, 1), (2, 2)], "1.1 2.1 2.2 1.1");
    check(2, &[(1, 1)], "1.1");
}

#[test]
fn a_late_fetch_gets_what_is_given_back_next() {
    let mut shares = Shares::new(4);
    assert_eq!(order(&mut shares, &[(1, 1); 9]), "1.1 1.1 1.1 1.1");
    assert_eq!(order(&mut shares, &[(2, 1); 3]), "");
    shares.give_back(&claim(1, 1));
    let ticket = shares.next(|_| usize::MAX).unwrap();
    assert_eq!(ticket, 9, "the first of the second fetch");
}

#[test]
fn the_urgent_go_first_and_the_demoted_last() {
    let mut shares = Shares::new(5);
    shares.set_priority(2, Some(FetchPriority::Awaited));
    shares.set_priority(3, Some(FetchPriority::Demoted));
    let asks = [(3, 1), (1, 1), (2, 1), (2, 2), (2, 1), (1, 1)];
    assert_eq!(order(&mut shares, &asks), "2.1 2.2 2.1 1.1 1.1");
    shares.set_priority(3, Some(FetchPriority::Awaited));
    shares.give_back(&claim(2, 1));
    assert_eq!(shares.next(|_| usize::MAX), Some(0));
}

#[test]
fn a_source_that_is_full_holds_up_nobody_else() {
    let mut shares = Shares::new(9);
    shares.ask(claim(1, 1));
    shares.ask(claim(1, 1));
    let mirror = shares.ask(Claim { source: "mirror".to_owned(), ..claim(1, 1) });
    let limit = |source: &str| if source == "hub" { 1 } else { 8 };
    assert_eq!(shares.next(limit), Some(0));
    assert_eq!(shares.next(limit), Some(mirror));
    assert_eq!(
        (shares.next(limit), shares.is_wanted("hub"), shares.is_wanted("mirror")),
        (None, true, false)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: testkit::cases(128), ..ProptestConfig::default() })]

    /// Never more than allowed, nobody forgotten: at the end everyone has had a connection or has left.
    #[test]
    fn every_ticket_is_served_once_or_withdrawn(
        connections in 1..6usize,
        limit in 1..4usize,
        steps in proptest::collection::vec((0..4u8, 0..3u64, 0..3usize, 0..2usize), 1..150),
    ) {
        let mut shares = Shares::new(connections);
        let mut waiting: BTreeMap<u64, Claim> = BTreeMap::new();
        let mut held: Vec<Claim> = Vec::new();
        let mut served = 0;
        let mut asked = 0;
        for (step, fetch, file, source) in steps {
            let source = ["hub", "mirror"][source].to_owned();
            match step {
                0 | 1 => {
                    let claim = Claim { fetch, file, source };
                    waiting.insert(shares.ask(claim.clone()), claim);
                    asked += 1;
                }
                2 if !held.is_empty() => shares.give_back(&held.swap_remove(file % held.len())),
                _ => {
                    if let Some(ticket) = waiting.keys().nth(file).copied() {
                        prop_assert!(shares.withdraw(ticket));
                        prop_assert!(!shares.withdraw(ticket));
                        waiting.remove(&ticket);
                        served += 1;
                    }
                }
            }
            while let Some(ticket) = shares.next(|_| limit) {
                held.push(waiting.remove(&ticket).unwrap());
                served += 1;
            }
            prop_assert!(held.len() <= connections);
            for source in ["hub", "mirror"] {
                let of_source = held.iter().filter(|claim| claim.source == source).count();
                prop_assert!(of_source <= limit);
                prop_assert_eq!(of_source, shares.held_by(source));
                let is_free = held.len() < connections && of_source < limit;
                prop_assert!(!(is_free && shares.is_wanted(source)), "a connection lies idle");
            }
        }
        prop_assert_eq!(asked, served + waiting.len());
    }
}
