//! A real file system that is small, fills up, and turns read-only. It is mounted in a mount namespace of the test's own,
//! so that nothing of it is left whatever happens.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use base::{ByteSize, Clock, Entropy};
use store::{Admission, ClaimError, EvictionReason, OpenStoreError, RoomLimits, Store, StoreOptions};
use types::{ErrorCode, Manifest};

use crate::pool::{self, Algorithm, Sample};

/// Set for the test that runs inside the namespace.
const INSIDE: &str = "LARDER_TEST_INSIDE_SMALL_DISK";
/// A file system of this size holds a handful of the models below.
const DISK_BYTES: u64 = 24 << 20;
const MODEL_BYTES: usize = 4_000_000;

/// Runs a test of this file inside a mount namespace. Returns whether this is the inside.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("small_disk::{test}"), "--nocapture"])
        .env(INSIDE, "1")
        .output();
    match output {
        Ok(output)
            if output.status.code() == Some(1)
                && String::from_utf8_lossy(&output.stderr).contains("unshare failed") =>
        {
            testkit::skip("unshare needs privileges");
        }
        Ok(output) => assert!(
            output.status.success() && output.status.signal().is_none(),
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => testkit::skip(&format!("unshare can't be run: {error}")),
    }
    false
}

/// Mounts a small ext4 from a file, or a tmpfs of that size where there is no loop device to be had.
fn mount(folder: &Path) -> PathBuf {
    let at = folder.join("small");
    fs::create_dir(&at).unwrap();
    let image = folder.join("image");
    fs::File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
    let succeeds = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let made = succeeds(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))
        && succeeds(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at));
    if !made {
        let options = format!("size={DISK_BYTES}");
        let mut tmpfs = Command::new("mount");
        tmpfs.args(["-t", "tmpfs", "-o", &options, "larder-small-disk"]).arg(&at);
        assert!(succeeds(&mut tmpfs), "neither ext4 nor tmpfs could be mounted");
    }
    at
}

fn unmount(at: &Path) {
    assert!(Command::new("umount").arg(at).status().unwrap().success());
}

fn model(place: u64) -> (Sample, Arc<Manifest>) {
    let sample = pool::sample(&Entropy::seeded(50 + place), "weights.bin", Algorithm::Sha256, MODEL_BYTES);
    let manifest = pool::manifest(&format!("huggingface!org/m{place}"), 1, &[&sample]);
    (sample, Arc::new(manifest))
}

fn limits() -> RoomLimits {
    RoomLimits { cache_bytes_max: ByteSize(1 << 40), disk_free_min: ByteSize(DISK_BYTES / 10) }
}

/// Files of one extent, as a small disk wants them.
fn open(at: &Path) -> Result<Store, OpenStoreError> {
    Store::open(pool::real(), Clock::System, StoreOptions::at(at.join("store")))
}

fn publish(store: &Store, sample: &Sample, manifest: &Manifest) {
    let supplier = pool::trusted("tn_a");
    pool::bring(store, sample, &supplier);
    store.publish_model(manifest, &supplier).unwrap();
}

#[test]
fn a_full_file_system_is_told_first_and_eviction_really_frees() {
    if !is_inside("a_full_file_system_is_told_first_and_eviction_really_frees") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = mount(folder.path());
    let store = open(&at).unwrap();
    let supplier = pool::trusted("tn_a");
    let models: Vec<_> = (0..10).map(model).collect();
    let mut here = Vec::new();
    let mut evictions = 0;
    for (sample, manifest) in &models {
        let reservation = loop {
            match store.admit(manifest, &supplier, &limits()).unwrap() {
                Admission::Fits(reservation) => break reservation,
                Admission::Needs(shortfall) => {
                    let before = store.disk_usage().unwrap().available;
                    let victim: &Arc<Manifest> = here.remove(0);
                    let removed =
                        store.evict(victim.key(), EvictionReason::AboveMark, String::new()).unwrap();
                    // What was told as freed is free at once, for anyone on this disk.
                    let freed = store.disk_usage().unwrap().available.bytes() - before.bytes();
                    assert!(freed >= removed.freed.bytes() && removed.freed >= ByteSize(MODEL_BYTES as u64));
                    assert!(shortfall.bytes.bytes() > 0);
                    evictions += 1;
                }
                Admission::Never(never) => panic!("{never}"),
            }
        };
        publish(&store, sample, manifest);
        here.push(manifest);
        drop(reservation);
        assert!(store.disk_usage().unwrap().available >= limits().disk_free_min, "the floor was broken");
    }
    assert!(evictions > 4, "{evictions} evictions");
    // Others fill the disk to the brim: nothing is half written, and the store goes on when there is room.
    let filler = at.join("filler");
    let available = store.disk_usage().unwrap().available.bytes();
    fs::write(&filler, vec![1; usize::try_from(available).unwrap()]).unwrap_or_default();
    let (sample, manifest) = model(99);
    assert!(matches!(store.admit(&manifest, &supplier, &limits()).unwrap(), Admission::Needs(_)));
    let refused = store.claim(&sample.file, &supplier).unwrap_err();
    assert!(
        matches!(&refused, ClaimError::Disk(_)) && refused.fault().code == ErrorCode::DiskFull,
        "{refused}"
    );
    assert_eq!(store.disk_usage().unwrap().partial, ByteSize(0));
    // Even on a full disk a model can go, and that makes the room.
    let pinned = store.pin(here[1].key());
    assert!(pinned.is_ok() || pinned.unwrap_err().fault().code == ErrorCode::DiskFull);
    store.unpin(here[1].key()).unwrap_or_default();
    store.remove(here[0].key()).unwrap();
    fs::remove_file(&filler).unwrap();
    publish(&store, &sample, &manifest);
    drop(store);
    let store = open(&at).unwrap();
    for found in store.list() {
        assert!(store.verify(found.manifest.key()).unwrap().is_sound());
    }
    assert_eq!(store.history().len(), evictions + 1);
    drop(store);
    unmount(&at);
}

#[test]
fn a_read_only_file_system_is_refused_with_its_reason_and_loses_nothing() {
    if !is_inside("a_read_only_file_system_is_refused_with_its_reason_and_loses_nothing") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = mount(folder.path());
    let store = open(&at).unwrap();
    let (sample, manifest) = model(0);
    publish(&store, &sample, &manifest);
    store.pin(manifest.key()).unwrap();
    drop(store);
    let remount = |how: &str| {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&at).status().unwrap();
        assert!(done.success());
    };
    remount("ro");
    let fault = open(&at).unwrap_err().fault();
    assert_eq!(fault.code, ErrorCode::DiskError);
    assert!(fault.message.contains("Read-only file system"), "{fault}");
    remount("rw");
    let store = open(&at).unwrap();
    assert!(store.verify(manifest.key()).unwrap().is_sound());
    assert!(store.pinned(manifest.key()).is_some());
    drop(store);
    unmount(&at);
}
