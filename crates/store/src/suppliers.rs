//! Who brought which blob: a log of lines, each with its own checksum, rewritten at every open.
//!
//! Losing it is safe: tenants of untrusted hubs then bring their bytes again.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use base::{Access, Disk, DiskFile, write_durably};
use serde::{Deserialize, Serialize};
use types::Digest;

use crate::{Supplier, lines};

/// 1.5 million lines of about 170 bytes. A log beyond that is begun anew.
const LOG_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SupplierLine {
    /// This supplier brought this blob.
    Brought {
        /// The blob.
        blob: Digest,
        /// Who brought it.
        by: Supplier,
    },
    /// The blob is gone; whoever brought it counts no more.
    Gone {
        /// The blob.
        blob: Digest,
    },
}

/// Who brought each blob.
pub(crate) type Suppliers = BTreeMap<Digest, BTreeSet<Supplier>>;

/// The open log.
#[derive(Debug)]
pub(crate) struct SupplierLog {
    file: Box<dyn DiskFile>,
    /// Where the next line goes. After a failed append it stays, so that the next one covers what is left of it.
    end: u64,
}

impl SupplierLog {
    /// Reads the log, keeps what concerns blobs that are here, and writes it anew when that is not what stood in it.
    /// On a full disk the old one goes on as it is.
    ///
    /// # Errors
    /// The operating system's, but not for a log that is missing or too long.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        is_here: impl Fn(&Digest) -> bool,
    ) -> io::Result<(Self, Suppliers)> {
        let found = match disk.read(path, LOG_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                tracing::warn!(%error, "the log of suppliers is too long and begun anew");
                disk.remove_file(path)?;
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let mut suppliers = decode(&found);
        suppliers.retain(|blob, _| is_here(blob));
        let wanted = encode_all(&suppliers);
        let mut end = found.len() as u64;
        if found != wanted {
            match write_durably(disk, path, &wanted) {
                Ok(()) => end = wanted.len() as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    tracing::warn!(%error, "the log of suppliers can't be written anew and goes on as it is");
                }
                Err(error) => return Err(error),
            }
        }
        let file = disk.open(path, Access::CreateOrKeep)?;
        // Whoever wrote it may have been killed before its lines and its name were durable; what is read here is
        // relied upon.
        file.sync()?;
        disk.sync_folder(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        Ok((Self { file, end }, suppliers))
    }

    /// Appends lines and makes them durable.
    pub(crate) fn append(&mut self, lines: &[SupplierLine]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        // What stands before may be torn: a line of its own begins behind a line break.
        let bytes: Vec<u8> = std::iter::once(b'\n').chain(lines.iter().flat_map(lines::encode)).collect();
        self.file.write_all_at(&bytes, self.end)?;
        self.file.sync()?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

fn encode_all(suppliers: &Suppliers) -> Vec<u8> {
    let brought = suppliers.iter().flat_map(|(blob, by)| {
        by.iter().map(|supplier| SupplierLine::Brought { blob: *blob, by: supplier.clone() })
    });
    brought.flat_map(|line| lines::encode(&line)).collect()
}

fn decode(bytes: &[u8]) -> Suppliers {
    let mut suppliers = Suppliers::new();
    for line in lines::decode(bytes) {
        match line {
            SupplierLine::Brought { blob, by } => {
                suppliers.entry(blob).or_default().insert(by);
            }
            SupplierLine::Gone { blob } => {
                suppliers.remove(&blob);
            }
        }
    }
    suppliers
}

#[cfg(test)]
mod tests {
    use base::FaultyDisk;

    use super::*;
    use crate::{HubStanding, lines::encode};

    fn supplier(tenant: &str) -> Supplier {
        Supplier {
            hub: "hub.example:8080".parse().unwrap(),
            tenant: tenant.parse().unwrap(),
            standing: HubStanding::Untrusted,
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(testkit::cases(64)))]
        #[test]
        fn a_rotten_log_never_names_a_supplier_that_was_not_written(
            flips in proptest::collection::vec((0_usize..2000, 1_u8..=255), 0..6),
            cut in 0_usize..2000,
            more in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
        ) {
            let lines = (0..8_u8).flat_map(|number| {
                let (blob, by) = (Digest::Sha256([number; 32]), supplier(&format!("tn_{number}")));
                encode(&SupplierLine::Brought { blob, by })
            });
            let mut bytes: Vec<u8> = lines.collect();
            for (at, mask) in flips {
                let at = at % bytes.len();
                bytes[at] ^= mask;
            }
            bytes.truncate(cut.max(1));
            bytes.extend(more);
            for (blob, by) in decode(&bytes) {
                let Digest::Sha256([number, ..]) = blob else { panic!("{blob} was never written") };
                assert_eq!(by, BTreeSet::from([supplier(&format!("tn_{number}"))]));
            }
        }
    }

    #[test]
    fn a_torn_tail_is_dropped_and_the_log_goes_on() {
        let path = Path::new("/suppliers.log");
        let (one, two, three) = (Digest::Sha256([1; 32]), Digest::GitSha1([2; 20]), Digest::Sha256([3; 32]));
        let brought = |blob, tenant| SupplierLine::Brought { blob, by: supplier(tenant) };
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(5));
        let (mut log, found) = SupplierLog::open(&disk, path, |_| true).unwrap();
        assert!(found.is_empty());
        log.append(&[brought(one, "tn_a"), brought(two, "tn_a"), brought(one, "tn_b")]).unwrap();
        log.append(&[brought(three, "tn_a")]).unwrap();
        log.append(&[SupplierLine::Gone { blob: one }, brought(one, "tn_c")]).unwrap();
        let whole = disk.read(path, 1 << 20).unwrap();
        for end in 0..=whole.len() {
            let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(5));
            disk.open(path, Access::CreateNew).unwrap().write_all_at(&whole[..end], 0).unwrap();
            let (mut log, before) = SupplierLog::open(&disk, path, |_| true).unwrap();
            log.append(&[brought(two, "tn_z")]).unwrap();
            let (_, after) = SupplierLog::open(&disk, path, |blob| *blob == two).unwrap();
            assert!(after[&two].contains(&supplier("tn_z")), "cut at {end}");
            assert_eq!(after[&two].len(), 1 + before.get(&two).map_or(0, BTreeSet::len));
            assert_eq!(after.len(), 1);
        }
        let (_, all) = SupplierLog::open(&disk, path, |_| true).unwrap();
        assert_eq!(all[&one], BTreeSet::from([supplier("tn_c")]));
    }
}
