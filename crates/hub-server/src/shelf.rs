//! Repositories and branches as they are now: looked up by name, read again when they may have changed.
//!
//! Owns no task. Readers that come at once share one reading; the first of them drives it, and when that one goes
//! away the next does.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base::{Clock, Timestamp};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use types::{Commit, RepoName, RepoPath, Revision};

use crate::{
    folder::{Catalogue, Folder},
    git::{self, ObjectId},
    identity::{Identities, Identity},
};

/// A branch at one moment. Never changes; a change in the folder gives another value with another commit.
#[derive(Debug)]
pub(crate) struct Branch {
    /// What its files are named by as a whole.
    pub(crate) commit: Commit,
    /// Sorted by path.
    pub(crate) files: Vec<HubFile>,
    /// Each folder with the name of its tree.
    pub(crate) folders: BTreeMap<String, ObjectId>,
    /// When a file was last written to.
    pub(crate) modified: Timestamp,
}

/// A file of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubFile {
    pub(crate) path: RepoPath,
    /// Where it stands in the served folder.
    pub(crate) place: RepoPath,
    pub(crate) size: u64,
    pub(crate) identity: Identity,
}

impl Branch {
    /// Returns a file by its path.
    pub(crate) fn file(&self, path: &str) -> Option<&HubFile> {
        let found = self.files.binary_search_by(|file| file.path.as_str().cmp(path));
        found.ok().map(|place| &self.files[place])
    }
}

/// How a name that was asked for stands to the names that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NameMatch {
    /// It is one of them.
    Exact(RepoName),
    /// It means one of them that is spelt otherwise.
    Other(RepoName),
    /// It is none of them, or could be several.
    None,
}

/// The folder could not be read. Cheap to clone, since those who share a reading share its failure.
#[derive(Clone, Debug, thiserror::Error)]
#[error("can't read the served folder: {0}")]
pub(crate) struct ShelfError(Arc<io::Error>);

impl From<io::Error> for ShelfError {
    fn from(error: io::Error) -> Self {
        Self(Arc::new(error))
    }
}

/// Reads something at most once at a time and keeps it for a while.
type Reading<T> = Shared<BoxFuture<'static, Result<Arc<T>, ShelfError>>>;

#[derive(Debug)]
struct Slot<T> {
    kept: Option<(Timestamp, Arc<T>)>,
    reading: Option<Reading<T>>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { kept: None, reading: None }
    }
}

/// The repositories of a folder.
#[derive(Debug)]
pub(crate) struct Shelf {
    folder: Arc<Folder>,
    identities: Arc<Identities>,
    clock: Clock,
    rescan_after: Duration,
    catalogue: Mutex<Slot<Catalogue>>,
    /// By the folder that holds the branch.
    branches: Mutex<HashMap<String, Slot<Branch>>>,
}

impl Shelf {
    pub(crate) fn new(folder: Arc<Folder>, clock: Clock, rescan_after: Duration) -> Self {
        let identities = Arc::new(Identities::new(Arc::clone(&folder)));
        Self {
            folder,
            identities,
            clock,
            rescan_after,
            catalogue: Mutex::default(),
            branches: Mutex::default(),
        }
    }

    pub(crate) fn identities(&self) -> &Identities {
        &self.identities
    }

    pub(crate) fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// Returns the repositories that there are.
    pub(crate) async fn catalogue(&self) -> Result<Arc<Catalogue>, ShelfError> {
        let now = self.clock.now();
        let reading = {
            let mut slot = self.catalogue.lock().unwrap_or_else(PoisonError::into_inner);
            let folder = Arc::clone(&self.folder);
            match slot.current_or_reading(now, self.rescan_after, || {
                async move { Ok(Arc::new(blocking(move || folder.catalogue()).await?)) }.boxed()
            }) {
                Current::Kept(kept) => return Ok(kept),
                Current::Reading(reading) => reading,
            }
        };
        let result = reading.clone().await;
        self.catalogue.lock().unwrap_or_else(PoisonError::into_inner).finish(&reading, now, &result);
        if let Ok(catalogue) = &result {
            let there: HashSet<&String> = catalogue.values().flat_map(BTreeMap::values).collect();
            let mut branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
            branches.retain(|folder, _| there.contains(folder));
        }
        result
    }

    /// Returns the branch that a folder of the catalogue holds.
    pub(crate) async fn branch(&self, branch_folder: &str) -> Result<Arc<Branch>, ShelfError> {
        let now = self.clock.now();
        let reading = {
            let mut branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = branches.entry(branch_folder.to_owned()).or_default();
            let (folder, identities) = (Arc::clone(&self.folder), Arc::clone(&self.identities));
            let place = branch_folder.to_owned();
            match slot
                .current_or_reading(now, self.rescan_after, || read_branch(folder, identities, place).boxed())
            {
                Current::Kept(kept) => return Ok(kept),
                Current::Reading(reading) => reading,
            }
        };
        let result = reading.clone().await;
        let mut branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = branches.get_mut(branch_folder) {
            slot.finish(&reading, now, &result);
        }
        result
    }

