//! The served folder: what repositories it holds and what files they have. Nothing outside it is ever opened.
//!
//! Every open goes through the folder's descriptor with `RESOLVE_BENEATH`: the kernel refuses an absolute link, a
//! link that climbs out, and one that is swapped in between two looks. Links to files inside the folder work.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
};

use percent_encoding::percent_decode_str;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use types::{RepoName, RepoPath, Revision};

/// More files than any repository of models has; the public Hub advises against more than 100,000.
const FILES_MAX: usize = 100_000;
/// What clients leave in a folder that they downloaded into, and what an operator's clone holds.
const LEFT_OUT: [&str; 2] = [".git", ".cache"];

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    pub(crate) len: u64,
    pub(crate) modified_nanos: i128,
    inode: u64,
}

impl FileStamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        let modified_nanos = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self { len: metadata.len(), modified_nanos, inode: metadata.ino() }
    }
}

/// A file of a branch, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundFile {
    /// Its path in the repository.
    pub(crate) path: RepoPath,
    /// Its path in the served folder.
    pub(crate) place: RepoPath,
    pub(crate) stamp: FileStamp,
}

/// The repositories of a folder, each with its branches and the folders that hold them.
pub(crate) type Catalogue = BTreeMap<RepoName, BTreeMap<Revision, String>>;

/// A folder that is served.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// Opens a file to read. Blocks.
    pub(crate) fn open_file(&self, place: &RepoPath) -> io::Result<(File, FileStamp)> {
        // Without O_NONBLOCK a pipe that somebody left in the folder would hold this thread.
        let file = File::from(self.open_beneath(place.as_str(), OFlags::RDONLY | OFlags::NONBLOCK)?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok((file, FileStamp::of(&metadata)))
    }

    /// Lists the repositories: folders `org/name` (branch `main`) and `org/name@branch`. Blocks.
    pub(crate) fn catalogue(&self) -> io::Result<Catalogue> {
        let mut catalogue = Catalogue::new();
        for (org, kind) in self.list(".")? {
            if !self.is_folder(&org, kind) || org.starts_with('.') {
                continue;
            }
            let entries = self.list(&org).unwrap_or_else(|error| {
                tracing::warn!(folder = org, %error, "left out a folder that can't be read");
                Vec::new()
            });
            for (entry, kind) in entries {
                let place = format!("{org}/{entry}");
                if !self.is_folder(&place, kind) || entry.starts_with('.') {
                    continue;
                }
                match parse_repo_folder(&org, &entry) {
                    Some((repo, branch)) => drop(catalogue.entry(repo).or_default().insert(branch, place)),
                    None => tracing::warn!(folder = place, "left out a folder whose name is no repository's"),
                }
            }
        }
        Ok(catalogue)
    }

    /// Lists the files of a branch, sorted by path. Blocks.
    pub(crate) fn scan(&self, branch_folder: &str) -> io::Result<Vec<FoundFile>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![String::new()];
        while let Some(below) = folders.pop() {
            let folder =
                if below.is_empty() { branch_folder.to_owned() } else { format!("{branch_folder}/{below}") };
            for (name, kind) in self.list(&folder)? {
                if below.is_empty() && LEFT_OUT.contains(&name.as_str()) {
                    continue;
                }
                let path = if below.is_empty() { name } else { format!("{below}/{name}") };
                if kind == FileType::Directory {
                    // The rules for a path bound its depth too; a folder's own path must keep them.
                    match path.parse::<RepoPath>() {
                        Ok(_) => folders.push(path),
                        Err(error) => tracing::warn!(%error, "left out a folder"),
                    }
                    continue;
                }
                match self.look_at(branch_folder, &path, kind) {
                    Ok(file) => drop(found.insert(file.path.clone(), file)),
                    Err(reason) => tracing::warn!(folder = branch_folder, path, reason, "left out a file"),
                }
                if found.len() > FILES_MAX {
                    return Err(io::Error::other(format!("it holds more than {FILES_MAX} files")));
                }
            }
        }
        Ok(found.into_values().collect())
    }

    fn look_at(&self, branch_folder: &str, path: &str, kind: FileType) -> Result<FoundFile, String> {
        if !matches!(kind, FileType::RegularFile | FileType::Symlink) {
            return Err("it is no regular file".to_owned());
        }
        let parse = |text: &str| text.parse::<RepoPath>().map_err(|error| error.reason.to_owned());
        let path = parse(path)?;
        let place = parse(&format!("{branch_folder}/{path}"))?;
        let node =
            self.open_beneath(place.as_str(), OFlags::PATH).map_err(|error| match error.raw_os_error() {
                Some(code) if code == rustix::io::Errno::XDEV.raw_os_error() => {
                    "it is a link that leaves the served folder".to_owned()
                }
                Some(_) | None => error.to_string(),
            })?;
        let metadata = File::from(node).metadata().map_err(|error| error.to_string())?;
        if !metadata.is_file() {
            return Err("it is a link to something other than a file".to_owned());
        }
        Ok(FoundFile { path, place, stamp: FileStamp::of(&metadata) })
    }

    fn is_folder(&self, place: &str, kind: FileType) -> bool {
        match kind {
            FileType::Directory => true,
            FileType::Symlink => {
                let opened = self.open_beneath(place, OFlags::PATH | OFlags::DIRECTORY);
                if opened.is_err() {
                    tracing::warn!(
                        folder = place,
                        "left out a link that leads to no folder inside the served one"
                    );
                }
                opened.is_ok()
            }
            // The system's enum, closed but long: everything else is no folder.
            _ => false,
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, FileType)>> {
        let opened = self.open_beneath(folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        let mut reader = Dir::new(opened)?;
        while let Some(entry) = reader.read() {
            let entry = entry?;
            match entry.file_name().to_str() {
                Ok("." | "..") => {}
                Ok(name) => {
                    let kind = match entry.file_type() {
                        // Some file systems do not tell.
                        FileType::Unknown => kind_of(&reader, name)?,
                        told => told,
                    };
                    entries.push((name.to_owned(), kind));
                }
                Err(_) => tracing::warn!(folder, "left out a file whose name is not UTF-8"),
            }
        }
        entries.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(entries)
    }

    fn open_beneath(&self, place: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(&self.0, place, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }
}

fn kind_of(folder: &Dir, name: &str) -> io::Result<FileType> {
    let found = rustix::fs::statat(folder.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode))
}

/// Reads the name of a folder: `name` is branch main, `name@branch` another, with `%2F` for a slash in the branch.
fn parse_repo_folder(org: &str, entry: &str) -> Option<(RepoName, Revision)> {
    let (name, branch) = match entry.split_once('@') {
        Some((name, branch)) => (name, percent_decode_str(branch).decode_utf8().ok()?.parse().ok()?),
        None => (entry, Revision::main()),
    };
    let repo = format!("{org}/{name}").parse().ok()?;
    // A branch that looks like a commit could not be told from one.
    let is_commit = branch.as_str().parse::<types::Commit>().is_ok();
    (!is_commit).then_some((repo, branch))
}

#[cfg(test)]
mod tests;
