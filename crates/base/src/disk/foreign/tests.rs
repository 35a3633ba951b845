//! Nothing outside a foreign folder is opened, on the real disk and on the faulty one.

use std::{path::Path, sync::Arc};

use crate::{Access, Disk, EntryKind, FaultyDisk, FileOwner, ForeignFolder, OpenForeignError, RealDisk};

fn put(disk: &Arc<dyn Disk>, path: &Path, bytes: &[u8]) {
    disk.make_folder(path.parent().unwrap()).unwrap();
    disk.open(path, Access::CreateNew).unwrap().write_all_at(bytes, 0).unwrap();
}

fn content(folder: &dyn ForeignFolder, path: &str) -> String {
    let file = match folder.open(path) {
        Ok(file) => file,
        Err(error) => return error.to_string(),
    };
    let mut bytes = Vec::new();
    let mut buffer = [0; 64];
    loop {
        match file.read_at(&mut buffer, bytes.len() as u64).unwrap() {
            0 => return String::from_utf8(bytes).unwrap(),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

fn check_links(disk: &Arc<dyn Disk>, root: &Path) {
    put(disk, &root.join("secret"), b"secret");
    put(disk, &root.join("cache/blobs/one"), b"one");
    disk.make_folder(&root.join("cache/snapshots/c/deep")).unwrap();
    let link = |name: &str, target: &str| {
        disk.symlink(Path::new(target), &root.join("cache/snapshots/c").join(name)).unwrap();
    };
    link("good", "../../blobs/one");
    link("deep/good", "../../../blobs/one");
    link("twice", "good");
    link("out", "../../../secret");
    link("around", "../../../cache/blobs/one");
    link("absolute", "/etc/hostname");
    link("nowhere", "../../blobs/two");
    link("circle", "circle");
    link("folder", "../../blobs");
    let cache = disk.foreign(&root.join("cache")).unwrap();
    let check = |path: &str, expected: &str| assert_eq!(content(&*cache, path), expected, "{path}");
    let out = OpenForeignError::LeadsOut.to_string();
    let missing = OpenForeignError::Missing.to_string();
    check("blobs/one", "one");
    check("snapshots/c/good", "one");
    check("snapshots/c/deep/good", "one");
    check("snapshots/c/twice", "one");
    check("snapshots/c/out", &out);
    // It comes back in, but was outside on its way.
    check("snapshots/c/around", &out);
    check("snapshots/c/absolute", &out);
    check("snapshots/c/circle", &out);
    check("../secret", &out);
    check("snapshots/c/nowhere", &missing);
    check("snapshots/c/absent", &missing);
    check("snapshots/c/folder", &OpenForeignError::NotAFile.to_string());
    assert_eq!(cache.path().unwrap(), root.join("cache"));
    assert_eq!(cache.read_link("snapshots/c/good").unwrap(), Path::new("../../blobs/one"));
    let names: Vec<_> = cache.list("").unwrap().into_iter().map(|entry| (entry.name, entry.kind)).collect();
    assert_eq!(names, [("blobs".to_owned(), EntryKind::Folder), ("snapshots".to_owned(), EntryKind::Folder)]);
    assert!(cache.list("snapshots/c/folder").is_err(), "a link is no folder to list");
    assert!(cache.list("..").is_err(), "the folder above is not listed");
    assert!(cache.read_link("blobs/one").is_err(), "a file holds no link's text");
}

#[test]
fn links_are_followed_but_never_out_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().canonicalize().unwrap();
    check_links(&(Arc::new(RealDisk) as Arc<dyn Disk>), &real);
    check_links(&(Arc::new(FaultyDisk::new(1)) as Arc<dyn Disk>), Path::new("/root"));
}

fn check_names(disk: &Arc<dyn Disk>, root: &Path) {
    put(disk, &root.join("cache/one"), b"one");
    let file = disk.foreign(&root.join("cache")).unwrap().open("one").unwrap();
    let before = file.meta().unwrap();
    assert_eq!((before.len, before.owner), (3, FileOwner::Us));
    // Its name may be another's by now: the open file is what gets linked.
    disk.remove_file(&root.join("cache/one")).unwrap();
    put(disk, &root.join("cache/one"), b"another");
    put(disk, &root.join("spare"), b"");
    match file.link_to(&root.join("linked")) {
        Ok(()) => assert_eq!(disk.read(&root.join("linked"), 100).unwrap(), b"one"),
        // Linux gives no name to a file that has lost its last one.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
    let file = disk.foreign(&root.join("cache")).unwrap().open("one").unwrap();
    file.link_to(&root.join("also")).unwrap();
    file.chmod(0o444).unwrap();
    let changed = file.meta().unwrap();
    assert_eq!(disk.metadata(&root.join("also")).unwrap().mode, 0o444);
    assert_eq!(file.meta().unwrap(), changed);
    assert!(file.link_to(&root.join("spare")).is_err(), "a name that is taken stays as it is");
    match file.clone_to(&root.join("clone")) {
        Ok(()) => assert_eq!(disk.read(&root.join("clone"), 100).unwrap(), b"another"),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
            assert!(disk.metadata(&root.join("clone")).is_err(), "nothing is left of a clone that failed");
        }
    }
}

#[test]
fn an_open_file_is_linked_and_cloned_itself() {
    let folder = tempfile::tempdir().unwrap();
    check_names(&(Arc::new(RealDisk) as Arc<dyn Disk>), folder.path());
    let faulty = FaultyDisk::new(1);
    check_names(&(Arc::new(faulty.clone()) as Arc<dyn Disk>), Path::new("/without"));
    faulty.allow_clones();
    check_names(&(Arc::new(faulty) as Arc<dyn Disk>), Path::new("/with"));
}

#[test]
fn a_pipe_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let cache = RealDisk.foreign(folder.path()).unwrap();
    assert!(matches!(cache.open("pipe"), Err(OpenForeignError::NotAFile)));
    assert_eq!(cache.list("").unwrap()[0].kind, EntryKind::Other);
}
