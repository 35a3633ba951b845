//! What a shelf says when nothing may go.

use store::{BlobFacts, CacheTooSmall, Condition, Pin, PinnedBy};
use types::{Commit, SelectionKey};

use super::*;

const GB: u64 = 1_000_000_000;

fn facts(name: &str, gigabytes: u64) -> ModelFacts {
    let number = name.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    let key = ModelKey {
        repo: types::RepoId { hub: "huggingface".parse().unwrap(), name: name.parse().unwrap() },
        commit: Commit::from_bytes([number; 20]),
        selection: SelectionKey::from_bytes([number; 32]),
    };
    let blob = BlobFacts {
        digest: Digest::Sha256([number; 32]),
        bytes: ByteSize(gigabytes * GB),
        named_by: 1,
        held_elsewhere: false,
    };
    ModelFacts {
        key,
        since: Timestamp::EPOCH,
        condition: Condition::Whole,
        blobs: vec![blob],
        leases: 0,
        pin: None,
        uses: None,
        provenance: None,
        verified_at: Timestamp::EPOCH,
    }
}

fn shelf(models: Vec<ModelFacts>) -> Shelf {
    Shelf {
        models,
        strays: ByteSize(0),
        quarantined: ByteSize(0),
        reserved: ByteSize(0),
        taken: ByteSize(0),
        at: Timestamp::EPOCH + Duration::from_secs(3600),
    }
}

fn limits(cache: u64, floor: u64) -> RoomLimits {
    RoomLimits { cache_bytes_max: ByteSize(cache), disk_free_min: ByteSize(floor) }
}

#[test]
fn marks_are_high_and_low() {
    let check = |taken: u64, available: u64, expected: u64| {
        let surplus = surplus(ByteSize(taken), ByteSize(available), &limits(1000, 100));
        assert_eq!(surplus.bytes(), expected, "{taken} taken, {available} available");
    };
    check(980, 100, 0);
    check(981, 100, 31);
    check(2000, 500, 1050);
    check(0, 99, 26);
    check(990, 0, 125);
    check(0, 0, 125);
}

#[test]
fn who_needs_a_model_keeps_it() {
    let free = facts("org/free", 1);
    let wishes = Wishes { wanted: [free.key.clone()].into(), copies: BTreeMap::new() };
    let nothing = Wishes::default();
    let pin = Pin { since: Timestamp::EPOCH, by: PinnedBy::Operator };
    let check = |facts: &ModelFacts, wishes: &Wishes, spared: Option<u64>, expected: Standing| {
        let now = Timestamp::EPOCH + Duration::from_secs(600);
        assert_eq!(standing(facts, wishes, spared.map(Duration::from_secs), now), expected);
    };
    check(&free, &nothing, None, Standing::Free);
    check(&free, &nothing, Some(600), Standing::Free);
    check(&free, &nothing, Some(601), Standing::Wanted);
    check(&free, &wishes, None, Standing::Wanted);
    let pinned = ModelFacts { pin: Some(pin), ..free.clone() };
    check(&pinned, &wishes, None, Standing::Pinned);
    check(&ModelFacts { leases: 1, ..pinned }, &wishes, None, Standing::Leased);
    let used = Uses::first(Timestamp::EPOCH + Duration::from_secs(500));
    check(&ModelFacts { uses: Some(used), ..free }, &nothing, Some(101), Standing::Wanted);
}

#[test]
fn the_fault_names_what_holds_the_bytes() {
    let new = facts("acme/new", 5);
    let pin = Pin { since: Timestamp::EPOCH, by: PinnedBy::Operator };
    let models = vec![
        ModelFacts { leases: 2, ..facts("org/used", 3) },
        ModelFacts { pin: Some(pin), ..facts("org/pinned", 4) },
        facts("org/wanted", 2),
        facts("org/f", 1),
    ];
    let wishes = Wishes { wanted: [models[2].key.clone()].into(), copies: BTreeMap::new() };
    let shelf = Shelf { reserved: ByteSize(GB), ..shelf(models) };
    let lineup = lineup(&shelf, &wishes, None);
    let needed = ByteSize(5 * GB);
    let plan = eviction::choose(&lineup, needed, shelf.at, &eviction::EvictionPolicy::default());
    assert_eq!(plan.short_by, ByteSize(4 * GB));
    let fault = no_room(&new.key, Shortfall { bytes: needed, wanted: needed }, &plan, &shelf, &wishes);
    assert_eq!(fault.code, ErrorCode::CacheFull);
    assert_eq!(
        fault.message,
        "acme/new needs 5.0 GB to go from this host, and 1.0 GB can: 3.0 GB are in use (org/used), \
         4.0 GB are pinned (org/pinned), 2.0 GB are about to be used (org/wanted), running fetches need 1.0 GB"
    );
    let never = NeverFits::Cache(CacheTooSmall { bytes: ByteSize(5 * GB), max: ByteSize(2 * GB) });
    let fault = never_fits(&new.key, &never);
    assert_eq!(
        fault.message,
        "acme/new does not fit on this host: the model has 5.0 GB, and models may take 2.0 GB on this host"
    );
}

#[test]
fn what_others_hold_frees_nothing_and_a_slow_source_makes_dear() {
    let mut linked = facts("org/linked", 9);
    linked.blobs[0].held_elsewhere = true;
    let mut slow = facts("org/slow", 1);
    slow.provenance = Some(Provenance {
        arrival: store::Arrival::Fetched {
            hub_endpoint: "http://hub.example/".to_owned(),
            sources: Vec::new(),
        },
        arrived_at: Timestamp::EPOCH,
        bytes: ByteSize(GB),
        millis: 1_000_000,
        supplier: store::Supplier {
            hub: "huggingface".parse().unwrap(),
            tenant: "tn_a".parse().unwrap(),
            standing: store::HubStanding::Trusted,
        },
    });
    let quick = facts("org/quick", 1);
    let shelf = shelf(vec![linked, slow, quick.clone()]);
    let lineup = lineup(&shelf, &Wishes::default(), None);
    let policy = eviction::EvictionPolicy::default();
    let plan = eviction::choose(&lineup, ByteSize(GB), shelf.at, &policy);
    let victims: Vec<_> = plan.victims.iter().map(|victim| victim.key.clone()).collect();
    assert_eq!(victims, [quick.key]);
    assert_eq!(eviction::choose(&lineup, ByteSize(99 * GB), shelf.at, &policy).freed, ByteSize(2 * GB));
}
