//! What is told of a model, in the Hub's shapes. Pure.
//!
//! Listings name exactly the files of the view: what a library lists it then finds, and a whole download is whole.

use std::collections::BTreeSet;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use types::{Digest, ManifestFile};

use super::{refusal::Refusal, shelf::ModelShelf};

/// The public Hub's page.
const PAGE_ENTRIES_MAX: usize = 1000;
/// The public Hub's own limit of one such request.
const PATHS_MAX: usize = 1000;
/// What a pointer file holds besides the digits of the size: its words and 64 hex digits (git-lfs specification 1).
const POINTER_BYTES: usize = "version https://git-lfs.github.com/spec/v1\noid sha256:\nsize \n".len() + 64;

/// What a tree listing is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TreeQuery {
    pub(super) recursive: bool,
    pub(super) limit: Option<usize>,
    pub(super) cursor: Option<String>,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Page {
    pub(super) entries: Vec<Value>,
    /// Where the next page begins, if there is one.
    pub(super) next_cursor: Option<String>,
}

/// One entry of a tree.
#[derive(Clone, Copy, Debug)]
enum Entry<'a> {
    File(&'a ManifestFile),
    Folder(&'a str, &'a str),
}

impl Entry<'_> {
    fn path(&self) -> &str {
        match self {
            Self::File(file) => file.path.as_str(),
            Self::Folder(path, _) => path,
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Folder(path, state) => {
                json!({ "type": "directory", "oid": state, "size": 0, "path": path })
            }
            Self::File(file) => {
                let oid = store::git_blob_id(&file.digest, file.size);
                let mut entry = json!({ "type": "file", "oid": oid, "size": file.size, "path": file.path });
                if let Some(pointer_size) = pointer_size(file) {
                    entry["lfs"] =
                        json!({ "oid": file.digest, "size": file.size, "pointerSize": pointer_size });
                }
                entry
            }
        }
    }
}

/// Tells of a model: with `blobs` each file comes with its size and names; with fields, only of those.
pub(super) fn model(shelf: &ModelShelf, blobs: bool, fields: &[String]) -> Value {
    let key = shelf.key();
    let siblings: Vec<Value> = shelf.files().iter().map(|file| sibling(file, blobs)).collect();
    let name = key.repo.name.as_str();
    let mut id = key.selection.to_string();
    // As long as the Hub's.
    id.truncate(24);
    let mut all = json!({
        "_id": id,
        "id": name,
        "modelId": name,
        "author": name.split('/').next().unwrap_or_default(),
        "sha": shelf.commit(),
        "private": false,
        "gated": false,
        "disabled": false,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
        "usedStorage": shelf.files().iter().map(|file| file.size).sum::<u64>(),
    });
    if let Some(told) = all.as_object_mut().filter(|_| !fields.is_empty()) {
        told.retain(|field, _| matches!(field.as_str(), "_id" | "id") || fields.contains(field));
    }
    all
}

/// Lists the entries below a folder, a page at a time.
///
/// # Errors
/// `EntryNotFound` when there is no such folder, `BadRequest` for a cursor that is none.
pub(super) fn tree(shelf: &ModelShelf, folder: Option<&str>, query: &TreeQuery) -> Result<Page, Refusal> {
    if let Some(folder) = folder.filter(|folder| !shelf.folders().contains_key(*folder)) {
        let (commit, path) = (shelf.commit(), folder.to_owned());
        return Err(Refusal::EntryNotFound { commit, path, note: "" });
    }
    let after = query.cursor.as_deref().map(|cursor| decode(cursor).ok_or_else(broken_cursor)).transpose()?;
    let below = folder.map_or_else(String::new, |folder| format!("{folder}/"));
    let wanted = |path: &str| {
        path.strip_prefix(below.as_str()).is_some_and(|rest| query.recursive || !rest.contains('/'))
            && after.as_deref().is_none_or(|after| path > after)
    };
    let files = shelf.files().iter().map(Entry::File);
    let folders = shelf.folders().iter().map(|(path, state)| Entry::Folder(path, state));
    let mut entries: Vec<Entry<'_>> = files.chain(folders).filter(|entry| wanted(entry.path())).collect();
    entries.sort_unstable_by(|one, other| one.path().cmp(other.path()));
    let page_size = query.limit.unwrap_or(PAGE_ENTRIES_MAX).clamp(1, PAGE_ENTRIES_MAX);
    let more = entries.len() > page_size;
    entries.truncate(page_size);
    let last = entries.last().filter(|_| more);
    let next_cursor = last.map(|entry| BASE64URL_NOPAD.encode(entry.path().as_bytes()));
    Ok(Page { entries: entries.iter().map(Entry::json).collect(), next_cursor })
}

/// Tells of the given paths, leaving out those that are not here.
///
/// # Errors
/// `BadRequest` for too many paths.
pub(super) fn paths(shelf: &ModelShelf, paths: &[String]) -> Result<Vec<Value>, Refusal> {
    if paths.len() > PATHS_MAX {
        let message = format!("at most {PATHS_MAX} paths can be asked for at once");
        return Err(Refusal::BadRequest { message });
    }
    let wanted: BTreeSet<&str> = paths.iter().map(|path| path.trim_end_matches('/')).collect();
    let found = wanted.into_iter().filter_map(|path| match shelf.find(path) {
        super::shelf::Found::File(file) => Some(Entry::File(file)),
        super::shelf::Found::Absent | super::shelf::Found::NotKept => {
            shelf.folders().get_key_value(path).map(|(path, state)| Entry::Folder(path, state))
        }
    });
    Ok(found.map(|entry| entry.json()).collect())
}

/// Tells of the names that lead to the commit.
pub(super) fn refs(shelf: &ModelShelf) -> Value {
    let branches: Vec<Value> = shelf
        .refs()
        .iter()
        .map(|name| json!({ "name": name, "ref": full_ref(name.as_str()), "targetCommit": shelf.commit() }))
        .collect();
    json!({ "branches": branches, "tags": [], "converts": [] })
}

fn full_ref(name: &str) -> String {
    if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") }
}

fn sibling(file: &ManifestFile, blobs: bool) -> Value {
    let mut told = json!({ "rfilename": file.path });
    if blobs {
        told["blobId"] = json!(store::git_blob_id(&file.digest, file.size));
        told["size"] = json!(file.size);
        if let Some(pointer_size) = pointer_size(file) {
            told["lfs"] = json!({ "sha256": file.digest, "size": file.size, "pointerSize": pointer_size });
        }
    }
    told
}

/// Returns the length of the pointer that stands for a file in git, when one does.
fn pointer_size(file: &ManifestFile) -> Option<usize> {
    match file.digest {
        Digest::Sha256(_) => Some(POINTER_BYTES + file.size.to_string().len()),
        Digest::GitSha1(_) => None,
    }
}

fn decode(cursor: &str) -> Option<String> {
    String::from_utf8(BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?).ok()
}

fn broken_cursor() -> Refusal {
    Refusal::BadRequest { message: "the cursor of the page is broken".to_owned() }
}

#[cfg(test)]
mod tests;
