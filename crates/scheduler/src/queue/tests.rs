//! Orders of hand-overs, and the property that nothing is lost, doubled or given to somebody who did not ask.

use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

fn endpoint(name: &str) -> EndpointId {
    format!("ep_{name}").parse().unwrap()
}

fn job(number: u64) -> JobId {
    format!("job-{number}").parse().unwrap()
}

fn worker(name: &str) -> WorkerId {
    format!("wk_{name}").parse().unwrap()
}

fn idle(name: &str, version: u32, since: i64, slots: u32) -> Offer {
    let occupation = Occupation::Idle { since: Timestamp::from_millis(since) };
    Offer { endpoint: endpoint(name), release_version: version, occupation, slots }
}

fn drain(index: &mut ReadyIndex) -> String {
    let given: Vec<_> = std::iter::from_fn(|| index.hand_over())
        .map(|given| format!("{}>{}", given.job, given.worker))
        .collect();
    given.join(" ").replace("job-", "").replace("wk_", "")
}

#[test]
fn first_in_first_out_low_priority_behind() {
    let mut index = ReadyIndex::default();
    index.enqueue(&endpoint("a"), &job(1), Priority::Low, Place(1));
    index.enqueue(&endpoint("a"), &job(2), Priority::Normal, Place(2));
    index.enqueue(&endpoint("a"), &job(3), Priority::Normal, Place(3));
    index.enqueue(&endpoint("a"), &job(4), Priority::Normal, Place(4));
    assert_eq!(index.waiting(&endpoint("a"), Priority::Normal), 3);
    assert_eq!(index.next_of(&endpoint("a"), Priority::Low), Some(&job(1)));
    assert!(index.dequeue(&job(3)) && !index.dequeue(&job(3)));
    index.offer(&worker("x"), idle("a", 1, 0, 2));
    assert_eq!(drain(&mut index), "2>x 4>x");
    // A job that lost its worker keeps its place.
    index.enqueue(&endpoint("a"), &job(2), Priority::Normal, Place(2));
    index.offer(&worker("x"), idle("a", 1, 0, 9));
    assert_eq!(drain(&mut index), "2>x 1>x");
    assert!(index.is_empty());
}

#[test]
fn endpoints_take_turns() {
    let mut index = ReadyIndex::default();
    for number in 0..3 {
        index.enqueue(&endpoint("a"), &job(number), Priority::Normal, Place(number));
    }
    index.enqueue(&endpoint("b"), &job(10), Priority::Normal, Place(10));
    index.enqueue(&endpoint("c"), &job(11), Priority::Normal, Place(11));
    for name in ["a", "b"] {
        index.offer(&worker(name), idle(name, 1, 0, 5));
    }
    assert_eq!(drain(&mut index), "0>a 10>b 1>a 2>a");
    assert_eq!(index.len(), 1);
}

#[test]
fn the_newest_release_then_the_worker_that_worked_last() {
    let mut index = ReadyIndex::default();
    for number in 0..6 {
        index.enqueue(&endpoint("a"), &job(number), Priority::Normal, Place(number));
    }
    index.offer(&worker("old"), idle("a", 1, 99, 1));
    index.offer(&worker("long"), idle("a", 2, 10, 2));
    index.offer(&worker("short"), idle("a", 2, 20, 2));
    index.offer(&worker("gone"), idle("a", 3, 20, 2));
    index.withdraw(&worker("gone"));
    // Once it has a job, a worker comes after those without one.
    assert_eq!(drain(&mut index), "0>short 1>long 2>short 3>long 4>old");
}

#[test]
fn a_job_stays_away_from_workers_that_lost_it() {
    let mut index = ReadyIndex::default();
    for number in 1..=2 {
        index.enqueue(&endpoint("a"), &job(number), Priority::Normal, Place(number));
    }
    index.bar(&job(1), [worker("x")]);
    index.offer(&worker("x"), idle("a", 1, 0, 2));
    assert_eq!(drain(&mut index), "2>x", "the job behind goes first");
    assert_eq!(index.barred_worker(), Some(&worker("x")), "nothing moves while only x asks");
    index.offer(&worker("y"), idle("a", 1, 0, 1));
    assert_eq!(index.barred_worker(), None);
    assert_eq!(drain(&mut index), "1>y");
    // Once it was handed over, the bars are its next waiting's to say.
    index.enqueue(&endpoint("a"), &job(1), Priority::Normal, Place(1));
    assert_eq!(drain(&mut index), "1>x");
}

