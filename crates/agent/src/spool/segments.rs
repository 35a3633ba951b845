//! The files of the spool: append-only segments of checked records. Synchronous; the service around it owns the
//! thread. It knows numbers and bytes, not what the bytes say.
//!
//! ```text
//! record:   length u32 LE · crc32c u32 LE (of number and payload) · number u64 LE · payload
//! segment:  records, one behind the other; named by the first number that it may hold, 16 hex digits
//! ```

use std::{collections::BTreeMap, fmt, io, path::PathBuf, sync::Arc};

use base::{Access, Disk, DiskFile, EntryKind};

/// Length, checksum and number, before the payload.
const HEAD_BYTES: u64 = 16;
/// A segment is closed when it is this long: small enough that acknowledged bytes leave the disk soon, large enough
/// for a few of the largest results.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// The largest payload: above the link's largest message, so that whatever can be sent can be stored.
const PAYLOAD_BYTES_MAX: u64 = 96 * 1024 * 1024;
/// Numbers of one opening of the spool: each opening takes the next block, so that no number is given twice even
/// when the last ones given were never written.
const BLOCK: u64 = 1 << 32;
/// What segments are called.
const SUFFIX: &str = ".events";

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    segment: u64,
    offset: u64,
    bytes: u32,
}

/// A record that was found when the spool was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) number: u64,
    pub(crate) place: Place,
    pub(crate) payload: Vec<u8>,
}

/// The open spool.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    bytes_max: u64,
    closed: BTreeMap<u64, Segment>,
    active: Segment,
    active_name: u64,
    active_trust: Trust,
    next_number: u64,
}

/// Whether a sync of the active segment may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Every one succeeded.
    Sound,
    /// One failed: Linux then drops what it could not write and calls the next sync a success. Nothing more is
    /// appended, since a record behind a hole would not be found again.
    Lost,
}

struct Segment {
    file: Box<dyn DiskFile>,
    bytes: u64,
    highest: Option<u64>,
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Segments {
    /// Opens the spool, hands over each record that is in it (not in the order of numbers), and begins a new segment:
    /// old ones are never appended to, so a torn tail stays where it is until its segment is trimmed.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        bytes_max: u64,
        mut visit: impl FnMut(Found),
    ) -> io::Result<Self> {
        disk.make_folder(&folder)?;
        if let Some(parent) = folder.parent() {
            disk.sync_folder(parent)?;
        }
        let mut names: Vec<u64> = Vec::new();
        for entry in disk.list(&folder)? {
            if entry.kind == EntryKind::File
                && let Some(name) = parse_name(&entry.name)
            {
                names.push(name);
            }
        }
        let mut closed = BTreeMap::new();
        for name in names {
            let file = disk.open(&folder.join(file_name(name)), Access::Read)?;
            let highest = read_records(&*file, name, &mut visit)?;
            let bytes = file.len()?;
            closed.insert(name, Segment { file, bytes, highest });
        }
        let last_known = closed
            .iter()
            .map(|(name, segment)| segment.highest.map_or(*name, |highest| highest.max(*name)))
            .max()
            .unwrap_or(0);
        let first = (last_known / BLOCK + 1) * BLOCK;
        let active = create(&disk, &folder, first)?;
        // Empty segments of earlier openings hold nothing but their names, which the new one's name outdoes.
        let empty: Vec<u64> =
            closed.iter().filter(|(_, segment)| segment.highest.is_none()).map(|(name, _)| *name).collect();
        for name in empty {
            closed.remove(&name);
            disk.remove_file(&folder.join(file_name(name)))?;
        }
        Ok(Self {
            disk,
            folder,
            bytes_max,
            closed,
            active,
            active_name: first,
            active_trust: Trust::Sound,
            next_number: first,
        })
    }

    /// Returns the first number that may be given to a new record.
    pub(crate) const fn first_number(&self) -> u64 {
        self.next_number
    }

