//! Brings the files of snapshots into the store, one by one, and records the models that are whole then.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    ops::ControlFlow,
    time::Duration,
};

use base::{ByteSize, FileOwner, ForeignFile};
use sha2::{Digest as _, Sha256};
use types::{Digest, Manifest, ManifestFile, ModelKey, RepoId, SelectionKey};

use super::{
    FileFlaw, FileProblem, ImportBytes, ImportEnd, ImportMode, ImportObserver, ImportProgress, ImportReport,
    ImportRequest, ImportedSnapshot, LeftOut, SnapshotOutcome,
    attributes::{ATTRIBUTES_BYTES_MAX, Attributes},
    batch::Batch,
    layout::{Cache, SnapshotPlace},
    listing::Listing,
    scan::{Found, FoundFile, scan},
    whole,
};
use crate::{Arrival, DiskTrouble, Provenance, PublishModelError, Store, hash::ContentHasher};

mod bring;

/// Flaws that are told of one snapshot; there is one cause behind a hundred of them.
const FLAWS_MAX: usize = 20;

/// What ends an import before its end.
#[derive(Debug)]
pub(super) enum Stop {
    Cancelled,
    Disk(DiskTrouble),
    /// The first link showed that the cache is on another file system.
    Across,
}

impl From<DiskTrouble> for Stop {
    fn from(trouble: DiskTrouble) -> Self {
        Self::Disk(trouble)
    }
}

/// Why one file was not brought.
#[derive(Debug)]
enum CarryError {
    Flaw(FileProblem),
    Stop(Stop),
}

impl From<FileProblem> for CarryError {
    fn from(problem: FileProblem) -> Self {
        Self::Flaw(problem)
    }
}

impl From<Stop> for CarryError {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<DiskTrouble> for CarryError {
    fn from(trouble: DiskTrouble) -> Self {
        Self::Stop(Stop::Disk(trouble))
    }
}

/// Whether the file system shares blocks between files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clones {
    Untried,
    Work,
    Unsupported,
}

/// A snapshot whose files are all here, or in the batch.
#[derive(Debug)]
struct Waiting {
    manifest: Manifest,
    snapshot: ImportedSnapshot,
    /// Bytes that were brought for it.
    bytes: ByteSize,
    millis: u64,
}

/// One import under way.
pub(super) struct Carrier<'a, 'o> {
    store: &'a Store,
    request: &'a ImportRequest,
    cache: &'a Cache,
    observer: &'a mut ImportObserver<'o>,
    pub(super) progress: ImportProgress,
    batch: Batch,
    waiting: Vec<Waiting>,
    done: Vec<ImportedSnapshot>,
    bytes: ImportBytes,
    clones: Clones,
    /// Contents that this import has dealt with, brought or found here.
    met: HashSet<Digest>,
    buffer: Vec<u8>,
}

impl<'a, 'o> Carrier<'a, 'o> {
    pub(super) fn new(
        store: &'a Store,
        request: &'a ImportRequest,
        cache: &'a Cache,
        observer: &'a mut ImportObserver<'o>,
    ) -> Self {
        Self {
            store,
            request,
            cache,
            observer,
            progress: ImportProgress::default(),
            batch: Batch::default(),
            waiting: Vec::new(),
            done: Vec::new(),
            bytes: ImportBytes::default(),
            clones: Clones::Untried,
            met: HashSet::new(),
            buffer: Vec::new(),
        }
    }

    /// Takes one snapshot over, as far as it goes.
    pub(super) fn snapshot(&mut self, place: &SnapshotPlace) -> Result<(), Stop> {
        self.progress.snapshot = Some(place.name());
        self.tell()?;
        let (begun_at, brought_before) = (self.store.inner().clock.now(), self.bytes.brought());
        let mut found = scan(self.cache, place);
        if self.request.mode == ImportMode::Link {
            refuse_what_is_not_ours(&mut found);
        }
        let mut snapshot = describe(place, &found);
        let refusal = refusal(&found.flaws).or_else(|| self.lacks_room(&found));
        if let Some(reason) = refusal {
            self.progress.bytes_done += snapshot.bytes;
            snapshot.outcome = SnapshotOutcome::Refused { reason };
        } else if let Some(manifest) = self.files(place, &found, &mut snapshot)? {
            let millis = self.store.inner().clock.now().since(begun_at).as_millis();
            let millis = u64::try_from(millis).unwrap_or(u64::MAX);
            let bytes = ByteSize(self.bytes.brought() - brought_before);
            self.waiting.push(Waiting { manifest, snapshot, bytes, millis });
            return self.settle();
        }
        self.done.push(snapshot);
        self.settle()
    }

    fn settle(&mut self) -> Result<(), Stop> {
        self.progress.snapshots_done += 1;
        if self.batch.is_full() { self.publish() } else { Ok(()) }
    }

