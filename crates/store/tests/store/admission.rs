//! Whether a model fits, what would have to go, and that what was promised stays true.

use std::{path::Path, sync::Arc};

use base::{ByteSize, Disk, Entropy, FaultyDisk};
use store::{Admission, NeverFits, Reservation, RoomLimits, Store, Supplier};
use types::Manifest;

use crate::pool::{self, Algorithm, Sample};

struct Host {
    disk: FaultyDisk,
    store: Store,
    supplier: Supplier,
}

fn host() -> Host {
    let disk = FaultyDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = pool::open(&shared, Path::new("/store"));
    Host { disk, store, supplier: pool::trusted("tn_a") }
}

fn model(name: &str, lengths: &[usize]) -> (Vec<Sample>, Arc<Manifest>) {
    let entropy = Entropy::seeded(name.len() as u64);
    let samples: Vec<Sample> = (0..)
        .zip(lengths)
        .map(|(place, len): (u64, _)| {
            pool::sample(&entropy, &format!("{name}{place}.bin"), Algorithm::Sha256, *len)
        })
        .collect();
    let manifest = pool::manifest(&format!("huggingface!org/{name}"), 1, &samples.iter().collect::<Vec<_>>());
    (samples, Arc::new(manifest))
}

impl Host {
    /// Sets how much of the disk is free.
    fn leave(&self, bytes: u64) {
        self.disk.set_capacity(ByteSize(self.disk.used().bytes() + bytes));
    }

    fn admit(&self, manifest: &Arc<Manifest>, cache: u64, floor: u64) -> Admission {
        let limits = RoomLimits { cache_bytes_max: ByteSize(cache), disk_free_min: ByteSize(floor) };
        self.store.admit(manifest, &self.supplier, &limits).unwrap()
    }

    fn fits(&self, manifest: &Arc<Manifest>, cache: u64, floor: u64) -> Reservation {
        match self.admit(manifest, cache, floor) {
            Admission::Fits(reservation) => reservation,
            other @ (Admission::Needs(_) | Admission::Never(_)) => panic!("{other:?}"),
        }
    }

    fn needs(&self, manifest: &Arc<Manifest>, cache: u64, floor: u64) -> u64 {
        match self.admit(manifest, cache, floor) {
            Admission::Needs(shortfall) => shortfall.bytes.bytes(),
            other @ (Admission::Fits(_) | Admission::Never(_)) => panic!("{other:?}"),
        }
    }

    fn never(&self, manifest: &Arc<Manifest>, cache: u64, floor: u64) -> NeverFits {
        match self.admit(manifest, cache, floor) {
            Admission::Never(never) => never,
            other @ (Admission::Fits(_) | Admission::Needs(_)) => panic!("{other:?}"),
        }
    }
}

const PLENTY: u64 = 1 << 40;

#[test]
fn the_limit_of_the_cache_counts_what_is_here_and_what_is_promised() {
    let host = host();
    let (samples, first) = model("a", &[10_000, 20_000]);
    let (_, second) = model("bb", &[40_000]);
    assert_eq!(
        host.never(&first, 29_999, 0).to_string(),
        "the model has 30.0 kB, and models may take 30.0 kB on this host"
    );
    let reservation = host.fits(&first, 30_000, 0);
    assert_eq!(host.store.disk_usage().unwrap().reserved, ByteSize(30_000));
    // Promised bytes are as good as taken.
    assert_eq!(host.needs(&second, 69_999, 0), 1);
    drop(host.fits(&second, 70_000, 0));
    drop(reservation);
    drop(host.fits(&second, 40_000, 0));
    // While bytes arrive nothing counts twice: a partial file has its room.
    let reservation = host.fits(&first, 30_000, 0);
    let writer = pool::writer(&host.store, &samples[1], &host.supplier);
    let usage = host.store.disk_usage().unwrap();
    assert_eq!((usage.partial, usage.reserved), (ByteSize(20_000), ByteSize(10_000)));
    assert_eq!(host.needs(&second, 69_999, 0), 1);
    drop(host.fits(&second, 70_000, 0));
    for index in writer.missing_extents() {
        writer.write_extent(index, samples[1].extent(&writer, index)).unwrap();
    }
    writer.finish().unwrap();
    pool::bring(&host.store, &samples[0], &host.supplier);
    host.store.publish_model(&first, &host.supplier).unwrap();
    assert_eq!(host.store.disk_usage().unwrap().reserved, ByteSize(0));
    assert_eq!(host.needs(&second, 69_999, 0), 1);
    // What is here in full fits whatever the limits are now.
    drop(reservation);
    drop(host.fits(&first, 30_000, PLENTY / 4));
    // Once it is gone there is room.
    host.store.remove(first.key()).unwrap();
    drop(host.fits(&second, 40_000, 0));
}

