//! A worker's first read of its weights, with and without a page cache that was warmed while it started.

use std::{fs::File, io::Read, path::PathBuf, thread, time::Duration};

use base::{Access, Advice, ByteSize, Disk, RealDisk};

use super::pool::{Large, median, settle, timed};

/// What the unmodified SDK takes from its process's start until it asks for a model: its own import.
const START: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
const READ_BYTES: usize = 1024 * 1024;

pub(crate) fn run(model: &Large) {
    settle(&model.blobs);
    let mut alone = Vec::new();
    let mut warmed = Vec::new();
    let mut cached = Vec::new();
    for _ in 0..ROUNDS {
        drop_from_memory(&model.blobs);
        thread::sleep(START);
        alone.push(timed(|| read(&model.blobs)).1);
        drop_from_memory(&model.blobs);
        let seconds = thread::scope(|scope| {
            let warming = scope.spawn(|| model.store.warm(&model.key, ByteSize(u64::MAX), &|| true));
            thread::sleep(START);
            let seconds = timed(|| read(&model.blobs)).1;
            warming.join().unwrap();
            seconds
        });
        warmed.push(seconds);
        let (again, seconds) = timed(|| model.store.warm(&model.key, ByteSize(u64::MAX), &|| true));
        assert!(again.cached.bytes() * 2 > model.bytes, "what was just read is in memory: {again:?}");
        cached.push(seconds);
    }
    println!(
        "\nfirst read of {:.1} GB by a worker that starts for {START:?}, cold disk",
        model.bytes as f64 / 1e9
    );
    println!("  not warmed {:.2} s, warmed {:.2} s", median(&mut alone), median(&mut warmed));
    println!("  warming what is in memory already: {:.0} ms", median(&mut cached) * 1000.0);
}

fn drop_from_memory(blobs: &[PathBuf]) {
    for blob in blobs {
        let file = RealDisk.open(blob, Access::Read).unwrap();
        file.advise(Advice::DontNeed, 0, file.len().unwrap()).unwrap();
    }
}

fn read(blobs: &[PathBuf]) {
    let mut buffer = vec![0; READ_BYTES];
    for blob in blobs {
        let mut file = File::open(blob).unwrap();
        while file.read(&mut buffer).unwrap() > 0 {}
    }
}
