//! The limit: TCP to disk with SHA-256, and nothing else.
//!
//! As many blocking threads as serve the shape best here: four on the open link, sixteen on the capped one. A file that
//! several threads share is hashed in as many parts, which no real digest could be.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use sha2::{Digest as _, Sha256};

use crate::{
    http::{Connection, Redirected, parted},
    shape::{Link, MODEL, Shape},
};

const BUFFER: usize = 1 << 20;
/// Direct writes are aligned to this.
const BLOCK: usize = 4096;

/// How bytes get to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Buffered,
    Direct,
}

pub(crate) fn fetch(endpoint: &str, into: &Path, shape: &Shape, write: Write) {
    let threads = match shape.link {
        Link::Open => 4,
        Link::Capped => 16,
    };
    if shape.is_small() {
        return small(endpoint, into, shape, threads);
    }
    let parts_of_file = threads.div_ceil(shape.files).max(1);
    let files: Vec<File> = (0..shape.files).map(|number| reserved(into, number, shape, write)).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut hub = Connection::to(endpoint);
                let mut bytes = None;
                loop {
                    let part = next.fetch_add(1, Ordering::Relaxed);
                    let number = part / parts_of_file;
                    let Some(file) = files.get(number) else { break };
                    let share = shape.file_bytes.div_ceil(parts_of_file).next_multiple_of(BUFFER);
                    let first = (part % parts_of_file * share).min(shape.file_bytes);
                    let end = (first + share).min(shape.file_bytes);
                    let path = format!("/{MODEL}/resolve/main/{}", shape.file(number));
                    let Err(Redirected(link)) = hub.get(&path, Some((0, 1))) else {
                        panic!("large files are elsewhere")
                    };
                    let (origin, path) = parted(&link);
                    let connection = bytes.get_or_insert_with(|| Connection::to(&origin));
                    bring(connection, &path, file, first, end);
                    file.sync_all().unwrap();
                }
            });
        }
    });
}

fn reserved(into: &Path, number: usize, shape: &Shape, write: Write) -> File {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    if write == Write::Direct {
        options.custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed());
    }
    let file = options.open(into.join(number.to_string())).unwrap();
    // Whole blocks, so that the tail can be written directly; a real file would be cut afterwards.
    let len = shape.file_bytes.next_multiple_of(BLOCK) as u64;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len).unwrap();
    file
}

fn bring(connection: &mut Connection, path: &str, file: &File, first: usize, end: usize) {
    if first == end {
        return;
    }
    let length = connection.ask(path, Some((first as u64, end as u64)));
    assert!(matches!(length, Ok(length) if length == (end - first) as u64));
    let mut memory = vec![0; BUFFER + BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let buffer = &mut memory[start..start + BUFFER];
    let mut hasher = Sha256::new();
    let mut offset = first;
    while offset < end {
        let wanted = BUFFER.min(end - offset);
        let mut filled = 0;
        while filled < wanted {
            filled += connection.read(&mut buffer[filled..wanted]);
        }
        hasher.update(&buffer[..wanted]);
        file.write_all_at(&buffer[..wanted.next_multiple_of(BLOCK)], offset as u64).unwrap();
        offset += wanted;
    }
    std::hint::black_box(hasher.finalize());
}

fn small(endpoint: &str, into: &Path, shape: &Shape, threads: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut hub = Connection::to(endpoint);
                let mut buffer = vec![0; shape.file_bytes];
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= shape.files {
                        break;
                    }
                    let path = format!("/{MODEL}/resolve/main/{}", shape.file(number));
                    let length = match hub.ask(&path, None) {
                        Ok(length) => length,
                        Err(Redirected(path)) => {
                            hub.ask(&path, None).unwrap_or_else(|_| panic!("redirected twice"))
                        }
                    };
                    assert_eq!(length, shape.file_bytes as u64);
                    let mut filled = 0;
                    while filled < buffer.len() {
                        filled += hub.read(&mut buffer[filled..]);
                    }
                    std::hint::black_box(Sha256::digest(&buffer));
                    let file = File::create(into.join(number.to_string())).unwrap();
                    file.write_all_at(&buffer, 0).unwrap();
                }
            });
        }
    });
    rustix::fs::syncfs(File::open(into).unwrap()).unwrap();
}
