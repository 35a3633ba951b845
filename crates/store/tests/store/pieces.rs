//! Extents that come in pieces, in any order, some of them given up: the digest is that of the bytes on the disk.

use std::{path::Path, sync::Arc, thread};

use base::{Access, ByteSize, Clock, Disk, Entropy, FaultyDisk};
use bytes::Bytes;
use store::{BlobWriter, ExtentIndex, ExtentWriter, FinishError, ReorderBudget, Store, WriteExtentError};

use crate::pool::{self, Algorithm, EXTENT, Sample};

const ROUNDS: u32 = 60;
const EXTENTS: u64 = 24;

/// An extent that a test writes bit by bit.
struct Open {
    index: ExtentIndex,
    extent: ExtentWriter,
    left: Bytes,
}

fn below(entropy: &Entropy, end: usize) -> usize {
    usize::try_from(entropy.number() % end as u64).unwrap()
}

fn open_store(disk: &FaultyDisk) -> Store {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(disk, Clock::System, pool::options(Path::new("/store"))).unwrap()
}

/// Brings a file by a few extents at a time, each in random pieces; some are begun with wrong bytes and given up.
fn bring(writer: &Arc<BlobWriter>, sample: &Sample, entropy: &Entropy) {
    let mut open: Vec<Open> = Vec::new();
    let mut missing = writer.missing_extents();
    while !missing.is_empty() || !open.is_empty() {
        if !missing.is_empty() && open.len() < 4 {
            let near = missing.len().min(6);
            let index = missing.remove(below(entropy, near));
            let extent = writer.begin_extent(index).unwrap().expect("it is missing");
            open.push(Open { index, extent, left: Bytes::copy_from_slice(sample.extent(writer, index)) });
        }
        let at = below(entropy, open.len());
        let one = &mut open[at];
        if entropy.number().is_multiple_of(7) {
            let mut extent = open.swap_remove(at);
            if !extent.left.is_empty() {
                extent.extent.append(Bytes::from(vec![0xaa; 1])).unwrap();
            }
            missing.insert(0, extent.index);
            continue;
        }
        let piece = one.left.split_to(below(entropy, one.left.len() + 1));
        one.extent.append(piece).unwrap();
        if one.extent.missing_bytes() == 0 {
            open.swap_remove(at).extent.commit().unwrap();
        }
    }
}

#[test]
fn pieces_in_any_order_give_the_digest_of_the_file() {
    for seed in 0..testkit::cases(ROUNDS) {
        println!("seed {seed}");
        let entropy = Entropy::seeded(u64::from(seed));
        let disk = FaultyDisk::new(u64::from(seed));
        if seed % 3 == 0 {
            disk.refuse_direct();
        }
        let store = open_store(&disk);
        let len = usize::try_from(EXTENT * EXTENTS).unwrap() - below(&entropy, 5000);
        let algorithm = if seed % 2 == 0 { Algorithm::Sha256 } else { Algorithm::GitSha1 };
        let sample = pool::sample(&entropy, "weights.bin", algorithm, len);
        let mut writer = pool::writer(&store, &sample, &pool::trusted("tn_a"));
        writer.keep_early(ReorderBudget::new(ByteSize([0, 3 * EXTENT, 1 << 30][below(&entropy, 3)])));
        let writer = Arc::new(writer);
        bring(&writer, &sample, &entropy);
        Arc::into_inner(writer).unwrap().finish().unwrap();
        assert!(pool::is_present(&store, &sample, &pool::trusted("tn_a")));
        assert_eq!(store.counters().extents_damaged, 0);
    }
}

