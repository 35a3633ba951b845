//! Where things stand in a Hugging Face cache: which repositories and snapshots there are, and what leads to them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use base::{FolderEntry, ForeignFile, ForeignFolder};
use types::{Commit, RepoName, Revision};

use super::{CacheUnreadable, ImportError, InsideStore, NoCache, Skipped, is_folder};
use crate::store::Inner;

/// The folder of a cache in the folder that `HF_HOME` names.
const HUB: &str = "hub";
/// What the folders of models begin with; datasets and spaces begin with their own words.
const MODEL_PREFIX: &str = "models--";
/// Entries that are told as skipped: more are not read by anyone.
const SKIPPED_MAX: usize = 1000;
/// Refs of one repository that are read. They only name commits that are taken in any case.
const REFS_MAX: usize = 1000;
/// A ref holds 40 digits, in some versions with a line break.
const REF_BYTES_MAX: u64 = 256;

/// An open cache.
#[derive(Debug)]
pub(super) struct Cache {
    /// The folder by the path that was given.
    given: PathBuf,
    /// Its real path, to read links that name it from the root.
    real: PathBuf,
    pub(super) folder: Box<dyn ForeignFolder>,
}

/// What stands in a cache.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) snapshots: Vec<SnapshotPlace>,
    pub(super) skipped: Vec<Skipped>,
}

/// A snapshot that is there.
#[derive(Clone, Debug)]
pub(super) struct SnapshotPlace {
    pub(super) repo: RepoName,
    pub(super) commit: Commit,
    pub(super) refs: Vec<String>,
    /// The repository's folder in the cache.
    pub(super) folder: String,
}

impl SnapshotPlace {
    pub(super) fn snapshot(&self) -> String {
        format!("{}/snapshots/{}", self.folder, self.commit)
    }

    pub(super) fn no_exist(&self) -> String {
        format!("{}/.no_exist/{}", self.folder, self.commit)
    }

    pub(super) fn tree(&self) -> String {
        format!("{}/trees/{}.json", self.folder, self.commit)
    }

    pub(super) fn name(&self) -> String {
        format!("{}@{}", self.repo, self.commit.short())
    }
}

impl Cache {
    /// Opens a cache, or the one that a folder holds as `hub`.
    pub(super) fn open(store: &Inner, given: &Path) -> Result<Self, ImportError> {
        let unreadable = |source| CacheUnreadable { folder: given.to_owned(), source };
        let own = store.disk.foreign(store.layout.root()).and_then(|root| root.path()).map_err(unreadable)?;
        for place in [given.join(HUB), given.to_owned()] {
            let folder = match store.disk.foreign(&place) {
                Ok(folder) => folder,
                Err(error) if is_no_folder(&error) => continue,
                Err(error) => return Err(unreadable(error).into()),
            };
            let entries = folder.list("").map_err(unreadable)?;
            if !entries.iter().any(|entry| entry.name.starts_with(MODEL_PREFIX)) {
                continue;
            }
            let real = folder.path().map_err(unreadable)?;
            if real.starts_with(&own) {
                return Err(InsideStore { folder: given.to_owned() }.into());
            }
            return Ok(Self { given: place, real, folder });
        }
        Err(NoCache { folder: given.to_owned() }.into())
    }

    pub(super) fn unreadable(&self, source: io::Error) -> ImportError {
        CacheUnreadable { folder: self.given.clone(), source }.into()
    }

