//! Opening a store of a thousand models, which rebuilds its index, beside a listing of its blobs.

use std::{path::Path, process::Command};

use base::Entropy;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use types::{Digest, ManifestFile};

use super::pool::{manifest, median, open, program, random_bytes, supplier, timed};

const MODELS: usize = 1000;
const FILES: usize = 20;
const FILE_BYTES: usize = 512;
const ROUNDS: usize = 5;

pub(crate) fn run(folder: &Path) {
    let root = folder.join("many");
    let store = open(&root);
    let entropy = Entropy::seeded(2);
    let ((), made) = timed(|| {
        for model in 0..MODELS {
            let files: Vec<(ManifestFile, Bytes)> = (0..FILES).map(|file| small(&entropy, file)).collect();
            let manifest = manifest(
                &format!("many/model-{model}"),
                files.iter().map(|(file, _)| file.clone()).collect(),
            );
            store.publish_small(files, &supplier()).unwrap();
            store.publish_model(&manifest, &supplier()).unwrap();
        }
    });
    drop(store);
    let mut opened = Vec::new();
    let mut listed = Vec::new();
    for _ in 0..ROUNDS {
        listed.push(program(
            Command::new("find").arg(root.join("blobs")).args(["-type", "f", "-printf", "%s\n"]),
        ));
        let (store, seconds) = timed(|| open(&root));
        assert_eq!(store.list().len(), MODELS);
        opened.push(seconds);
    }
    println!("\nopening a store of {MODELS} models of {FILES} files (made in {made:.1} s)");
    println!(
        "  {:.0} ms; `find -printf` of its blobs alone {:.0} ms",
        median(&mut opened) * 1000.0,
        median(&mut listed) * 1000.0
    );
}

fn small(entropy: &Entropy, number: usize) -> (ManifestFile, Bytes) {
    let bytes = random_bytes(entropy, FILE_BYTES);
    let digest = Digest::Sha256(Sha256::digest(&bytes).into());
    let path = format!("file-{number}.json").parse().unwrap();
    (ManifestFile { path, size: bytes.len() as u64, digest }, bytes.into())
}
