//! The store on the real disk, from an empty folder to a model that is removed again.

use std::{
    collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration,
};

use base::{ByteSize, Clock, Entropy, ManualTime, Timestamp};
use store::{
    ExtentIndex, FileVerdict, FinishError, OpenStoreError, RemoveModelError, Removed, Store, ViewSpec,
    WriteExtentError,
};
use types::ErrorCode;

use crate::pool::{self, Algorithm, EXTENT};

#[test]
fn a_second_process_is_refused_until_the_first_lets_go() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let store = pool::open(&disk, root.path());
    let entropy = Entropy::seeded(1);
    let sample = pool::sample(&entropy, "a.bin", Algorithm::Sha256, 9000);
    let writer = pool::writer(&store, &sample, &pool::trusted("tn_a"));
    drop(store);
    let refused = Store::open(Arc::clone(&disk), Clock::System, pool::options(root.path())).unwrap_err();
    assert!(matches!(refused, OpenStoreError::Locked(_)));
    assert_eq!(refused.fault().code, ErrorCode::StoreLocked);
    drop(writer);
    pool::open(&disk, root.path());
}

#[test]
fn a_folder_that_is_no_store_is_refused_and_left_alone() {
    let check = |name: &str, content: &str| {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(name), content).unwrap();
        let refused = Store::open(pool::real(), Clock::System, pool::options(root.path())).unwrap_err();
        assert_eq!(refused.fault().code, ErrorCode::StoreFormat, "{name}");
        assert_eq!(fs::read_to_string(root.path().join(name)).unwrap(), content);
        assert!(!root.path().join("blobs").exists());
    };
    check("photos.txt", "mine");
    check("format", "larder store 2\n");
    check("format", &"x".repeat(1000));
}

#[test]
fn a_dropped_writer_resumes_where_it_stopped_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let supplier = pool::trusted("tn_a");
    let entropy = Entropy::seeded(2);
    let len = usize::try_from(EXTENT * 5 + 100).unwrap();
    for algorithm in [Algorithm::Sha256, Algorithm::GitSha1] {
        let sample = pool::sample(&entropy, "weights.bin", algorithm, len);
        let manifest = pool::manifest("huggingface!org/name", 1, &[&sample]);
        let store = pool::open(&disk, root.path());
        assert_eq!(store.missing(&manifest, &supplier).bytes, ByteSize(len as u64));
        let writer = pool::writer(&store, &sample, &supplier);
        assert_eq!(writer.extent_count(), 6);
        for index in [ExtentIndex(5), ExtentIndex(0), ExtentIndex(3)] {
            writer.write_extent(index, sample.extent(&writer, index)).unwrap();
        }
        drop(writer);
        drop(store);

        let store = pool::open(&disk, root.path());
        assert_eq!(store.missing(&manifest, &supplier).bytes, ByteSize(3 * EXTENT));
        let writer = pool::writer(&store, &sample, &supplier);
        assert_eq!(writer.missing_extents(), [ExtentIndex(1), ExtentIndex(2), ExtentIndex(4)]);
        assert_eq!(writer.missing_bytes(), ByteSize(3 * EXTENT));
        for index in [ExtentIndex(4), ExtentIndex(2), ExtentIndex(1)] {
            writer.write_extent(index, sample.extent(&writer, index)).unwrap();
        }
        writer.finish().unwrap();
        assert!(pool::is_present(&store, &sample, &supplier));
        assert_eq!(store.missing(&manifest, &supplier).bytes, ByteSize(0));
        let name = sample.file.digest.to_string();
        let blob = root.path().join("blobs").join(&name[..2]).join(&name);
        assert_eq!(fs::read(&blob).unwrap(), sample.bytes);
        assert_eq!(fs::metadata(&blob).unwrap().permissions().mode() & 0o7777, 0o444);
        assert_eq!(names(&root.path().join("partial/shared")), [] as [String; 0]);
    }
}