    /// Publishes what waits, unless the store's disk has failed, and returns what came of the whole.
    pub(super) fn finish(mut self, ended: Result<(), Stop>) -> (ImportReport, Result<(), Stop>) {
        let published = match &ended {
            Ok(()) | Err(Stop::Cancelled) => self.publish(),
            Err(Stop::Disk(_) | Stop::Across) => {
                self.batch.discard(self.store.inner());
                Ok(())
            }
        };
        self.done.sort_by(|a, b| (&a.repo, a.commit).cmp(&(&b.repo, b.commit)));
        let report = ImportReport {
            snapshots: self.done,
            skipped: Vec::new(),
            bytes: self.bytes,
            duration: Duration::ZERO,
            end: ImportEnd::Finished,
        };
        (report, published.and(ended))
    }

    /// Publishes the batch, then every model that waited for it.
    fn publish(&mut self) -> Result<(), Stop> {
        self.batch.publish(self.store.inner(), &self.request.supplier)?;
        for Waiting { manifest, mut snapshot, bytes, millis } in std::mem::take(&mut self.waiting) {
            let key = manifest.key().clone();
            let published = if self.store.get(&key).is_some() {
                Ok(SnapshotOutcome::AlreadyHere(key))
            } else {
                self.store
                    .publish_model(&manifest, &self.request.supplier)
                    .map(|_| SnapshotOutcome::Imported(key))
            };
            match published {
                Ok(outcome) => {
                    self.note_arrival(&outcome, bytes, millis);
                    snapshot.outcome = outcome;
                }
                // Somebody removed it in between.
                Err(PublishModelError::Missing(missing)) => {
                    note(&mut snapshot, missing.first.to_string(), FileProblem::Missing);
                }
                Err(PublishModelError::Disk(trouble)) => return Err(trouble.into()),
            }
            self.done.push(snapshot);
        }
        Ok(())
    }

    /// Notes how a model came, unless that is known. For people who ask; the import goes on without.
    fn note_arrival(&self, outcome: &SnapshotOutcome, bytes: ByteSize, millis: u64) {
        let (SnapshotOutcome::Imported(key) | SnapshotOutcome::AlreadyHere(key)) = outcome else { return };
        if self.store.inner().notes().get(key).provenance.is_some() {
            return;
        }
        let from = self.request.folder.display().to_string();
        let provenance = Provenance {
            arrival: match self.request.mode {
                ImportMode::Copy => Arrival::Imported { from },
                ImportMode::Link => Arrival::Linked { from },
            },
            arrived_at: self.store.inner().clock.now(),
            bytes,
            millis,
            supplier: self.request.supplier.clone(),
        };
        if let Err(error) = self.store.note_provenance(key, provenance) {
            tracing::warn!(model = %key, %error, "how a model came is not on record");
        }
    }

    /// Brings the files of a snapshot. Returns what makes it a model, unless something is missing.
    fn files(
        &mut self,
        place: &SnapshotPlace,
        found: &Found,
        snapshot: &mut ImportedSnapshot,
    ) -> Result<Option<Manifest>, Stop> {
        let attributes = self.attributes(place);
        let mut files = Vec::with_capacity(found.files.len());
        for file in &found.files {
            match self.file(file, &attributes) {
                Ok(file) => files.push(file),
                Err(CarryError::Stop(stop)) => return Err(stop),
                Err(CarryError::Flaw(problem)) => {
                    snapshot.files -= 1;
                    snapshot.bytes = ByteSize(snapshot.bytes.bytes() - file.size);
                    note(snapshot, file.path.to_string(), problem);
                }
            }
        }
        for missing in self.missing(found) {
            note(snapshot, missing, FileProblem::Missing);
        }
        if snapshot.flaws_total > 0 {
            return Ok(None);
        }
        let selection = SelectionKey::from_bytes(Sha256::digest(Manifest::selection_input(&files)).into());
        let repo = RepoId { hub: self.request.supplier.hub.clone(), name: place.repo.clone() };
        let key = ModelKey { repo, commit: place.commit, selection };
        let mut absent = found.absent.clone();
        if let Some(listing) = &found.listing {
            absent.extend(self.request.probed.iter().filter(|path| listing.get(path).is_none()).cloned());
        }
        match Manifest::new(key, files, absent) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) => {
                snapshot.outcome = SnapshotOutcome::Refused { reason: error.to_string() };
                Ok(None)
            }
        }
    }

    fn attributes(&self, place: &SnapshotPlace) -> Attributes {
        let path = format!("{}/.gitattributes", place.snapshot());
        let text =
            self.cache.read(&path, ATTRIBUTES_BYTES_MAX).and_then(|bytes| String::from_utf8(bytes).ok());
        text.map(|text| Attributes::parse(&text)).unwrap_or_default()
    }

    /// Returns the files that others of the snapshot name and that are not there.
    fn missing(&self, found: &Found) -> BTreeSet<String> {
        let there: BTreeSet<&str> = found.files.iter().map(|file| file.path.as_str()).collect();
        let mut missing: BTreeSet<String> = whole::missing_shards(&there).into_iter().collect();
        for file in &found.files {
            if file.path.as_str().ends_with(whole::INDEX_SUFFIX)
                && let Some(bytes) = self.cache.read(&file.at, whole::INDEX_BYTES_MAX)
            {
                missing.extend(whole::missing_of(&whole::named_by_index(&file.path, &bytes), &there));
            }
        }
        // What is there with a flaw is told by that.
        missing.retain(|path| !found.flaws.iter().any(|flaw| flaw.path == *path));
        missing
    }

    /// Returns why a snapshot can't be copied, when the disk has too little room for it.
    fn lacks_room(&self, found: &Found) -> Option<String> {
        if self.request.mode == ImportMode::Link || self.clones == Clones::Work {
            return None;
        }
        let unknown = |file: &&FoundFile| match file.named {
            Some(digest) => !self.is_here(&ManifestFile { path: file.path.clone(), size: file.size, digest }),
            None => true,
        };
        let wanted: BTreeMap<&str, u64> =
            found.files.iter().filter(unknown).map(|file| (file.at.as_str(), file.size)).collect();
        let wanted = ByteSize(wanted.values().sum());
        let space = self.store.inner().disk.space(self.store.inner().layout.root()).ok()?;
        let available = ByteSize(space.available);
        (wanted > available && self.clones == Clones::Unsupported)
            .then(|| format!("it needs {wanted} and the store's disk has {available} free"))
    }

    fn is_here(&self, file: &ManifestFile) -> bool {
        self.batch.contains(&file.digest)
            || self.store.inner().index().satisfies(file, &self.request.supplier)
    }

    /// Tells how far it is.
    fn tell(&mut self) -> Result<(), Stop> {
        match (self.observer)(&self.progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Cancelled),
        }
    }
}

