//! Keeping while the disk fails: power lost after each call in turn, and an I/O error at each call in turn. What was
//! acknowledged holds; nothing wrong is shown; what could not be done is done the next time.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use base::{ByteSize, Clock, Disk, DiskCall, Entropy, FaultyDisk};
use store::{Arrival, EvictionReason, Provenance, Store, Use, ViewSpec, Why};
use types::{Digest, Manifest};

use crate::pool::{self, Algorithm, Sample};

const ROOT: &str = "/store";

struct Script {
    samples: Vec<Sample>,
    manifests: Vec<Manifest>,
}

/// What was acknowledged.
#[derive(Debug, Default)]
struct Done {
    pinned: bool,
    noted: bool,
    evicted: bool,
    quarantined: bool,
    repaired: bool,
    swept: bool,
}

impl Done {
    const fn all(&self) -> bool {
        self.pinned && self.noted && self.evicted && self.quarantined && self.repaired && self.swept
    }
}

fn script() -> Script {
    let entropy = Entropy::seeded(41);
    let samples: Vec<Sample> = (0..5)
        .map(|place| pool::sample(&entropy, &format!("{place}.bin"), Algorithm::Sha256, 5000 + place))
        .collect();
    let manifests = (0..4)
        .map(|place: u8| {
            let samples = [&samples[usize::from(place)]];
            pool::manifest(&format!("huggingface!org/m{place}"), 1, &samples)
        })
        .collect();
    Script { samples, manifests }
}

fn open(disk: &FaultyDisk) -> Store {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(disk, Clock::System, pool::options(Path::new(ROOT))).unwrap()
}

fn blob_path(digest: &Digest) -> std::path::PathBuf {
    let name = digest.to_string();
    Path::new(ROOT).join("blobs").join(&name[..2]).join(name)
}

impl Script {
    /// A disk with four models, one of them rotten, and a stray.
    fn disk(&self) -> FaultyDisk {
        let disk = FaultyDisk::new(6);
        let store = open(&disk);
        let supplier = pool::trusted("tn_a");
        self.samples.iter().for_each(|sample| pool::bring(&store, sample, &supplier));
        self.manifests.iter().for_each(|manifest| drop(store.publish_model(manifest, &supplier).unwrap()));
        disk.damage(&blob_path(&self.samples[3].file.digest), 7).unwrap();
        disk
    }

    fn run(&self, store: &Store) -> Done {
        let [pinned, noted, evicted] = [0, 1, 2].map(|place| self.manifests[place].key());
        let supplier = pool::trusted("tn_a");
        let provenance = Provenance {
            arrival: Arrival::Imported { from: "/cache".to_owned() },
            arrived_at: base::Timestamp::EPOCH,
            bytes: ByteSize(1),
            millis: 1,
            supplier: supplier.clone(),
        };
        store.note_use(noted, Use::Begins);
        let digest = self.samples[3].file.digest;
        let mut done = Done {
            pinned: store.pin(pinned).is_ok(),
            noted: store.note_provenance(noted, provenance).and(store.flush().map_err(Into::into)).is_ok(),
            evicted: store.evict(evicted, EvictionReason::AboveMark, "least".to_owned()).is_ok(),
            quarantined: store.quarantine(&[digest]).is_ok(),
            ..Done::default()
        };
        let sample = &self.samples[3];
        let batch = vec![(sample.file.clone(), sample.bytes.clone())];
        let brought = store.publish_small(batch, &supplier).is_ok();
        done.repaired = brought && store.publish_model(&self.manifests[3], &supplier).is_ok();
        done.swept = store.sweep_strays(Duration::ZERO, ByteSize(u64::MAX)).is_ok();
        done
    }

