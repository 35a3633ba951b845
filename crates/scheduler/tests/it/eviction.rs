//! Properties of eviction over random shelves: small ones, in which nearly everything is shared with something.

use std::{collections::BTreeSet, time::Duration};

use base::{ByteSize, Timestamp};
use proptest::{
    collection::{btree_set, vec},
    prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest},
    sample::select,
};
use scheduler::eviction::{EvictionPlan, EvictionPolicy, Outlook, Shelf, Shelved, Standing, Uses, choose};

const BLOBS: usize = 8;
const NOW: Timestamp = Timestamp::from_millis(10_000_000_000);

/// A model by what it is made of; its key is its place.
#[derive(Clone, Debug)]
struct Model {
    blobs: BTreeSet<usize>,
    standing: Standing,
    used_hours_ago: BTreeSet<u16>,
    rate: u64,
    copies: u32,
}

#[derive(Clone, Debug)]
struct World {
    blobs: Vec<u64>,
    models: Vec<Model>,
    outlook: Outlook,
}

fn worlds() -> impl Strategy<Value = World> {
    use Standing::{Free, Leased, Pinned, Wanted};
    let standing = select(vec![Free, Free, Free, Free, Free, Leased, Pinned, Wanted]);
    let model = (btree_set(0..BLOBS, 0..5), standing, btree_set(0_u16..2000, 1..6), 0_u64..1000, 0_u32..6)
        .prop_map(|(blobs, standing, used_hours_ago, rate, copies)| Model {
            blobs,
            standing,
            used_hours_ago,
            rate,
            copies,
        });
    let outlook =
        select(vec![Outlook::Habit, Outlook::Balanced, Outlook::Recent, Outlook::Latest, Outlook::Loyal]);
    (vec(1_u64..1000, BLOBS), vec(model, 0..10), outlook).prop_map(|(blobs, models, outlook)| World {
        blobs,
        models,
        outlook,
    })
}

impl World {
    /// Builds the shelf with its models and blobs added in another order for each turn.
    fn shelf(&self, turn: usize) -> Shelf<usize> {
        let mut shelf = Shelf::new();
        let mut order: Vec<usize> = (0..BLOBS).collect();
        order.rotate_left(turn % BLOBS);
        let mut indexes: Vec<_> = order.iter().map(|blob| (*blob, shelf.blob(self.blob(*blob)))).collect();
        indexes.sort_unstable();
        let mut keys: Vec<usize> = (0..self.models.len()).collect();
        if turn > 0 {
            keys.reverse();
            keys.rotate_left(turn % self.models.len().max(1));
        }
        for key in keys {
            let Model { blobs, standing, used_hours_ago, rate, copies } = &self.models[key];
            let mut times = used_hours_ago.iter().rev().map(|hours| NOW - HOUR * u32::from(*hours));
            let mut uses = Uses::first(times.next().expect("each model was used"));
            times.for_each(|at| uses.record(at));
            shelf.model(Shelved {
                key,
                blobs: blobs.iter().map(|blob| indexes[*blob].1).collect(),
                standing: *standing,
                uses,
                refetch_rate_bytes: *rate,
                copies_elsewhere: *copies,
            });
        }
        shelf
    }

    fn choose(&self, needed: u64, turn: usize) -> EvictionPlan<usize> {
        let policy = EvictionPolicy { outlook: self.outlook, ..EvictionPolicy::default() };
        choose(&self.shelf(turn), ByteSize(needed), NOW, &policy)
    }

    fn blob(&self, blob: usize) -> ByteSize {
        ByteSize(self.blobs[blob])
    }

    /// Returns what really leaves with these models: blobs that one of them holds and none of the others.
    fn freed(&self, gone: &BTreeSet<usize>) -> u64 {
        let held = |is_gone: bool| -> BTreeSet<usize> {
            let models = self.models.iter().enumerate().filter(|(key, _)| gone.contains(key) == is_gone);
            models.flat_map(|(_, model)| model.blobs.iter().copied()).collect()
        };
        held(true).difference(&held(false)).map(|blob| self.blobs[*blob]).sum()
    }

    fn free_ones(&self) -> BTreeSet<usize> {
        let free = self.models.iter().enumerate().filter(|(_, model)| model.standing == Standing::Free);
        free.map(|(key, _)| key).collect()
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn keys(plan: &EvictionPlan<usize>) -> BTreeSet<usize> {
    plan.victims.iter().map(|victim| victim.key).collect()
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(testkit::cases(2000)))]

    #[test]
    fn a_plan_frees_what_is_needed_and_nothing_more_than_it_must(
        world in worlds(),
        needed in 0_u64..4000,
        turn in any::<u8>(),
    ) {
        let plan = world.choose(needed, 0);
        let gone = keys(&plan);
        prop_assert_eq!(gone.len(), plan.victims.len(), "nobody leaves twice");
        prop_assert!(gone.is_subset(&world.free_ones()), "only what may leave leaves");
        prop_assert_eq!(plan.freed.bytes(), world.freed(&gone), "what is promised is what is freed");
        prop_assert_eq!(plan.short_by.bytes(), needed.saturating_sub(plan.freed.bytes()));
        let mut left = BTreeSet::new();
        for victim in &plan.victims {
            let before = world.freed(&left);
            left.insert(victim.key);
            prop_assert_eq!(victim.frees.bytes(), world.freed(&left) - before, "in this order");
        }
        if plan.short_by > ByteSize(0) {
            prop_assert_eq!(plan.freed.bytes(), world.freed(&world.free_ones()), "it did what it could");
        }
        for victim in &gone {
            let mut others = gone.clone();
            others.remove(victim);
            prop_assert!(world.freed(&others) < plan.freed.bytes().min(needed), "{victim} had to leave");
        }
        prop_assert_eq!(&plan, &world.choose(needed, usize::from(turn)), "whatever order they came in");
        let more = world.choose(needed + u64::from(turn), 0);
        prop_assert!(more.freed >= plan.freed, "who needs more gets no less");
    }

    #[test]
    fn what_stays_is_counted_once_and_to_the_strongest(world in worlds()) {
        let plan = world.choose(u64::MAX, 0);
        let kept = plan.kept;
        let held = kept.leased.models + kept.pinned.models + kept.wanted.models;
        prop_assert_eq!(held as usize, world.models.len() - world.free_ones().len());
        let everything = world.freed(&(0..world.models.len()).collect());
        let bytes = kept.leased.bytes + kept.pinned.bytes + kept.wanted.bytes;
        prop_assert_eq!(bytes.bytes() + plan.freed.bytes(), everything);
        let leased = world.models.iter().filter(|model| model.standing == Standing::Leased);
        let blobs: BTreeSet<usize> = leased.flat_map(|model| model.blobs.iter().copied()).collect();
        prop_assert_eq!(kept.leased.bytes, blobs.into_iter().map(|blob| world.blob(blob)).sum());
    }
}
