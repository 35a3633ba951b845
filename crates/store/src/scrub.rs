//! Verification in the background: which blobs are due, the slow reading of one, and when each was last verified.
//!
//! The pace is the caller's: it takes a step, waits, takes the next. A blob counts as verified from when it came.

use std::{collections::HashMap, io, path::Path, sync::Arc, time::Duration};

use base::{Advice, ByteSize, Disk, DiskFile, Timestamp, write_durably};
use serde::{Deserialize, Serialize};
use types::Digest;

use crate::{DiskTrouble, hash::ContentHasher, index::NamedBlob, lines, shelf::is_linked, store::Inner};

/// Every blob is verified this often: bytes at rest decay over years, and a monthly scrub is what file systems that check
/// themselves are usually given.
const PERIOD: Duration = Duration::from_secs(30 * 24 * 3600);
/// Blobs that were imported by link are verified this often: whoever owns the other name can write to them.
const PERIOD_LINKED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes a second of background verification: one hundredth of what a core hashes, a few hundredths of what a disk
/// reads, and 41 TB in a period.
pub const SCRUB_RATE_BYTES: u64 = 16_000_000;
/// The table of a store of a million blobs takes 130 MB.
const TABLE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The same piece as any verification reads: large enough for a disk to read ahead.
const STEP_BYTES_MAX: usize = 1024 * 1024;

/// How often blobs are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPeriods {
    /// Each one.
    pub ordinary: Duration,
    /// Those that were imported by link.
    pub linked: Duration,
}

impl Default for ScrubPeriods {
    fn default() -> Self {
        Self { ordinary: PERIOD, linked: PERIOD_LINKED }
    }
}

/// A blob that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubTarget {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub bytes: ByteSize,
    /// When it was last verified.
    pub verified_at: Timestamp,
}

/// One blob that is being verified.
pub struct Scrubbing {
    store: Arc<Inner>,
    digest: Digest,
    file: Box<dyn DiskFile>,
    hasher: ContentHasher,
    buffer: Vec<u8>,
    offset: u64,
}

impl std::fmt::Debug for Scrubbing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrubbing")
            .field("digest", &self.digest)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// What a step of a verification gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubStep {
    /// So many bytes were read, and there are more.
    Read(u64),
    /// The blob is sound, and that is noted.
    Sound,
    /// Its bytes are wrong or can't be read: [`crate::Store::quarantine`] looks once more and takes it away.
    Suspect,
}

impl Scrubbing {
    /// Reads the next piece. Blocks for the time that the disk takes for a MiB.
    pub fn step(&mut self) -> ScrubStep {
        let counters = &self.store.counters;
        // Else it would verify memory; mapped pages stay all the same. That a disk takes no advice costs only that.
        let _ = self.file.advise(Advice::DontNeed, self.offset, self.buffer.len() as u64);
        match self.file.read_at(&mut self.buffer, self.offset) {
            Ok(0) => {
                let actual =
                    std::mem::replace(&mut self.hasher, ContentHasher::like(&self.digest, 0)).finish();
                if actual != self.digest {
                    return ScrubStep::Suspect;
                }
                counters.add_scrubbed(self.offset);
                self.store.note_verified(&self.digest);
                ScrubStep::Sound
            }
            Ok(read) => {
                self.hasher.update(&self.buffer[..read]);
                // Nor does it push out what workers have warmed.
                let _ = self.file.advise(Advice::DontNeed, self.offset, read as u64);
                self.offset += read as u64;
                ScrubStep::Read(read as u64)
            }
            Err(error) => {
                tracing::warn!(blob = %self.digest, offset = self.offset, %error, "a blob can't be read");
                ScrubStep::Suspect
            }
        }
    }
}

/// When each blob was last verified, where that was after it came.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    at: HashMap<Digest, Timestamp>,
    is_written: bool,
}

#[derive(Serialize, Deserialize)]
struct VerifiedLine {
    blob: Digest,
    at: Timestamp,
}

