//! What the faulty disk loses, and what it must not.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Access, BLOCK_BYTES, BlockBuffer, ByteSize, Disk, DiskCall, EntryKind, FaultyDisk, RealDisk,
    write_durably,
};

const SEEDS: u64 = 64;

fn put(disk: &FaultyDisk, path: &str, bytes: &[u8]) {
    let file = disk.open(Path::new(path), Access::CreateOrKeep).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}

fn content(disk: &FaultyDisk, path: &str) -> Option<Vec<u8>> {
    match disk.read(Path::new(path), 1 << 20) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("{path}: {error}"),
    }
}

#[test]
fn what_was_synced_survives_and_what_was_not_may_be_lost() {
    let mut lost_name = 0;
    let mut torn = 0;
    for seed in 0..SEEDS {
        let disk = FaultyDisk::new(seed);
        disk.make_folder(Path::new("/a")).unwrap();
        disk.sync_folder(Path::new("/")).unwrap();
        put(&disk, "/a/synced", &[1; 2000]);
        disk.open(Path::new("/a/synced"), Access::Write).unwrap().sync().unwrap();
        disk.sync_folder(Path::new("/a")).unwrap();
        put(&disk, "/a/synced", &[2; 2000]);
        put(&disk, "/a/new", b"new");
        let found = disk.lose_power();
        assert!(content_of_dead(&disk), "the old disk still answers");
        let kept = content(&found, "/a/synced").expect("a synced name is kept");
        assert_eq!(kept.len(), 2000);
        assert!(kept.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "seed {seed}");
        torn += u32::from(kept.contains(&1) && kept.contains(&2));
        lost_name += u32::from(content(&found, "/a/new").is_none());
    }
    assert!(torn > 0, "no write was torn");
    assert!(lost_name > 0 && u64::from(lost_name) < SEEDS, "{lost_name} names were lost");
}

fn content_of_dead(disk: &FaultyDisk) -> bool {
    !disk.has_power() && disk.metadata(Path::new("/a")).is_err()
}

#[test]
fn a_durable_write_is_all_or_nothing() {
    for seed in 0..SEEDS {
        for calls in 0..8 {
            let disk = FaultyDisk::new(seed);
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            write_durably(&shared, Path::new("/file"), b"old").unwrap();
            disk.lose_power_after(calls);
            let outcome = write_durably(&shared, Path::new("/file"), b"new");
            let found = disk.lose_power();
            let kept = content(&found, "/file").unwrap();
            match outcome {
                Ok(()) => assert_eq!(kept, b"new", "seed {seed}, {calls} calls"),
                Err(_) => assert!(kept == b"old" || kept == b"new", "seed {seed}, {calls} calls: {kept:?}"),
            }
        }
    }
}

#[test]
fn a_rename_is_never_seen_half() {
    for seed in 0..SEEDS {
        let disk = FaultyDisk::new(seed);
        disk.make_folder(Path::new("/a")).unwrap();
        disk.make_folder(Path::new("/b")).unwrap();
        put(&disk, "/a/x", b"x");
        disk.sync_file_system(Path::new("/")).unwrap();
        disk.rename(Path::new("/a/x"), Path::new("/b/y")).unwrap();
        let found = disk.lose_power();
        let both = (content(&found, "/a/x").is_some(), content(&found, "/b/y").is_some());
        assert!(both == (true, false) || both == (false, true), "seed {seed}: {both:?}");
    }
}

#[test]
fn a_failed_sync_has_lost_its_bytes_though_the_next_one_succeeds() {
    let disk = FaultyDisk::new(1);
    put(&disk, "/file", b"kept");
    disk.sync_file_system(Path::new("/")).unwrap();
    let file = disk.open(Path::new("/file"), Access::Write).unwrap();
    file.write_all_at(b"lost", 0).unwrap();
    disk.fail(DiskCall::Sync, 0);
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert_eq!(content(&disk, "/file").unwrap(), b"lost");
    assert_eq!(content(&disk.lose_power(), "/file").unwrap(), b"kept");
}