#[test]
fn what_is_kept_in_memory_is_not_read_back() {
    let check = |budget: ByteSize, extents_read: u64| {
        let disk = FaultyDisk::new(1);
        let store = open_store(&disk);
        let len = usize::try_from(EXTENT * EXTENTS).unwrap();
        let sample = pool::sample(&Entropy::seeded(1), "weights.bin", Algorithm::Sha256, len);
        let mut writer = pool::writer(&store, &sample, &pool::trusted("tn_a"));
        writer.keep_early(ReorderBudget::new(budget));
        for index in writer.missing_extents().into_iter().rev() {
            writer.write_extent(index, sample.extent(&writer, index)).unwrap();
        }
        // Each byte on the disk that is read back from now on is wrong.
        let path = Path::new("/store/partial/shared").join(sample.file.digest.to_string());
        for extent in 0..EXTENTS {
            disk.damage(&path, extent * EXTENT).unwrap();
        }
        match writer.finish() {
            Ok(_) => assert_eq!(extents_read, 0),
            Err(FinishError::Missing(missing)) => assert_eq!(missing.missing.len() as u64, extents_read),
            Err(error) => panic!("{error}"),
        }
    };
    check(ByteSize(EXTENTS * EXTENT), 0);
    // Without room for any, all but the first in order is read back: two by the call that wrote that one.
    check(ByteSize(0), EXTENTS - 3);
}

#[test]
fn an_extent_has_one_writer_and_takes_no_more_than_fits() {
    let disk = FaultyDisk::new(1);
    let store = open_store(&disk);
    let sample = pool::sample(&Entropy::seeded(1), "weights.bin", Algorithm::Sha256, 9000);
    let writer = Arc::new(pool::writer(&store, &sample, &pool::trusted("tn_a")));
    let mut extent = writer.begin_extent(ExtentIndex(2)).unwrap().unwrap();
    assert!(matches!(writer.begin_extent(ExtentIndex(2)), Err(WriteExtentError::Busy(_))));
    assert!(matches!(writer.begin_extent(ExtentIndex(3)), Err(WriteExtentError::OutOfRange(_))));
    let last = Bytes::copy_from_slice(sample.extent(&writer, ExtentIndex(2)));
    extent.append(last.slice(..700)).unwrap();
    assert!(matches!(extent.append(last.clone()), Err(WriteExtentError::Length(_))));
    assert!(matches!(extent.commit(), Err(WriteExtentError::Length(_))));
    assert_eq!(writer.missing_extents().len(), 3);
    let mut extent = writer.begin_extent(ExtentIndex(2)).unwrap().unwrap();
    extent.append(last).unwrap();
    extent.commit().unwrap();
    assert!(writer.begin_extent(ExtentIndex(2)).unwrap().is_none());
    assert_eq!(writer.missing_extents(), [ExtentIndex(0), ExtentIndex(1)]);
}

#[test]
fn streams_that_end_together_are_synced_together_and_fail_together() {
    let disk = FaultyDisk::new(1);
    let store = open_store(&disk);
    let len = usize::try_from(EXTENT * 64).unwrap();
    let sample = pool::sample(&Entropy::seeded(1), "weights.bin", Algorithm::Sha256, len);
    let writer = Arc::new(pool::writer(&store, &sample, &pool::trusted("tn_a")));
    disk.fail(base::DiskCall::Sync, 20);
    let failures: usize = thread::scope(|scope| {
        let streams: Vec<_> = (0..8)
            .map(|stream| {
                let (writer, sample) = (&writer, &sample);
                scope.spawn(move || {
                    let mine = (0..64).filter(|index| index % 8 == stream).map(ExtentIndex);
                    mine.filter(|index| writer.write_extent(*index, sample.extent(writer, *index)).is_err())
                        .count()
                })
            })
            .collect();
        streams.into_iter().map(|stream| stream.join().unwrap()).sum()
    });
    assert!(failures > 0, "a sync failed, and with it every extent that it was for");
    assert!(matches!(Arc::into_inner(writer).unwrap().finish(), Err(FinishError::Poisoned(_))));
    let path = Path::new("/store/partial/shared").join(sample.file.digest.to_string());
    assert!(disk.open(&path, Access::Read).is_err(), "nothing of the file is believed");
}
