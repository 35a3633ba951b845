//! What comes back after kills, power cuts and failing calls.

use std::{collections::BTreeSet, path::Path};

use base::{DiskCall, FaultyDisk, RealDisk};
use proptest::prelude::*;

use super::*;

fn open(folder: &Path) -> (Segments, Vec<Found>) {
    open_within(folder, 1 << 30)
}

fn open_within(folder: &Path, bytes_max: u64) -> (Segments, Vec<Found>) {
    let mut found = Vec::new();
    let disk = Arc::new(RealDisk);
    let spool = Segments::open(disk, folder.to_owned(), bytes_max, |record| found.push(record)).unwrap();
    found.sort_by_key(|record| record.number);
    (spool, found)
}

#[test]
fn records_come_back_and_numbers_are_never_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, found) = open(folder.path());
    assert!(found.is_empty());
    let first = spool.first_number();
    let place = spool.append(first, b"one").unwrap();
    spool.append(first + 1, b"two").unwrap();
    spool.sync().unwrap();
    assert_eq!(spool.read(place).unwrap(), b"one");
    drop(spool);
    let (mut spool, found) = open(folder.path());
    let payloads: Vec<_> =
        found.iter().map(|record| (record.number - first, record.payload.clone())).collect();
    assert_eq!(payloads, [(0, b"one".to_vec()), (1, b"two".to_vec())]);
    assert!(spool.first_number() >= first + BLOCK);
    assert_eq!(spool.read(found[1].place).unwrap(), b"two");
    spool.trim(first + 1).unwrap();
    assert!(spool.read(found[1].place).is_err());
    drop(spool);
    let (spool, found) = open(folder.path());
    assert!(found.is_empty());
    assert!(spool.first_number() >= first + 2 * BLOCK, "numbers went back after a trim");
}

#[test]
fn a_full_spool_refuses_and_takes_again_after_a_trim() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open_within(folder.path(), 100);
    let first = spool.first_number();
    spool.append(first, &[7; 60]).unwrap();
    let error = spool.append(first + 1, &[7; 60]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    drop(spool);
    let (mut spool, _) = open_within(folder.path(), 100);
    spool.trim(first).unwrap();
    spool.append(spool.first_number(), &[7; 60]).unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    Sync,
    Acknowledge,
    /// The agent is killed: what was written stays.
    Kill,
    /// Power is cut: of what was not synced anything may stay, whole or torn.
    Cut,
    /// The next call of this kind fails.
    Trouble(DiskCall),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let calls = vec![DiskCall::Write, DiskCall::Sync, DiskCall::SyncFolder, DiskCall::Open, DiskCall::Read];
    let step = prop_oneof![
        6 => (1u8..200).prop_map(Step::Append),
        3 => Just(Step::Sync),
        1 => Just(Step::Acknowledge),
        1 => Just(Step::Kill),
        2 => Just(Step::Cut),
        1 => prop::sample::select(calls).prop_map(Step::Trouble),
    ];
    prop::collection::vec(step, 1..60)
}

/// A spool on a disk that fails, and what must be in it.
struct Trial {
    disk: FaultyDisk,
    spool: Segments,
    /// Every record that was given to it and may still come back.
    given: BTreeMap<u64, Vec<u8>>,
    /// Those written since the last sync that succeeded or failed.
    pending: Vec<u64>,
    synced: BTreeSet<u64>,
    acknowledged: u64,
    next: u64,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let disk = FaultyDisk::new(seed);
        disk.make_folder(Path::new("/agent")).unwrap();
        disk.sync_folder(Path::new("/")).unwrap();
        let (spool, _) = reopen(&disk);
        let next = spool.first_number();
        let (given, pending, synced) = Default::default();
        Self { disk, spool, given, pending, synced, acknowledged: 0, next }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(length) => {
                let payload = vec![*length; usize::from(*length)];
                assert!(self.given.insert(self.next, payload.clone()).is_none(), "a number was given twice");
                if self.spool.append(self.next, &payload).is_ok() {
                    self.pending.push(self.next);
                }
                self.next += 1;
            }
            Step::Sync => {
                let pending = std::mem::take(&mut self.pending);
                if self.spool.sync().is_ok() {
                    self.synced.extend(pending);
                }
            }
            Step::Acknowledge => {
                self.acknowledged = self.next - 1;
                // What can't be removed now is removed later.
                let _ = self.spool.trim(self.acknowledged);
            }
            Step::Kill => self.restart(None),
            Step::Cut => {
                let disk = self.disk.lose_power();
                self.restart(Some(disk));
            }
            Step::Trouble(call) => self.disk.fail(*call, 0),
        }
    }

    fn restart(&mut self, after_a_cut: Option<FaultyDisk>) {
        let written = std::mem::take(&mut self.pending);
        let must_be_there = match &after_a_cut {
            Some(_) => self.synced.clone(),
            None => self.synced.iter().copied().chain(written).collect(),
        };
        if let Some(disk) = after_a_cut {
            self.disk = disk;
        }
        let (spool, found) = reopen(&self.disk);
        for record in &found {
            assert_eq!(Some(&record.payload), self.given.get(&record.number), "a false record appeared");
            assert_eq!(self.disk.spare(|| spool.read(record.place)).unwrap(), record.payload);
        }
        let found: BTreeSet<u64> = found.iter().map(|record| record.number).collect();
        for number in must_be_there {
            assert!(number <= self.acknowledged || found.contains(&number), "{number} is lost");
        }
        self.spool = spool;
        self.next = self.spool.first_number();
    }
}

fn reopen(disk: &FaultyDisk) -> (Segments, Vec<Found>) {
    loop {
        let mut found = Vec::new();
        let folder = PathBuf::from("/agent/spool");
        let opened = Segments::open(Arc::new(disk.clone()), folder, 1 << 30, |record| found.push(record));
        // A planned failure may still be due; the agent is then started again.
        if let Ok(spool) = opened {
            return (spool, found);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(testkit::cases(512)))]
    #[test]
    fn synced_records_survive_and_nothing_false_appears(seed in any::<u64>(), steps in steps()) {
        let mut trial = Trial::new(seed);
        for step in steps {
            trial.take(&step);
        }
        trial.take(&Step::Cut);
    }
}