#[test]
fn room_ends_and_comes_back() {
    let disk = FaultyDisk::new(1);
    disk.set_capacity(ByteSize(1000));
    let file = disk.open(Path::new("/file"), Access::CreateNew).unwrap();
    assert_eq!(file.allocate(1001).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.allocate(600).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().available, 400);
    let other = disk.open(Path::new("/other"), Access::CreateNew).unwrap();
    assert_eq!(other.write_all_at(&[7; 500], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(content(&disk, "/other").unwrap(), [7; 400]);
    disk.remove_file(Path::new("/file")).unwrap();
    other.write_all_at(&[7; 500], 0).unwrap();
    assert_eq!(disk.used(), ByteSize(500));
}

#[test]
fn a_lock_is_held_until_it_is_dropped_or_its_process_ends() {
    let disk = FaultyDisk::new(1);
    let lock = disk.try_lock(Path::new("/lock")).unwrap();
    assert!(lock.is_some());
    assert!(disk.try_lock(Path::new("/lock")).unwrap().is_none());
    drop(lock);
    let lock = disk.try_lock(Path::new("/lock")).unwrap();
    let next = disk.kill_process();
    assert!(next.try_lock(Path::new("/lock")).unwrap().is_some());
    drop(lock);
}

/// Runs one program on any disk and tells what stands in a folder afterwards.
fn conform(disk: &dyn Disk, root: &Path) -> Vec<String> {
    let at = |name: &str| root.join(name);
    let kind = |outcome: io::Result<()>| outcome.map_err(|error| error.kind());
    disk.make_folder(&at("folder/below")).unwrap();
    let file = disk.open(&at("file"), Access::CreateNew).unwrap();
    file.write_all_at(b"hello", 3).unwrap();
    assert_eq!(file.len().unwrap(), 8);
    file.set_len(6).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.read(&at("file"), 6).unwrap(), b"\0\0\0hel");
    assert_eq!(disk.read(&at("file"), 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert_eq!(disk.open(&at("file"), Access::CreateNew).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(disk.open(&at("none"), Access::Write).unwrap_err().kind(), io::ErrorKind::NotFound);
    disk.link(&at("file"), &at("folder/second")).unwrap();
    assert_eq!(kind(disk.link(&at("file"), &at("folder/second"))), Err(io::ErrorKind::AlreadyExists));
    assert_eq!(disk.metadata(&at("file")).unwrap().links, 2);
    disk.symlink(Path::new("../file"), &at("folder/link")).unwrap();
    assert_eq!(disk.read_link(&at("folder/link")).unwrap(), PathBuf::from("../file"));
    assert!(disk.open(&at("folder/link"), Access::Read).is_err());
    assert_eq!(disk.metadata(&at("folder/link")).unwrap().kind, EntryKind::Link);
    disk.chmod(&at("file"), 0o444).unwrap();
    assert_eq!(kind(disk.remove_folder(&at("folder"))), Err(io::ErrorKind::DirectoryNotEmpty));
    disk.rename(&at("folder"), &at("moved")).unwrap();
    disk.open(&at("replaced"), Access::CreateOrKeep).unwrap();
    disk.rename(&at("moved/second"), &at("replaced")).unwrap();
    disk.sync_folder(root).unwrap();
    disk.sync_file_system(root).unwrap();
    let mut lines = Vec::new();
    for folder in ["", "moved"] {
        for entry in disk.list(&at(folder)).unwrap() {
            let meta = disk.metadata(&at(folder).join(&entry.name)).unwrap();
            let links = if meta.kind == EntryKind::File { meta.links } else { 0 };
            let len = if meta.kind == EntryKind::Folder { 0 } else { meta.len };
            lines.push(format!("{folder}/{} {:?} {len} {links} {:o}", entry.name, entry.kind, meta.mode));
        }
    }
    disk.remove_tree(&at("moved")).unwrap();
    disk.remove_tree(&at("moved")).unwrap();
    assert_eq!(disk.metadata(&at("moved")).unwrap_err().kind(), io::ErrorKind::NotFound);
    lines
}

#[test]
fn the_twins_agree_while_nothing_fails() {
    let folder = tempfile::tempdir().unwrap();
    let faulty = FaultyDisk::new(3);
    faulty.make_folder(Path::new("/root")).unwrap();
    let real = conform(&RealDisk, folder.path());
    assert_eq!(real, conform(&faulty, Path::new("/root")));
    assert_eq!(
        real,
        [
            "/file File 6 2 444",
            "/moved Folder 0 0 755",
            "/replaced File 6 2 444",
            "moved/below Folder 0 0 755",
            "moved/link Link 7 0 777",
        ]
    );
}

fn block_of(byte: u8) -> BlockBuffer {
    let mut buffer = BlockBuffer::with_capacity(BLOCK_BYTES);
    buffer.fill(&[byte; BLOCK_BYTES]);
    buffer
}

#[test]
fn direct_writes_are_of_whole_blocks_and_no_more_durable_than_others() {
    let disk = FaultyDisk::new(1);
    let path = Path::new("/file");
    put(&disk, "/file", &[1; 2 * BLOCK_BYTES]);
    disk.open(path, Access::Write).unwrap().sync().unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    let file = disk.open(path, Access::Direct).unwrap();
    let two = block_of(2);
    for (bytes, offset) in [(two.bytes(), 512), (&two.bytes()[..512], 0), (&[2; 3 * BLOCK_BYTES][1..], 0)] {
        let refused = file.write_all_at(bytes, offset).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
    file.write_all_at(two.bytes(), 0).unwrap();
    file.sync_contents().unwrap();
    file.write_all_at(two.bytes(), BLOCK_BYTES as u64).unwrap();
    let found = disk.lose_power_and_all_unsynced();
    let content = content(&found, "/file").unwrap();
    assert_eq!((content[0], content[BLOCK_BYTES]), (2, 1));
    found.refuse_direct();
    assert_eq!(found.open(path, Access::Direct).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_real_disk_takes_direct_writes_or_says_that_it_can_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    RealDisk.open(&path, Access::CreateNew).unwrap().allocate(2 * BLOCK_BYTES as u64).unwrap();
    let two = block_of(2);
    let written = RealDisk.open(&path, Access::Direct).and_then(|file| {
        file.write_all_at(two.bytes(), BLOCK_BYTES as u64)?;
        file.sync_contents()
    });
    match written {
        Ok(()) => {
            let content = RealDisk.read(&path, 1 << 20).unwrap();
            assert_eq!((content[0], content[BLOCK_BYTES], content.len()), (0, 2, 2 * BLOCK_BYTES));
        }
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidInput),
    }
}