fn refuse_what_is_not_ours(found: &mut Found) {
    let (ours, others) =
        std::mem::take(&mut found.files).into_iter().partition(|file| file.owner == FileOwner::Us);
    found.files = ours;
    let flaw = |file: FoundFile| FileFlaw { path: file.path.to_string(), problem: FileProblem::NotOurs };
    found.flaws.extend(<Vec<FoundFile>>::into_iter(others).map(flaw));
}

/// Returns why a snapshot is refused as a whole.
fn refusal(flaws: &[FileFlaw]) -> Option<String> {
    let flaw = flaws.iter().find(|flaw| flaw.problem.refuses())?;
    Some(format!("{}: {}", flaw.path, flaw.problem))
}

fn describe(place: &SnapshotPlace, found: &Found) -> ImportedSnapshot {
    let paths: BTreeSet<&str> = found.files.iter().map(|file| file.path.as_str()).collect();
    let listed = found.listing.iter().flat_map(Listing::iter);
    let left_out = listed.filter(|(path, _)| !paths.contains(path.as_str())).fold(
        LeftOut::default(),
        |left_out, (_, listed)| LeftOut {
            files: left_out.files + 1,
            bytes: left_out.bytes + ByteSize(listed.size),
        },
    );
    ImportedSnapshot {
        repo: place.repo.clone(),
        commit: place.commit,
        refs: place.refs.clone(),
        files: found.files.len() as u64,
        bytes: found.files.iter().map(|file| ByteSize(file.size)).sum(),
        left_out,
        unvouched: found.files.iter().filter(|file| file.named.is_none()).count() as u64,
        outcome: SnapshotOutcome::Incomplete,
        flaws: found.flaws.iter().take(FLAWS_MAX).cloned().collect(),
        flaws_total: found.flaws.len() as u64,
    }
}

fn note(snapshot: &mut ImportedSnapshot, path: String, problem: FileProblem) {
    snapshot.flaws_total += 1;
    if snapshot.flaws.len() < FLAWS_MAX {
        snapshot.flaws.push(FileFlaw { path, problem });
    }
}

/// Returns the digest by which a hub would name a file that nothing vouches for: not known before it is read.
fn unnamed_hasher(file: &FoundFile, attributes: &Attributes) -> ContentHasher {
    let kind = if attributes.is_large(&file.path, file.size) {
        Digest::Sha256([0; 32])
    } else {
        Digest::GitSha1([0; 20])
    };
    ContentHasher::like(&kind, file.size)
}

fn unreadable(error: &io::Error) -> FileProblem {
    FileProblem::Unreadable(error.to_string())
}

/// Reads a foreign file as a source of bytes.
fn reader(file: &dyn ForeignFile) -> impl Fn(&mut [u8], u64) -> io::Result<usize> + '_ {
    |buffer, offset| file.read_at(buffer, offset)
}
