//! A disk that is full says so before the first byte, loses nothing, and is used again when there is room.

use std::{path::Path, sync::Arc};

use base::{ByteSize, Disk, DiskCall, Entropy, FaultyDisk};
use store::{ClaimError, DiskTrouble, FinishError, WriteExtentError};
use types::ErrorCode;

use crate::pool::{self, Algorithm};

#[test]
fn room_for_the_whole_file_is_asked_for_first() {
    let disk = FaultyDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = pool::open(&shared, Path::new("/store"));
    let supplier = pool::trusted("tn_a");
    let entropy = Entropy::seeded(1);
    let small = pool::sample(&entropy, "small.bin", Algorithm::Sha256, 9000);
    let large = pool::sample(&entropy, "large.bin", Algorithm::Sha256, 60_000);
    disk.set_capacity(ByteSize(disk.used().bytes() + 50_000));
    let used = disk.used();
    let error = store.claim(&large.file, &supplier).unwrap_err();
    let ClaimError::Disk(DiskTrouble::Full(full)) = &error else { panic!("{error}") };
    assert_eq!((full.wanted, full.available), (Some(ByteSize(60_000)), Some(ByteSize(50_000))));
    let fault = error.fault();
    assert_eq!(fault.code, ErrorCode::DiskFull);
    assert!(fault.hint.unwrap().contains("60.0 kB"));
    assert_eq!(disk.used(), used, "nothing is left of it");
    pool::bring(&store, &small, &supplier);

    // What was reserved can't be taken away by others.
    disk.set_capacity(ByteSize(u64::MAX));
    let writer = pool::writer(&store, &large, &supplier);
    disk.set_capacity(disk.used());
    for index in writer.missing_extents() {
        writer.write_extent(index, large.extent(&writer, index)).unwrap();
    }
    // The log of suppliers needs room; what is there waits for it.
    let error = writer.finish().unwrap_err();
    assert!(matches!(error, FinishError::Disk(DiskTrouble::Full(_))), "{error}");
    disk.set_capacity(ByteSize(u64::MAX));
    let writer = pool::writer(&store, &large, &supplier);
    assert_eq!(writer.missing_extents(), []);
    writer.finish().unwrap();
}

#[test]
fn a_small_batch_without_room_leaves_nothing() {
    let disk = FaultyDisk::new(2);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = pool::open(&shared, Path::new("/store"));
    let supplier = pool::trusted("tn_a");
    let entropy = Entropy::seeded(2);
    let samples: Vec<_> =
        (0..20).map(|place| pool::sample(&entropy, &format!("{place}"), Algorithm::GitSha1, 1000)).collect();
    let batch = || samples.iter().map(|sample| (sample.file.clone(), sample.bytes.clone())).collect();
    let used = disk.used();
    disk.set_capacity(ByteSize(used.bytes() + 15_500));
    assert_eq!(store.publish_small(batch(), &supplier).unwrap_err().fault().code, ErrorCode::DiskFull);
    assert_eq!(disk.used(), used);
    disk.set_capacity(ByteSize(u64::MAX));
    assert_eq!(store.publish_small(batch(), &supplier).unwrap().published.len(), 20);
}

#[test]
fn a_failed_sync_gives_the_partial_file_up() {
    let disk = FaultyDisk::new(3);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = pool::open(&shared, Path::new("/store"));
    let supplier = pool::trusted("tn_a");
    let sample = pool::sample(&Entropy::seeded(3), "weights.bin", Algorithm::Sha256, 20_000);
    let writer = pool::writer(&store, &sample, &supplier);
    let indices = writer.missing_extents();
    writer.write_extent(indices[0], sample.extent(&writer, indices[0])).unwrap();
    disk.fail(DiskCall::Sync, 0);
    let failed = writer.write_extent(indices[1], sample.extent(&writer, indices[1])).unwrap_err();
    assert_eq!(failed.fault().code, ErrorCode::DiskError);
    let poisoned = writer.write_extent(indices[2], sample.extent(&writer, indices[2])).unwrap_err();
    assert!(matches!(poisoned, WriteExtentError::Poisoned(_)));
    // Even when it can't be removed at once.
    disk.fail(DiskCall::Remove, 0);
    drop(writer);
    let writer = pool::writer(&store, &sample, &supplier);
    assert_eq!(writer.missing_extents().len(), 5);
    drop(writer);
    pool::bring(&store, &sample, &supplier);
    let found: Arc<dyn Disk> = Arc::new(disk.lose_power());
    assert!(pool::is_present(&pool::open(&found, Path::new("/store")), &sample, &supplier));
}

#[test]
fn a_blob_whose_name_could_not_be_synced_is_not_fetched_again() {
    let disk = FaultyDisk::new(4);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = pool::open(&shared, Path::new("/store"));
    let supplier = pool::trusted("tn_a");
    let sample = pool::sample(&Entropy::seeded(4), "weights.bin", Algorithm::Sha256, 20_000);
    let manifest = pool::manifest("huggingface!org/name", 1, &[&sample]);
    let writer = pool::writer(&store, &sample, &supplier);
    for index in writer.missing_extents() {
        writer.write_extent(index, sample.extent(&writer, index)).unwrap();
    }
    disk.fail(DiskCall::SyncFolder, 0);
    assert_eq!(writer.finish().unwrap_err().fault().code, ErrorCode::DiskError);
    assert!(pool::is_present(&store, &sample, &supplier));
    assert_eq!(store.disk_usage().unwrap().partial, ByteSize(0));
    // The record makes the name durable after all.
    store.publish_model(&manifest, &supplier).unwrap();
    let found: Arc<dyn Disk> = Arc::new(disk.lose_power_and_all_unsynced());
    assert_eq!(pool::open(&found, Path::new("/store")).list().len(), 1);
}