    /// Returns the path of a link's target below the cache, by its text alone. `None` when it leads out.
    pub(super) fn target(&self, link: &str, text: &Path) -> Option<String> {
        let mut parts: Vec<&str> = link.split('/').collect();
        parts.pop();
        let text = match text.strip_prefix("/") {
            Ok(_) => {
                parts.clear();
                text.strip_prefix(&self.real).or_else(|_| text.strip_prefix(&self.given)).ok()?
            }
            Err(_) => text,
        };
        for part in text.to_str()?.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop()?;
                }
                name => parts.push(name),
            }
        }
        Some(parts.join("/"))
    }

    /// Reads a small file; `None` when it is none, or not there, or longer than its limit.
    pub(super) fn read(&self, path: &str, bytes_max: u64) -> Option<Vec<u8>> {
        let file = self.folder.open(path).ok()?;
        let len = file.meta().ok()?.len;
        if len > bytes_max {
            return None;
        }
        read_whole(&*file, usize::try_from(len).ok()?).ok()
    }

    /// Lists the models of the cache.
    pub(super) fn contents(&self) -> io::Result<Contents> {
        let mut contents = Contents::default();
        for entry in self.folder.list("")? {
            if let Err(reason) = self.repository(&entry, &mut contents) {
                contents.skip(&entry.name, reason);
            }
        }
        contents.snapshots.sort_by(|a, b| (&a.repo, a.commit).cmp(&(&b.repo, b.commit)));
        Ok(contents)
    }

    fn repository(&self, entry: &FolderEntry, contents: &mut Contents) -> Result<(), &'static str> {
        let Some(name) = entry.name.strip_prefix(MODEL_PREFIX) else {
            let other = entry.name.starts_with("datasets--") || entry.name.starts_with("spaces--");
            return if other { Err("it is no model") } else { Ok(()) };
        };
        if !is_folder(entry.kind) {
            return Err("it is no folder of its own");
        }
        let repo: RepoName = name.replacen("--", "/", 1).parse().map_err(|_| "its name is no model's")?;
        if repo.cache_folder() != entry.name {
            return Err("its name is no model's");
        }
        let folder = entry.name.clone();
        let refs = self.refs(&folder);
        let snapshots = match self.folder.list(&format!("{folder}/snapshots")) {
            Ok(snapshots) => snapshots,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err("it has no snapshot"),
            Err(_) => return Err("its snapshots can't be read"),
        };
        for snapshot in snapshots {
            match (snapshot.name.parse::<Commit>(), is_folder(snapshot.kind)) {
                (Ok(commit), true) => contents.snapshots.push(SnapshotPlace {
                    repo: repo.clone(),
                    commit,
                    refs: refs.get(&commit).cloned().unwrap_or_default(),
                    folder: folder.clone(),
                }),
                (Ok(_), false) => {
                    contents.skip(&format!("{repo}@{}", snapshot.name), "it is no folder of its own");
                }
                (Err(_), _) => contents.skip(&format!("{repo}@{}", snapshot.name), "its name is no commit"),
            }
        }
        Ok(())
    }

    /// Returns the names that lead to each commit. What can't be read leads nowhere.
    fn refs(&self, folder: &str) -> BTreeMap<Commit, Vec<String>> {
        let root = format!("{folder}/refs");
        let mut refs: BTreeMap<Commit, Vec<String>> = BTreeMap::new();
        let mut folders = vec![root.clone()];
        let mut read = 0;
        while let Some(at) = folders.pop() {
            for entry in self.folder.list(&at).unwrap_or_default() {
                read += 1;
                if read > REFS_MAX {
                    return refs;
                }
                let path = format!("{at}/{}", entry.name);
                if is_folder(entry.kind) {
                    folders.push(path);
                    continue;
                }
                let name = path[root.len() + 1..].to_owned();
                let text = self.read(&path, REF_BYTES_MAX).and_then(|bytes| String::from_utf8(bytes).ok());
                let commit = text.and_then(|text| text.trim().parse::<Commit>().ok());
                if let (Some(commit), Ok(revision)) = (commit, name.parse::<Revision>()) {
                    refs.entry(commit).or_default().push(revision.to_string());
                }
            }
        }
        refs.values_mut().for_each(|names| names.sort_unstable());
        refs
    }
}

impl Contents {
    fn skip(&mut self, name: &str, reason: &'static str) {
        if self.skipped.len() < SKIPPED_MAX {
            self.skipped.push(Skipped { name: name.chars().take(200).collect(), reason });
        }
    }
}

fn is_no_folder(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads so many bytes of a file; fewer when it ends before.
pub(super) fn read_whole(file: &dyn ForeignFile, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
