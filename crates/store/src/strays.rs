//! What no model names: blobs of fetches that were given up, partial files that nobody continues. They go first.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use base::{ByteSize, Timestamp};
use types::Digest;

use crate::{
    DiskTrouble,
    flight::FlightKey,
    partial::PartialPaths,
    store::{Inner, Publication},
};

/// Strays of this age go even when there is room. A fetch that stopped is mostly taken up within the day; after that its
/// repository has moved on, or nobody wants it.
pub const STRAY_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What a sweep of strays removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs that no model names.
    pub blobs: u64,
    /// Partial files.
    pub partials: u64,
    /// Bytes that the disk has free again.
    pub freed: ByteSize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stray {
    Blob(Digest),
    Partial(FlightKey),
}

/// Since when this process has seen each stray as one.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    since: HashMap<Stray, Timestamp>,
}

/// A stray, its age and its bytes.
struct Found {
    since: Timestamp,
    stray: Stray,
    bytes: u64,
}

impl Inner {
    /// Removes the oldest strays of at least this age, until so many bytes are free.
    pub(crate) fn sweep_strays(&self, age_min: Duration, bytes: ByteSize) -> Result<Swept, DiskTrouble> {
        let mut publication = self.publication();
        let now = self.clock.now();
        let mut found = self.find_strays(&mut publication, now);
        found.sort_unstable_by(|a, b| (a.since, &a.stray).cmp(&(b.since, &b.stray)));
        let mut swept = Swept::default();
        for Found { since, stray, .. } in found {
            if swept.freed >= bytes || now.since(since) < age_min {
                break;
            }
            match &stray {
                Stray::Blob(digest) => {
                    let removed = self.free(&mut publication, &BTreeSet::from([*digest]))?;
                    swept.blobs += removed.blobs;
                    swept.freed += removed.freed;
                }
                Stray::Partial(key) => {
                    if let Some(freed) = self.discard_partial(key)? {
                        swept.partials += 1;
                        swept.freed += freed;
                    }
                }
            }
            publication.strays.since.remove(&stray);
        }
        Ok(swept)
    }

    /// Returns the bytes of strays.
    pub(crate) fn stray_bytes(&self) -> ByteSize {
        let mut publication = self.publication();
        let found = self.find_strays(&mut publication, self.clock.now());
        found.iter().map(|found| ByteSize(found.bytes)).sum()
    }

    /// Finds what no model names and no running fetch needs, and notes since when.
    fn find_strays(&self, publication: &mut Publication, now: Timestamp) -> Vec<Found> {
        let needed = self.reservations().digests();
        let mut bytes: HashMap<Stray, u64> = {
            let index = self.index();
            let blobs = index.unnamed().into_iter().filter(|(digest, _)| !needed.contains(digest));
            let partials = index.partials().filter(|((_, digest), _)| !needed.contains(digest));
            let partials = partials.map(|(key, reserved)| (Stray::Partial(key.clone()), reserved));
            blobs.map(|(digest, size)| (Stray::Blob(digest), size)).chain(partials).collect()
        };
        bytes.retain(|stray, _| match stray {
            Stray::Blob(_) => true,
            // Somebody writes it.
            Stray::Partial(key) => !self.flights.is_under_way(key),
        });
        let since = &mut publication.strays.since;
        since.retain(|stray, _| bytes.contains_key(stray));
        let found = bytes.into_iter().map(|(stray, bytes)| {
            let since = *since.entry(stray.clone()).or_insert(now);
            Found { since, stray, bytes }
        });
        found.collect()
    }

    /// Removes a partial file that nobody writes. Returns the bytes that were reserved, or `None` when somebody does.
    fn discard_partial(&self, key: &FlightKey) -> Result<Option<ByteSize>, DiskTrouble> {
        // Held until the files are gone, so that no claim begins in between.
        let Ok(_flight) = self.flights.enter(key.clone()) else { return Ok(None) };
        let paths = PartialPaths::new(&self.layout, &key.0, &key.1);
        let allocated = self.disk.metadata(&paths.data).map_or(0, |meta| meta.allocated);
        paths.discard(&self.disk)?;
        self.index().remove_partial(key);
        Ok(Some(ByteSize(allocated)))
    }
}
