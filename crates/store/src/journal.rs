//! The journal of a partial file: which of its extents are there. DESIGN.md, "Journal", has the format.
//!
//! Slots have fixed places, so several writers need no order among each other; a slot that is torn is an extent that
//! is not there. A journal never makes bytes true: each slot carries the crc32c that its extent must have.

use std::{io, path::Path, sync::Arc};

use base::{Access, ByteSize, Disk, DiskFile};
use types::Digest;

use crate::ExtentBytes;

const MAGIC: &[u8; 8] = b"LRDJRNL\0";
const VERSION: u32 = 1;
/// Slots begin on a page of their own, so that writing one can't tear the header.
const HEADER_BYTES: usize = 4096;
const SLOT_BYTES: usize = 16;
const SLOT_MARK: u32 = 0x3154_5845;
const SHA256: u32 = 1;
const GIT_SHA1: u32 = 2;
/// Four million extents: 32 TB at the default extent size.
const EXTENTS_MAX: u64 = 1 << 22;

/// What a journal says of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) extent_bytes: ExtentBytes,
}

/// A journal as read: its header, and the crc32c of every extent that is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) header: Header,
    pub(crate) extents: Vec<Option<u32>>,
}

impl Recorded {
    /// Returns how many bytes of the file are there.
    pub(crate) fn present_bytes(&self) -> u64 {
        self.header.extent_bytes.present(self.header.size, &self.extents)
    }
}

/// An open journal. Every call may come from several threads at once.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Box<dyn DiskFile>,
}

impl Journal {
    /// Makes a journal in full and makes its contents durable; its name is the caller's to sync.
    pub(crate) fn create(disk: &Arc<dyn Disk>, path: &Path, header: &Header) -> io::Result<Self> {
        let count = usize::try_from(header.extent_bytes.count(header.size)).map_err(io::Error::other)?;
        let mut bytes = encode_header(header);
        bytes.resize(HEADER_BYTES + count * SLOT_BYTES, 0);
        let file = disk.open(path, Access::CreateNew)?;
        file.write_all_at(&bytes, 0)?;
        file.sync()?;
        Ok(Self { file })
    }

    /// Opens a journal that was read before.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<Self> {
        Ok(Self { file: disk.open(path, Access::Write)? })
    }

    /// Records extents, each by its index and crc32c, and makes that durable.
    pub(crate) fn record(&self, extents: impl Iterator<Item = (u32, u32)>) -> io::Result<()> {
        for (index, crc) in extents {
            self.file.write_all_at(&encode_slot(index, crc), slot_offset(index))?;
        }
        // The slots were written, as zeros, when the journal was made: their length and place are durable.
        self.file.sync_contents()
    }

    /// Takes a record back. Not synced: should it return, its crc32c still tells that the extent is not there.
    pub(crate) fn erase(&self, index: u32) -> io::Result<()> {
        self.file.write_all_at(&[0; SLOT_BYTES], slot_offset(index))
    }
}

/// Reads a journal. `None` when it is no whole journal of a version that we know: its file starts again.
///
/// # Errors
/// The operating system's, also when there is no journal.
pub(crate) fn read(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<Option<Recorded>> {
    let bytes_max = ByteSize(HEADER_BYTES as u64 + EXTENTS_MAX * SLOT_BYTES as u64);
    match disk.read(path, bytes_max.bytes()) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns whether a file has so few extents that a journal can hold them.
pub(crate) const fn can_hold(header: &Header) -> bool {
    header.extent_bytes.count(header.size) <= EXTENTS_MAX
}

fn decode(bytes: &[u8]) -> Option<Recorded> {
    let header = decode_header(bytes.get(..HEADER_BYTES)?)?;
    let count = usize::try_from(header.extent_bytes.count(header.size)).ok()?;
    let slots = bytes.get(HEADER_BYTES..)?.get(..count.checked_mul(SLOT_BYTES)?)?;
    let extents =
        slots.chunks_exact(SLOT_BYTES).zip(0..).map(|(slot, index)| decode_slot(slot, index)).collect();
    Some(Recorded { header, extents })
}

fn encode_header(header: &Header) -> Vec<u8> {
    let (algorithm, mut digest) = match header.digest {
        Digest::Sha256(bytes) => (SHA256, bytes.to_vec()),
        Digest::GitSha1(bytes) => (GIT_SHA1, bytes.to_vec()),
    };
    digest.resize(32, 0);
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&algorithm.to_le_bytes());
    bytes.extend_from_slice(&header.extent_bytes.bytes().to_le_bytes());
    bytes.extend_from_slice(&header.size.to_le_bytes());
    bytes.extend_from_slice(&digest);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode_header(bytes: &[u8]) -> Option<Header> {
    let mut reader = Reader(bytes);
    let magic: [u8; 8] = reader.take()?;
    let version = u32::from_le_bytes(reader.take()?);
    if &magic != MAGIC || version != VERSION {
        return None;
    }
    let algorithm = u32::from_le_bytes(reader.take()?);
    let extent_bytes = ExtentBytes::new(ByteSize(u64::from_le_bytes(reader.take()?))).ok()?;
    let size = u64::from_le_bytes(reader.take()?);
    let digest: [u8; 32] = reader.take()?;
    let checked = bytes.len() - reader.0.len();
    let crc = u32::from_le_bytes(reader.take()?);
    if crc != crc32c::crc32c(&bytes[..checked]) || extent_bytes.count(size) > EXTENTS_MAX {
        return None;
    }
    let digest = match algorithm {
        SHA256 => Digest::Sha256(digest),
        GIT_SHA1 => Digest::GitSha1(digest[..20].try_into().expect("20 of 32 bytes")),
        _ => return None,
    };
    Some(Header { digest, size, extent_bytes })
}

fn slot_offset(index: u32) -> u64 {
    HEADER_BYTES as u64 + u64::from(index) * SLOT_BYTES as u64
}

fn encode_slot(index: u32, crc: u32) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..4].copy_from_slice(&SLOT_MARK.to_le_bytes());
    slot[4..8].copy_from_slice(&index.to_le_bytes());
    slot[8..12].copy_from_slice(&crc.to_le_bytes());
    let own = crc32c::crc32c(&slot[..12]);
    slot[12..].copy_from_slice(&own.to_le_bytes());
    slot
}

fn decode_slot(slot: &[u8], index: u32) -> Option<u32> {
    let crc = u32::from_le_bytes(slot.get(8..12)?.try_into().ok()?);
    (slot == encode_slot(index, crc)).then_some(crc)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
}

#[cfg(test)]
mod tests;
