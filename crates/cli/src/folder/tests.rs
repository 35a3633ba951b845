//! Folders packed by content: what goes in, what stays out, what is refused.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn names(packed: &PackedFolder) -> Vec<String> {
    let mut archive = tar::Archive::new(packed.archive.as_slice());
    archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
}

#[test]
fn the_same_files_give_the_same_archive() {
    let files = [("handler.py", "a"), ("lib/tool.py", "b"), ("lib/deep/x", "")];
    let one = folder(&files);
    let mut reversed = files;
    reversed.reverse();
    let other = folder(&reversed);
    fs::set_permissions(other.path().join("handler.py"), fs::Permissions::from_mode(0o640)).unwrap();
    let packed = pack(one.path()).unwrap();
    assert_eq!(packed, pack(other.path()).unwrap());
    assert_eq!(names(&packed), ["handler.py", "lib", "lib/deep", "lib/deep/x", "lib/tool.py"]);
    assert_eq!(packed.files, 3);
    fs::set_permissions(other.path().join("handler.py"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_ne!(packed.digest, pack(other.path()).unwrap().digest, "a program is another thing than a text");
}

#[test]
fn what_is_ignored_stays_out() {
    let folder = folder(&[
        (".gitignore", "*.log\n"),
        (".larderignore", "venv/\n"),
        (".env", "kept"),
        ("handler.py", ""),
        ("noise.log", ""),
        ("venv/bin/python", ""),
        (".git/HEAD", ""),
        ("lib/__pycache__/x.pyc", ""),
    ]);
    let packed = pack(folder.path()).unwrap();
    assert_eq!(names(&packed), [".env", ".gitignore", ".larderignore", "handler.py", "lib"]);
}

#[test]
fn links_inside_are_copied_and_links_out_are_refused() {
    let folder = folder(&[("real.py", "x")]);
    symlink("real.py", folder.path().join("alias.py")).unwrap();
    assert_eq!(pack(folder.path()).unwrap().files, 2);
    symlink("/etc/hostname", folder.path().join("out")).unwrap();
    let fault = pack(folder.path()).unwrap_err().fault();
    assert_eq!(fault.code, ErrorCode::FolderUnreadable);
    assert!(fault.message.contains("leads out"), "{fault:?}");
}

#[test]
fn a_folder_too_large_names_what_is_large() {
    let folder = folder(&[("handler.py", ""), ("weights/a.bin", ""), ("weights/b.bin", "")]);
    for name in ["a.bin", "b.bin"] {
        let file = fs::File::create(folder.path().join("weights").join(name)).unwrap();
        file.set_len(60_000_000).unwrap();
    }
    let fault = pack(folder.path()).unwrap_err().fault();
    assert_eq!(fault.code, ErrorCode::FolderTooLarge);
    assert!(fault.message.ends_with("is larger than 100.0 MB; most of it is in weights"), "{fault:?}");
    let missing = pack(&folder.path().join("nowhere")).unwrap_err().fault();
    assert_eq!(missing.code, ErrorCode::FolderUnreadable);
}
