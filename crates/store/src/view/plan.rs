//! What stands in a view, entry by entry. Pure: the builder makes it, the check compares with it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use types::{Digest, Manifest, Revision};

use super::ViewSpec;
use crate::{RefsClash, hash::git_blob_id};

/// Where a view says what it shows, beside its hub folder so that cache scanners don't stumble over it.
pub(super) const SPEC_NAME: &str = "view.json";
/// A spec holds names of bounded length and the refs of a few model references.
pub(super) const SPEC_BYTES_MAX: u64 = 1024 * 1024;
/// The Hugging Face cache of a view.
pub(super) const HUB_FOLDER: &str = "hub";

/// Read-only for everyone.
const READ_ONLY: u32 = 0o444;
/// The listing that `huggingface_hub` itself writes 0600; readers of another uid need more.
const LISTING: u32 = 0o644;
/// Tells backup programs to pass (bford.info/cachedir).
const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This file is a cache directory tag created by larder.\n\
    # For information about cache directory tags, see https://bford.info/cachedir/\n";

/// One entry of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Planned {
    Folder,
    /// A hard link to a blob.
    Blob {
        digest: Digest,
        size: u64,
    },
    /// A relative symbolic link.
    Link {
        target: String,
    },
    File {
        bytes: Vec<u8>,
        mode: u32,
    },
}

/// The entries of a view by their path below it. A folder stands before what is in it.
#[derive(Debug)]
pub(super) struct ViewPlan(BTreeMap<String, Planned>);

impl ViewPlan {
    /// Plans a view of a model.
    ///
    /// # Errors
    /// [`RefsClash`] when two refs can't stand side by side.
    pub(super) fn new(spec: &ViewSpec, manifest: &Manifest) -> Result<Self, RefsClash> {
        let refs = refs_of(spec)?;
        let repo = format!("{HUB_FOLDER}/{}", spec.key.repo.name.cache_folder());
        let commit = spec.key.commit;
        let mut plan = Self(BTreeMap::new());
        plan.put(SPEC_NAME.to_owned(), file(spec_bytes(spec), READ_ONLY));
        plan.put(format!("{HUB_FOLDER}/CACHEDIR.TAG"), file(CACHE_TAG.into(), READ_ONLY));
        plan.put(format!("{repo}/.no_exist"), Planned::Folder);
        for entry in manifest.files() {
            let blob = Planned::Blob { digest: entry.digest, size: entry.size };
            plan.put(format!("{repo}/blobs/{}", entry.digest), blob);
            let target = format!("{}../../blobs/{}", "../".repeat(entry.path.depth()), entry.digest);
            plan.put(format!("{repo}/snapshots/{commit}/{}", entry.path), Planned::Link { target });
        }
        for path in absent_of(manifest) {
            plan.put(format!("{repo}/.no_exist/{commit}/{path}"), file(Vec::new(), READ_ONLY));
        }
        plan.put(format!("{repo}/trees/{commit}.json"), file(listing(manifest), LISTING));
        for revision in refs {
            plan.put(format!("{repo}/refs/{revision}"), file(commit.to_string().into(), READ_ONLY));
        }
        Ok(plan)
    }

    /// Returns the entries, a folder before what is in it.
    pub(super) const fn entries(&self) -> &BTreeMap<String, Planned> {
        &self.0
    }

    fn put(&mut self, path: String, planned: Planned) {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Planned::Folder);
        }
        self.0.insert(path, planned);
    }
}

const fn file(bytes: Vec<u8>, mode: u32) -> Planned {
    Planned::File { bytes, mode }
}

fn spec_bytes(spec: &ViewSpec) -> Vec<u8> {
    serde_json::to_vec(spec).expect("names and digests are always JSON")
}

/// Returns the refs of a view: `main`, and those that were asked for. A commit needs none.
fn refs_of(spec: &ViewSpec) -> Result<BTreeSet<Revision>, RefsClash> {
    let commit = spec.key.commit.to_string();
    let mut refs = spec.refs.clone();
    refs.retain(|revision| revision.as_str() != commit);
    refs.insert(Revision::main());
    let clash = refs.iter().find_map(|folder| {
        let file = refs.iter().find(|file| is_folder_of(file.as_str(), folder.as_str()))?;
        Some(RefsClash { file: file.clone(), folder: folder.clone() })
    });
    clash.map_or(Ok(refs), Err)
}

fn is_folder_of(folder: &str, path: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns the files that are known to be missing, without those that a file or another of them stands in the way of.
fn absent_of(manifest: &Manifest) -> impl Iterator<Item = &str> {
    let there: BTreeSet<&str> = manifest.files().iter().map(|file| file.path.as_str()).collect();
    let absent = manifest.absent().iter().map(types::RepoPath::as_str);
    absent.filter(move |path| {
        let below_another = manifest.absent().iter().any(|other| is_folder_of(other.as_str(), path));
        !there.contains(path) && !below_another
    })
}

/// Returns the listing of exactly the files of a manifest, as `huggingface_hub` writes it: offline it calls a
/// snapshot incomplete when the listing names more than is there.
fn listing(manifest: &Manifest) -> Vec<u8> {
    let mut files = serde_json::Map::new();
    for entry in manifest.files() {
        let blob_id = git_blob_id(&entry.digest, entry.size);
        let tree_entry = match entry.digest {
            Digest::GitSha1(_) => json!({ "size": entry.size, "blob_id": blob_id }),
            Digest::Sha256(_) => json!({
                "size": entry.size,
                "blob_id": blob_id,
                "lfs_sha256": entry.digest,
                "lfs_size": entry.size,
            }),
        };
        files.insert(entry.path.to_string(), tree_entry);
    }
    json!({ "format_version": 1, "files": files }).to_string().into_bytes()
}
