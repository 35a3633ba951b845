//! Hugging Face caches as several versions of `huggingface_hub` leave them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use base::{Access, Disk};
use types::Digest;

use crate::pool::{Algorithm, digest};

/// A cache on some disk.
pub(super) struct Maker {
    pub(super) disk: Arc<dyn Disk>,
    /// The folder with `models--…`.
    pub(super) root: PathBuf,
}

/// One file of a repository.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) path: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
}

pub(super) fn content(path: &'static str, algorithm: Algorithm, bytes: &[u8]) -> Content {
    Content { path, bytes: bytes.to_owned(), digest: digest(algorithm, bytes) }
}

/// A small model: a configuration, weights above one extent of the tests, and a file in a folder.
pub(super) fn small_model() -> Vec<Content> {
    let weights: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
    vec![
        content("config.json", Algorithm::GitSha1, b"{}"),
        content("model.safetensors", Algorithm::Sha256, &weights),
        content("nested/notes.txt", Algorithm::GitSha1, b"notes"),
    ]
}

pub(super) const COMMIT: &str = "1111111111111111111111111111111111111111";
pub(super) const OTHER: &str = "2222222222222222222222222222222222222222";

impl Maker {
    pub(super) fn new(disk: &Arc<dyn Disk>, root: &Path) -> Self {
        disk.make_folder(root).unwrap();
        Self { disk: Arc::clone(disk), root: root.to_owned() }
    }

    pub(super) fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.root.join(path);
        self.disk.make_folder(path.parent().unwrap()).unwrap();
        let file = self.disk.open(&path, Access::CreateOrKeep).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.sync().unwrap();
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        let path = self.root.join(path);
        self.disk.make_folder(path.parent().unwrap()).unwrap();
        self.disk.symlink(Path::new(target), &path).unwrap();
    }

    /// Adds a file as a blob and a relative link to it, as nearly every version does.
    pub(super) fn linked(&self, repo: &str, commit: &str, file: &Content) {
        self.put(&format!("{repo}/blobs/{}", file.digest), &file.bytes);
        self.name(repo, commit, file);
    }

    /// Adds only the link.
    pub(super) fn name(&self, repo: &str, commit: &str, file: &Content) {
        let up = "../".repeat(file.path.matches('/').count() + 2);
        self.link(&format!("{repo}/snapshots/{commit}/{}", file.path), &format!("{up}blobs/{}", file.digest));
    }

    /// Adds a file without any link, as where the file system has none.
    pub(super) fn plain(&self, repo: &str, commit: &str, file: &Content) {
        self.put(&format!("{repo}/snapshots/{commit}/{}", file.path), &file.bytes);
    }

    /// Adds a file whose blob is a link into the store that all repositories share.
    pub(super) fn shared(&self, repo: &str, commit: &str, file: &Content) {
        let xet = format!("{}{}", "ab".repeat(31), file.bytes.len() % 90 + 10);
        self.put("blobs/.huggingface-shared-blobs", b"1\n");
        self.put(&format!("blobs/ab/{xet}"), &file.bytes);
        self.link(&format!("{repo}/blobs/{}", file.digest), &format!("../../blobs/ab/{xet}"));
        self.name(repo, commit, file);
    }

    pub(super) fn reference(&self, repo: &str, name: &str, commit: &str) {
        self.put(&format!("{repo}/refs/{name}"), commit.as_bytes());
    }

    /// Adds the listing of a commit.
    pub(super) fn tree(&self, repo: &str, commit: &str, files: &[Content]) {
        let entries: Vec<String> = files
            .iter()
            .map(|file| {
                let size = file.bytes.len();
                let sha1 = digest(Algorithm::GitSha1, &file.bytes);
                match file.digest {
                    Digest::GitSha1(_) => format!(r#""{}":{{"size":{size},"blob_id":"{sha1}"}}"#, file.path),
                    Digest::Sha256(_) => format!(
                        r#""{}":{{"size":{size},"blob_id":"{sha1}","lfs_sha256":"{}","lfs_size":{size}}}"#,
                        file.path, file.digest
                    ),
                }
            })
            .collect();
        let text = format!(r#"{{"format_version":1,"files":{{{}}}}}"#, entries.join(","));
        self.put(&format!("{repo}/trees/{commit}.json"), text.as_bytes());
    }
}