#[test]
fn damage_that_happened_between_is_found_and_fetched_again() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let supplier = pool::trusted("tn_a");
    let sample = pool::sample(&Entropy::seeded(3), "weights.bin", Algorithm::Sha256, 20_000);
    let store = pool::open(&disk, root.path());
    let writer = pool::writer(&store, &sample, &supplier);
    for index in writer.missing_extents() {
        writer.write_extent(index, sample.extent(&writer, index)).unwrap();
    }
    drop(writer);
    drop(store);
    let partial = root.path().join("partial/shared").join(sample.file.digest.to_string());
    let mut bytes = fs::read(&partial).unwrap();
    bytes[5000] ^= 1;
    bytes[19_999] ^= 1;
    fs::write(&partial, bytes).unwrap();

    let store = pool::open(&disk, root.path());
    let writer = pool::writer(&store, &sample, &supplier);
    assert_eq!(writer.missing_extents(), []);
    let FinishError::Missing(missing) = writer.finish().unwrap_err() else { panic!("damage went unseen") };
    assert_eq!(missing.missing, [ExtentIndex(1), ExtentIndex(4)]);
    assert_eq!(store.counters().extents_damaged, 2);
    pool::bring(&store, &sample, &supplier);
}

#[test]
fn wrong_bytes_are_thrown_away_and_counted_and_both_digests_named() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let supplier = pool::trusted("tn_a");
    let entropy = Entropy::seeded(4);
    for len in [100, 9000] {
        let sample = pool::sample(&entropy, "weights.bin", Algorithm::Sha256, len);
        let other = pool::sample(&entropy, "weights.bin", Algorithm::Sha256, len);
        let writer = pool::writer(&store, &sample, &supplier);
        for index in writer.missing_extents() {
            writer.write_extent(index, other.extent(&writer, index)).unwrap();
        }
        let before = store.counters();
        let FinishError::Mismatch(mismatch) = writer.finish().unwrap_err() else {
            panic!("wrong bytes were taken")
        };
        assert_eq!((mismatch.expected, mismatch.actual), (sample.file.digest, other.file.digest));
        let counters = store.counters();
        assert_eq!(counters.mismatches - before.mismatches, 1);
        assert_eq!(counters.bytes_discarded - before.bytes_discarded, len as u64);
        assert_eq!(names(&root.path().join("partial/shared")), [] as [String; 0]);
        pool::bring(&store, &sample, &supplier);
    }
}

#[test]
fn extents_that_cannot_be_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let sample = pool::sample(&Entropy::seeded(5), "weights.bin", Algorithm::Sha256, 9000);
    let writer = pool::writer(&store, &sample, &pool::trusted("tn_a"));
    assert!(matches!(writer.write_extent(ExtentIndex(3), &[]), Err(WriteExtentError::OutOfRange(_))));
    assert!(matches!(writer.write_extent(ExtentIndex(u32::MAX), &[]), Err(WriteExtentError::OutOfRange(_))));
    assert!(matches!(writer.write_extent(ExtentIndex(2), &[0; 4096]), Err(WriteExtentError::Length(_))));
    assert_eq!(writer.extent_range(ExtentIndex(2)), 8192..9000);
    assert_eq!(writer.extent_range(ExtentIndex(9)), 9000..9000);
    let refused = writer.write_extent(ExtentIndex(0), b"short").unwrap_err();
    assert_eq!(refused.to_string(), "extent 0 holds 4096 bytes, 5 were given");
    let FinishError::Missing(missing) = writer.finish().unwrap_err() else { panic!("it was not whole") };
    assert_eq!(missing.missing.len(), 3);
}

