//! What the API says about a branch: the model, its list of files in pages, single entries, its refs. Pure.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};
use types::{RepoName, Revision};

use crate::{
    access::RepoAccess,
    faults::ListingLie,
    git::ObjectId,
    identity::Identity,
    refusal::Refusal,
    shelf::{Branch, HubFile},
};

/// What the public Hub gives on a page when more is told of each entry.
const EXPANDED_ENTRIES_MAX: usize = 50;
/// The public Hub's own limit of one such request.
const PATHS_MAX: usize = 1000;

/// What a tree listing is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeQuery {
    pub(crate) recursive: bool,
    pub(crate) expand: bool,
    pub(crate) limit: Option<usize>,
    pub(crate) cursor: Option<String>,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Value>,
    /// Where the next page begins, if there is one.
    pub(crate) next_cursor: Option<String>,
}

/// What a model is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelQuery {
    /// Whether each file comes with its size and names.
    pub(crate) blobs: bool,
    /// Only these fields, when there are some.
    pub(crate) expand: Vec<String>,
}

/// One entry of a tree.
enum Entry<'a> {
    File(&'a HubFile),
    Folder(&'a str, &'a ObjectId),
}

impl Entry<'_> {
    fn path(&self) -> &str {
        match self {
            Self::File(file) => file.path.as_str(),
            Self::Folder(path, _) => path,
        }
    }
}

/// Lists the entries below a folder, a page at a time.
///
/// # Errors
/// `EntryNotFound` when there is no such folder, `BadRequest` for a cursor that is none.
pub(crate) fn tree(
    branch: &Branch,
    folder: Option<&str>,
    query: &TreeQuery,
    page_entries_max: usize,
    lies: &[ListingLie],
) -> Result<Page, Refusal> {
    if let Some(folder) = folder.filter(|folder| !branch.folders.contains_key(*folder)) {
        return Err(Refusal::EntryNotFound { commit: branch.commit, path: folder.to_owned() });
    }
    let after =
        match &query.cursor {
            None => None,
            Some(cursor) => Some(decode_cursor(cursor).ok_or_else(|| Refusal::BadRequest {
                message: "the cursor of the page is broken".to_owned(),
            })?),
        };
    let below = folder.map_or(String::new(), |folder| format!("{folder}/"));
    let wanted = |path: &str| {
        path.strip_prefix(below.as_str()).is_some_and(|rest| query.recursive || !rest.contains('/'))
            && after.as_deref().is_none_or(|after| path > after)
    };
    let mut entries: BTreeMap<&str, Entry<'_>> = BTreeMap::new();
    for entry in every_entry(branch).filter(|entry| wanted(entry.path())) {
        let path = match &entry {
            Entry::File(file) => file.path.as_str(),
            Entry::Folder(path, _) => path,
        };
        entries.insert(path, entry);
    }
    let entries_max =
        if query.expand { page_entries_max.min(EXPANDED_ENTRIES_MAX) } else { page_entries_max };
    let page_size = query.limit.unwrap_or(usize::MAX).clamp(1, entries_max.max(1));
    let more = entries.len() > page_size;
    let shown: Vec<Entry<'_>> = entries.into_values().take(page_size).collect();
    let next_cursor =
        shown.last().filter(|_| more).map(|last| BASE64URL_NOPAD.encode(last.path().as_bytes()));
    let entries = shown.iter().map(|entry| entry_json(branch, entry, query.expand, lies)).collect();
    Ok(Page { entries, next_cursor })
}

/// Tells of the given paths, leaving out those that there are not.
///
/// # Errors
/// `BadRequest` for too many paths.
pub(crate) fn paths_info(
    branch: &Branch,
    paths: &[String],
    expand: bool,
    lies: &[ListingLie],
) -> Result<Vec<Value>, Refusal> {
    if paths.len() > PATHS_MAX {
        return Err(Refusal::BadRequest {
            message: format!("at most {PATHS_MAX} paths can be asked for at once"),
        });
    }
    let wanted: BTreeSet<&str> = paths.iter().map(|path| path.trim_end_matches('/')).collect();
    let found = wanted.into_iter().filter_map(|path| match branch.file(path) {
        Some(file) => Some(Entry::File(file)),
        None => branch.folders.get_key_value(path).map(|(path, id)| Entry::Folder(path, id)),
    });
    Ok(found.map(|entry| entry_json(branch, &entry, expand, lies)).collect())
}

