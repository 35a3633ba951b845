//! Bit rot: found by the slow reading, moved aside, brought again, and mended in the views that stand.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, path::Path, sync::Arc, time::Duration};

use base::{ByteSize, Clock, Disk, DiskCall, Entropy, FaultyDisk, ManualTime, Timestamp};
use store::{Arrival, Condition, FileVerdict, Provenance, ScrubPeriods, ScrubStep, Store, ViewSpec, Why};
use types::{Digest, ErrorCode, Manifest};

use crate::pool::{self, Algorithm, Sample};

const ROOT: &str = "/store";
const DAY: Duration = Duration::from_secs(24 * 3600);
const PERIODS: ScrubPeriods = ScrubPeriods {
    ordinary: Duration::from_secs(30 * 24 * 3600),
    linked: Duration::from_secs(7 * 24 * 3600),
};

struct Bench {
    disk: FaultyDisk,
    time: Arc<ManualTime>,
    store: Option<Store>,
    samples: Vec<Sample>,
    one: Manifest,
    two: Manifest,
}

impl Bench {
    fn new() -> Self {
        let entropy = Entropy::seeded(31);
        let samples = vec![
            pool::sample(&entropy, "config.json", Algorithm::GitSha1, 700),
            pool::sample(&entropy, "a.bin", Algorithm::Sha256, 20_000),
            pool::sample(&entropy, "b.bin", Algorithm::Sha256, 5000),
        ];
        let one = pool::manifest("huggingface!org/one", 1, &[&samples[0], &samples[1]]);
        let two = pool::manifest("huggingface!org/two", 1, &[&samples[0], &samples[2]]);
        let time = ManualTime::starting_at(Timestamp::from_millis(1_000_000));
        let mut bench = Self { disk: FaultyDisk::new(4), time, store: None, samples, one, two };
        bench.reopen();
        let store = bench.store();
        let supplier = pool::trusted("tn_a");
        bench.samples.iter().for_each(|sample| pool::bring(&store, sample, &supplier));
        store.publish_model(&bench.one, &supplier).unwrap();
        store.publish_model(&bench.two, &supplier).unwrap();
        bench
    }

    fn reopen(&mut self) {
        self.store = None;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock = Clock::Manual(Arc::clone(&self.time));
        self.store = Some(Store::open(disk, clock, pool::options(Path::new(ROOT))).unwrap());
    }

    fn store(&self) -> Store {
        self.store.clone().expect("it is open between steps")
    }

    fn rot(&self, digest: &Digest) {
        let name = digest.to_string();
        self.disk.damage(&Path::new(ROOT).join("blobs").join(&name[..2]).join(&name), 10).unwrap();
    }

    fn due(&self) -> Vec<Digest> {
        self.store().scrub_due(&PERIODS, 10).iter().map(|target| target.digest).collect()
    }

    /// Reads a blob to its end.
    fn scrub(&self, digest: &Digest) -> ScrubStep {
        let mut scrubbing = self.store().scrub(digest).unwrap();
        loop {
            match scrubbing.step() {
                ScrubStep::Read(_) => {}
                end @ (ScrubStep::Sound | ScrubStep::Suspect) => return end,
            }
        }
    }
}

#[test]
fn what_was_verified_longest_ago_is_due_first_and_that_survives_a_restart() {
    let mut bench = Bench::new();
    assert_eq!(bench.due(), []);
    bench.time.advance(30 * DAY);
    let mut all: Vec<Digest> = bench.samples.iter().map(|sample| sample.file.digest).collect();
    all.sort_unstable();
    assert_eq!(bench.due(), all);
    assert_eq!(bench.scrub(&all[1]), ScrubStep::Sound);
    bench.time.advance(DAY);
    assert_eq!(bench.scrub(&all[0]), ScrubStep::Sound);
    assert_eq!(bench.due(), [all[2]]);
    bench.store().flush().unwrap();
    bench.disk = bench.disk.lose_power_and_all_unsynced();
    bench.reopen();
    assert_eq!(bench.due(), [all[2]]);
    bench.time.advance(29 * DAY);
    assert_eq!(bench.due(), [all[2], all[1]]);
    assert_eq!(bench.store().counters().bytes_scrubbed, 0, "it counts from the opening");
    // A table that rots only makes work.
    bench.disk.damage(&Path::new(ROOT).join("verified.log"), 12).unwrap();
    bench.reopen();
    assert_eq!(bench.due().len(), 3);
}

