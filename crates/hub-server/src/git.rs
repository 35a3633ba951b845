//! Git's names for content: blobs, trees and one commit, computed as git itself would.
//!
//! A folder has no history, so its commit is a root commit with a fixed author and date: the same files always give
//! the same commit, on every machine, and any change gives another one. Every file has mode 100644.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use sha1::{Digest as _, Sha1};
use types::{Commit, RepoPath};

/// The name of a git object.
pub(crate) type ObjectId = [u8; 20];

/// Begins the hash of a blob of this length; its content follows.
pub(crate) fn blob_hasher(len: u64) -> Sha1 {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {len}\0"));
    hasher
}

/// Returns the text that git keeps in place of a file in large-file storage.
pub(crate) fn lfs_pointer(sha256: &[u8; 32], size: u64) -> String {
    let oid = HEXLOWER.encode(sha256);
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
}

/// Returns the name of a blob.
pub(crate) fn blob_id(content: &[u8]) -> ObjectId {
    blob_hasher(content.len() as u64).chain_update(content).finalize().into()
}

/// The names of the trees of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreeIds {
    /// The whole.
    pub(crate) root: ObjectId,
    /// Each folder, by its path.
    pub(crate) folders: BTreeMap<String, ObjectId>,
}

/// Returns the names of all trees for these files and their blobs.
pub(crate) fn tree_ids<'a>(files: impl IntoIterator<Item = (&'a RepoPath, ObjectId)>) -> TreeIds {
    let mut root = Tree::default();
    for (path, blob) in files {
        let mut tree = &mut root;
        let mut segments = path.as_str().split('/').peekable();
        while let Some(segment) = segments.next() {
            if segments.peek().is_some() {
                tree = tree.folders.entry(segment.to_owned()).or_default();
            } else {
                tree.blobs.insert(segment.to_owned(), blob);
            }
        }
    }
    let mut folders = BTreeMap::new();
    let root = root.id("", &mut folders);
    TreeIds { root, folders }
}

/// Returns the name of the one commit of a tree.
pub(crate) fn commit_id(tree: &ObjectId) -> Commit {
    const WHO: &str = "Larder <larder@localhost> 0 +0000";
    let tree = HEXLOWER.encode(tree);
    let text = format!("tree {tree}\nauthor {WHO}\ncommitter {WHO}\n\nServe a folder\n");
    Commit::from_bytes(object_id("commit", text.as_bytes()))
}

#[derive(Default)]
struct Tree {
    blobs: BTreeMap<String, ObjectId>,
    folders: BTreeMap<String, Tree>,
}

impl Tree {
    fn id(&self, path: &str, folders: &mut BTreeMap<String, ObjectId>) -> ObjectId {
        // Git sorts a folder as if its name ended with a slash.
        let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (name, blob) in &self.blobs {
            entries.insert(name.clone().into_bytes(), entry("100644", name, blob));
        }
        for (name, tree) in &self.folders {
            let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let id = tree.id(&below, folders);
            entries.insert(format!("{name}/").into_bytes(), entry("40000", name, &id));
            folders.insert(below, id);
        }
        let content: Vec<u8> = entries.into_values().flatten().collect();
        object_id("tree", &content)
    }
}

fn entry(mode: &str, name: &str, id: &ObjectId) -> Vec<u8> {
    let mut entry = format!("{mode} {name}\0").into_bytes();
    entry.extend_from_slice(id);
    entry
}

fn object_id(kind: &str, content: &[u8]) -> ObjectId {
    let mut hasher = Sha1::new();
    hasher.update(format!("{kind} {}\0", content.len()));
    hasher.chain_update(content).finalize().into()
}

#[cfg(test)]
mod tests {
    use sha2::Sha256;

    use super::*;

    /// What `git write-tree`, `git ls-tree -r -t` and `git hash-object -t commit` printed for the same files.
    #[test]
    fn names_are_those_that_git_gives() {
        let sha256: [u8; 32] = Sha256::digest("abc").into();
        let files: Vec<(RepoPath, ObjectId)> = [
            ("a/b/x.txt", blob_id(b"hello\n")),
            ("a.txt", blob_id(b"z")),
            ("config.json", blob_id(b"{}")),
            ("a.d/f", blob_id(b"q")),
            ("model.safetensors", blob_id(lfs_pointer(&sha256, 3).as_bytes())),
        ]
        .map(|(path, blob)| (path.parse().unwrap(), blob))
        .to_vec();
        let trees = tree_ids(files.iter().map(|(path, blob)| (path, *blob)));
        let hex = |id: &ObjectId| HEXLOWER.encode(id);
        let blobs: Vec<String> = files.iter().map(|(_, blob)| hex(blob)).collect();
        assert_eq!(
            blobs,
            [
                "ce013625030ba8dba906f756967f9e9ca394464a",
                "fa7af8bf5fdd704f73beb3adc5612682a98e1af5",
                "9e26dfeeb6e641a33dae4961196235bdb965b21b",
                "ea0c8a85cb7293feae2c9e151d1d395be59b61fa",
                "80d7d501c2b256023dc42e46d958b9ac2ec283ee",
            ]
        );
        assert_eq!(hex(&trees.root), "ba979e6ba2283f255324455f86a1d207b4b68b33");
        let folders: Vec<(&str, String)> =
            trees.folders.iter().map(|(path, id)| (path.as_str(), hex(id))).collect();
        assert_eq!(
            folders,
            [
                ("a", "89af6c91ef71caf173ae361787b90db078b80bcf".to_owned()),
                ("a.d", "0236360c79baf8c4efc95fb383f3f8022492bdbc".to_owned()),
                ("a/b", "9fa6a6d71d42445400aef1e5fda85a9cd64eb517".to_owned()),
            ]
        );
        assert_eq!(commit_id(&trees.root).to_string(), "033e1ae1803dae583befb98f406c91e9f1334ebe");
    }
}
