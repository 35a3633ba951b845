//! Who may have bytes that are here: knowing a digest is no right.

use std::{path::Path, sync::Arc};

use base::{ByteSize, Disk, DiskCall, Entropy, FaultyDisk};
use store::{Claim, ExtentIndex, HubStanding, PublishModelError, Supplier};

use crate::pool::{self, Algorithm};

#[test]
fn a_tenant_with_a_hub_of_its_own_brings_what_is_here_already() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let store = pool::open(&disk, root.path());
    let secret = pool::sample(&Entropy::seeded(1), "weights.bin", Algorithm::Sha256, 9000);
    let (anna, bert) = (pool::trusted("tn_anna"), pool::untrusted("tn_bert"));
    pool::bring(&store, &secret, &anna);
    let listed_by_bert = pool::manifest("10.0.0.1:80!bert/fake", 1, &[&secret]);
    assert_eq!(store.missing(&listed_by_bert, &bert).bytes, ByteSize(9000));
    assert!(matches!(store.publish_model(&listed_by_bert, &bert), Err(PublishModelError::Missing(_))));

    // Guessing gets nowhere: what hashes wrong is thrown away.
    let writer = pool::writer(&store, &secret, &bert);
    for index in writer.missing_extents() {
        let len = writer.extent_range(index).end - writer.extent_range(index).start;
        writer.write_extent(index, &vec![0; usize::try_from(len).unwrap()]).unwrap();
    }
    assert!(writer.finish().is_err());
    assert!(!pool::is_present(&store, &secret, &bert));

    // Whoever has the bytes has them; they are stored once all the same, and that is remembered.
    pool::bring(&store, &secret, &bert);
    assert_eq!(store.disk_usage().unwrap().blobs, ByteSize(9000));
    assert_eq!(store.counters().bytes_published, 9000);
    drop(store);
    let store = pool::open(&disk, root.path());
    assert!(pool::is_present(&store, &secret, &bert));
    assert!(pool::is_present(&store, &secret, &pool::trusted("tn_carl")));
    assert!(!pool::is_present(&store, &secret, &pool::untrusted("tn_carl")));
    store.publish_model(&listed_by_bert, &bert).unwrap();
    // That a model is listed does not say that everyone may have it.
    assert!(store.holds(listed_by_bert.key(), &bert));
    assert!(!store.holds(listed_by_bert.key(), &pool::untrusted("tn_carl")));
    assert!(!store.holds(pool::manifest("huggingface!org/other", 1, &[&secret]).key(), &anna));
}

#[test]
fn the_missing_part_of_a_file_does_not_buy_the_rest() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let secret = pool::sample(&Entropy::seeded(2), "weights.bin", Algorithm::Sha256, 20_000);
    let (anna, bert) = (pool::trusted("tn_anna"), pool::untrusted("tn_bert"));
    let writer = pool::writer(&store, &secret, &anna);
    for index in writer.missing_extents().into_iter().skip(1) {
        writer.write_extent(index, secret.extent(&writer, index)).unwrap();
    }
    drop(writer);
    let writer = pool::writer(&store, &secret, &bert);
    assert_eq!(writer.missing_extents().len(), 5, "another's extents count for nothing");
    drop(writer);
    // Another tenant of a trusted hub goes on where the first stopped.
    let writer = pool::writer(&store, &secret, &pool::trusted("tn_carl"));
    assert_eq!(writer.missing_extents(), [ExtentIndex(0)]);
    // Both may be written at once.
    assert!(matches!(store.claim(&secret.file, &bert).unwrap(), Claim::Write(_)));
}

#[test]
fn small_batches_keep_the_same_rule() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let config = pool::sample(&Entropy::seeded(3), "config.json", Algorithm::GitSha1, 300);
    let batch = || vec![(config.file.clone(), config.bytes.clone())];
    let (anna, bert) = (pool::trusted("tn_anna"), pool::untrusted("tn_bert"));
    store.publish_small(batch(), &anna).unwrap();
    assert!(!pool::is_present(&store, &config, &bert));
    store.publish_small(batch(), &bert).unwrap();
    assert!(pool::is_present(&store, &config, &bert));
    assert_eq!(store.counters().blobs_published, 1);
}

