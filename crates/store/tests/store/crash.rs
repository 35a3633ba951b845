//! Random operations on the faulty disk with power losses, kills, I/O errors and a disk that runs full, at any call.
//!
//! Held at every opening: no blob has wrong bytes; what was acknowledged as published is here; what was acknowledged as
//! removed is not; every model that is listed is whole and sound; every extent whose write was acknowledged is there.
//! `LARDER_CRASH_SEED` runs one seed; otherwise they follow on from `PROPTEST_RNG_SEED`, 500 times the test factor.

mod check;
mod keeping;
mod known;
mod models;
mod tally;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use base::{ByteSize, Clock, Disk, DiskCall, Entropy, FaultyDisk};
use store::{
    BlobWriter, Claim, ClaimError, ExtentIndex, FinishError, HubStanding, Store, Supplier, ViewLease,
    WriteExtentError,
};
use types::{Digest, Manifest};

use crate::pool::{self, Algorithm, Sample};
use known::{Known, PartialKey, partial_key};
use tally::{NamedSeed, Tally};

const SEEDS: u32 = 500;
const STEPS: u64 = 70;
const ROOT: &str = "/store";

struct OpenWriter {
    writer: BlobWriter,
    sample: usize,
    supplier: Supplier,
    spoiled: bool,
}

struct World {
    entropy: Entropy,
    disk: FaultyDisk,
    store: Option<Store>,
    samples: Vec<Sample>,
    manifests: Vec<Manifest>,
    suppliers: Vec<Supplier>,
    writers: Vec<OpenWriter>,
    leases: Vec<ViewLease>,
    known: Known,
    /// Whether a read may have failed, which counts as damage.
    reads_fail: bool,
    tally: Tally,
}

#[test]
fn nothing_wrong_is_ever_seen_and_nothing_acknowledged_is_lost() {
    let named = std::env::var("LARDER_CRASH_SEED").map(|text| text.parse::<u64>().unwrap());
    let (first, count) = named.map_or_else(|_| (first_seed(), testkit::cases(SEEDS)), |seed| (seed, 1));
    let mut total = Tally::default();
    for seed in first..first + u64::from(count) {
        let named = NamedSeed(seed);
        let tally = World::new(seed).run();
        std::mem::forget(named);
        total.add(&tally);
    }
    println!("{count} seeds from {first}: {total:?}");
    if count >= SEEDS {
        assert!(total.all_happened(), "the seeds leave something untried: {total:?}");
    }
}

/// Returns where to begin: the seed of the whole run, which is printed, or zero.
fn first_seed() -> u64 {
    std::env::var("PROPTEST_RNG_SEED").map_or(0, |text| text.parse::<u64>().unwrap() >> 1)
}

impl World {
    fn new(seed: u64) -> Self {
        // Another sequence than the disk's, so that neither choice follows from the other.
        let entropy = Entropy::seeded(seed ^ 0x5eed);
        let lengths = [0, 1, 4095, 4096, 4097, 9000, 20_000, 30_000];
        let samples: Vec<Sample> = (0..)
            .zip(lengths)
            .map(|(place, len)| {
                let algorithm =
                    if (seed + place).is_multiple_of(2) { Algorithm::Sha256 } else { Algorithm::GitSha1 };
                pool::sample(&entropy, &format!("file{place}.bin"), algorithm, len)
            })
            .collect();
        let of = |places: &[usize]| places.iter().map(|place| &samples[*place]).collect::<Vec<_>>();
        let manifests = vec![
            pool::manifest("huggingface!org/one", 1, &of(&[0, 1, 5])),
            pool::manifest("huggingface!org/one", 2, &of(&[1, 2, 5, 6])),
            pool::manifest("10.0.0.1:80!org/one", 1, &of(&[3, 6])),
            pool::manifest("huggingface!two", 3, &of(&[4, 7])),
        ];
        let suppliers =
            vec![pool::trusted("tn_anna"), pool::untrusted("tn_anna"), pool::untrusted("tn_bert")];
        let disk = FaultyDisk::new(seed);
        if seed.is_multiple_of(4) {
            disk.refuse_direct();
        }
        Self {
            disk,
            entropy,
            store: None,
            samples,
            manifests,
            suppliers,
            writers: Vec::new(),
            leases: Vec::new(),
            known: Known::default(),
            reads_fail: false,
            tally: Tally::default(),
        }
    }

