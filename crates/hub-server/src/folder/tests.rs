//! Folders with everything in them that is not to be served.

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use super::{Folder, parse_repo_folder};

fn write(root: &Path, path: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

#[test]
fn names_of_folders_are_repositories_and_branches() {
    let check = |entry: &str, expected: Option<(&str, &str)>| {
        let parsed = parse_repo_folder("acme", entry);
        let shown = parsed.as_ref().map(|(repo, branch)| (repo.as_str(), branch.as_str()));
        assert_eq!(shown, expected, "{entry}");
    };
    check("tiny", Some(("acme/tiny", "main")));
    check("tiny@dev", Some(("acme/tiny", "dev")));
    check("tiny@refs%2Fpr%2F1", Some(("acme/tiny", "refs/pr/1")));
    check("tiny@v1.0", Some(("acme/tiny", "v1.0")));
    check("tiny@", None);
    check("tiny@..", None);
    check("tiny@%ff", None);
    check("ti ny", None);
    check("tiny--x", None);
    check("tiny@0123456789abcdef0123456789abcdef01234567", None);
}

#[test]
fn a_walk_finds_the_files_and_leaves_out_the_rest() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for path in [
        "a/b/config.json",
        "a/b/sub/x.txt",
        "a/b/.git/HEAD",
        "a/b/.cache/y",
        "a/b/sub/.cache/kept",
        "a/b@dev/z",
    ] {
        write(root, path);
    }
    write(root, "README");
    write(root, ".hidden/repo/x");
    write(root, "a/.hidden/x");
    write(root, "a/b/sub/back\\slash");
    write(root, "a/b/sub/dot.");
    fs::write(root.join("a/b").join(std::ffi::OsStr::from_bytes(b"\xff")), "x").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("a/b/pipe"), rustix::fs::Mode::RWXU).unwrap();
    std::os::unix::fs::symlink("b", root.join("a/linked")).unwrap();
    std::os::unix::fs::symlink("/", root.join("a/everything")).unwrap();
    std::os::unix::fs::symlink("sub/x.txt", root.join("a/b/link.txt")).unwrap();
    std::os::unix::fs::symlink("../..", root.join("a/b/sub/loop")).unwrap();

    let folder = Folder::open(root).unwrap();
    let catalogue = folder.catalogue().unwrap();
    let found: Vec<String> = catalogue
        .iter()
        .flat_map(|(repo, branches)| branches.keys().map(move |branch| format!("{repo}@{branch}")))
        .collect();
    assert_eq!(found, ["a/b@dev", "a/b@main", "a/linked@main"]);
    let paths = |branch: &str| -> Vec<String> {
        folder.scan(branch).unwrap().iter().map(|file| file.path.to_string()).collect()
    };
    assert_eq!(paths("a/b"), ["config.json", "link.txt", "sub/.cache/kept", "sub/x.txt"]);
    assert_eq!(paths("a/linked"), paths("a/b"));
    assert_eq!(paths("a/b@dev"), ["z"]);
    assert!(folder.open_file(&"a/b/pipe".parse().unwrap()).is_err());
    assert!(folder.open_file(&"a/everything/etc/hostname".parse().unwrap()).is_err());
    assert!(folder.scan("a/none").is_err());
}
