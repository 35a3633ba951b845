use std::{collections::BTreeMap, fs, path::Path};

use base::RealDisk;
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
    /// Power is cut: of what was not synced this many bytes stay.
    Cut(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u8..200).prop_map(Step::Append),
        2 => Just(Step::Sync),
        1 => Just(Step::Acknowledge),
        1 => Just(Step::Kill),
        2 => any::<u8>().prop_map(Step::Cut),
    ];
    prop::collection::vec(step, 1..40)
}

/// What the test knows: every record by number, which of them were synced, up to where acknowledged.
#[derive(Default)]
struct Known {
    records: BTreeMap<u64, (Vec<u8>, bool)>,
    acknowledged: u64,
    synced_len: BTreeMap<String, u64>,
    numbers: Vec<u64>,
}

fn note_lengths(folder: &Path, known: &mut Known) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        known.synced_len.insert(name, entry.metadata().unwrap().len());
    }
}

fn cut_power(folder: &Path, known: &Known, kept: u8) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let synced = known.synced_len.get(entry.file_name().to_str().unwrap()).copied().unwrap_or(0);
        let length = entry.metadata().unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(entry.path()).unwrap();
        file.set_len(length.min(synced + u64::from(kept))).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn synced_records_survive_and_nothing_false_appears(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(folder.path());
        let mut known = Known::default();
        let mut next = spool.first_number();
        for step in steps {
            match step {
                Step::Append(length) => {
                    let payload = vec![length; usize::from(length)];
                    spool.append(next, &payload).unwrap();
                    prop_assert!(!known.numbers.contains(&next));
                    known.numbers.push(next);
                    known.records.insert(next, (payload, false));
                    next += 1;
                }
                Step::Sync => {
                    spool.sync().unwrap();
                    known.records.values_mut().for_each(|record| record.1 = true);
                    note_lengths(folder.path(), &mut known);
                }
                Step::Acknowledge => {
                    known.acknowledged = next - 1;
                    spool.trim(known.acknowledged).unwrap();
                }
                Step::Kill | Step::Cut(_) => {
                    drop(spool);
                    let lost = match step {
                        Step::Cut(kept) => { cut_power(folder.path(), &known, kept); true }
                        _ => false,
                    };
                    let (opened, found) = open(folder.path());
                    for record in &found {
                        let expected = known.records.get(&record.number).map(|(payload, _)| payload);
                        prop_assert_eq!(Some(&record.payload), expected);
                    }
                    for (number, (_, synced)) in &known.records {
                        let must_be_there = *number > known.acknowledged && (*synced || !lost);
                        prop_assert!(!must_be_there || found.iter().any(|record| record.number == *number));
                    }
                    known.records.retain(|number, _| found.iter().any(|record| record.number == *number));
                    // What was read back is taken as it is: a second cut of the same bytes is no new case.
                    known.records.values_mut().for_each(|record| record.1 = true);
                    note_lengths(folder.path(), &mut known);
                    spool = opened;
                    next = next.max(spool.first_number());
                }
            }
        }
    }
}
