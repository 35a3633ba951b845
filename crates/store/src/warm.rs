//! Brings a model's bytes into the page cache, in the order in which loaders read them, while its worker still starts.
//!
//! By plain reads, one after the other: `POSIX_FADV_WILLNEED` reads at most the device's read-ahead (1.25 MiB here), and
//! tells nobody when it is done. What is in memory already is found by samples and not read again. It owns no task;
//! the caller bounds the bytes and may end it between two pieces.

use std::{collections::BTreeSet, io, path::Path};

use base::{Access, Advice, ByteSize};
use types::{ManifestFile, ModelKey};

use crate::{
    Store,
    import::whole::{INDEX_BYTES_MAX, INDEX_SUFFIX, named_by_index},
    store::Inner,
};

/// What is read, or left, at a time: long enough that a disk streams, short enough to be ended at once.
const PIECE_BYTES: usize = 1024 * 1024;
/// A piece counts as in memory when these many places of it are: the kernel reads and drops in runs, not by pages.
const SAMPLES: u64 = 4;

/// What warming a model did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warmed {
    /// Bytes that were read from the disk.
    pub read: ByteSize,
    /// Bytes that were in memory already.
    pub cached: ByteSize,
    /// How it ended.
    pub end: WarmEnd,
}

/// How warming ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarmEnd {
    /// Every file is in memory.
    Whole,
    /// The limit was reached: more would only push out what came first.
    Limit,
    /// The caller ended it.
    Ended,
    /// A file could not be read; its worker will say so better.
    Unreadable,
}

impl Store {
    /// Reads a model's files into the page cache, those first that loaders read first, up to a number of bytes. Asks
    /// `go_on` before each piece. A model that is not here is nothing to read.
    pub fn warm(&self, key: &ModelKey, bytes_max: ByteSize, go_on: &dyn Fn() -> bool) -> Warmed {
        let inner = self.inner();
        let files = inner.index().model(key).map(|model| model.manifest.files().to_vec()).unwrap_or_default();
        let indexed = inner.indexed(&files);
        let mut warming = Warming { inner, bytes_left: bytes_max.bytes(), go_on, warmed: Warmed::default() };
        let mut seen = BTreeSet::new();
        for file in load_order(&files, &indexed).into_iter().filter(|file| seen.insert(file.digest)) {
            if let Err(end) = warming.file(file) {
                warming.warmed.end = end;
                break;
            }
        }
        warming.warmed
    }
}

impl Default for Warmed {
    fn default() -> Self {
        Self { read: ByteSize(0), cached: ByteSize(0), end: WarmEnd::Whole }
    }
}

impl Inner {
    /// Returns the files that the indexes of a model name.
    fn indexed(&self, files: &[ManifestFile]) -> BTreeSet<String> {
        let indexes = files.iter().filter(|file| file.path.as_str().ends_with(INDEX_SUFFIX));
        let read = indexes.filter_map(|file| {
            let bytes = self.disk.read(&self.layout.blob(&file.digest), INDEX_BYTES_MAX).ok()?;
            Some(named_by_index(&file.path, &bytes))
        });
        read.flatten().collect()
    }
}

/// One model being warmed.
struct Warming<'a> {
    inner: &'a Inner,
    bytes_left: u64,
    go_on: &'a dyn Fn() -> bool,
    warmed: Warmed,
}

impl Warming<'_> {
    fn file(&mut self, file: &ManifestFile) -> Result<(), WarmEnd> {
        let path = self.inner.layout.blob(&file.digest);
        self.pieces(&path, file.size).unwrap_or_else(|error| {
            tracing::debug!(path = %file.path, %error, "a file can't be read ahead of its worker");
            Err(WarmEnd::Unreadable)
        })
    }

    fn pieces(&mut self, path: &Path, size: u64) -> io::Result<Result<(), WarmEnd>> {
        let open = self.inner.disk.open(path, Access::Read)?;
        // It doubles the kernel's own read-ahead.
        open.advise(Advice::Sequential, 0, size)?;
        let mut buffer = vec![0; PIECE_BYTES];
        let mut offset = 0;
        while offset < size {
            if !(self.go_on)() {
                return Ok(Err(WarmEnd::Ended));
            }
            let len = (size - offset).min(PIECE_BYTES as u64);
            if len > self.bytes_left {
                return Ok(Err(WarmEnd::Limit));
            }
            let mut is_cached = true;
            for sample in 0..SAMPLES {
                is_cached = is_cached && open.is_cached(offset + (len - 1) * sample / (SAMPLES - 1))?;
            }
            if is_cached {
                self.warmed.cached += ByteSize(len);
                offset += len;
            } else {
                let wanted = usize::try_from(len).expect("a piece fits into memory");
                let read = open.read_at(&mut buffer[..wanted], offset)? as u64;
                if read == 0 {
                    return Ok(Err(WarmEnd::Unreadable));
                }
                self.warmed.read += ByteSize(read);
                offset += read;
            }
            self.bytes_left -= len.min(self.bytes_left);
        }
        Ok(Ok(()))
    }
}

/// Orders the files of a model as loaders read them: configuration and tokenizer, then the weights that an index names,
/// then others by how common loaders prefer their formats; within each by name, shards in the order of their numbers.
fn load_order<'a>(files: &'a [ManifestFile], indexed: &BTreeSet<String>) -> Vec<&'a ManifestFile> {
    let rank = |file: &ManifestFile| {
        let path = file.path.as_str();
        match path.rsplit_once('.').map_or("", |(_, suffix)| suffix) {
            _ if indexed.contains(path) => 1,
            "safetensors" => 2,
            "gguf" => 3,
            "bin" | "pt" | "pth" | "ckpt" => 4,
            "onnx" | "onnx_data" | "h5" | "msgpack" | "pb" | "tflite" | "ot" => 5,
            _ => 0,
        }
    };
    let mut ordered: Vec<&ManifestFile> = files.iter().collect();
    ordered.sort_by(|a, b| (rank(a), &a.path).cmp(&(rank(b), &b.path)));
    ordered
}

#[cfg(test)]
mod tests {
    use types::Digest;

    use super::*;

    #[test]
    fn what_a_loader_reads_first_comes_first() {
        let check = |files: &[&str], indexed: &[&str], expected: &[&str]| {
            let files: Vec<ManifestFile> = files
                .iter()
                .map(|path| ManifestFile {
                    path: path.parse().unwrap(),
                    size: 1,
                    digest: Digest::Sha256([0; 32]),
                })
                .collect();
            let indexed = indexed.iter().map(|path| (*path).to_owned()).collect();
            let order: Vec<&str> =
                load_order(&files, &indexed).into_iter().map(|file| file.path.as_str()).collect();
            assert_eq!(order, expected);
        };
        check(
            &["pytorch_model.bin", "model.safetensors", "tokenizer.json", "config.json"],
            &[],
            &["config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin"],
        );
        check(
            &[
                "consolidated.safetensors",
                "m-00002-of-00002.safetensors",
                "m-00001-of-00002.safetensors",
                "m.safetensors.index.json",
            ],
            &["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"],
            &[
                "m.safetensors.index.json",
                "m-00001-of-00002.safetensors",
                "m-00002-of-00002.safetensors",
                "consolidated.safetensors",
            ],
        );
    }
}
