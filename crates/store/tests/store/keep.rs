//! What a store knows of its models, what it keeps by an operator's word, and what it tells of those that left.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use base::{ByteSize, Clock, Disk, Entropy, FaultyDisk, ManualTime, Timestamp};
use store::{
    Arrival, Condition, DepartureCause, EvictionReason, PinnedBy, Provenance, RemoveModelError, SourceShare,
    Store, StoreOptions, Supplier, Use, ViewSpec, Why,
};
use types::{ErrorCode, Manifest, ModelKey};

use crate::pool::{self, Algorithm, Sample};

const ROOT: &str = "/store";

fn provenance(supplier: &Supplier) -> Provenance {
    Provenance {
        arrival: Arrival::Fetched {
            hub_endpoint: "http://hub.example/".to_owned(),
            sources: vec![SourceShare {
                source: "huggingface".to_owned(),
                bytes: ByteSize(20_000),
                bytes_per_second: 40_000,
            }],
        },
        arrived_at: Timestamp::from_millis(5),
        bytes: ByteSize(20_000),
        millis: 500,
        supplier: supplier.clone(),
    }
}

/// Two quantisations and two revisions of one repository, with a file that all share.
struct Shared {
    samples: Vec<Sample>,
    manifests: Vec<Manifest>,
}

fn shared() -> Shared {
    let entropy = Entropy::seeded(21);
    let samples = vec![
        pool::sample(&entropy, "config.json", Algorithm::GitSha1, 700),
        pool::sample(&entropy, "model-Q4.gguf", Algorithm::Sha256, 9000),
        pool::sample(&entropy, "model-Q8.gguf", Algorithm::Sha256, 20_000),
        pool::sample(&entropy, "model-Q8.gguf", Algorithm::Sha256, 30_000),
    ];
    let of = |commit, places: &[usize]| {
        let samples: Vec<&Sample> = places.iter().map(|place| &samples[*place]).collect();
        pool::manifest("huggingface!org/name", commit, &samples)
    };
    let manifests = vec![of(1, &[0, 1]), of(1, &[0, 2]), of(2, &[0, 3]), of(2, &[0, 1])];
    Shared { samples, manifests }
}

fn publish(store: &Store, shared: &Shared) {
    let supplier = pool::trusted("tn_a");
    shared.samples.iter().for_each(|sample| pool::bring(store, sample, &supplier));
    shared.manifests.iter().for_each(|manifest| drop(store.publish_model(manifest, &supplier).unwrap()));
}

fn timed(disk: &Arc<dyn Disk>, root: &Path) -> (Store, Arc<ManualTime>) {
    let time = ManualTime::starting_at(Timestamp::from_millis(1_000_000));
    let clock = Clock::Manual(Arc::clone(&time));
    (Store::open(Arc::clone(disk), clock, pool::options(root)).unwrap(), time)
}

#[test]
fn deleting_one_quantisation_or_revision_frees_its_bytes_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let store = pool::open(&disk, root.path());
    let shared = shared();
    publish(&store, &shared);
    let block = |bytes: u64| ByteSize(bytes.div_ceil(4096) * 4096);
    let facts = |place: usize| {
        let key = shared.manifests[place].key();
        store.shelf().models.into_iter().find(|facts| facts.key == *key)
    };
    // What would go is told before, as what went is told after.
    let check = |place: usize, told: u64, freed: ByteSize| {
        assert_eq!(facts(place).unwrap().frees(), ByteSize(told), "model {place}");
        let before = disk_bytes(root.path());
        let removed = store.remove(shared.manifests[place].key()).unwrap();
        assert_eq!(removed.freed, freed, "model {place}");
        assert_eq!(before - disk_bytes(root.path()), freed.bytes(), "the disk says so too");
        for (at, manifest) in shared.manifests.iter().enumerate() {
            if let Some(facts) = facts(at) {
                assert_eq!(facts.condition, Condition::Whole);
                assert!(store.verify(manifest.key()).unwrap().is_sound(), "model {at} after {place}");
            }
        }
    };
    check(1, 20_000, block(20_000));
    // The other revision names the same quantisation.
    check(0, 0, ByteSize(0));
    check(2, 30_000, block(30_000));
    check(3, 9700, ByteSize(block(9000).bytes() + block(700).bytes()));
}