    /// Checks what is found at the next opening.
    fn check(&self, disk: &FaultyDisk, done: &Done, history: bool, when: &str) {
        let [pinned, noted, evicted, rotten] = [0, 1, 2, 3].map(|place| self.manifests[place].key());
        let store = open(disk);
        let listed: BTreeSet<_> = store.list().iter().map(|model| model.manifest.key().clone()).collect();
        assert!(listed.contains(pinned) && listed.contains(noted), "{when}");
        assert!(!done.pinned || store.pinned(pinned).is_some(), "the pin is lost, {when}");
        if done.noted {
            assert!(store.provenance(noted).is_some(), "how it came is lost, {when}");
            let Some(Why::Here(facts)) = store.why(noted) else { panic!("it is here, {when}") };
            assert!(facts.uses.unwrap().count() > 0, "{when}");
        }
        assert!(!done.evicted || !listed.contains(evicted), "it is back, {when}");
        if done.evicted && history {
            assert!(matches!(store.why(evicted), Some(Why::Gone(_))), "nobody knows why it went, {when}");
        }
        for key in &listed {
            let report = store.verify(key).unwrap();
            // Whoever moved it aside was stopped before that.
            let may_be_rotten = key == rotten && !done.quarantined && !done.repaired;
            assert!(report.is_sound() || may_be_rotten, "{key} is not sound, {when}");
        }
        if done.repaired {
            assert!(listed.contains(rotten) && store.verify(rotten).unwrap().is_sound(), "{when}");
            assert_eq!(store.disk_usage().unwrap().quarantined, ByteSize(0), "{when}");
        }
        // Whatever happened, all of it can be done now.
        store.unpin(pinned).unwrap();
        let supplier = pool::trusted("tn_a");
        store.quarantine(&[self.samples[3].file.digest]).unwrap();
        for (sample, manifest) in self.samples.iter().zip(&self.manifests) {
            pool::bring(&store, sample, &supplier);
            store.publish_model(manifest, &supplier).unwrap();
            assert!(store.verify(manifest.key()).unwrap().is_sound(), "{when}");
            let spec = ViewSpec { key: manifest.key().clone(), refs: BTreeSet::new() };
            drop(store.view(&spec).unwrap());
            store.remove(manifest.key()).unwrap();
        }
        store.sweep_strays(Duration::ZERO, ByteSize(u64::MAX)).unwrap();
        let usage = store.disk_usage().unwrap();
        assert_eq!((usage.blobs, usage.quarantined), (ByteSize(0), ByteSize(0)), "{when}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_loss_after_each_call() {
    let script = script();
    for calls in 0.. {
        let disk = script.disk();
        let store = open(&disk);
        disk.lose_power_after(calls);
        let done = script.run(&store);
        let went_dark = !disk.has_power();
        drop(store);
        let found = if calls % 2 == 0 { disk.lose_power() } else { disk.lose_power_and_all_unsynced() };
        script.check(&found, &done, true, &format!("dark after {calls} calls"));
        if !went_dark {
            assert!(done.all() && calls > 60, "only {calls} calls were tried: {done:?}");
            break;
        }
    }
}

#[test]
fn an_error_at_each_call_harms_nothing_else() {
    use DiskCall::{Look, Make, Open, Read, Remove, Rename, Resize, Sync, SyncFolder, Write};
    let script = script();
    let mut failed = 0;
    for call in [Look, Make, Open, Read, Remove, Rename, Resize, Sync, SyncFolder, Write] {
        let mut passed = 0;
        for skip in 0.. {
            let disk = script.disk();
            let store = open(&disk);
            disk.fail(call, skip);
            let done = script.run(&store);
            failed += u32::from(!done.all());
            drop(store);
            let found = disk.lose_power_and_all_unsynced();
            script.check(&found, &done, false, &format!("error at {call:?} {skip}"));
            // Some errors are borne in silence; so many in a row mean that the script makes no more such calls.
            passed = if done.all() { passed + 1 } else { 0 };
            if passed == 8 {
                break;
            }
        }
    }
    assert!(failed > 30, "only {failed} errors were met");
}
