//! A process is killed at each call in turn; the next one finds what it left in the page cache, works on, and then the
//! machine loses everything that was not synced. What the second process acknowledged must survive, also where it
//! relied on names and bytes that the first had not made durable.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use base::{Clock, Disk, Entropy, FaultyDisk};
use store::{Claim, Store, Supplier, ViewSpec};
use types::Manifest;

use crate::pool::{self, Algorithm, Sample};

struct Script {
    samples: Vec<Sample>,
    manifest: Manifest,
    supplier: Supplier,
}

fn script(supplier: Supplier) -> Script {
    let entropy = Entropy::seeded(1);
    let samples = vec![
        pool::sample(&entropy, "config.json", Algorithm::GitSha1, 700),
        pool::sample(&entropy, "tokenizer.json", Algorithm::Sha256, 4096),
        pool::sample(&entropy, "weights.bin", Algorithm::Sha256, 13_000),
    ];
    let manifest = pool::manifest("10.0.0.1:80!org/name", 1, &samples.iter().collect::<Vec<_>>());
    Script { samples, manifest, supplier }
}

fn open(disk: &FaultyDisk) -> Option<Store> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(disk, Clock::System, pool::options(Path::new("/store"))).ok()
}

/// Brings what is missing and publishes; `None` as soon as the disk answers no more.
fn run(store: &Store, script: &Script) -> Option<()> {
    let small: Vec<_> = store
        .missing(&script.manifest, &script.supplier)
        .files
        .into_iter()
        .filter_map(|file| script.samples[..1].iter().find(|sample| sample.file == file))
        .map(|sample| (sample.file.clone(), sample.bytes.clone()))
        .collect();
    store.publish_small(small, &script.supplier).ok()?;
    for sample in &script.samples[1..] {
        if let Claim::Write(writer) = store.claim(&sample.file, &script.supplier).ok()? {
            for index in writer.missing_extents() {
                writer.write_extent(index, sample.extent(&writer, index)).ok()?;
            }
            writer.finish().ok()?;
        }
    }
    store.publish_model(&script.manifest, &script.supplier).ok()?;
    Some(())
}

/// Returns what the first process wrote when it is killed after this many calls, or `None` when it came to its end.
fn killed_after(calls: u64, script: &Script) -> Option<FaultyDisk> {
    let disk = FaultyDisk::new(1);
    drop(open(&disk));
    let disk = disk.kill_process();
    disk.lose_power_after(calls);
    let outcome = open(&disk).and_then(|store| run(&store, script));
    outcome.is_none().then(|| disk.kill_process())
}

#[test]
fn what_a_later_process_acknowledges_is_durable_whatever_the_earlier_left() {
    // Who asks a trusted hub relies on names that were found; the other brings the bytes again.
    for supplier in [pool::trusted("tn_a"), pool::untrusted("tn_a")] {
        kill_at_each_call(&script(supplier));
    }
}

fn kill_at_each_call(script: &Script) {
    let mut killed = 0;
    while let Some(disk) = killed_after(killed, script) {
        let store = open(&disk).unwrap();
        run(&store, script).unwrap();
        drop(store);
        let store = open(&disk.lose_power_and_all_unsynced()).unwrap();
        let key = script.manifest.key();
        assert!(store.get(key).is_some(), "the model is lost, killed after {killed} calls");
        assert!(store.verify(key).unwrap().is_sound(), "killed after {killed} calls");
        let missing = store.missing(&script.manifest, &script.supplier);
        assert_eq!(missing.files, [], "suppliers are lost, killed after {killed} calls");
        killed += 1;
    }
    assert!(killed > 300, "only {killed} calls were tried");
}

#[test]
fn extents_that_a_later_process_acknowledges_are_durable_whatever_the_earlier_left() {
    let script = script(pool::untrusted("tn_a"));
    let sample = &script.samples[2];
    let mut killed = 0;
    loop {
        let disk = FaultyDisk::new(1);
        let store = open(&disk).unwrap();
        disk.lose_power_after(killed);
        let done = write_one(&store, sample, &script.supplier).is_some();
        drop(store);
        let disk = disk.kill_process();
        let store = open(&disk).unwrap();
        let writer = pool::writer(&store, sample, &script.supplier);
        let before: BTreeSet<_> = writer.missing_extents().into_iter().collect();
        let last = *before.last().unwrap();
        writer.write_extent(last, sample.extent(&writer, last)).unwrap();
        drop((writer, store));
        let store = open(&disk.lose_power_and_all_unsynced()).unwrap();
        let writer = pool::writer(&store, sample, &script.supplier);
        assert!(!writer.missing_extents().contains(&last), "killed after {killed} calls");
        if done {
            break;
        }
        killed += 1;
    }
    assert!(killed > 10, "only {killed} calls were tried");
}

fn write_one(store: &Store, sample: &Sample, supplier: &Supplier) -> Option<()> {
    let Claim::Write(writer) = store.claim(&sample.file, supplier).ok()? else { return None };
    let index = writer.missing_extents()[0];
    writer.write_extent(index, sample.extent(&writer, index)).ok()
}

#[test]
fn a_model_removed_by_one_process_stays_removed_or_whole() {
    let script = script(pool::untrusted("tn_a"));
    let spec = ViewSpec { key: script.manifest.key().clone(), refs: BTreeSet::new() };
    for calls in 0.. {
        let disk = FaultyDisk::new(1);
        let store = open(&disk).unwrap();
        run(&store, &script).unwrap();
        disk.lose_power_after(calls);
        let removed = store.remove(script.manifest.key()).is_ok();
        drop(store);
        let disk = disk.lose_power();
        let store = open(&disk).unwrap();
        match store.get(script.manifest.key()) {
            Some(_) => {
                assert!(!removed, "it is back, dark after {calls} calls");
                drop(store.view(&spec).unwrap());
                assert!(store.verify(script.manifest.key()).unwrap().is_sound());
            }
            None => run(&store, &script).unwrap(),
        }
        if removed {
            break;
        }
    }
}