#[test]
fn a_listing_that_changed_its_mind_on_a_size_restarts_the_file() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let supplier = pool::trusted("tn_a");
    let sample = pool::sample(&Entropy::seeded(6), "weights.bin", Algorithm::Sha256, 20_000);
    let mut liar = sample.clone();
    liar.file.size = 12_000;
    liar.bytes = liar.bytes.slice(..12_000);
    let writer = pool::writer(&store, &liar, &supplier);
    writer.write_extent(ExtentIndex(0), liar.extent(&writer, ExtentIndex(0))).unwrap();
    drop(writer);
    let writer = pool::writer(&store, &sample, &supplier);
    assert_eq!(writer.missing_extents().len(), 5);
    drop(writer);
    pool::bring(&store, &sample, &supplier);
}

#[test]
fn small_files_are_published_in_one_go_and_wrong_ones_left_out() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let supplier = pool::trusted("tn_a");
    let entropy = Entropy::seeded(7);
    // More than are synced one by one, so that both ways are gone.
    for count in [3, 40] {
        let samples: Vec<_> = (0..count)
            .map(|place| pool::sample(&entropy, &format!("{place}.json"), Algorithm::GitSha1, place * 10))
            .collect();
        let mut batch: Vec<_> =
            samples.iter().map(|sample| (sample.file.clone(), sample.bytes.clone())).collect();
        batch[2].1 = "wrong".into();
        // The same bytes under a second name.
        batch.push(batch[1].clone());
        let outcome = store.publish_small(batch, &supplier).unwrap();
        assert_eq!(outcome.published.len(), count - 1);
        assert_eq!(outcome.mismatches.len(), 1);
        assert_eq!(outcome.mismatches[0].expected, samples[2].file.digest);
        for (place, sample) in samples.iter().enumerate() {
            assert_eq!(pool::is_present(&store, sample, &supplier), place != 2);
        }
    }
    assert_eq!(names(&root.path().join("building")), [] as [String; 0]);
}

#[test]
fn models_are_listed_verified_and_removed_with_what_only_they_name() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let supplier = pool::trusted("tn_a");
    let entropy = Entropy::seeded(8);
    let shared = pool::sample(&entropy, "config.json", Algorithm::GitSha1, 5000);
    let first = pool::sample(&entropy, "a.safetensors", Algorithm::Sha256, 20_000);
    let second = pool::sample(&entropy, "b.safetensors", Algorithm::Sha256, 30_000);
    let one = pool::manifest("huggingface!org/name", 1, &[&shared, &first]);
    let two = pool::manifest("huggingface!org/name", 2, &[&shared, &second]);
    let time = ManualTime::starting_at(Timestamp::from_millis(1_000));
    let store =
        Store::open(Arc::clone(&disk), Clock::Manual(Arc::clone(&time)), pool::options(root.path())).unwrap();
    assert!(store.publish_model(&one, &supplier).is_err());
    for sample in [&shared, &first, &second] {
        pool::bring(&store, sample, &supplier);
    }
    let published = store.publish_model(&one, &supplier).unwrap();
    assert_eq!(published.published_at, Timestamp::from_millis(1_000));
    time.advance(Duration::from_secs(1));
    assert_eq!(store.disk_usage().unwrap().unreferenced, ByteSize(30_000));
    store.publish_model(&two, &supplier).unwrap();
    // Publishing again changes nothing.
    assert_eq!(store.publish_model(&one, &supplier).unwrap(), published);
    drop(store);

    let store = pool::open(&disk, root.path());
    let keys: Vec<_> = store.list().iter().map(|model| model.manifest.key().clone()).collect();
    assert_eq!(keys, [one.key().clone(), two.key().clone()]);
    assert_eq!(store.get(one.key()), Some(published));
    let usage = store.disk_usage().unwrap();
    assert_eq!((usage.blobs, usage.unreferenced, usage.models), (ByteSize(55_000), ByteSize(0), 2));
    assert!(store.verify(one.key()).unwrap().is_sound());

    let lease = store.view(&ViewSpec { key: two.key().clone(), refs: BTreeSet::new() }).unwrap();
    let refused = store.remove(two.key()).unwrap_err();
    assert!(matches!(&refused, RemoveModelError::InUse(in_use) if in_use.leases == 1));
    assert_eq!(refused.fault().code, ErrorCode::ModelInUse);
    drop(lease);
    // 30,000 bytes take eight blocks of 4 KiB.
    let freed = ByteSize(8 * 4096);
    assert_eq!(store.remove(two.key()).unwrap(), Removed { blobs: 1, freed, held: ByteSize(0) });
    assert!(matches!(store.remove(two.key()), Err(RemoveModelError::NotHere(_))));
    assert!(store.verify(one.key()).unwrap().is_sound());
    assert_eq!(store.remove(one.key()).unwrap().blobs, 2);
    assert_eq!(store.disk_usage().unwrap().blobs, ByteSize(0));
    drop(store);
    assert_eq!(pool::open(&disk, root.path()).list(), []);
}

