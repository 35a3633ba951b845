//! The history: what is kept, what is cut, what is damaged.

use base::FaultyDisk;
use types::{Commit, SelectionKey};

use super::*;

fn departure(number: u32) -> Departure {
    let key = ModelKey {
        repo: types::RepoId { hub: "huggingface".parse().unwrap(), name: "org/name".parse().unwrap() },
        commit: Commit::from_bytes([7; 20]),
        selection: SelectionKey::from_bytes([u8::try_from(number % 256).unwrap(); 32]),
    };
    Departure {
        key,
        at: Timestamp::from_millis(number.into()),
        cause: DepartureCause::Evicted { reason: EvictionReason::AboveMark, score: "least".to_owned() },
        bytes: ByteSize(5),
        freed: ByteSize(4),
        held: ByteSize(1),
        since: Timestamp::EPOCH,
        provenance: None,
        uses: Some(Uses::first(Timestamp::EPOCH)),
    }
}

fn numbers(history: &History) -> Vec<i64> {
    history.entries().iter().map(|entry| entry.at.as_millis()).collect()
}

#[test]
fn a_torn_tail_is_dropped_and_the_history_goes_on() {
    let path = Path::new("/history.log");
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
    let mut history = History::open(&disk, path).unwrap();
    (0..3).for_each(|number| history.append(departure(number)).unwrap());
    assert_eq!(history.last(&departure(2).key).unwrap().at.as_millis(), 2);
    let whole = disk.read(path, 1 << 20).unwrap();
    for end in 0..=whole.len() {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
        disk.open(path, Access::CreateNew).unwrap().write_all_at(&whole[..end], 0).unwrap();
        let mut history = History::open(&disk, path).unwrap();
        let before = numbers(&history);
        assert!(before.len() <= 3 && before.iter().zip(0..).all(|(is, place)| *is == place));
        history.append(departure(9)).unwrap();
        let again = History::open(&disk, path).unwrap();
        assert_eq!(numbers(&again), [before, vec![9]].concat(), "cut at {end}");
    }
}

#[test]
fn the_history_stays_bounded_and_keeps_the_newest() {
    let path = Path::new("/history.log");
    let faulty = FaultyDisk::new(2);
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let mut history = History::open(&disk, path).unwrap();
    let line = lines::encode(&departure(0)).len() as u64;
    let count = u32::try_from(3 * LOG_BYTES_MAX / line).unwrap();
    // Syncs of the disk in memory cost a copy each; most lines are put in without one.
    for number in 0..count {
        history.entries.push_back(departure(number));
        history.end += line;
        if history.end > LOG_BYTES_MAX {
            history.append(departure(number)).unwrap();
        }
    }
    history.append(departure(count)).unwrap();
    assert!(faulty.used().bytes() <= LOG_BYTES_MAX);
    assert!(history.entries().len() < 2 * usize::try_from(LOG_BYTES_MAX / line).unwrap());
    assert_eq!(numbers(&history).last(), Some(&i64::from(count)));
    history.shorten().unwrap();
    let found: Arc<dyn Disk> = Arc::new(faulty.lose_power_and_all_unsynced());
    assert_eq!(numbers(&History::open(&found, path).unwrap()), numbers(&history));
}
