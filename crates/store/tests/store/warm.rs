//! Warming reads what is not in memory, within its limit, and ends when it is told to.

use std::{cell::Cell, path::Path};

use base::{Access, Advice, ByteSize, Entropy};
use store::{Store, WarmEnd};
use types::ModelKey;

use crate::pool::{self, Algorithm};

const MIB: usize = 1024 * 1024;

fn store_with_a_model(folder: &Path) -> (Store, ModelKey, std::path::PathBuf) {
    let disk = pool::real();
    let store = pool::open(&disk, folder);
    let sample = pool::sample(&Entropy::seeded(7), "model.safetensors", Algorithm::Sha256, 3 * MIB + 5);
    pool::bring(&store, &sample, &pool::trusted("tn_a"));
    let manifest = pool::manifest("huggingface!org/warm", 1, &[&sample]);
    store.publish_model(&manifest, &pool::trusted("tn_a")).unwrap();
    let name = sample.file.digest.to_string();
    (store, manifest.key().clone(), folder.join("blobs").join(&name[..2]).join(&name))
}

#[test]
fn a_model_is_read_once_within_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let (store, key, blob) = store_with_a_model(folder.path());
    let file = pool::real().open(&blob, Access::Read).unwrap();
    file.sync().unwrap();
    // A system may keep what it is asked to drop: what is read and what is found in memory is all there is in any case.
    file.advise(Advice::DontNeed, 0, 4 * MIB as u64).unwrap();
    let size = 3 * MIB as u64 + 5;
    let warmed = store.warm(&key, ByteSize(u64::MAX), &|| true);
    assert_eq!((warmed.read.bytes() + warmed.cached.bytes(), warmed.end), (size, WarmEnd::Whole));
    let limited = store.warm(&key, ByteSize(2 * MIB as u64), &|| true);
    assert_eq!(
        (limited.read.bytes() + limited.cached.bytes(), limited.end),
        (2 * MIB as u64, WarmEnd::Limit)
    );
    let asked = Cell::new(0);
    let ended = store.warm(&key, ByteSize(u64::MAX), &|| {
        asked.set(asked.get() + 1);
        asked.get() < 2
    });
    assert_eq!((ended.read.bytes() + ended.cached.bytes(), ended.end), (MIB as u64, WarmEnd::Ended));
    store.remove(&key).unwrap();
    let nothing = store.warm(&key, ByteSize(u64::MAX), &|| true);
    assert_eq!((nothing.read.bytes() + nothing.cached.bytes(), nothing.end), (0, WarmEnd::Whole));
}
