//! Caches that were made to hurt: whatever stands in them, nothing outside is read, linked or changed, and nothing panics.

use std::{
    fs,
    ops::ControlFlow,
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
};

use base::Entropy;
use store::ImportMode;

use super::{
    import, lines,
    maker::{COMMIT, Maker, content},
    request,
};
use crate::pool::{self, Algorithm};

const CASES: u32 = 40;
const REPO: &str = "models--Acme--Tiny";
const CANARY: &[u8] = b"nobody may have this";

#[test]
fn what_leads_out_is_refused_and_nothing_of_its_snapshot_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let maker = Maker::new(&disk, &folder.path().join("hub"));
    fs::write(folder.path().join("canary"), CANARY).unwrap();
    let canary = pool::digest(Algorithm::Sha256, CANARY);
    let check = |repo: &str, file: &str, target: &str, expected: &str| {
        let path = format!("{repo}/snapshots/{COMMIT}/{file}");
        maker.link(&path, target);
        let store = pool::open(&disk, &folder.path().join("store"));
        for mode in [ImportMode::Copy, ImportMode::Link] {
            let report = import(&store, &maker.root, mode);
            assert_eq!(lines(&report)[0], expected);
        }
        assert_eq!(store.disk_usage().unwrap().blobs.bytes(), 0);
        fs::remove_dir_all(maker.root.join(repo)).unwrap();
    };
    let refused =
        |file: &str| format!("a@11111111 [] 0 files: refused, {file}: its link leads out of the cache");
    check("models--a", "f", "/etc/hostname", &refused("f"));
    check("models--a", "f", "../../../../canary", &refused("f"));
    check("models--a", "deep/f", "../../../../../canary", &refused("deep/f"));
    // A name in `blobs` that looks right, and is itself a link that leads out.
    maker.link(&format!("models--a/blobs/{canary}"), "../../../canary");
    check("models--a", "f", &format!("../../blobs/{canary}"), &refused("f"));
    // A folder on the way that is a link.
    symlink(folder.path(), maker.root.join("out")).unwrap();
    check("models--a", "f", "../../../out/canary", &refused("f"));
    fs::remove_file(maker.root.join("out")).unwrap();
    let no_file = "a@11111111 [] 0 files: refused, f: it is no regular file";
    check("models--a", "f", "../../snapshots", no_file);
}

/// Random trees of folders, files, links and pipes under names that matter and names that don't.
#[test]
fn random_caches_never_hurt() {
    let first = std::env::var("PROPTEST_RNG_SEED").map_or(0, |text| text.parse::<u64>().unwrap() >> 1);
    let folder = tempfile::tempdir().unwrap();
    let disk = pool::real();
    // One store for all: making one takes longer than all imports together.
    let store = pool::open(&disk, &folder.path().join("store"));
    for seed in first..first + u64::from(testkit::cases(CASES)) {
        println!("seed {seed}");
        let entropy = Entropy::seeded(seed);
        let around = folder.path().join(seed.to_string());
        let maker = Maker::new(&disk, &around.join("hub"));
        let canary = around.join("canary");
        fs::write(&canary, CANARY).unwrap();
        let before = fs::metadata(&canary).unwrap();
        for (path, algorithm) in [("config.json", Algorithm::GitSha1), ("model.bin", Algorithm::Sha256)] {
            maker.linked(REPO, COMMIT, &content(path, algorithm, format!("{path} {seed}").as_bytes()));
        }
        spoil(&entropy, &maker.root);
        let mode = if seed % 2 == 0 { ImportMode::Link } else { ImportMode::Copy };
        // Whether it can be taken is another matter.
        drop(store.import(&request(&maker.root, mode), &mut |_| ControlFlow::Continue(())));
        let after = fs::metadata(&canary).unwrap();
        assert_eq!(
            (after.nlink(), after.mode(), after.ctime_nsec()),
            (1, before.mode(), before.ctime_nsec())
        );
        for algorithm in [Algorithm::Sha256, Algorithm::GitSha1] {
            let name = pool::digest(algorithm, CANARY).to_string();
            let blob = folder.path().join("store/blobs").join(&name[..2]).join(&name);
            assert!(!blob.exists(), "the canary was taken");
        }
        let building = fs::read_dir(folder.path().join("store/building")).unwrap().count();
        assert_eq!(building, 0, "something was left aside");
        fs::remove_dir_all(&around).unwrap();
    }
    assert!(!store.list().is_empty(), "some caches are whole all the same");
    for model in store.list() {
        assert!(store.verify(model.manifest.key()).unwrap().is_sound());
    }
}

fn spoil(entropy: &Entropy, root: &Path) {
    let canary = pool::digest(Algorithm::Sha256, CANARY).to_string();
    let pick =
        |choices: &[&str]| choices[usize::try_from(entropy.number()).unwrap_or(0) % choices.len()].to_owned();
    for _ in 0..12 {
        let folders = [
            "",
            REPO,
            "models--x",
            "models--x/blobs",
            "models--x/snapshots",
            "models--Acme--Tiny/snapshots",
            "models--Acme--Tiny/snapshots/1111111111111111111111111111111111111111",
            "models--x/snapshots/2222222222222222222222222222222222222222/a/b",
            "models--Acme--Tiny/refs",
            "models--x/.no_exist/2222222222222222222222222222222222222222",
            "models--Acme--Tiny/trees",
            "models--Acme--Tiny/blobs",
        ];
        let names = [
            "f",
            "..a",
            "a b",
            "\u{7f}",
            "back\\slash",
            "C:x",
            "blobs",
            "refs",
            "main",
            "snapshots",
            "models--y",
            "trees",
            "1111111111111111111111111111111111111111.json",
            "2222222222222222222222222222222222222222",
            "model.safetensors.index.json",
            "m-00001-of-99999.bin",
            ".gitattributes",
            "config.json",
            &canary,
            ".git",
        ];
        let folder = root.join(pick(&folders));
        let path = folder.join(pick(&names));
        if fs::create_dir_all(&folder).is_err() {
            continue;
        }
        let targets = [
            "../../../../canary",
            "../../../canary",
            "../canary",
            "/etc/passwd",
            "/proc/self/environ",
            "/dev/zero",
            ".",
            "..",
            "../..",
            "f",
            "../../blobs",
            "../../../../../../../../../../canary",
            "",
        ];
        // A name that is taken stays as it is; what can't be made is left out.
        match entropy.number() % 7 {
            0 => drop(fs::write(&path, CANARY.repeat(3))),
            1 => drop(fs::create_dir(&path)),
            2..=4 => drop(symlink(pick(&targets), &path)),
            5 => drop(fs::write(&path, r#"{"format_version":1,"files":{"config.json":{"size":1e99}}}"#)),
            _ => drop(fs::remove_file(&path)),
        }
    }
}