#[test]
fn verification_tells_damage_from_absence() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let store = pool::open(&disk, root.path());
    let supplier = pool::trusted("tn_a");
    let entropy = Entropy::seeded(9);
    let sound = pool::sample(&entropy, "a.bin", Algorithm::Sha256, 100);
    let damaged = pool::sample(&entropy, "b.bin", Algorithm::Sha256, 9000);
    let missing = pool::sample(&entropy, "c.bin", Algorithm::GitSha1, 5);
    let samples = [&sound, &damaged, &missing];
    samples.iter().for_each(|sample| pool::bring(&store, sample, &supplier));
    let manifest = pool::manifest("huggingface!org/name", 1, &samples);
    store.publish_model(&manifest, &supplier).unwrap();
    let blob = |sample: &pool::Sample| {
        let name = sample.file.digest.to_string();
        root.path().join("blobs").join(&name[..2]).join(&name)
    };
    let mut bytes = damaged.bytes.to_vec();
    bytes[8999] ^= 1;
    fs::remove_file(blob(&damaged)).unwrap();
    fs::write(blob(&damaged), &bytes).unwrap();
    fs::remove_file(blob(&missing)).unwrap();
    let report = store.verify(manifest.key()).unwrap();
    let verdicts: Vec<_> = report.files.iter().map(|file| file.verdict.clone()).collect();
    let actual = pool::digest(Algorithm::Sha256, &bytes);
    assert_eq!(verdicts, [FileVerdict::Sound, FileVerdict::Damaged { actual }, FileVerdict::Missing]);
    drop(store);
    // A model that lost a file is no model; what is left of it need not be fetched again.
    let store = pool::open(&disk, root.path());
    assert_eq!(store.list(), []);
    assert_eq!(store.missing(&manifest, &supplier).files, [missing.file]);
}

#[test]
fn foreign_files_are_left_alone_and_leftovers_swept() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    drop(pool::open(&disk, root.path()));
    let put = |name: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    };
    let zeros = "0".repeat(64);
    for name in [
        "blobs/ab/readme.txt",
        &format!("blobs/ab/{zeros}"),
        "building/0/x/y",
        "trash/3/z",
        &format!("partial/shared/{zeros}"),
        &format!("partial/shared/{}.journal", "1".repeat(40)),
        "partial/shared/what.ever",
        "partial/nobody/x",
        "models/huggingface/org--name/nonsense.json",
        "models/huggingface/org--name/half.json.tmp",
        "views/00/x",
        "views/loose",
    ] {
        put(name);
    }
    let store = pool::open(&disk, root.path());
    assert_eq!(store.list(), []);
    assert_eq!(store.disk_usage().unwrap().blobs, ByteSize(0));
    assert!(root.path().join("blobs/ab/readme.txt").exists());
    assert!(root.path().join("partial/nobody/x").exists());
    for swept in ["building", "trash", "partial/shared", "models/huggingface/org--name", "views"] {
        assert_eq!(names(&root.path().join(swept)), [] as [String; 0], "{swept}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