#[test]
fn linked_imports_are_due_earlier() {
    let bench = Bench::new();
    let provenance = Provenance {
        arrival: Arrival::Linked { from: "/home/anna/.cache/huggingface/hub".to_owned() },
        arrived_at: Timestamp::EPOCH,
        bytes: ByteSize(0),
        millis: 0,
        supplier: pool::trusted("tn_a"),
    };
    bench.store().note_provenance(bench.two.key(), provenance).unwrap();
    bench.time.advance(7 * DAY);
    let due: BTreeSet<Digest> = bench.due().into_iter().collect();
    assert_eq!(due, [0, 2].map(|place| bench.samples[place].file.digest).into());
}

#[test]
fn rot_is_moved_aside_and_repaired_by_a_fetch_of_that_file_only() {
    let mut bench = Bench::new();
    let (config, weights) = (bench.samples[0].file.digest, bench.samples[1].file.digest);
    let supplier = pool::trusted("tn_a");
    bench.rot(&weights);
    assert_eq!(bench.scrub(&config), ScrubStep::Sound);
    assert_eq!(bench.scrub(&weights), ScrubStep::Suspect);
    let outcome = bench.store().quarantine(&[config, weights]).unwrap();
    assert_eq!((outcome.blobs, outcome.sound), (vec![weights], vec![config]));
    assert_eq!(outcome.models, BTreeSet::from([bench.one.key().clone()]));
    for _ in 0..2 {
        let store = bench.store();
        let spec = ViewSpec { key: bench.one.key().clone(), refs: BTreeSet::new() };
        assert_eq!(store.view(&spec).unwrap_err().fault().code, ErrorCode::ModelNotFound);
        assert_eq!(store.list().len(), 1);
        assert_eq!(store.damaged()[0].manifest, bench.one);
        let Some(Why::Here(facts)) = store.why(bench.one.key()) else { panic!("its record is here") };
        assert_eq!(facts.condition, Condition::Damaged);
        let verdicts: Vec<_> =
            store.verify(bench.one.key()).unwrap().files.into_iter().map(|file| file.verdict).collect();
        assert_eq!(verdicts, [FileVerdict::Missing, FileVerdict::Sound]);
        assert_eq!(store.disk_usage().unwrap().quarantined, ByteSize(20_000));
        let missing = store.missing(&bench.one, &supplier);
        assert_eq!((missing.files.len(), missing.bytes), (1, ByteSize(20_000)));
        // The same after a restart.
        drop(store);
        bench.reopen();
    }
    let store = bench.store();
    pool::bring(&store, &bench.samples[1], &supplier);
    store.publish_model(&bench.one, &supplier).unwrap();
    assert_eq!((store.list().len(), store.damaged().len()), (2, 0));
    assert!(store.verify(bench.one.key()).unwrap().is_sound());
    let usage = store.disk_usage().unwrap();
    assert_eq!((usage.quarantined, usage.damaged), (ByteSize(0), 0));
    assert_eq!(store.counters().blobs_repaired, 1);
}

