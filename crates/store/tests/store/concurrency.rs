//! Several threads at one store: one writer per blob, several streams per writer, views shared.

use std::{collections::BTreeSet, sync::Barrier, thread, time::Duration};

use base::{ByteSize, Entropy};
use store::{Claim, ExtentIndex, ViewSpec, WriteExtentError};

use crate::pool::{self, Algorithm, EXTENT};

#[test]
fn streams_write_one_file_in_any_order() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let supplier = pool::trusted("tn_a");
    let extents: u32 = 97;
    let len = usize::try_from(EXTENT * u64::from(extents) - 7).unwrap();
    for (seed, streams) in [(1, 1), (2, 4), (3, 16)] {
        let sample = pool::sample(&Entropy::seeded(seed), "weights.bin", Algorithm::Sha256, len);
        let writer = pool::writer(&store, &sample, &supplier);
        thread::scope(|scope| {
            for stream in 0..streams {
                let (writer, sample) = (&writer, &sample);
                scope.spawn(move || {
                    for index in (0..extents).rev().filter(|index| index % streams == stream) {
                        let index = ExtentIndex(index);
                        writer.write_extent(index, sample.extent(writer, index)).unwrap();
                    }
                });
            }
        });
        assert_eq!(writer.missing_bytes(), ByteSize(0));
        writer.finish().unwrap();
    }
}

#[test]
fn an_extent_is_written_by_one_call_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let sample = pool::sample(&Entropy::seeded(4), "weights.bin", Algorithm::Sha256, 9000);
    let other = pool::sample(&Entropy::seeded(5), "weights.bin", Algorithm::Sha256, 9000);
    let writer = pool::writer(&store, &sample, &pool::trusted("tn_a"));
    let start = Barrier::new(2);
    let outcomes = thread::scope(|scope| {
        let one = scope.spawn(|| {
            start.wait();
            writer.write_extent(ExtentIndex(0), sample.extent(&writer, ExtentIndex(0)))
        });
        let two = scope.spawn(|| {
            start.wait();
            writer.write_extent(ExtentIndex(0), other.extent(&writer, ExtentIndex(0)))
        });
        [one.join().unwrap(), two.join().unwrap()]
    });
    // The second finds it being written, or there; never do both write.
    assert!(outcomes.iter().any(Result::is_ok));
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(WriteExtentError::Busy(_)))));
    // What was there first stays.
    writer.write_extent(ExtentIndex(0), sample.extent(&writer, ExtentIndex(0))).unwrap();
}

#[tokio::test]
async fn who_comes_second_waits_and_finds_it_here() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let supplier = pool::trusted("tn_a");
    let sample = pool::sample(&Entropy::seeded(6), "weights.bin", Algorithm::Sha256, 9000);
    let writer = pool::writer(&store, &sample, &supplier);
    let waiter = |supplier: &store::Supplier| match store.claim(&sample.file, supplier).unwrap() {
        Claim::Busy(waiter) => waiter,
        other @ (Claim::Present | Claim::Write(_)) => panic!("{other:?}"),
    };
    // Another tenant of a trusted hub waits too; one of another hub brings its own.
    let first = waiter(&supplier);
    let second = waiter(&pool::trusted("tn_b"));
    assert!(matches!(store.claim(&sample.file, &pool::untrusted("tn_b")).unwrap(), Claim::Write(_)));
    let waiting = tokio::time::timeout(Duration::from_millis(20), first.released()).await;
    assert!(waiting.is_err(), "nobody has let go");
    // A writer that is dropped wakes them to take over.
    drop(writer);
    tokio::time::timeout(Duration::from_secs(10), second.released()).await.unwrap();
    let writer = pool::writer(&store, &sample, &supplier);
    let third = waiter(&supplier);
    for index in writer.missing_extents() {
        writer.write_extent(index, sample.extent(&writer, index)).unwrap();
    }
    writer.finish().unwrap();
    tokio::time::timeout(Duration::from_secs(10), third.released()).await.unwrap();
    assert!(pool::is_present(&store, &sample, &supplier));
}

#[test]
fn a_hundred_leases_share_one_view_that_goes_with_the_last() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let supplier = pool::trusted("tn_a");
    let sample = pool::sample(&Entropy::seeded(7), "weights.bin", Algorithm::Sha256, 9000);
    pool::bring(&store, &sample, &supplier);
    let manifest = pool::manifest("huggingface!org/name", 1, &[&sample]);
    store.publish_model(&manifest, &supplier).unwrap();
    let spec = ViewSpec { key: manifest.key().clone(), refs: BTreeSet::new() };
    for _ in 0..10 {
        let leases: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..10)
                .map(|_| {
                    scope.spawn(|| {
                        // Dropped again at once by half of them, so that making and removing meet.
                        drop(store.view(&spec).unwrap());
                        store.view(&spec).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let paths: BTreeSet<_> = leases.iter().map(|lease| lease.path().to_owned()).collect();
        assert_eq!(paths.len(), 1);
        let path = paths.first().unwrap();
        assert!(path.join("refs/main").exists());
        drop(leases);
        assert!(!path.exists());
    }
}
