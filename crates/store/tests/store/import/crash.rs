//! An import that is cut short at any call leaves nothing wrong, and goes on when it is run again.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use base::{Disk, DiskCall, Entropy, FaultyDisk};
use store::{ImportEnd, ImportMode, SnapshotOutcome};

use super::{
    maker::{COMMIT, Maker, OTHER, content, small_model},
    request,
};
use crate::pool::{self, Algorithm};

const SEEDS: u32 = 60;
const REPO: &str = "models--Acme--Tiny";

fn make_cache(disk: &Arc<dyn Disk>) -> Maker {
    let maker = Maker::new(disk, Path::new("/cache/hub"));
    let files = small_model();
    for file in &files {
        maker.linked(REPO, COMMIT, file);
    }
    maker.name(REPO, OTHER, &files[1]);
    maker.linked(REPO, OTHER, &content("config.json", Algorithm::GitSha1, b"{\"a\": 1}"));
    maker.linked("models--b", COMMIT, &content("only.bin", Algorithm::Sha256, b"only"));
    // Only what is durable is part of the story: a cache that loses its own files is another one.
    disk.sync_file_system(Path::new("/")).unwrap();
    maker
}

/// Looks at everything that a store shows, on a disk whose faults are held back.
fn check_store(disk: &FaultyDisk) -> usize {
    disk.spare(|| {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let store = pool::open(&shared, Path::new("/store"));
        for model in store.list() {
            let report = store.verify(model.manifest.key()).unwrap();
            assert!(report.is_sound(), "a model is not what it says: {report:?}");
        }
        for first in 0..=u8::MAX {
            let fan = Path::new("/store/blobs").join(format!("{first:02x}"));
            for entry in shared.list(&fan).unwrap() {
                let meta = shared.metadata(&fan.join(&entry.name)).unwrap();
                assert_eq!(meta.mode, 0o444, "{}", entry.name);
                let is_marked = store.linked().contains(&entry.name.parse().unwrap());
                assert!(meta.links == 1 || is_marked, "the linked blob {} is not marked", entry.name);
            }
        }
        store.list().len()
    })
}

#[test]
fn nothing_wrong_is_left_and_the_rest_comes_when_it_is_run_again() {
    let (mut finished, mut cut) = (0, 0);
    let first = std::env::var("PROPTEST_RNG_SEED").map_or(0, |text| text.parse::<u64>().unwrap() >> 1);
    for seed in first..first + u64::from(testkit::cases(SEEDS)) {
        println!("seed {seed}");
        let entropy = Entropy::seeded(seed ^ 0x1337);
        let mode = if seed % 2 == 0 { ImportMode::Link } else { ImportMode::Copy };
        let mut disk = FaultyDisk::new(seed);
        make_cache(&(Arc::new(disk.clone()) as Arc<dyn Disk>));
        let mut models = 0;
        for _ in 0..4 {
            if seed % 4 == 1 {
                disk.allow_clones();
            }
            models = models.max(check_store(&disk));
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            // That an open may be cut short is the crash test's of the store.
            let store = disk.spare(|| pool::open(&shared, Path::new("/store")));
            disk.lose_power_after(entropy.number() % 250);
            if entropy.number().is_multiple_of(4) {
                let calls = [DiskCall::Write, DiskCall::Sync, DiskCall::Read, DiskCall::Rename];
                disk.fail(calls[usize::try_from(seed % 4).unwrap()], 2);
            }
            let report =
                store.import(&request(Path::new("/cache"), mode), &mut |_| ControlFlow::Continue(()));
            match report.map(|report| report.end) {
                Ok(ImportEnd::Finished) => finished += 1,
                Ok(ImportEnd::Cancelled) => panic!("nobody ended it"),
                Ok(ImportEnd::Stopped(_)) | Err(_) => cut += 1,
            }
            drop(store);
            disk = if entropy.number().is_multiple_of(3) { disk.kill_process() } else { disk.lose_power() };
            check_store(&disk);
        }
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let store = pool::open(&shared, Path::new("/store"));
        let report =
            store.import(&request(Path::new("/cache"), mode), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(report.end, ImportEnd::Finished, "seed {seed}");
        for snapshot in &report.snapshots {
            let taken =
                matches!(snapshot.outcome, SnapshotOutcome::Imported(_) | SnapshotOutcome::AlreadyHere(_));
            assert!(taken, "seed {seed}: {snapshot:?}");
        }
        drop(store);
        assert_eq!(check_store(&disk), 3, "seed {seed}");
    }
    assert!(finished > 0 && cut > 0, "{finished} finished, {cut} were cut short");
}