#[test]
fn a_sha1_name_from_an_untrusted_hub_serves_only_who_brought_it() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let store = pool::open(&disk, root.path());
    let code = pool::sample(&Entropy::seeded(4), "modeling.py", Algorithm::GitSha1, 6000);
    let (anna, bert) = (pool::trusted("tn_anna"), pool::untrusted("tn_bert"));
    pool::bring(&store, &code, &bert);
    assert!(pool::is_present(&store, &code, &bert));
    // They may be the evil twin of a file on the trusted hub, whose own bytes take the place.
    assert!(!pool::is_present(&store, &code, &anna));
    pool::bring(&store, &code, &anna);
    assert!(pool::is_present(&store, &code, &anna));
    assert!(!pool::is_present(&store, &code, &bert), "the bytes that bert brought are gone");
    drop(store);
    let store = pool::open(&disk, root.path());
    assert!(!pool::is_present(&store, &code, &bert));
    assert!(pool::is_present(&store, &code, &anna));
}

#[test]
fn a_removed_blob_forgets_who_brought_it() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let store = pool::open(&disk, root.path());
    let weights = pool::sample(&Entropy::seeded(5), "weights.bin", Algorithm::Sha256, 5000);
    let bert = pool::untrusted("tn_bert");
    let again = Supplier { standing: HubStanding::Trusted, ..pool::trusted("tn_anna") };
    pool::bring(&store, &weights, &bert);
    let manifest = pool::manifest("10.0.0.1:80!org/name", 1, &[&weights]);
    store.publish_model(&manifest, &bert).unwrap();
    store.remove(manifest.key()).unwrap();
    pool::bring(&store, &weights, &again);
    assert!(!pool::is_present(&store, &weights, &bert));
    drop(store);
    assert!(!pool::is_present(&pool::open(&disk, root.path()), &weights, &bert));
}

#[test]
fn what_is_known_of_suppliers_and_what_is_on_record_stay_in_step_when_the_disk_fails() {
    let root = Path::new("/store");
    let entropy = Entropy::seeded(6);
    let (anna, bert) = (pool::trusted("tn_anna"), pool::untrusted("tn_bert"));
    let first = pool::sample(&entropy, "a.bin", Algorithm::Sha256, 100);
    let code = pool::sample(&entropy, "code.py", Algorithm::GitSha1, 200);
    let manifest = pool::manifest("10.0.0.1:80!org/name", 1, &[&first, &code]);
    let batch = |samples: [&pool::Sample; 2]| {
        samples.iter().map(|sample| (sample.file.clone(), sample.bytes.clone())).collect::<Vec<_>>()
    };
    // A removal that fails at its first or second blob, and a replacement whose rename fails.
    // The record and the notes go before them.
    for (call, skip) in [(DiskCall::Remove, 2), (DiskCall::Remove, 3), (DiskCall::Rename, 0)] {
        let disk = FaultyDisk::new(6);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let store = pool::open(&shared, root);
        store.publish_small(batch([&first, &code]), &bert).unwrap();
        store.publish_model(&manifest, &bert).unwrap();
        disk.fail(call, skip);
        if call == DiskCall::Remove {
            store.remove(manifest.key()).unwrap_err();
        } else {
            store.publish_small(batch([&first, &code]), &anna).unwrap_err();
        }
        store.publish_small(batch([&first, &code]), &bert).unwrap();
        drop(store);
        let found: Arc<dyn Disk> = Arc::new(disk.lose_power_and_all_unsynced());
        let store = pool::open(&found, root);
        for sample in [&first, &code] {
            assert!(pool::is_present(&store, sample, &bert), "{call:?} {skip}: {}", sample.file.path);
        }
    }
}
