//! What is fetched over what kind of link.

use std::{fs, fs::File, io::Write as _, path::Path};

use base::{ByteSize, Entropy};

use crate::CAP_SHARE;

/// The repository that every shape is served as.
pub(crate) const MODEL: &str = "bench/model";

/// Files of one size, and how the hub gives them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) files: usize,
    pub(crate) file_bytes: usize,
    pub(crate) link: Link,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// As fast as the machine.
    Open,
    /// Each connection gets an eighth of what the limit reached on the open link.
    Capped,
}

impl Shape {
    pub(crate) const ALL: &'static [Self] = &[
        Self { name: "one", files: 1, file_bytes: 2_000_000_000, link: Link::Open },
        Self { name: "capped", files: 1, file_bytes: 2_000_000_000, link: Link::Capped },
        Self { name: "eight", files: 8, file_bytes: 256_000_000, link: Link::Open },
        Self { name: "small", files: 5000, file_bytes: 20_000, link: Link::Open },
    ];

    pub(crate) fn title(&self) -> String {
        let link = match self.link {
            Link::Open => "",
            Link::Capped => ", each connection capped to an eighth of the limit",
        };
        format!("{}: {} x {}{link}", self.name, self.files, ByteSize(self.file_bytes as u64))
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.files * self.file_bytes
    }

    pub(crate) const fn is_small(&self) -> bool {
        self.file_bytes < 1_000_000
    }

    /// Returns the cap of a connection in bytes a second, given the rate of the limit on the open link.
    pub(crate) fn cap(&self, open_rate: f64) -> Option<u64> {
        match self.link {
            Link::Open => None,
            Link::Capped => Some((open_rate * CAP_SHARE) as u64),
        }
    }

    /// Returns the name of a file in the repository.
    pub(crate) fn file(&self, number: usize) -> String {
        if self.is_small() {
            format!("part-{number:04}.json")
        } else {
            format!("model-{number:04}.safetensors")
        }
    }

    /// Writes files that do not compress and of which no two share a byte range.
    pub(crate) fn write(&self, models: &Path) {
        const PIECE: usize = 4096;
        let folder = models.join(MODEL);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), "{}").unwrap();
        for number in 0..self.files {
            let mut file = File::create(folder.join(self.file(number))).unwrap();
            let entropy = Entropy::seeded(number as u64);
            let mut left = self.file_bytes;
            while left > 0 {
                let piece = left.min(PIECE);
                file.write_all(&entropy.bytes::<PIECE>()[..piece]).unwrap();
                left -= piece;
            }
        }
    }
}
