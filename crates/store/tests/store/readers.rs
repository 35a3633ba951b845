//! Stock libraries accept a view as a worker sees it: a private hub folder in which the view is bound read-only.
//!
//! Several majors of `huggingface_hub` and the newest `transformers`, offline, and online with a hub that does not answer.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use base::Clock;
use store::{Store, StoreOptions, ViewLease, ViewSpec};
use types::ManifestFile;

use crate::pool::{self, Algorithm, Sample};

const NAME: &str = "sentence-transformers/all-MiniLM-L6-v2";
/// Files above this size are in large-file storage on the hub, among them every weight.
const LARGE_BYTES: usize = 1_000_000;
/// Nothing listens there: it is the discard service's, and tests run without a network.
const CLOSED: &str = "http://127.0.0.1:9";

struct Stand {
    folder: tempfile::TempDir,
    lease: ViewLease,
    venv: PathBuf,
    readers: PathBuf,
}

impl Stand {
    fn new() -> Option<Self> {
        let venv = testkit::prepared("LARDER_TEST_VENV")?;
        let readers = testkit::prepared("LARDER_TEST_READERS")?;
        let models = testkit::prepared("LARDER_TEST_MODELS")?;
        let folder = tempfile::tempdir().unwrap();
        // Extents of the usual size: those of the other tests would be synced 22,000 times.
        let options = StoreOptions::at(folder.path().join("store"));
        let store = Store::open(pool::real(), Clock::System, options).unwrap();
        let lease = view(&store, &models.join(NAME));
        Some(Self { folder, lease, venv, readers })
    }

    /// Runs the reader with the packages of a folder and returns its answers.
    fn read(&self, packages: &str, mode: &str) -> String {
        let packages = self.readers.join(packages);
        let hub = self.folder.path().join("hub");
        let place = hub.join(self.lease.repo_folder_name());
        fs::create_dir_all(&place).unwrap();
        let mut command = Command::new("unshare");
        if fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) != 0) {
            command.args(["--user", "--map-root-user"]);
        }
        let script = "mount --bind \"$0\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        command.arg(self.lease.path()).arg(&place).arg(self.venv.join("bin/python"));
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers/read.py"));
        command.args([NAME, &self.lease.spec().key.commit.to_string(), mode]);
        command.env_clear().envs([
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("HOME", self.folder.path().display().to_string()),
            ("HF_HUB_CACHE", hub.display().to_string()),
            ("HF_ENDPOINT", CLOSED.to_owned()),
            ("HF_HUB_DISABLE_TELEMETRY", "1".to_owned()),
            ("HF_HUB_DISABLE_UPDATE_CHECK", "1".to_owned()),
            ("PYTHONPATH", packages.display().to_string()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ]);
        if !mode.starts_with("down") {
            command.env("HF_HUB_OFFLINE", "1");
        }
        let output = command.output().unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{packages:?} {mode}: {stderr}");
        println!("{packages:?} {mode}: {stdout}");
        let line = stdout.lines().last().unwrap_or_default();
        let answers: serde_json::Value = serde_json::from_str(line).unwrap();
        answers["answers"].to_string()
    }
}

/// Makes a view of a model that stands in a folder as it stands on the hub.
fn view(store: &Store, folder: &Path) -> ViewLease {
    let operator = pool::trusted("tn_operator");
    let mut files: Vec<ManifestFile> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let algorithm = if bytes.len() > LARGE_BYTES { Algorithm::Sha256 } else { Algorithm::GitSha1 };
            let file = ManifestFile {
                path: path.strip_prefix(folder).unwrap().to_str().unwrap().parse().unwrap(),
                size: bytes.len() as u64,
                digest: pool::digest(algorithm, &bytes),
            };
            pool::bring(store, &Sample { file: file.clone(), bytes: bytes.into() }, &operator);
            files.push(file);
        }
    }
    let absent = pool::paths(["chat_template.jinja", "added_tokens.json", "tokenizer.model"]);
    let key = pool::key(&format!("huggingface!{NAME}"), 7, &files);
    let manifest = types::Manifest::new(key.clone(), files, absent).unwrap();
    store.publish_model(&manifest, &operator).unwrap();
    store.view(&ViewSpec { key, refs: BTreeSet::new() }).unwrap()
}

/// The environment's own packages: the newest `huggingface_hub`.
const NEWEST: &str = "";

#[test]
fn several_majors_of_huggingface_hub_read_a_view() {
    let Some(stand) = Stand::new() else { return };
    let all = r#"{"file":true,"pinned file":true,"pinned snapshot":true,"snapshot":true}"#;
    let pinned = r#"{"pinned file":true,"pinned snapshot":true,"snapshot":true}"#;
    let offline = concat!(
        r#"{"file":true,"known to be missing":true,"local file":612,"local snapshot":true,"pinned file":true,"#,
        r#""pinned snapshot":true,"scan":[["sentence-transformers/all-MiniLM-L6-v2"],[]],"snapshot":true}"#
    );
    let cases = [
        ("hub-0.36", "offline", offline),
        ("hub-0.36", "down-pinned", pinned),
        ("hub-1.24", "offline", offline),
        ("hub-1.24", "down", all),
        ("hub-1.33", "offline", offline),
        ("hub-1.33", "down", all),
        (NEWEST, "offline", offline),
        (NEWEST, "down", all),
    ];
    for (packages, mode, expected) in cases {
        assert_eq!(stand.read(packages, mode), expected, "{packages} {mode}");
    }
}

#[test]
fn transformers_reads_configuration_and_tokenizer_from_a_view() {
    let Some(stand) = Stand::new() else { return };
    let answers = stand.read("transformers", "transformers");
    assert_eq!(answers, r#"{"config":"bert","tokenizer":[101,7592,102]}"#);
}
