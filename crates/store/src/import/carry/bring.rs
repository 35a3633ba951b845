//! One file: linked, cloned or copied aside, hashed, and put into the batch; large copies go extent by extent, so that
//! an import that is cut short goes on where it was.

use std::{io, path::Path};

use base::{Access, Advice, ByteSize, ForeignFile, OpenForeignError};
use types::{Digest, ManifestFile};

use super::{Carrier, CarryError, Clones, Stop, reader, unnamed_hasher, unreadable};
use crate::{
    BlobWriter, Claim, ClaimError, DiskTrouble, FinishError, WriteExtentError,
    hash::ContentHasher,
    import::{FileProblem, ImportMode, attributes::Attributes, scan::FoundFile},
    partial::remove_if_there,
};

/// The piece in which files are read: an extent's, so that a copy hashes what it has just read.
const READ_BYTES: usize = 8 * 1024 * 1024;
/// Files up to this size are copied whole: their loss is one extent, which is what a journal could save.
const COPY_WHOLE_MAX: u64 = READ_BYTES as u64;
/// Blobs are read-only for everyone.
const READ_ONLY: u32 = 0o444;

impl Carrier<'_, '_> {
    /// Sees to it that a file is here, or in the batch.
    pub(super) fn file(
        &mut self,
        found: &FoundFile,
        attributes: &Attributes,
    ) -> Result<ManifestFile, CarryError> {
        let open = self.cache.folder.open(&found.at).map_err(|error| match error {
            OpenForeignError::Missing => FileProblem::Dangling,
            OpenForeignError::LeadsOut => FileProblem::LeadsOut,
            OpenForeignError::NotAFile => FileProblem::NotAFile,
            OpenForeignError::Failed(source) => unreadable(&source),
        })?;
        let digest = match found.named {
            Some(digest) => digest,
            None => self.own_digest(&*open, found, attributes)?,
        };
        let file = ManifestFile { path: found.path.clone(), size: found.size, digest };
        let is_first = !self.met.contains(&digest);
        if self.is_here(&file) {
            if is_first {
                self.bytes.already_here += ByteSize(file.size);
                self.count(file.size)?;
            }
        } else {
            match self.request.mode {
                ImportMode::Link => self.link(&*open, &file)?,
                ImportMode::Copy => self.copy(&*open, &file)?,
            }
        }
        self.met.insert(digest);
        Ok(file)
    }

    /// Hashes a file that nothing in the cache names.
    fn own_digest(
        &mut self,
        open: &dyn ForeignFile,
        found: &FoundFile,
        attributes: &Attributes,
    ) -> Result<Digest, CarryError> {
        let hasher = unnamed_hasher(found, attributes);
        self.hash(hasher, found.size, &reader(open), Quiet::Yes)?.ok_or_else(|| FileProblem::Changed.into())
    }

    /// Gives a file a further name, after making sure that it is what it should be and stays so.
    fn link(&mut self, open: &dyn ForeignFile, file: &ManifestFile) -> Result<(), CarryError> {
        let path = self.batch.name(self.store.inner())?;
        let mode = open.meta().map_err(|error| unreadable(&error))?.mode;
        open.link_to(&path).map_err(|error| match error.kind() {
            io::ErrorKind::CrossesDevices => CarryError::Stop(Stop::Across),
            io::ErrorKind::StorageFull => DiskTrouble::new("linking", &path, error).into(),
            _ => CarryError::Flaw(FileProblem::Unreadable(format!("it can't be linked: {error}"))),
        })?;
        let checked = self.check_link(open, file);
        if checked.is_err() {
            remove_if_there(&self.store.inner().disk, &path)?;
            // What we do not take stays as it was.
            if let Err(error) = open.chmod(mode) {
                tracing::warn!(path = %file.path, %error, "a file that was not linked stays read-only");
            }
            return checked;
        }
        self.bytes.linked += ByteSize(file.size);
        self.batch.put_linked(file, path);
        Ok(())
    }

    fn check_link(&mut self, open: &dyn ForeignFile, file: &ManifestFile) -> Result<(), CarryError> {
        // First read-only, then hashed: whoever opens it by a name from now on can't write it.
        open.chmod(READ_ONLY).map_err(|error| unreadable(&error))?;
        let before = open.meta().map_err(|error| unreadable(&error))?;
        let hasher = ContentHasher::like(&file.digest, file.size);
        let actual = self.hash(hasher, file.size, &reader(open), Quiet::No)?;
        let after = open.meta().map_err(|error| unreadable(&error))?;
        match actual {
            Some(actual) if before == after => expect(file, actual),
            Some(_) | None => Err(FileProblem::Changed.into()),
        }
    }