/// Tells of a model.
///
/// # Errors
/// `BadRequest` for fields that there are not, or that exclude each other.
pub(crate) fn model(
    repo: &RepoName,
    branch: &Branch,
    access: RepoAccess,
    query: &ModelQuery,
    lies: &[ListingLie],
) -> Result<Value, Refusal> {
    if query.blobs && !query.expand.is_empty() {
        return Err(Refusal::BadRequest { message: "expand can't be used together with blobs".to_owned() });
    }
    let siblings: Vec<Value> =
        branch.files.iter().map(|file| sibling_json(file, query.blobs, lies)).collect();
    let gated = match access {
        RepoAccess::Gated => json!("auto"),
        RepoAccess::Public | RepoAccess::Private | RepoAccess::Disabled => json!(false),
    };
    let author = repo.as_str().split('/').next().unwrap_or_default();
    let used: u64 = branch.files.iter().map(|file| file.size).sum();
    let mut all = json!({
        "_id": HEXLOWER.encode(&crate::git::blob_id(repo.as_str().as_bytes())[..12]),
        "id": repo,
        "modelId": repo,
        "author": author,
        "sha": branch.commit,
        "lastModified": branch.modified.to_rfc3339(),
        "private": access == RepoAccess::Private,
        "gated": gated,
        "disabled": access == RepoAccess::Disabled,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
        "usedStorage": used,
    });
    let Some(fields) = all.as_object_mut().filter(|_| !query.expand.is_empty()) else { return Ok(all) };
    if let Some(unknown) = query.expand.iter().find(|field| !fields.contains_key(field.as_str())) {
        // Fields that the public Hub has and a folder cannot have are left out there too when a model lacks them.
        tracing::debug!(field = unknown, "a field was asked for that a folder does not have");
    }
    fields.retain(|field, _| matches!(field.as_str(), "_id" | "id") || query.expand.contains(field));
    Ok(all)
}

/// Tells of the branches.
pub(crate) fn refs<'a>(
    branches: impl IntoIterator<Item = (&'a Revision, &'a Branch)>,
    with_pull_requests: bool,
) -> Value {
    let (mut heads, mut pulls) = (Vec::new(), Vec::new());
    for (name, branch) in branches {
        if name.as_str().starts_with("refs/") {
            pulls.push(json!({ "name": name, "ref": name, "targetCommit": branch.commit }));
        } else {
            let full = format!("refs/heads/{name}");
            heads.push(json!({ "name": name, "ref": full, "targetCommit": branch.commit }));
        }
    }
    let mut refs = json!({ "branches": heads, "tags": [], "converts": [] });
    if with_pull_requests {
        refs["pullRequests"] = Value::Array(pulls);
    }
    refs
}

fn every_entry(branch: &Branch) -> impl Iterator<Item = Entry<'_>> {
    let files = branch.files.iter().map(Entry::File);
    files.chain(branch.folders.iter().map(|(path, id)| Entry::Folder(path, id)))
}

fn decode_cursor(cursor: &str) -> Option<String> {
    String::from_utf8(BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?).ok()
}

fn entry_json(branch: &Branch, entry: &Entry<'_>, expand: bool, lies: &[ListingLie]) -> Value {
    let mut value = match entry {
        Entry::Folder(path, id) => {
            json!({ "type": "directory", "oid": HEXLOWER.encode(*id), "size": 0, "path": path })
        }
        Entry::File(file) => {
            let told = Told::of(file, lies);
            let mut value =
                json!({ "type": "file", "oid": told.blob_id, "size": told.size, "path": told.path });
            if let Some((sha256, pointer_size)) = told.lfs {
                value["lfs"] = json!({ "oid": sha256, "size": told.size, "pointerSize": pointer_size });
            }
            value
        }
    };
    if expand {
        value["lastCommit"] = json!({
            "id": branch.commit,
            "title": "Serve a folder",
            "date": branch.modified.to_rfc3339(),
        });
        if matches!(entry, Entry::File(_)) {
            let unscanned = json!({ "status": "unscanned" });
            value["securityFileStatus"] =
                json!({ "status": "unscanned", "avScan": unscanned, "pickleImportScan": null });
        }
    }
    value
}

fn sibling_json(file: &HubFile, blobs: bool, lies: &[ListingLie]) -> Value {
    let told = Told::of(file, lies);
    let mut sibling = json!({ "rfilename": told.path });
    if blobs {
        sibling["blobId"] = json!(told.blob_id);
        sibling["size"] = json!(told.size);
        if let Some((sha256, pointer_size)) = told.lfs {
            sibling["lfs"] = json!({ "sha256": sha256, "size": told.size, "pointerSize": pointer_size });
        }
    }
    sibling
}

/// What is told of a file: the truth, unless a drill has it otherwise.
struct Told {
    path: String,
    size: u64,
    blob_id: String,
    lfs: Option<(String, u64)>,
}

impl Told {
    fn of(file: &HubFile, lies: &[ListingLie]) -> Self {
        let mut told = Self {
            path: file.path.to_string(),
            size: file.size,
            blob_id: HEXLOWER.encode(&file.identity.blob_id()),
            lfs: match &file.identity {
                Identity::Blob(_) => None,
                Identity::Lfs { sha256, pointer_size, .. } => Some((HEXLOWER.encode(sha256), *pointer_size)),
            },
        };
        for lie in lies {
            match lie {
                ListingLie::Size { path, size } if *path == file.path.as_str() => told.size = *size,
                ListingLie::Digest { path, digest } if *path == file.path.as_str() => match &mut told.lfs {
                    Some((sha256, _)) => sha256.clone_from(digest),
                    None => told.blob_id.clone_from(digest),
                },
                ListingLie::Path { path, shown } if *path == file.path.as_str() => {
                    told.path.clone_from(shown);
                }
                ListingLie::Size { .. } | ListingLie::Digest { .. } | ListingLie::Path { .. } => {}
            }
        }
        told
    }
}

#[cfg(test)]
mod tests;
