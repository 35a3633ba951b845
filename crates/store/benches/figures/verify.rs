//! Verification beside plain hashing of the same files.

use std::{fs::File, io::Read};

use sha2::{Digest as _, Sha256};

use super::pool::{Large, median, settle, timed};

const ROUNDS: usize = 3;
const READ_BYTES: usize = 1024 * 1024;

pub(crate) fn run(model: &Large) {
    settle(&model.blobs);
    let mut verify = Vec::new();
    let mut plain = Vec::new();
    for _ in 0..ROUNDS {
        plain.push(timed(|| model.blobs.iter().map(|blob| hash(blob)[0]).fold(0, u8::wrapping_add)).1);
        let (report, seconds) = timed(|| model.store.verify(&model.key).unwrap());
        assert!(report.is_sound());
        verify.push(seconds);
    }
    let rate = |times: &mut [f64]| model.bytes as f64 / 1e9 / median(times);
    let (verify, plain) = (rate(&mut verify), rate(&mut plain));
    println!("\nverification of {:.1} GB, page cache warm, one thread", model.bytes as f64 / 1e9);
    println!("  the store {verify:.2} GB/s, plain SHA-256 {plain:.2} GB/s: {:.2} of it", verify / plain);
}

fn hash(path: &std::path::Path) -> [u8; 32] {
    let mut file = File::open(path).unwrap();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hasher.finalize().into(),
            read => hasher.update(&buffer[..read]),
        }
    }
}
