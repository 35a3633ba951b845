//! The listing of a commit that `huggingface_hub` keeps since 1.22: what every file of it is. Pure.
//!
//! A listing vouches for nothing by itself: it is checked against the bytes. It tells what a plain file must be, what the
//! snapshot lacks, and that other files do not exist.

use std::collections::BTreeMap;

use serde::Deserialize;
use types::{Digest, RepoPath};

/// 100,000 files, the most that a hub's listing may have, at about 300 bytes each.
pub(super) const LISTING_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The format that is understood.
const FORMAT: u32 = 1;

/// The files of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing(BTreeMap<RepoPath, Listed>);

/// One file of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) size: u64,
    pub(super) digest: Digest,
}

#[derive(Deserialize)]
struct Tree {
    format_version: u32,
    files: BTreeMap<RepoPath, TreeEntry>,
}

#[derive(Deserialize)]
struct TreeEntry {
    size: u64,
    blob_id: Digest,
    #[serde(default)]
    lfs_sha256: Option<Digest>,
    #[serde(default)]
    lfs_size: Option<u64>,
}

impl Listing {
    /// Reads a listing. `None` when it is not understood: the snapshot then stands for itself.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let tree: Tree = serde_json::from_slice(bytes).ok()?;
        if tree.format_version != FORMAT {
            return None;
        }
        let listed = |entry: TreeEntry| Listed {
            size: entry.lfs_size.unwrap_or(entry.size),
            digest: entry.lfs_sha256.unwrap_or(entry.blob_id),
        };
        Some(Self(tree.files.into_iter().map(|(path, entry)| (path, listed(entry))).collect()))
    }

    pub(super) fn get(&self, path: &RepoPath) -> Option<Listed> {
        self.0.get(path).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RepoPath, Listed)> {
        self.0.iter().map(|(path, listed)| (path, *listed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_tells_what_each_file_is() {
        let sha1 = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let text = format!(
            r#"{{"format_version":1,"files":{{
                "config.json":{{"size":6,"blob_id":"{sha1}"}},
                "a/model.safetensors":{{"size":6,"blob_id":"{sha1}","lfs_sha256":"{sha256}","lfs_size":6,"xet_hash":"x"}}
            }}}}"#
        );
        let listing = Listing::parse(text.as_bytes()).unwrap();
        let get = |path: &str| listing.get(&path.parse().unwrap()).map(|listed| listed.digest.to_string());
        assert_eq!(get("config.json").as_deref(), Some(sha1));
        assert_eq!(get("a/model.safetensors").as_deref(), Some(sha256));
        assert_eq!(get("other"), None);
        for wrong in [
            "",
            "[]",
            r#"{"format_version":2,"files":{}}"#,
            r#"{"format_version":1,"files":{"../x":{"size":1,"blob_id":"ce013625030ba8dba906f756967f9e9ca394464a"}}}"#,
            r#"{"format_version":1,"files":{"x":{"size":1,"blob_id":"zz"}}}"#,
        ] {
            assert_eq!(Listing::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
