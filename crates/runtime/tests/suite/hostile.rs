//! The hostile worker: root in its view, refused everything beyond it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use runtime::{Egress, ExitReason, MountSource, ViewMount, mounts};
use types::CommandLine;

use crate::support::{Host, Kind, program, start, worker};

const WEIGHTS: &str = "precious weights";
const SECRET: &str = "nobody's business";
/// A worker that had stopped early would be refused nothing.
const ATTEMPTS_MIN: usize = 300;

/// Makes a view as the store makes it, and returns its `models--…` folder.
fn view(folder: &Path, name: &str) -> PathBuf {
    let view = folder.join(name);
    for part in ["blobs", "refs", "snapshots/c0ffee"] {
        fs::create_dir_all(view.join(part)).unwrap();
    }
    fs::write(view.join("blobs/weights"), WEIGHTS).unwrap();
    fs::write(view.join("refs/main"), "c0ffee").unwrap();
    symlink("../../blobs/weights", view.join("snapshots/c0ffee/model.bin")).unwrap();
    view
}

/// Returns every file below a folder with its mode and content.
fn picture(folder: &Path) -> Vec<(PathBuf, u32, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            files.extend(picture(&path));
        }
        let content = if meta.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
        files.push((path, meta.permissions().mode(), content));
    }
    files.sort();
    files
}

async fn attack(egress: Egress) -> Vec<String> {
    let mut host = Host::new(Kind::Sandbox);
    let data = host.folder.path().join("data");
    let own = view(&data.join("views/v1"), "models--Acme--Tiny");
    let others = view(&data.join("views/v2"), "models--other--model");
    let released = host.folder.path().join("data/releases/r1");
    fs::create_dir_all(&released).unwrap();
    fs::copy(program(), released.join("program")).unwrap();
    let secrets = [data.join("state.sqlite"), data.join("secret.key"), host.folder.path().join("outside")];
    for secret in &secrets {
        fs::write(secret, SECRET).unwrap();
    }
    let before = picture(&data.join("views"));

    let view = ViewMount {
        host_path: own,
        canonical: "Acme/Tiny".parse().unwrap(),
        spelled: "ACME/tiny".parse().unwrap(),
    };
    let mounts = mounts::hub(&[view]).unwrap();
    let mut words = vec!["./program".to_owned(), "hostile".to_owned()];
    for mount in &mounts {
        if mount.source != MountSource::Private {
            words.push(format!("view={}", mount.target.display()));
        }
    }
    let secrets = secrets.into_iter().chain([others.join("blobs/weights"), program()]);
    words.extend(secrets.map(|path| format!("secret={}", path.display())));
    let mut start = start("hostile", CommandLine::try_from(words).unwrap());
    start.folder = Some(released.clone());
    start.mounts = mounts;
    start.egress = egress;
    host.driver.start(start).await.unwrap();
    let end = host.end_of(&worker("hostile")).await;
    let lines = host.lines(&worker("hostile"), 1).await;
    assert_eq!((end, lines.last().map(String::as_str)), (ExitReason::Code(0), Some("done")), "{lines:#?}");
    assert_eq!(picture(&data.join("views")), before);
    assert_eq!(fs::read_dir(&released).unwrap().count(), 1, "the release has changed");
    lines
}

async fn check(egress: Egress) {
    let lines = attack(egress).await;
    let described: Vec<_> = lines.iter().filter(|line| line.starts_with("= ")).map(String::as_str).collect();
    assert_eq!(
        described,
        [
            "= uid 0",
            "= CapInh: 0000000000000000",
            "= CapPrm: 0000000000000000",
            "= CapEff: 0000000000000000",
            "= CapBnd: 0000000000000000",
            "= CapAmb: 0000000000000000",
            "= NoNewPrivs: 1",
            "= files 0:/dev/null 1:pipe: 2:pipe:",
            "= Seccomp 2",
            "= models--Acme--Tiny holds precious weights",
            "= models--acme--tiny holds precious weights",
            "= models--ACME--tiny holds precious weights",
        ]
    );
    let allowed: Vec<_> = lines.iter().filter(|line| line.ends_with(": ALLOWED")).collect();
    assert!(allowed.is_empty(), "{allowed:#?}");
    let refused = lines.iter().filter(|line| line.contains(": refused ")).count();
    assert!(refused >= ATTEMPTS_MIN, "only {refused} attempts were made");
    println!("refused {refused} attempts: {lines:#?}");
}

#[tokio::test]
async fn a_worker_that_is_root_in_its_view_is_refused_everything_beyond_it() {
    check(Egress::None).await;
}

#[tokio::test]
async fn egress_gives_no_more_than_the_network() {
    check(Egress::Shared).await;
}