#[test]
fn a_damaged_blob_that_several_models_name_is_repaired_for_all_and_for_nobody_without_right() {
    let bench = Bench::new();
    let store = bench.store();
    let config = &bench.samples[0];
    let (anna, bert) = (pool::trusted("tn_anna"), pool::untrusted("tn_bert"));
    let stolen = pool::manifest("10.0.0.1:80!bert/own", 1, &[config]);
    store.publish_small(vec![(config.file.clone(), config.bytes.clone())], &bert).unwrap();
    store.publish_model(&stolen, &bert).unwrap();
    bench.rot(&config.file.digest);
    let outcome = store.quarantine(&[config.file.digest]).unwrap();
    assert_eq!(outcome.models.len(), 3);
    store.publish_small(vec![(config.file.clone(), config.bytes.clone())], &anna).unwrap();
    store.publish_model(&bench.one, &anna).unwrap();
    assert_eq!(store.list().len(), 3);
    // Who had brought it before brings it again: the bytes that are here now are not his.
    assert!(!store.holds(stolen.key(), &bert));
    assert!(store.holds(bench.two.key(), &anna));
}

#[test]
fn one_bad_reading_is_not_believed() {
    let bench = Bench::new();
    let weights = bench.samples[1].file.digest;
    let mut scrubbing = bench.store().scrub(&weights).unwrap();
    bench.disk.fail(DiskCall::Read, 0);
    assert_eq!(scrubbing.step(), ScrubStep::Suspect);
    let outcome = bench.store().quarantine(&[weights]).unwrap();
    assert_eq!((outcome.blobs, outcome.sound), (vec![], vec![weights]));
    assert_eq!(bench.store().damaged().len(), 0);
}

#[test]
fn a_damaged_model_can_be_removed_with_what_was_moved_aside() {
    let bench = Bench::new();
    let store = bench.store();
    let weights = bench.samples[1].file.digest;
    bench.rot(&weights);
    store.quarantine(&[weights]).unwrap();
    store.remove(bench.one.key()).unwrap();
    assert_eq!(store.disk_usage().unwrap().quarantined, ByteSize(0));
    assert_eq!((store.damaged().len(), store.list().len()), (0, 1));
}

#[test]
fn a_running_worker_keeps_what_it_has_open_and_opens_what_was_repaired() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let sample = pool::sample(&Entropy::seeded(5), "weights.bin", Algorithm::Sha256, 9000);
    let manifest = pool::manifest("huggingface!org/name", 1, &[&sample]);
    let supplier = pool::trusted("tn_a");
    pool::bring(&store, &sample, &supplier);
    store.publish_model(&manifest, &supplier).unwrap();
    let spec = ViewSpec { key: manifest.key().clone(), refs: BTreeSet::new() };
    let lease = store.view(&spec).unwrap();
    let name = sample.file.digest.to_string();
    let seen = lease.path().join("snapshots").join("01".repeat(20)).join("weights.bin");
    let opened = fs::File::open(&seen).unwrap();

    // One byte rots under the file's own name, as on a decaying disk.
    let blob = root.path().join("blobs").join(&name[..2]).join(&name);
    fs::set_permissions(&blob, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(
        &fs::OpenOptions::new().write(true).open(&blob).unwrap(),
        &[sample.bytes[100] ^ 1],
        100,
    )
    .unwrap();
    assert_eq!(store.quarantine(&[sample.file.digest]).unwrap().blobs.len(), 1);
    // The worker goes on with what it has; nobody new is shown it.
    assert_ne!(fs::read(&seen).unwrap(), sample.bytes);
    store.view(&spec).unwrap_err();
    assert_eq!(store.remove(manifest.key()).unwrap_err().fault().code, ErrorCode::ModelInUse);

    pool::bring(&store, &sample, &supplier);
    store.publish_model(&manifest, &supplier).unwrap();
    assert_eq!(fs::read(&seen).unwrap(), sample.bytes, "what is opened anew is sound");
    assert_ne!(opened.metadata().unwrap().ino(), fs::metadata(&seen).unwrap().ino(), "what was open stays");
    assert_eq!(fs::metadata(&seen).unwrap().ino(), fs::metadata(&blob).unwrap().ino());
    let again = store.view(&spec).unwrap();
    assert_eq!(again.path(), lease.path());
    assert_eq!(fs::read_dir(root.path().join("quarantine")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(root.path().join("building")).unwrap().count(), 0);
}