    fn copy(&mut self, open: &dyn ForeignFile, file: &ManifestFile) -> Result<(), CarryError> {
        if self.clones != Clones::Unsupported && self.clone_aside(open, file)? {
            return Ok(());
        }
        // The kernel reads ahead further; without it a cold copy waits for the disk at every piece.
        if let Err(error) = open.advise(Advice::Sequential, 0, file.size) {
            tracing::debug!(%error, "a file is copied without advice");
        }
        if file.size <= COPY_WHOLE_MAX {
            self.copy_aside(open, file)
        } else {
            self.copy_by_extents(open, file)
        }
    }

    /// Clones a file and hashes the clone. Returns whether the file system can.
    fn clone_aside(&mut self, open: &dyn ForeignFile, file: &ManifestFile) -> Result<bool, CarryError> {
        let path = self.batch.name(self.store.inner())?;
        match open.clone_to(&path) {
            Ok(()) => self.clones = Clones::Work,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.clones = Clones::Unsupported;
                return Ok(false);
            }
            Err(error) => return Err(DiskTrouble::new("cloning", path, error).into()),
        }
        let hashed = self.hash_own(&path, file);
        self.keep_if_right(hashed, file, &path)?;
        self.bytes.cloned += ByteSize(file.size);
        Ok(true)
    }

    fn hash_own(&mut self, path: &Path, file: &ManifestFile) -> Result<(), CarryError> {
        let disk = &self.store.inner().disk;
        let failed = |error| DiskTrouble::new("reading", path, error);
        let own = disk.open(path, Access::Read).map_err(failed)?;
        let hasher = ContentHasher::like(&file.digest, file.size);
        let read = |buffer: &mut [u8], offset| own.read_at(buffer, offset);
        match self.hash(hasher, file.size, &read, Quiet::No)? {
            Some(actual) => expect(file, actual),
            None => Err(FileProblem::Changed.into()),
        }
    }

    /// Copies a small file aside; what is hashed is what was written.
    fn copy_aside(&mut self, open: &dyn ForeignFile, file: &ManifestFile) -> Result<(), CarryError> {
        let path = self.batch.name(self.store.inner())?;
        let copied = self.write_aside(open, file, &path);
        self.keep_if_right(copied, file, &path)?;
        self.bytes.copied += ByteSize(file.size);
        Ok(())
    }

    fn write_aside(
        &mut self,
        open: &dyn ForeignFile,
        file: &ManifestFile,
        path: &Path,
    ) -> Result<(), CarryError> {
        let wanted = usize::try_from(file.size).expect("small files fit into memory");
        let bytes = super::super::layout::read_whole(open, wanted).map_err(|error| unreadable(&error))?;
        if bytes.len() < wanted {
            return Err(FileProblem::Changed.into());
        }
        expect(file, crate::hash::digest_like(&file.digest, &bytes))?;
        let failed = |error| DiskTrouble::new("writing", path, error);
        let copy = self.store.inner().disk.open(path, Access::CreateNew).map_err(failed)?;
        copy.allocate(file.size).map_err(failed)?;
        copy.write_all_at(&bytes, 0).map_err(failed)?;
        self.count(file.size)?;
        Ok(())
    }

    /// Puts a file that stands aside into the batch, or removes it.
    fn keep_if_right(
        &mut self,
        checked: Result<(), CarryError>,
        file: &ManifestFile,
        path: &Path,
    ) -> Result<(), CarryError> {
        let disk = &self.store.inner().disk;
        if checked.is_err() {
            remove_if_there(disk, path)?;
            return checked;
        }
        disk.chmod(path, READ_ONLY).map_err(|error| DiskTrouble::new("writing", path, error))?;
        self.batch.put(file, path.to_owned());
        Ok(())
    }

    /// Copies a large file as a fetch would write it.
    fn copy_by_extents(&mut self, open: &dyn ForeignFile, file: &ManifestFile) -> Result<(), CarryError> {
        let claimed = self.store.claim(file, &self.request.supplier).map_err(|error| match error {
            ClaimError::Disk(trouble) => trouble,
        })?;
        let writer = match claimed {
            Claim::Present => return Ok(()),
            Claim::Busy(_) => return Err(FileProblem::BeingFetched.into()),
            Claim::Write(writer) => writer,
        };
        let resumed = file.size.saturating_sub(bytes_of(&writer, &writer.missing_extents()));
        self.count(resumed)?;
        self.copy_missing(open, &writer)?;
        self.finished(writer.finish().map(drop), file)
    }

    fn copy_missing(&mut self, open: &dyn ForeignFile, writer: &BlobWriter) -> Result<(), CarryError> {
        for index in writer.missing_extents() {
            let range = writer.extent_range(index);
            let wanted = usize::try_from(range.end - range.start).expect("an extent fits into memory");
            self.buffer.resize(wanted, 0);
            let mut filled = 0;
            while filled < wanted {
                match open.read_at(&mut self.buffer[filled..], range.start + filled as u64) {
                    Ok(0) => return Err(FileProblem::Changed.into()),
                    Ok(read) => filled += read,
                    Err(error) => return Err(unreadable(&error).into()),
                }
            }
            writer.write_extent(index, &self.buffer).map_err(|error| match error {
                WriteExtentError::Disk(trouble) => CarryError::from(trouble),
                WriteExtentError::Poisoned(poisoned) => poisoned_disk(writer, poisoned).into(),
                WriteExtentError::OutOfRange(_) | WriteExtentError::Length(_) | WriteExtentError::Busy(_) => {
                    unreachable!("only this call writes, and what the writer asks for")
                }
            })?;
            self.count(wanted as u64)?;
        }
        Ok(())
    }

    fn finished(&mut self, finished: Result<(), FinishError>, file: &ManifestFile) -> Result<(), CarryError> {
        match finished {
            Ok(()) => {
                self.bytes.copied += ByteSize(file.size);
                Ok(())
            }
            Err(FinishError::Mismatch(wrong)) => {
                Err(FileProblem::Damaged { expected: wrong.expected, actual: wrong.actual }.into())
            }
            Err(FinishError::Disk(trouble)) => Err(trouble.into()),
            // The disk gave back other bytes than were written to it.
            Err(error @ (FinishError::Missing(_) | FinishError::Poisoned(_))) => {
                let failed = io::Error::other(error.to_string());
                Err(DiskTrouble::new("writing", file.path.as_str(), failed).into())
            }
        }
    }

    /// Hashes so many bytes; `None` when there are fewer or more.
    fn hash(
        &mut self,
        mut hasher: ContentHasher,
        size: u64,
        read: &dyn Fn(&mut [u8], u64) -> io::Result<usize>,
        quiet: Quiet,
    ) -> Result<Option<Digest>, CarryError> {
        let mut offset = 0;
        loop {
            self.buffer.resize(READ_BYTES.min(usize::try_from(size).unwrap_or(READ_BYTES).max(1)), 0);
            let count = read(&mut self.buffer, offset).map_err(|error| unreadable(&error))?;
            offset += count as u64;
            if count == 0 || offset > size {
                return Ok((offset == size).then(|| hasher.finish()));
            }
            hasher.update(&self.buffer[..count]);
            match quiet {
                Quiet::No => self.count(count as u64)?,
                Quiet::Yes => self.tell()?,
            }
        }
    }

    fn count(&mut self, bytes: u64) -> Result<(), Stop> {
        self.progress.bytes_done += ByteSize(bytes);
        self.tell()
    }
}

/// Whether reading counts as progress: a file that is read twice counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quiet {
    Yes,
    No,
}

fn expect(file: &ManifestFile, actual: Digest) -> Result<(), CarryError> {
    if actual == file.digest {
        return Ok(());
    }
    Err(FileProblem::Damaged { expected: file.digest, actual }.into())
}

fn bytes_of(writer: &BlobWriter, extents: &[crate::ExtentIndex]) -> u64 {
    extents.iter().map(|index| writer.extent_range(*index)).map(|range| range.end - range.start).sum()
}

fn poisoned_disk(writer: &BlobWriter, poisoned: crate::PartialPoisoned) -> DiskTrouble {
    DiskTrouble::new("writing", writer.file().path.as_str(), io::Error::other(poisoned))
}
