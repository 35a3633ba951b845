//! The bytes of one file of a faulty disk.

use std::io;

use crate::Entropy;

/// What a power loss keeps or loses as a whole: disks write sectors of 512 bytes.
const SECTOR_BYTES: usize = 512;

/// What becomes of one unsynced change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Kept,
    /// Some sectors are kept, others are lost.
    Torn,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// What programs read now, what is durable, and what stands between.
#[derive(Debug, Default)]
pub(super) struct FileBytes {
    bytes: Vec<u8>,
    reserved: u64,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    changes: u64,
}

impl FileBytes {
    /// Returns how often the bytes were changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn allocated(&self) -> u64 {
        self.reserved.max(self.len())
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let start = usize::try_from(offset).map_or(self.bytes.len(), |offset| offset.min(self.bytes.len()));
        let count = buffer.len().min(self.bytes.len() - start);
        buffer[..count].copy_from_slice(&self.bytes[start..start + count]);
        count
    }

    /// Writes what fits into the room that is left.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64, room: u64) -> io::Result<()> {
        let end_max = self.allocated().saturating_add(room);
        let fitting = usize::try_from(end_max.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        let written = &bytes[..fitting];
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.changes += 1;
        if !written.is_empty() {
            apply_write(&mut self.bytes, offset, written);
            self.unsynced.push(Change::Write { offset, bytes: written.to_owned() });
        }
        if fitting < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(super) fn allocate(&mut self, len: u64, room: u64) -> io::Result<()> {
        if len > self.allocated().saturating_add(room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if len > self.len() {
            self.set_len(len);
        }
        self.reserved = self.reserved.max(len);
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let len = usize::try_from(len).expect("files of tests fit into memory");
        self.changes += 1;
        self.bytes.resize(len, 0);
        self.reserved = self.reserved.min(len as u64);
        self.unsynced.push(Change::Length(len));
    }

    pub(super) fn sync(&mut self) {
        // Applied rather than copied: what a failed sync dropped stays lost.
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Write { offset, bytes } => apply_write(&mut self.durable, offset, &bytes),
                Change::Length(len) => self.durable.resize(len, 0),
            }
        }
    }

    pub(super) fn forget_unsynced(&mut self) {
        self.unsynced.clear();
    }

    pub(super) fn flip(&mut self, offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        *self.bytes.get_mut(at).ok_or(io::ErrorKind::UnexpectedEof)? ^= 0xff;
        self.changes += 1;
        if let Some(byte) = self.durable.get_mut(at) {
            *byte = self.bytes[at];
        }
        Ok(())
    }

    pub(super) fn after_power_loss(&mut self, mut fate: impl FnMut() -> Fate, entropy: &Entropy) -> Self {
        let mut found = std::mem::take(&mut self.durable);
        for change in std::mem::take(&mut self.unsynced) {
            match (fate(), change) {
                (Fate::Lost, _) => {}
                (Fate::Kept, Change::Write { offset, bytes }) => apply_write(&mut found, offset, &bytes),
                (Fate::Torn, Change::Write { offset, bytes }) => {
                    tear_write(&mut found, offset, &bytes, entropy);
                }
                (Fate::Kept | Fate::Torn, Change::Length(len)) => found.resize(len, 0),
            }
        }
        Self {
            reserved: found.len() as u64,
            durable: found.clone(),
            bytes: found,
            unsynced: Vec::new(),
            changes: 0,
        }
    }
}

fn apply_write(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

/// Writes each sector that the bytes touch, or does not, by the fall of a coin.
fn tear_write(file: &mut Vec<u8>, offset: usize, bytes: &[u8], entropy: &Entropy) {
    let mut start = 0;
    while start < bytes.len() {
        let into_sector = (offset + start) % SECTOR_BYTES;
        let end = (start + SECTOR_BYTES - into_sector).min(bytes.len());
        if entropy.number().is_multiple_of(2) {
            apply_write(file, offset + start, &bytes[start..end]);
        }
        start = end;
    }
}