impl Verified {
    /// Reads the table. One that can't be read only makes work: its blobs are verified once more.
    pub(crate) fn read(disk: &Arc<dyn Disk>, path: &Path, is_here: impl Fn(&Digest) -> bool) -> Self {
        let found = match disk.read(path, TABLE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "what was verified is not known; it is verified anew");
                Vec::new()
            }
        };
        let lines = lines::decode::<VerifiedLine>(&found).filter(|line| is_here(&line.blob));
        Self { at: lines.map(|line| (line.blob, line.at)).collect(), is_written: true }
    }

    /// Returns when a blob was last verified; `None` when no model names it and no scrub saw it.
    pub(crate) fn at(&self, digest: &Digest, blob: &NamedBlob) -> Option<Timestamp> {
        self.at.get(digest).copied().max(blob.named_since)
    }
}

impl Inner {
    /// Returns blobs that are due, the least recently verified first.
    pub(crate) fn scrub_due(&self, periods: &ScrubPeriods, count_max: usize) -> Vec<ScrubTarget> {
        let now = self.clock.now();
        let (named, linked) = {
            let index = self.index();
            let notes = self.notes();
            let linked = index.recorded().filter(|(model, _)| {
                notes.get(model.manifest.key()).provenance.as_ref().is_some_and(is_linked)
            });
            let linked: std::collections::HashSet<Digest> =
                linked.flat_map(|(model, _)| model.manifest.files()).map(|file| file.digest).collect();
            (index.named_blobs(), linked)
        };
        let verified = self.verified();
        // Strays are not worth the reading: whoever uses them again is told by the next scrub.
        let mut due: Vec<ScrubTarget> = named
            .iter()
            .filter(|(_, blob)| blob.named_since.is_some())
            .map(|(digest, blob)| ScrubTarget {
                digest: *digest,
                bytes: ByteSize(blob.size),
                verified_at: verified.at(digest, blob).unwrap_or(Timestamp::EPOCH),
            })
            .filter(|target| {
                let is_linked = linked.contains(&target.digest) || self.linked.contains(&target.digest);
                let period = if is_linked { periods.linked } else { periods.ordinary };
                now.since(target.verified_at) >= period
            })
            .collect();
        due.sort_unstable_by_key(|target| (target.verified_at, target.digest));
        due.truncate(count_max);
        due
    }

    /// Opens a blob for verification.
    pub(crate) fn begin_scrub(self: &Arc<Self>, digest: &Digest) -> Result<Scrubbing, DiskTrouble> {
        let path = self.layout.blob(digest);
        let failed = |error| DiskTrouble::new("reading", &path, error);
        let file = self.disk.open(&path, base::Access::Read).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        let hasher = ContentHasher::like(digest, len);
        // At least one byte, or a read could not tell the end.
        let buffer = vec![0; usize::try_from(len).unwrap_or(usize::MAX).clamp(1, STEP_BYTES_MAX)];
        Ok(Scrubbing { store: Arc::clone(self), digest: *digest, file, hasher, buffer, offset: 0 })
    }

    pub(crate) fn note_verified(&self, digest: &Digest) {
        let now = self.clock.now();
        let mut verified = self.verified();
        verified.at.insert(*digest, now);
        verified.is_written = false;
    }

    /// Writes the table when the disk does not have it as it is.
    pub(crate) fn flush_verified(&self) -> Result<(), DiskTrouble> {
        let here = self.index().named_blobs();
        let bytes: Vec<u8> = {
            let mut verified = self.verified();
            if verified.is_written {
                return Ok(());
            }
            verified.at.retain(|digest, _| here.contains_key(digest));
            verified.is_written = true;
            let mut lines: Vec<_> =
                verified.at.iter().map(|(blob, at)| VerifiedLine { blob: *blob, at: *at }).collect();
            lines.sort_unstable_by_key(|line| line.blob);
            lines.iter().flat_map(lines::encode).collect()
        };
        let path = self.layout.verified();
        write_durably(&self.disk, &path, &bytes).map_err(|error| {
            self.verified().is_written = false;
            DiskTrouble::new("writing", path, error)
        })
    }
}