/// Returns what blobs take on the disk.
fn disk_bytes(root: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let fans = std::fs::read_dir(root.join("blobs")).unwrap();
    let blobs = fans.flat_map(|fan| std::fs::read_dir(fan.unwrap().path()).unwrap());
    blobs.map(|blob| blob.unwrap().metadata().unwrap().blocks() * 512).sum()
}

#[test]
fn a_pin_outlives_restarts_and_holds_against_removal_and_eviction() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let store = pool::open(&disk, root.path());
    let shared = shared();
    publish(&store, &shared);
    let key = shared.manifests[0].key();
    store.pin(key).unwrap();
    let since = store.pinned(key).unwrap();
    store.pin(key).unwrap();
    drop(store);
    let store = pool::open(&disk, root.path());
    assert_eq!(store.pinned(key), Some(since), "pinning again changes nothing");
    let refused = store.remove(key).unwrap_err();
    assert_eq!(refused.fault().code, ErrorCode::ModelPinned);
    let evicted = store.evict(key, EvictionReason::AboveMark, String::new());
    assert!(matches!(evicted, Err(RemoveModelError::Pinned(_))));
    store.unpin(key).unwrap();
    store.remove(key).unwrap();
    assert_eq!(store.pin(key).unwrap_err().fault().code, ErrorCode::ModelNotFound);
    drop(store);
    assert_eq!(pool::open(&disk, root.path()).pinned(key), None);
}

#[test]
fn notes_that_can_not_be_read_count_as_a_pin_until_an_operator_says_otherwise() {
    let faulty = FaultyDisk::new(3);
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let store = pool::open(&disk, Path::new(ROOT));
    let shared = shared();
    publish(&store, &shared);
    let key = shared.manifests[0].key();
    store.note_use(key, Use::Begins);
    store.flush().unwrap();
    drop(store);
    let name = format!("{}-{}.notes", key.commit, key.selection);
    faulty.damage(&Path::new(ROOT).join("models/huggingface/org--name").join(name), 40).unwrap();
    let store = pool::open(&disk, Path::new(ROOT));
    assert_eq!(store.pinned(key).unwrap().by, PinnedBy::Doubt);
    assert!(store.remove(key).unwrap_err().to_string().contains("can't be read"));
    store.pin(key).unwrap();
    assert_eq!(store.pinned(key).unwrap().by, PinnedBy::Operator);
    store.unpin(key).unwrap();
    store.remove(key).unwrap();
}

#[test]
fn why_tells_of_a_model_that_is_here_and_of_one_that_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let (store, time) = timed(&disk, root.path());
    let shared = shared();
    let key = shared.manifests[0].key();
    assert_eq!(store.why(key), None);
    publish(&store, &shared);
    let came = provenance(&pool::trusted("tn_a"));
    store.note_provenance(key, came.clone()).unwrap();
    assert_eq!(came.rate_bytes_per_second(), Some(40_000));
    time.advance(Duration::from_secs(60));
    store.note_use(key, Use::Begins);
    let lease = store.view(&ViewSpec { key: key.clone(), refs: BTreeSet::new() }).unwrap();
    store.flush().unwrap();
    let Some(Why::Here(facts)) = store.why(key) else { panic!("it is here") };
    assert_eq!((facts.leases, facts.pin, facts.bytes()), (1, None, ByteSize(9700)));
    assert_eq!((facts.since, facts.verified_at), (Timestamp::from_millis(1_000_000), facts.since));
    let uses = facts.uses.clone().unwrap();
    // Its arrival, and one start.
    assert_eq!((uses.count(), uses.last_at()), (2, Timestamp::from_millis(1_060_000)));
    assert_eq!(facts.provenance, Some(came.clone()));
    drop((lease, store));

    // All of it survives a restart, and the departure another.
    let (store, _time) = timed(&disk, root.path());
    let Some(Why::Here(again)) = store.why(key) else { panic!("it is here") };
    // The view that stood is gone with its lease.
    let (known, uses) = (again.uses.clone().unwrap(), facts.uses.clone().unwrap());
    assert_eq!((known.count(), known.first_at(), known.last_at()), (2, uses.first_at(), uses.last_at()));
    let uses = known;
    assert_eq!(again, store::ModelFacts { leases: 0, uses: Some(uses.clone()), ..facts });
    let reason = EvictionReason::RoomFor(shared.manifests[1].key().clone());
    let removed = store.evict(key, reason.clone(), "least used".to_owned()).unwrap();
    drop(store);
    let (store, time) = timed(&disk, root.path());
    let Some(Why::Gone(gone)) = store.why(key) else { panic!("it is gone") };
    assert_eq!(gone.cause, DepartureCause::Evicted { reason, score: "least used".to_owned() });
    assert_eq!((gone.freed, gone.held, gone.bytes), (removed.freed, removed.held, ByteSize(9700)));
    assert_eq!(gone.provenance, Some(came));
    assert_eq!(gone.uses.clone().unwrap().last_at(), uses.last_at());
    assert_eq!(store.history(), [gone]);
    assert_eq!(store.why(&ModelKey { commit: types::Commit::from_bytes([9; 20]), ..key.clone() }), None);

    // One that comes back goes on where it left, and how it came is known anew.
    time.advance(Duration::from_secs(3600));
    publish(&store, &shared);
    let Some(Why::Here(back)) = store.why(key) else { panic!("it is back") };
    assert_eq!((back.uses.unwrap().count(), back.provenance), (3, None));
}