#[derive(Clone, Debug)]
enum Op {
    Bar(u64, u8),
    Enqueue(u8, u64, Priority),
    Dequeue(u64),
    Offer(u8, u8, u32),
    Withdraw(u8),
    HandOver,
}

fn any_op() -> impl Strategy<Value = Op> {
    let priority = prop_oneof![Just(Priority::Normal), Just(Priority::Low)];
    prop_oneof![
        4 => (0u8..3, 0u64..30, priority).prop_map(|(at, job, priority)| Op::Enqueue(at, job, priority)),
        2 => (0u64..30, 0u8..6).prop_map(|(job, worker)| Op::Bar(job, worker)),
        1 => (0u64..30).prop_map(Op::Dequeue),
        3 => (0u8..6, 0u8..3, 0u32..4).prop_map(|(worker, at, slots)| Op::Offer(worker, at, slots)),
        1 => (0u8..6).prop_map(Op::Withdraw),
        4 => Just(Op::HandOver),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_or_doubled(ops in proptest::collection::vec(any_op(), 0..120)) {
        let mut index = ReadyIndex::default();
        let mut waiting: BTreeMap<u64, (u8, Priority)> = BTreeMap::new();
        let mut barred: BTreeMap<u64, BTreeSet<u8>> = BTreeMap::new();
        let mut offers: BTreeMap<u8, (u8, u32)> = BTreeMap::new();
        let name = |at: u8| format!("e{at}");
        for op in ops {
            match op {
                Op::Enqueue(at, number, priority) => {
                    index.enqueue(&endpoint(&name(at)), &job(number), priority, Place(number));
                    waiting.entry(number).or_insert((at, priority));
                }
                Op::Bar(number, who) => {
                    if waiting.contains_key(&number) {
                        let from = barred.entry(number).or_default();
                        from.insert(who);
                        index.bar(&job(number), from.iter().map(|who| worker(&name(*who))));
                    }
                }
                Op::Dequeue(number) => {
                    barred.remove(&number);
                    prop_assert_eq!(index.dequeue(&job(number)), waiting.remove(&number).is_some());
                }
                Op::Offer(who, at, slots) => {
                    index.offer(&worker(&name(who)), idle(&name(at), 1, 0, slots));
                    offers.insert(who, (at, slots));
                }
                Op::Withdraw(who) => {
                    index.withdraw(&worker(&name(who)));
                    offers.remove(&who);
                }
                Op::HandOver => {
                    let may = |number: u64, at: u8, who: u8, (of, slots): (u8, u32)| {
                        of == at && slots > 0 && !barred.get(&number).is_some_and(|from| from.contains(&who))
                    };
                    let takers = |number: u64, at: u8| {
                        offers.iter().any(|(who, offer)| may(number, at, *who, *offer))
                    };
                    let Some(given) = index.hand_over() else {
                        prop_assert!(waiting.iter().all(|(number, (at, _))| !takers(*number, *at)));
                        let asks = |at: u8| offers.values().any(|(of, slots)| *of == at && *slots > 0);
                        let stuck = waiting.values().any(|(at, _)| asks(*at));
                        prop_assert_eq!(index.barred_worker().is_some(), stuck);
                        continue;
                    };
                    let number = waiting.keys().copied().find(|number| job(*number) == given.job);
                    let (at, priority) = waiting.remove(&number.unwrap()).unwrap();
                    prop_assert_eq!(&endpoint(&name(at)), &given.endpoint);
                    let first = waiting.iter().all(|(other, (of, also))| {
                        *of != at || !takers(*other, *of) || (priority, number.unwrap()) < (*also, *other)
                    });
                    prop_assert!(first, "{} is not the first", given.job);
                    let who = offers.keys().copied().find(|who| worker(&name(*who)) == given.worker);
                    let offer = offers[&who.unwrap()];
                    prop_assert!(may(number.unwrap(), at, who.unwrap(), offer), "{} is barred", given.worker);
                    barred.remove(&number.unwrap());
                    offers.insert(who.unwrap(), (offer.0, offer.1 - 1));
                }
            }
            prop_assert_eq!(index.len(), waiting.len());
        }
    }
}