    /// Writes a record, not yet durably.
    ///
    /// # Errors
    /// `StorageFull` when the spool holds all that it may; else the disk's. Nothing is stored then.
    pub(crate) fn append(&mut self, number: u64, payload: &[u8]) -> io::Result<Place> {
        let length = payload.len() as u64;
        if length == 0 || length > PAYLOAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the record is empty or too long"));
        }
        let held: u64 = self.closed.values().map(|segment| segment.bytes).sum();
        if held + self.active.bytes + HEAD_BYTES + length > self.bytes_max {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the spool holds all that it may"));
        }
        if self.active.bytes >= SEGMENT_BYTES || self.active_trust == Trust::Lost {
            self.begin_segment(number)?;
        }
        let record = encode(number, payload);
        let offset = self.active.bytes;
        self.active.file.write_all_at(&record, offset)?;
        self.active.bytes += record.len() as u64;
        self.active.highest = self.active.highest.max(Some(number));
        self.next_number = self.next_number.max(number + 1);
        let bytes = u32::try_from(length).expect("the limit of a payload fits 32 bits");
        Ok(Place { segment: self.active_name, offset, bytes })
    }

    /// Makes every record written so far durable: segments that were closed were synced then.
    ///
    /// # Errors
    /// The disk's. What was written since the last sync is then to be appended again.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.active_trust == Trust::Lost {
            return Err(io::Error::other("an earlier sync of these records failed"));
        }
        self.active.file.sync().inspect_err(|_| self.active_trust = Trust::Lost)
    }

    /// Reads a record's payload again.
    ///
    /// # Errors
    /// `NotFound` when its segment was trimmed, `InvalidData` when its bytes changed, else the disk's.
    pub(crate) fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let segment = if place.segment == self.active_name {
            &self.active
        } else {
            self.closed.get(&place.segment).ok_or(io::ErrorKind::NotFound)?
        };
        let mut record = vec![0; HEAD_BYTES as usize + place.bytes as usize];
        read_exact(&*segment.file, &mut record, place.offset)?;
        let (_, payload) = decode(&record).ok_or(io::ErrorKind::InvalidData)?;
        Ok(payload.to_vec())
    }

    /// Removes segments in which every record is acknowledged.
    ///
    /// # Errors
    /// The disk's; what is left is tried again by the next call.
    pub(crate) fn trim(&mut self, acknowledged: u64) -> io::Result<()> {
        if self.active.bytes >= SEGMENT_BYTES && self.active.highest.is_some_and(|n| n <= acknowledged) {
            self.begin_segment(self.next_number)?;
        }
        let done: Vec<u64> = self
            .closed
            .iter()
            .filter(|(_, segment)| segment.highest.is_none_or(|highest| highest <= acknowledged))
            .map(|(name, _)| *name)
            .collect();
        for name in done {
            self.disk.remove_file(&self.folder.join(file_name(name)))?;
            self.closed.remove(&name);
        }
        Ok(())
    }

    fn begin_segment(&mut self, number: u64) -> io::Result<()> {
        match self.active_trust {
            // Chunks in the full segment are synced with their job's end, which will stand in the next one.
            Trust::Sound => self.sync()?,
            // Whoever needs its records to be durable was told, and appends them again. Chunks are not: after a
            // failed sync and a power cut a stream may lack some.
            Trust::Lost => {}
        }
        let name = self.active_name.max(number.min(self.next_number)).max(self.active_name + 1);
        let fresh = create(&self.disk, &self.folder, name)?;
        let full = std::mem::replace(&mut self.active, fresh);
        self.closed.insert(self.active_name, full);
        self.active_name = name;
        self.active_trust = Trust::Sound;
        Ok(())
    }
}

fn create(disk: &Arc<dyn Disk>, folder: &std::path::Path, name: u64) -> io::Result<Segment> {
    let file = disk.open(&folder.join(file_name(name)), Access::CreateNew)?;
    disk.sync_folder(folder)?;
    Ok(Segment { file, bytes: 0, highest: None })
}

fn file_name(name: u64) -> String {
    format!("{name:016x}{SUFFIX}")
}

fn parse_name(text: &str) -> Option<u64> {
    let hex = text.strip_suffix(SUFFIX)?;
    (hex.len() == 16).then(|| u64::from_str_radix(hex, 16).ok())?
}

fn encode(number: u64, payload: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD_BYTES as usize + payload.len());
    let length = u32::try_from(payload.len()).expect("the caller has checked the limit of a payload");
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&number.to_le_bytes());
    record.extend_from_slice(payload);
    let sum = crc32c::crc32c(&record[8..]);
    record[4..8].copy_from_slice(&sum.to_le_bytes());
    record
}

fn decode(record: &[u8]) -> Option<(u64, &[u8])> {
    let head = record.get(..HEAD_BYTES as usize)?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let payload = record.get(HEAD_BYTES as usize..)?;
    let number = u64::from_le_bytes(head[8..16].try_into().ok()?);
    let whole = word(0) as usize == payload.len() && !payload.is_empty();
    (whole && crc32c::crc32c(&record[8..]) == word(4)).then_some((number, payload))
}

/// Reads records up to the first that is torn: nothing behind it was ever synced, because a sync covers all that
/// stands before it.
fn read_records(file: &dyn DiskFile, segment: u64, visit: &mut impl FnMut(Found)) -> io::Result<Option<u64>> {
    let end = file.len()?;
    let mut highest = None;
    let mut offset = 0;
    while offset + HEAD_BYTES < end {
        let mut length = [0; 4];
        read_exact(file, &mut length, offset)?;
        let bytes = u32::from_le_bytes(length);
        let whole = HEAD_BYTES + u64::from(bytes);
        if bytes == 0 || u64::from(bytes) > PAYLOAD_BYTES_MAX || offset + whole > end {
            break;
        }
        let mut record = vec![0; HEAD_BYTES as usize + bytes as usize];
        read_exact(file, &mut record, offset)?;
        let Some((number, payload)) = decode(&record) else { break };
        highest = highest.max(Some(number));
        visit(Found { number, place: Place { segment, offset, bytes }, payload: payload.to_vec() });
        offset += whole;
    }
    Ok(highest)
}

fn read_exact(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