#[test]
fn strays_go_by_age_or_under_pressure_but_never_from_under_a_fetch() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let (store, time) = timed(&disk, root.path());
    let shared = shared();
    let supplier = pool::trusted("tn_a");
    let all = ByteSize(u64::MAX);
    pool::bring(&store, &shared.samples[1], &supplier);
    let writer = pool::writer(&store, &shared.samples[2], &supplier);
    writer.write_extent(writer.missing_extents()[0], &shared.samples[2].bytes[..4096]).unwrap();
    // Somebody writes the one, and the other is young.
    assert_eq!(store.sweep_strays(Duration::from_secs(60), all).unwrap().freed, ByteSize(0));
    drop(writer);
    assert_eq!(store.shelf().strays, ByteSize(29_000));
    time.advance(Duration::from_secs(60));
    let limits = store::RoomLimits { cache_bytes_max: ByteSize(1 << 40), disk_free_min: ByteSize(0) };
    let manifest = Arc::new(shared.manifests[1].clone());
    let admission = store.admit(&manifest, &supplier, &limits).unwrap();
    let store::Admission::Fits(reservation) = admission else { panic!("{admission:?}") };
    // What a fetch counts on stays; the blob of another goes, being as old as that.
    let swept = store.sweep_strays(Duration::from_secs(60), all).unwrap();
    assert_eq!((swept.blobs, swept.partials, swept.freed), (1, 0, ByteSize(3 * 4096)));
    drop(reservation);
    let swept = store.sweep_strays(Duration::ZERO, ByteSize(1)).unwrap();
    assert_eq!((swept.blobs, swept.partials), (0, 1));
    assert_eq!(store.disk_usage().unwrap().partial, ByteSize(0));
    // A model's blobs are no strays.
    publish(&store, &shared);
    assert_eq!(store.sweep_strays(Duration::ZERO, all).unwrap(), store::Swept::default());
    // What was swept is brought by nobody: the trust rule asks for it anew.
    let bert = pool::untrusted("tn_bert");
    let own = pool::sample(&Entropy::seeded(7), "own.bin", Algorithm::Sha256, 100);
    pool::bring(&store, &own, &bert);
    store.sweep_strays(Duration::ZERO, all).unwrap();
    pool::bring(&store, &own, &supplier);
    assert!(!pool::is_present(&store, &own, &bert));
}

#[test]
fn an_evicted_model_loses_its_suppliers() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let sample = pool::sample(&Entropy::seeded(8), "weights.bin", Algorithm::Sha256, 5000);
    let (anna, bert) = (pool::trusted("tn_anna"), pool::untrusted("tn_bert"));
    let manifest = pool::manifest("10.0.0.1:80!bert/own", 1, &[&sample]);
    pool::bring(&store, &sample, &bert);
    store.publish_model(&manifest, &bert).unwrap();
    store.evict(manifest.key(), EvictionReason::AboveMark, String::new()).unwrap();
    pool::bring(&store, &sample, &anna);
    assert!(!pool::is_present(&store, &sample, &bert));
    assert!(matches!(store.publish_model(&manifest, &bert), Err(store::PublishModelError::Missing(_))));
}

#[test]
fn two_stores_in_one_folder_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let store = pool::open(&disk, root.path());
    let second = Store::open(Arc::clone(&disk), Clock::System, StoreOptions::at(root.path())).unwrap_err();
    assert_eq!(second.fault().code, ErrorCode::StoreLocked);
    drop(store);
    pool::open(&disk, root.path());
}
