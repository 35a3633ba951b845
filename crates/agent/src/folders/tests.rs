//! Archives as the command line packs them, and as an attacker would.

use super::*;

#[derive(Clone, Copy)]
enum Entry {
    File(&'static str, &'static [u8], u32),
    Folder(&'static str),
    Link(&'static str, &'static str, tar::EntryType),
}

fn archive(entries: &[Entry]) -> (Digest, Vec<u8>) {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        let (name, content): (&str, &[u8]) = match entry {
            Entry::File(name, content, mode) => {
                header.set_mode(*mode);
                (name, content)
            }
            Entry::Folder(name) => {
                header.set_entry_type(tar::EntryType::Directory);
                (name, b"")
            }
            Entry::Link(name, target, kind) => {
                header.set_entry_type(*kind);
                header.set_link_name_literal(target).unwrap();
                (name, b"")
            }
        };
        header.set_size(content.len() as u64);
        // The builder refuses bad names; an attacker's would not.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        archive.append(&header, content).unwrap();
    }
    let bytes = archive.into_inner().unwrap();
    (Digest::Sha256(Sha256::digest(&bytes).into()), bytes)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_folder_is_unpacked_readable_for_all() {
    let root = tempfile::tempdir().unwrap();
    let (digest, bytes) = archive(&[
        Entry::File("handler.py", b"print()", 0o600),
        Entry::Folder("pkg/"),
        Entry::File("pkg/run.sh", b"#!/bin/sh", 0o4700),
        Entry::File("./deep/er/x", b"", 0o644),
    ]);
    let folder = unpack(root.path(), &digest, &bytes, ByteSize(100)).unwrap();
    assert_eq!(fs::read(folder.join("handler.py")).unwrap(), b"print()");
    let modes = ["handler.py", "pkg", "pkg/run.sh", "deep/er"].map(|name| mode(&folder.join(name)));
    assert_eq!(modes, [0o644, 0o755, 0o755, 0o755]);
    assert_eq!(unpack(root.path(), &digest, &bytes, ByteSize(100)).unwrap(), folder);
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing() {
    let check = |entries: &[Entry], expected: &str| {
        let root = tempfile::tempdir().unwrap();
        let (digest, bytes) = archive(entries);
        let error = unpack(root.path(), &digest, &bytes, ByteSize(10)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    };
    check(&[Entry::File("../x", b"", 0o644)], "leads to another folder");
    check(&[Entry::File("a/../../x", b"", 0o644)], "leads to another folder");
    check(&[Entry::File("/etc/x", b"", 0o644)], "it is absolute");
    check(&[Entry::Link("l", "/etc/passwd", tar::EntryType::Symlink)], "neither a file nor a folder");
    check(&[Entry::Link("l", "/etc/passwd", tar::EntryType::Link)], "neither a file nor a folder");
    check(&[Entry::Link("l", "", tar::EntryType::Char)], "neither a file nor a folder");
    check(&[Entry::File("a", b"", 0o644), Entry::File("a/b", b"", 0o644)], "where a folder is needed");
    check(&[Entry::File("a", b"", 0o644), Entry::File("a", b"", 0o644)], "there twice");
    check(&[Entry::File("a", b"0123456789a", 0o644)], "more than 10 B");
}

#[test]
fn other_bytes_than_promised_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let (digest, mut bytes) = archive(&[Entry::File("a", b"b", 0o644)]);
    bytes[512] = b'c';
    let error = unpack(root.path(), &digest, &bytes, ByteSize(10)).unwrap_err();
    assert!(matches!(error, UnpackError::Mismatch { .. }), "{error}");
}