#[test]
fn the_floor_of_the_disk_stays_free() {
    let host = host();
    let (_, first) = model("a", &[10_000]);
    let (_, second) = model("bb", &[10_000]);
    // Three blocks of content, one for the rest.
    let whole = 4 * 4096;
    host.leave(whole + 5000);
    let never = host.never(&first, PLENTY, whole);
    assert!(matches!(&never, NeverFits::Disk(small) if small.most == ByteSize(5000)), "{never}");
    host.leave(whole + 5000);
    let reservation = host.fits(&first, PLENTY, 5000);
    assert_eq!(host.needs(&second, PLENTY, 5000), whole);
    drop(reservation);
    drop(host.fits(&second, PLENTY, 5000));
    assert_eq!(host.needs(&second, PLENTY, 5001), 1);
}

#[test]
fn two_that_need_the_same_last_bytes_are_not_both_promised_them() {
    let host = Arc::new(host());
    let models: Vec<_> = ["a", "bb", "ccc", "dddd"].map(|name| model(name, &[10_000]).1).into();
    let held: Vec<_> = std::thread::scope(|scope| {
        let admitted: Vec<_> = models
            .iter()
            .map(|manifest| {
                let host = Arc::clone(&host);
                scope.spawn(move || host.admit(manifest, 25_000, 0))
            })
            .collect();
        admitted.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let fits = held.iter().filter(|admission| matches!(admission, Admission::Fits(_))).count();
    assert_eq!(fits, 2);
}

#[test]
fn a_file_that_two_models_share_is_reserved_once_and_proof_takes_room_on_the_disk_only() {
    let host = host();
    let entropy = Entropy::seeded(9);
    let shared = pool::sample(&entropy, "shared.bin", Algorithm::Sha256, 20_000);
    let own = pool::sample(&entropy, "own.bin", Algorithm::Sha256, 5000);
    let one = Arc::new(pool::manifest("huggingface!org/one", 1, &[&shared]));
    let two = Arc::new(pool::manifest("huggingface!org/two", 1, &[&own, &shared]));
    let first = host.fits(&one, 25_000, 0);
    let second = host.fits(&two, 25_000, 0);
    drop((first, second));
    pool::bring(&host.store, &shared, &host.supplier);
    // Bytes that a stranger brings once more, to show that it has them, are dropped for those that are here.
    let bert = pool::untrusted("tn_bert");
    let limits = RoomLimits { cache_bytes_max: ByteSize(20_000), disk_free_min: ByteSize(0) };
    let admitted = host.store.admit(&one, &bert, &limits).unwrap();
    assert!(matches!(admitted, Admission::Fits(_)), "{admitted:?}");
    drop(admitted);
    host.leave(20_000);
    let admitted = host.store.admit(&one, &bert, &limits).unwrap();
    assert!(matches!(&admitted, Admission::Needs(short) if short.bytes == ByteSize(6 * 4096 - 20_000)));
}

#[test]
fn a_fetch_that_was_admitted_never_meets_a_full_disk() {
    // Every length around a block, and many small files: what admission counts covers what the disk takes.
    let host = host();
    let lengths: Vec<usize> = (0..40).map(|place| 4000 + place * 7).chain([1, 4096, 4097, 20_000]).collect();
    let (samples, manifest) = model("a", &lengths);
    let mut room = 0;
    let reservation = loop {
        host.leave(room);
        match host.admit(&manifest, PLENTY, 0) {
            Admission::Fits(reservation) => break reservation,
            Admission::Needs(_) | Admission::Never(_) => room += 1024,
        }
    };
    samples.iter().for_each(|sample| pool::bring(&host.store, sample, &host.supplier));
    host.store.publish_model(&manifest, &host.supplier).unwrap();
    drop(reservation);
}

#[test]
fn the_default_floor_suits_the_disk() {
    let check = |total: u64, floor: u64| {
        assert_eq!(RoomLimits::default_disk_free_min(ByteSize(total)), ByteSize(floor));
    };
    check(0, 0);
    check(64 << 20, (64 << 20) / 20);
    check(100_000_000_000, 5_000_000_000);
    check(4_000_000_000_000, 10_000_000_000);
}
