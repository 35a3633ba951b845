//! What a Python environment needs and what is refused, as cases; and the interpreters of this machine.

use std::{os::unix::fs::symlink, path::PathBuf};

use types::ErrorCode;

use super::{PythonEnvironment, homes, library_paths, links, necessary, plain, refusal};

fn paths(texts: &[&str]) -> Vec<PathBuf> {
    texts.iter().map(PathBuf::from).collect()
}

#[test]
fn only_what_nothing_else_covers_is_mounted() {
    let check = |needed: &[&str], expected: &[&str]| assert_eq!(necessary(&paths(needed)), paths(expected));
    check(&["/srv/venv", "/usr"], &["/srv/venv"]);
    check(
        &["/srv/venv", "/root/.pyenv/versions/3.11.7", "/srv/venv"],
        &["/srv/venv", "/root/.pyenv/versions/3.11.7"],
    );
    check(&["/usr/local/venv", "/usr"], &[]);
    check(&["/opt/conda/envs/a", "/opt/conda"], &["/opt/conda"]);
    check(&["/srv/venv", "/opt/ssl/libssl.so.3"], &["/srv/venv", "/opt/ssl/libssl.so.3"]);
    check(&["/userspace/venv"], &["/userspace/venv"]);
}

#[test]
fn whole_homes_and_system_folders_are_refused() {
    let passwd = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:\nbob:x:1000:1000::/home/bob:\nodd:x:1001:1001::/:\n\
                  nobody:x:65534:65534::/nonexistent:\nbroken";
    let homes = homes(passwd);
    assert_eq!(homes, paths(&["/root", "/home/bob"]));
    let check = |path: &str, refused: bool| {
        assert_eq!(refusal(&PathBuf::from(path), &homes).is_some(), refused, "{path}");
    };
    for path in ["/", "/root", "/home", "/home/bob", "/etc/python", "/proc/self/root", "/var", "/opt"] {
        check(path, true);
    }
    for path in
        ["/root/.pyenv/versions/3.11.7", "/home/bob/venv", "/opt/python", "/data/venv", "/home/bobby/venv"]
    {
        check(path, false);
    }
}

#[test]
fn the_loaders_listing_is_read() {
    let listing = "\tlinux-vdso.so.1 (0x00007f52)\n\tlibpython3.11.so.1.0 => /opt/py/lib/libpython3.11.so.1.0 (0x00007f51)\n\
                   \tlibgone.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f52)\n";
    assert_eq!(library_paths(listing), paths(&["/opt/py/lib/libpython3.11.so.1.0"]));
}

#[test]
fn links_are_followed_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    symlink("python3", path("python")).unwrap();
    symlink(path("real/../file"), path("python3")).unwrap();
    std::fs::write(path("file"), "").unwrap();
    let expected = vec![(path("python"), PathBuf::from("python3")), (path("python3"), path("real/../file"))];
    assert_eq!(links(&path("python")), expected);
    assert_eq!(plain(&path("real/.././file")), path("file"));
    symlink("circle", path("circle")).unwrap();
    assert_eq!(links(&path("circle")).len(), super::LINKS_MAX);
}

#[tokio::test]
async fn what_is_no_environment_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let check = async || {
        let fault = PythonEnvironment::inspect(folder.path()).await.unwrap_err().fault();
        assert_eq!((fault.code, fault.hint.is_some()), (ErrorCode::PythonUnusable, true));
        fault.message
    };
    assert!(check().await.contains("it has no bin/python"));
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    symlink("/bin/false", folder.path().join("bin/python")).unwrap();
    assert!(check().await.contains("does not run"));
}
