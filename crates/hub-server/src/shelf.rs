//! Repositories and branches as they are now: looked up by name, read again when they may have changed.
//!
//! Owns no task. Those who ask at once share one reading; each of them drives it, so it goes on when one goes away.

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

type Reading<T> = Shared<BoxFuture<'static, Result<Arc<T>, ShelfError>>>;

/// Something that is read at most once at a time and kept for a while.
#[derive(Debug)]
struct Slot<T> {
    /// The latest result, and when its reading began.
    kept: Option<(Timestamp, Arc<T>)>,
    /// The reading under way, and when it began.
    reading: Option<(Timestamp, Reading<T>)>,
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
    branches: Mutex<HashMap<String, Arc<Mutex<Slot<Branch>>>>>,
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
        let catalogue = current(&self.catalogue, &self.clock, self.rescan_after, || {
            let folder = Arc::clone(&self.folder);
            async move { Ok(Arc::new(blocking(move || folder.catalogue()).await?)) }.boxed()
        })
        .await?;
        let there: HashSet<&String> = catalogue.values().flat_map(BTreeMap::values).collect();
        self.branches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|folder, _| there.contains(folder));
        Ok(catalogue)
    }

    /// Returns the branch that a folder of the catalogue holds.
    pub(crate) async fn branch(&self, branch_folder: &str) -> Result<Arc<Branch>, ShelfError> {
        let slot = {
            let mut branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(branches.entry(branch_folder.to_owned()).or_default())
        };
        current(&slot, &self.clock, self.rescan_after, || {
            let (folder, identities) = (Arc::clone(&self.folder), Arc::clone(&self.identities));
            read_branch(folder, identities, branch_folder.to_owned()).boxed()
        })
        .await
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

/// Returns what a slot holds, read no longer than `keep` before this call.
///
/// A reading that began earlier is waited for (it may be hashing what is needed here too) and followed by another.
async fn current<T>(
    slot: &Mutex<Slot<T>>,
    clock: &Clock,
    keep: Duration,
    read: impl Fn() -> BoxFuture<'static, Result<Arc<T>, ShelfError>>,
) -> Result<Arc<T>, ShelfError> {
    let arrived = clock.now();
    let mut waited_for_another = false;
    loop {
        let (begun, reading) = {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            match &slot.kept {
                Some((begun, kept)) if arrived.since(*begun) < keep => return Ok(Arc::clone(kept)),
                Some(_) | None => slot.reading.get_or_insert_with(|| (clock.now(), read().shared())).clone(),
            }
        };
        let result = reading.clone().await;
        slot.lock().unwrap_or_else(PoisonError::into_inner).finish(begun, &reading, &result);
        let found = result?;
        // The second reading began after the first had ended, whatever a corrected clock says.
        if begun + keep >= arrived || waited_for_another {
            return Ok(found);
        }
        waited_for_another = true;
    }
}

impl<T> Slot<T> {
    /// Keeps the result of a reading, unless another reading has begun since.
    fn finish(&mut self, begun: Timestamp, reading: &Reading<T>, result: &Result<Arc<T>, ShelfError>) {
        if !self.reading.as_ref().is_some_and(|(_, running)| running.ptr_eq(reading)) {
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

    #[tokio::test]
    async fn those_who_ask_at_once_share_a_reading_that_began_after_they_came() {
        let time = base::ManualTime::starting_at(Timestamp::from_millis(1000));
        let clock = Clock::Manual(Arc::clone(&time));
        let slot = Mutex::new(Slot::<usize>::default());
        let readings = std::sync::atomic::AtomicUsize::new(0);
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let read = || {
            let number = readings.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(Arc::new(number))
            }
            .boxed()
        };
        let keep = Duration::from_secs(1);
        let ask = || current(&slot, &clock, keep, read);
        // The first two share a reading; the first goes away before it ends.
        let mut first = Box::pin(ask());
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(ask());
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        // The third comes too late to be content with it.
        time.advance(Duration::from_secs(2));
        let mut third = Box::pin(ask());
        assert!(futures::poll!(&mut third).is_pending());
        gate.add_permits(1);
        assert_eq!(*second.await.unwrap(), 1);
        assert!(futures::poll!(&mut third).is_pending());
        gate.add_permits(1);
        assert_eq!(*third.await.unwrap(), 2);
        assert_eq!(*ask().await.unwrap(), 2);
        time.advance(keep);
        gate.add_permits(1);
        assert_eq!(*ask().await.unwrap(), 3);
    }
}
