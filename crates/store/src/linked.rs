//! Which blobs were linked from a cache: another name of the same file may still be written by its owner, so these are
//! checked more often than the store's own.
//!
//! One empty file for each in `linked/`, durable before the blob has its name. A marker without its blob is removed at
//! open; one that stays beside a blob that was fetched again costs only checks.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base::{Access, Disk};
use types::Digest;

use crate::{DiskTrouble, partial::remove_if_there, store::Inner};

const FOLDER: &str = "linked";

/// The marked blobs of an open store.
#[derive(Debug)]
pub(crate) struct LinkedBlobs {
    folder: PathBuf,
    digests: Mutex<BTreeSet<Digest>>,
}

impl LinkedBlobs {
    /// Reads the markers below a root, and removes those whose blob is not here.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        root: &Path,
        is_here: impl Fn(&Digest) -> bool,
    ) -> Result<Self, DiskTrouble> {
        let folder = root.join(FOLDER);
        let entries = match disk.list(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(DiskTrouble::new("listing", folder, error)),
        };
        let mut digests = BTreeSet::new();
        for entry in entries {
            match entry.name.parse::<Digest>() {
                Ok(digest) if is_here(&digest) => {
                    digests.insert(digest);
                }
                Ok(_) => remove_if_there(disk, &folder.join(&entry.name))?,
                Err(_) => {
                    tracing::warn!(name = entry.name, "a file among the markers that is not the store's");
                }
            }
        }
        Ok(Self { folder, digests: Mutex::new(digests) })
    }

    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.digests().contains(digest)
    }

    pub(crate) fn all(&self) -> BTreeSet<Digest> {
        self.digests().clone()
    }

    fn digests(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Marks blobs that are about to get their names, durably.
    pub(crate) fn mark_linked(&self, digests: &BTreeSet<Digest>) -> Result<(), DiskTrouble> {
        let folder = &self.linked.folder;
        let new: Vec<Digest> =
            digests.iter().filter(|digest| !self.linked.contains(digest)).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        self.make_durable_folder(&mut self.publication(), folder)?;
        for digest in &new {
            let path = folder.join(digest.to_string());
            let made = self.disk.open(&path, Access::CreateOrKeep);
            made.map_err(|error| DiskTrouble::new("making", path, error))?;
        }
        self.disk.sync_folder(folder).map_err(|error| DiskTrouble::new("syncing", folder, error))?;
        self.linked.digests().extend(new);
        Ok(())
    }
}