    fn run(mut self) -> Tally {
        self.reopen();
        for _ in 0..STEPS {
            self.step();
            if !self.disk.has_power() {
                // The process ended in the middle of a call: alone, or with the machine.
                match self.below(3) {
                    0 => self.kill(),
                    _ => self.lose_power(),
                }
            }
        }
        self.lose_power();
        self.bring_everything();
        self.tally
    }

    fn below(&self, end: u64) -> u64 {
        self.entropy.number() % end
    }

    fn pick(&self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    fn store(&self) -> Store {
        self.store.clone().expect("a store is open between steps")
    }

    fn step(&mut self) {
        match self.below(54) {
            0..4 => self.claim(),
            4..15 => self.write(),
            15..18 => self.finish(),
            18 => drop(self.take_writer()),
            19..21 => self.publish_small(),
            21..25 => self.bring_one(),
            25..31 => self.bring_model(),
            31..33 => self.publish_model(),
            33..36 => self.remove_model(),
            36..41 => self.view(),
            41..43 => self.drop_lease(),
            43 => self.lose_power(),
            44 => self.kill(),
            45 => {
                let calls = 1 + self.below(150);
                self.disk.lose_power_after(calls);
            }
            46..48 => self.plan_error(),
            48 => self.limit_room(),
            49..53 => self.keep(),
            _ => drop(self.store().sweep_views(&BTreeSet::new())),
        }
    }

    /// Claims a file and brings it to its end, as far as the disk lets it.
    fn bring_one(&mut self) {
        let place = self.pick(self.samples.len());
        let supplier = self.suppliers[self.pick(self.suppliers.len())].clone();
        self.bring(place, &supplier);
    }

    fn bring(&mut self, place: usize, supplier: &Supplier) {
        let before = self.writers.len();
        self.claim_file(place, supplier);
        if self.writers.len() == before {
            return;
        }
        while self.disk.has_power() && !self.writers[before].writer.missing_extents().is_empty() {
            let acknowledged = self.write_to(before);
            if !acknowledged {
                return;
            }
        }
        let open = self.writers.swap_remove(before);
        self.finish_writer(open);
    }

    fn plan_error(&mut self) {
        use DiskCall::{Look, Make, Open, Read, Remove, Rename, Resize, Sync, SyncFolder, Write};
        let kinds = [Look, Make, Open, Read, Remove, Rename, Resize, Sync, SyncFolder, Write];
        let kind = kinds[self.pick(kinds.len())];
        self.reads_fail |= kind == Read;
        self.disk.fail(kind, self.below(6));
    }

    fn limit_room(&mut self) {
        let capacity = match self.below(3) {
            0..2 => u64::MAX,
            _ => self.disk.used().bytes() + self.below(40_000),
        };
        self.disk.set_capacity(ByteSize(capacity));
    }

    fn note_claim_error(&mut self, error: &ClaimError) {
        match error {
            ClaimError::Disk(store::DiskTrouble::Full(_)) => self.tally.full += 1,
            ClaimError::Disk(store::DiskTrouble::Failed(_)) => self.tally.failed += 1,
        }
    }

    fn claim(&mut self) {
        let place = self.pick(self.samples.len());
        let supplier = self.suppliers[self.pick(self.suppliers.len())].clone();
        self.claim_file(place, &supplier);
    }

    fn claim_file(&mut self, place: usize, supplier: &Supplier) {
        let file = self.samples[place].file.clone();
        let key = partial_key(supplier, file.digest);
        let is_ours =
            self.writers.iter().any(|open| partial_key(&open.supplier, open.writer.file().digest) == key);
        match self.store().claim(&file, supplier) {
            Ok(Claim::Present) => {
                assert_eq!(self.blob(&file.digest).as_deref(), Some(&*self.samples[place].bytes));
            }
            Ok(Claim::Busy(_)) => assert!(is_ours, "nobody else writes {key:?}"),
            Ok(Claim::Write(writer)) => {
                assert!(!is_ours, "{key:?} is written twice at once");
                self.check_resumed(&writer, &key);
                let spoiled = self.known.wrong.contains(&key);
                self.writers.push(OpenWriter { writer, sample: place, supplier: supplier.clone(), spoiled });
            }
            Err(error) => {
                // A file that could not be reopened may have been begun anew and then been given up.
                self.known.forget_partial(&key);
                self.note_claim_error(&error);
            }
        }
    }

    fn check_resumed(&mut self, writer: &BlobWriter, key: &PartialKey) {
        let missing: BTreeSet<ExtentIndex> = writer.missing_extents().into_iter().collect();
        let known = self.known.extents.entry(key.clone()).or_default();
        assert!(known.is_disjoint(&missing), "acknowledged extents are missing: {known:?} {missing:?}");
        self.tally.extents_resumed += known.len() as u64;
        if u64::from(writer.extent_count()) == missing.len() as u64 {
            self.known.forget_partial(key);
            self.known.perhaps_wrong.remove(key);
        }
    }

    fn write(&mut self) {
        if self.writers.is_empty() {
            return self.claim();
        }
        let at = self.pick(self.writers.len());
        if self.writers[at].writer.missing_extents().is_empty() {
            return self.finish();
        }
        self.write_to(at);
    }

    /// Writes one missing extent. Returns whether that was acknowledged.
    fn write_to(&mut self, at: usize) -> bool {
        let wrong = self.below(100) == 0;
        let missing = self.writers[at].writer.missing_extents();
        // Mostly in order, as one stream brings them.
        let place = if self.below(3) == 0 { self.pick(missing.len()) } else { 0 };
        let open = &mut self.writers[at];
        let key = partial_key(&open.supplier, open.writer.file().digest);
        let mut bytes = self.samples[open.sample].extent(&open.writer, missing[place]).to_vec();
        if wrong {
            bytes[0] ^= 1;
        }
        if wrong {
            self.known.perhaps_wrong.insert(key.clone());
        }
        let store = self.store.clone().expect("a store is open between steps");
        let damaged = store.counters().extents_damaged;
        let outcome = open.writer.write_extent(missing[place], &bytes);
        let unread = store.counters().extents_damaged > damaged;
        if unread && self.disk.has_power() {
            // An extent that the disk would not give back is fetched again.
            let missing = open.writer.missing_extents();
            assert!(
                self.reads_fail || self.known.holds_none_of(&key, &missing),
                "an acknowledged extent is damaged"
            );
            self.known.forget_partial(&key);
            open.spoiled = false;
        }
        match outcome {
            Ok(()) if unread => true,
            Ok(()) => {
                open.spoiled |= wrong;
                if open.writer.extent_count() > 1 {
                    if wrong {
                        self.known.wrong.insert(key.clone());
                    }
                    self.known.extents.entry(key).or_default().insert(missing[place]);
                }
                true
            }
            Err(WriteExtentError::Disk(_) | WriteExtentError::Poisoned(_)) => {
                self.tally.failed += 1;
                self.forget_unless_dark(&key);
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// After an error on a living disk the partial file may be given up whole. A power loss takes nothing with it.
    fn forget_unless_dark(&mut self, key: &PartialKey) {
        if self.disk.has_power() {
            self.known.forget_partial(key);
        }
    }

    fn take_writer(&mut self) -> Option<OpenWriter> {
        if self.writers.is_empty() {
            return None;
        }
        let at = self.pick(self.writers.len());
        Some(self.writers.swap_remove(at))
    }

    fn finish(&mut self) {
        if let Some(open) = self.take_writer() {
            self.finish_writer(open);
        }
    }

    fn finish_writer(&mut self, open: OpenWriter) {
        let key = partial_key(&open.supplier, open.writer.file().digest);
        let digest = open.writer.file().digest;
        self.expect_replacement(digest, &open.supplier);
        let damaged = self.store().counters().extents_damaged;
        match open.writer.finish() {
            Ok(published) => {
                assert!(!open.spoiled, "wrong bytes were published");
                assert_eq!(published.digest, digest);
                self.known.forget_partial(&key);
                self.note_published(digest, &open.supplier);
            }
            Err(FinishError::Mismatch(mismatch)) => {
                assert!(self.known.perhaps_wrong.contains(&key), "right bytes were refused: {mismatch}");
                self.tally.mismatches += 1;
                self.known.forget_partial(&key);
            }
            Err(FinishError::Missing(missing)) => {
                assert!(!missing.missing.is_empty());
                let unread = self.store().counters().extents_damaged > damaged;
                if unread && self.disk.has_power() {
                    let sound = self.reads_fail || self.known.holds_none_of(&key, &missing.missing);
                    assert!(sound, "an acknowledged extent is damaged");
                    self.known.forget_partial(&key);
                }
            }
            Err(FinishError::Disk(_) | FinishError::Poisoned(_)) => {
                self.tally.failed += 1;
                // The file may have become a blob, or be given up.
                self.known.forget_partial(&key);
            }
        }
    }

    /// A trusted supplier's bytes under a SHA-1 name may replace others, and with them who brought them.
    fn expect_replacement(&mut self, digest: Digest, supplier: &Supplier) {
        if matches!((digest, supplier.standing), (Digest::GitSha1(_), HubStanding::Trusted)) {
            self.known.suppliers.retain(|(known, by)| *known != digest || by == supplier);
        }
    }

    fn note_published(&mut self, digest: Digest, supplier: &Supplier) {
        self.tally.published += 1;
        self.known.blobs.insert(digest);
        self.known.suppliers.insert((digest, supplier.clone()));
    }

    fn publish_small(&mut self) {
        let supplier = self.suppliers[self.pick(self.suppliers.len())].clone();
        let mut files = Vec::new();
        let mut right = BTreeSet::new();
        for sample in &self.samples[..5] {
            match self.below(10) {
                0..6 => {}
                6 if !sample.bytes.is_empty() => {
                    let mut bytes = sample.bytes.to_vec();
                    bytes[0] ^= 1;
                    files.push((sample.file.clone(), bytes.into()));
                }
                _ => {
                    right.insert(sample.file.digest);
                    files.push((sample.file.clone(), sample.bytes.clone()));
                }
            }
        }
        let wrong = files.len() - right.len();
        for digest in &right {
            self.expect_replacement(*digest, &supplier);
        }
        match self.store().publish_small(files, &supplier) {
            Ok(batch) => {
                assert_eq!(batch.mismatches.len(), wrong);
                assert_eq!(batch.published.iter().map(|blob| blob.digest).collect::<BTreeSet<_>>(), right);
                for digest in right {
                    self.note_published(digest, &supplier);
                }
            }
            Err(_) => self.tally.failed += 1,
        }
    }

    fn lose_power(&mut self) {
        self.tally.power_losses += 1;
        let found = self.disk.lose_power();
        self.restart(found);
    }

    fn kill(&mut self) {
        self.tally.kills += 1;
        let found = self.disk.kill_process();
        self.restart(found);
    }

    /// Ends everything of the old process, whose disk answers no more, and opens the store on what is found.
    fn restart(&mut self, found: FaultyDisk) {
        self.writers.clear();
        self.leases.clear();
        self.store = None;
        self.known.shaky.clear();
        self.disk = found;
        // Sometimes the power fails again while the store is being opened.
        if self.below(8) == 0 {
            self.disk.lose_power_after(self.entropy.number() % 700);
        }
        self.reopen();
    }

    fn reopen(&mut self) {
        for _ in 0..100 {
            let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
            match Store::open(disk, Clock::System, pool::options(Path::new(ROOT))) {
                Ok(store) => {
                    self.store = Some(store);
                    if self.disk.has_power() {
                        let disk = self.disk.clone();
                        disk.spare(|| {
                            self.end_rot();
                            self.check();
                        });
                    }
                    return;
                }
                Err(store::OpenStoreError::Disk(_)) if !self.disk.has_power() => {
                    self.tally.power_losses += 1;
                    self.disk = self.disk.lose_power();
                }
                // A store that was never whole needs room to begin.
                Err(store::OpenStoreError::Disk(_)) => self.disk.set_capacity(ByteSize(u64::MAX)),
                Err(error) => panic!("the store does not open: {error}"),
            }
        }
        panic!("the store does not open");
    }
}