    /// Finds a revision of a repository: a branch by its name or its full ref, or the commit of one of them.
    pub(crate) async fn revision(
        &self,
        branches: &BTreeMap<Revision, String>,
        revision: &str,
    ) -> Result<Option<Arc<Branch>>, ShelfError> {
        let name = revision.strip_prefix("refs/heads/").unwrap_or(revision);
        if let Some(folder) = name.parse::<Revision>().ok().and_then(|name| branches.get(&name)) {
            return self.branch(folder).await.map(Some);
        }
        let Ok(commit) = revision.parse::<Commit>() else { return Ok(None) };
        for folder in branches.values() {
            let branch = self.branch(folder).await?;
            if branch.commit == commit {
                return Ok(Some(branch));
            }
        }
        Ok(None)
    }

    /// Hashes everything that there is, so that the first request finds it done.
    pub(crate) async fn warm_up(&self) -> Result<(), ShelfError> {
        let catalogue = self.catalogue().await?;
        let folders: Vec<&String> = catalogue.values().flat_map(BTreeMap::values).collect();
        for place in &folders {
            let (folder, place) = (Arc::clone(&self.folder), (*place).clone());
            self.identities.announce(&blocking(move || folder.scan(&place)).await?);
        }
        for place in folders {
            // One folder that can't be read is no reason to leave the others cold; its requests will say why.
            if let Err(error) = self.branch(place).await {
                tracing::warn!(folder = place, %error, "could not hash a repository");
            }
        }
        self.identities.finish();
        Ok(())
    }
}

enum Current<T> {
    Kept(Arc<T>),
    Reading(Reading<T>),
}

impl<T> Slot<T> {
    fn current_or_reading(
        &mut self,
        now: Timestamp,
        keep: Duration,
        read: impl FnOnce() -> BoxFuture<'static, Result<Arc<T>, ShelfError>>,
    ) -> Current<T> {
        match &self.kept {
            Some((since, kept)) if now.since(*since) < keep => Current::Kept(Arc::clone(kept)),
            Some(_) | None => Current::Reading(self.reading.get_or_insert_with(|| read().shared()).clone()),
        }
    }

    /// Keeps the result of a reading, unless another reading has begun since.
    fn finish(&mut self, reading: &Reading<T>, begun: Timestamp, result: &Result<Arc<T>, ShelfError>) {
        if !self.reading.as_ref().is_some_and(|running| running.ptr_eq(reading)) {
            return;
        }
        self.reading = None;
        if let Ok(read) = result {
            self.kept = Some((begun, Arc::clone(read)));
        }
    }
}

/// Matches a name as asked for against the names that there are: exactly, then whatever its letter case, then, for a
/// name without an organisation, by the name alone.
pub(crate) fn match_name(catalogue: &Catalogue, asked: &RepoName) -> NameMatch {
    if catalogue.contains_key(asked) {
        return NameMatch::Exact(asked.clone());
    }
    let asked = asked.as_str();
    let mut alike = catalogue.keys().filter(|name| {
        let whole = name.as_str();
        let last = whole.rsplit('/').next().unwrap_or(whole);
        whole.eq_ignore_ascii_case(asked) || (!asked.contains('/') && last.eq_ignore_ascii_case(asked))
    });
    match (alike.next(), alike.next()) {
        (Some(one), None) => NameMatch::Other(one.clone()),
        (Some(_), Some(_)) | (None, _) => NameMatch::None,
    }
}

async fn read_branch(
    folder: Arc<Folder>,
    identities: Arc<Identities>,
    place: String,
) -> Result<Arc<Branch>, ShelfError> {
    let scanned = place.clone();
    let found = blocking(move || folder.scan(&scanned)).await?;
    let known = identities.of_all(&found).await?;
    identities.forget_others(&place, &found);
    let modified = found.iter().map(|file| file.stamp.modified_nanos).max().unwrap_or(0);
    let files: Vec<HubFile> = found
        .into_iter()
        .zip(known)
        .map(|(file, identity)| HubFile {
            path: file.path,
            place: file.place,
            size: file.stamp.len,
            identity,
        })
        .collect();
    let trees = git::tree_ids(files.iter().map(|file| (&file.path, file.identity.blob_id())));
    Ok(Arc::new(Branch {
        commit: git::commit_id(&trees.root),
        files,
        folders: trees.folders,
        modified: Timestamp::from_micros(i64::try_from(modified / 1000).unwrap_or(0)),
    }))
}

/// Runs file calls on the pool for blocking work.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_exactly_then_by_case_then_without_organisation() {
        let catalogue: Catalogue = ["acme/Tiny", "acme/big", "other/big", "Org/One", "org/one"]
            .map(|name| (name.parse().unwrap(), BTreeMap::new()))
            .into();
        let check = |asked: &str, expected: Option<&str>| {
            let asked: RepoName = asked.parse().unwrap();
            let expected = match expected {
                Some(name) if name == asked.as_str() => NameMatch::Exact(asked.clone()),
                Some(name) => NameMatch::Other(name.parse().unwrap()),
                None => NameMatch::None,
            };
            assert_eq!(match_name(&catalogue, &asked), expected, "{asked}");
        };
        check("acme/Tiny", Some("acme/Tiny"));
        check("ACME/tiny", Some("acme/Tiny"));
        check("tiny", Some("acme/Tiny"));
        check("big", None);
        check("org/one", Some("org/one"));
        check("Org/One", Some("Org/One"));
        check("ORG/ONE", None);
        check("acme/none", None);
    }
}
