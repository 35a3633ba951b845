//! The small files of a repository that say which of the others belong together. Pure: others read them.
//!
//! They come from strangers: each is bounded in length and depth, and every path in one is checked.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use types::{ManifestFile, RepoPath};

use super::nature::{Format, LOADED, Nature, folder_of};
use crate::answer::cleaned;

/// The longest document that is read. The index of a model of 100,000 tensors takes about 10 MB.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 100_000_000;
/// All documents of one repository together.
const DOCUMENTS_BYTES_MAX: u64 = 200_000_000;
/// Documents of one repository: an image pipeline in several variants has about a dozen.
const DOCUMENTS_MAX: usize = 32;
/// Files that one index may name: as many as a listing may have.
const SHARDS_MAX: usize = 100_000;
/// Where an image pipeline says what it is made of.
pub(super) const PIPELINE: &str = "model_index.json";
/// Where an adapter says what it adapts.
pub(super) const ADAPTER: &str = "adapter_config.json";
const CONFIG: &str = "config.json";

/// The bytes of documents that were read.
#[derive(Clone, Debug, Default)]
pub struct Documents(BTreeMap<RepoPath, Bytes>);

impl Documents {
    /// Adds a document.
    pub fn insert(&mut self, path: RepoPath, bytes: Bytes) {
        self.0.insert(path, bytes);
    }

    /// Returns a document's bytes, if it was read.
    pub(super) fn get(&self, path: &str) -> Option<&Bytes> {
        // A path of a listing is a `RepoPath` already; others are in no listing.
        path.parse::<RepoPath>().ok().and_then(|path| self.0.get(&path))
    }
}

/// Returns the documents that must be read before files can be chosen, the most telling first.
pub(super) fn wanted<'a>(listing: &'a [ManifestFile], natures: &[Nature]) -> Vec<&'a ManifestFile> {
    let weights: BTreeSet<(&str, &str, Option<&str>)> = whole_weights(natures).collect();
    let is_whole = |nature: &Nature| match nature {
        // Loaders look at no index where the weights are in one file.
        Nature::Index(name) => weights.contains(&(&name.home, &name.base, name.variant.as_deref())),
        _ => false,
    };
    // Weights by a name of their own may be named in the configuration.
    let is_unnamed = |nature: &Nature| match nature {
        Nature::Weights(name) => {
            name.format == Format::Safetensors
                && name.home.is_empty()
                && !LOADED.contains(&name.base.as_str())
        }
        _ => false,
    };
    let unnamed = natures.iter().any(is_unnamed);
    let mut wanted: Vec<(usize, &ManifestFile)> = listing
        .iter()
        .zip(natures)
        .filter_map(|(file, nature)| {
            let rank = match (file.path.as_str(), nature) {
                (PIPELINE, _) => 0,
                (ADAPTER, _) => 1,
                (CONFIG, _) if unnamed => 2,
                (_, Nature::Index(_)) if !is_whole(nature) => 3 + file.path.depth(),
                _ => return None,
            };
            Some((rank, file))
        })
        .collect();
    wanted.sort_by_key(|(rank, file)| (*rank, &file.path));
    let mut bytes = 0_u64;
    let within = wanted.into_iter().map(|(_, file)| file).take(DOCUMENTS_MAX).filter(|file| {
        let fits = file.size <= DOCUMENT_BYTES_MAX && bytes + file.size <= DOCUMENTS_BYTES_MAX;
        bytes += if fits { file.size } else { 0 };
        fits
    });
    within.collect()
}

/// Returns home, base and variant of weights that are in one file each.
fn whole_weights(natures: &[Nature]) -> impl Iterator<Item = (&str, &str, Option<&str>)> {
    natures.iter().filter_map(|nature| match nature {
        Nature::Weights(name) if name.part.is_none() => {
            Some((name.home.as_str(), name.base.as_str(), name.variant.as_deref()))
        }
        Nature::Weights(_)
        | Nature::Companion
        | Nature::Index(_)
        | Nature::Aside
        | Nature::Training
        | Nature::Media
        | Nature::Large => None,
    })
}

/// Returns the names of the files that an index of shards leads to, as it writes them.
pub(super) fn shards(bytes: &[u8]) -> Result<BTreeSet<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: Shards,
    }
    let index: Index = serde_json::from_slice(bytes).map_err(|error| cleaned(&error.to_string()))?;
    if index.weight_map.0.is_empty() { Err("it names no file".to_owned()) } else { Ok(index.weight_map.0) }
}

/// The distinct values of a map, without its keys: an index has a line for each tensor.
struct Shards(BTreeSet<String>);

impl<'de> Deserialize<'de> for Shards {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = BTreeSet<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tensors to files")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut names = BTreeSet::new();
                while map.next_key::<IgnoredAny>()?.is_some() {
                    let Text(name) = map.next_value()?;
                    if !names.contains(name.as_ref()) {
                        names.insert(name.into_owned());
                    }
                    if names.len() > SHARDS_MAX {
                        return Err(serde::de::Error::custom("it names more than 100,000 files"));
                    }
                }
                Ok(names)
            }
        }

        deserializer.deserialize_map(Names).map(Shards)
    }
}

/// A text that is borrowed where it can be.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Returns the folders of a pipeline's components.
pub(super) fn components(bytes: &[u8]) -> Result<BTreeSet<String>, String> {
    let map: BTreeMap<String, Component> =
        serde_json::from_slice(bytes).map_err(|error| cleaned(&error.to_string()))?;
    let parts = map.into_iter().filter(|(name, component)| !name.starts_with('_') && component.is_used());
    Ok(parts.map(|(name, _)| name).collect())
}

/// `["diffusers", "UNet2DConditionModel"]`, or `[null, null]`; settings of the pipeline are anything else.
#[derive(Deserialize)]
#[serde(untagged)]
enum Component {
    Classes(Vec<Option<String>>),
    Setting(IgnoredAny),
}

impl Component {
    fn is_used(&self) -> bool {
        match self {
            Self::Classes(classes) => classes.iter().any(Option::is_some),
            Self::Setting(_) => false,
        }
    }
}

/// Returns the file of weights that a configuration names itself.
pub(super) fn named_weights(documents: &Documents) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        transformers_weights: Option<String>,
    }
    let config: Config = serde_json::from_slice(documents.get(CONFIG)?).ok()?;
    config.transformers_weights
}

/// Returns the model that an adapter needs beside itself.
pub(super) fn base_model(documents: &Documents) -> Option<String> {
    /// What the hub takes as a name; anything else is not shown.
    const NAME_BYTES_MAX: usize = 96;
    #[derive(Deserialize)]
    struct Config {
        base_model_name_or_path: Option<String>,
    }
    let config: Config = serde_json::from_slice(documents.get(ADAPTER)?).ok()?;
    let plain = |name: &String| name.len() <= NAME_BYTES_MAX && name.parse::<types::RepoName>().is_ok();
    config.base_model_name_or_path.filter(plain)
}

/// Returns the path that an index means by a name, which it writes from its own folder.
pub(super) fn beside(index: &RepoPath, name: &str) -> Result<RepoPath, types::RepoPathError> {
    match folder_of(index.as_str()) {
        "" => name.parse(),
        folder => {
            // Checked by itself first: a name must not lead out of the index's folder either.
            let name: RepoPath = name.parse()?;
            format!("{folder}/{name}").parse()
        }
    }
}

#[cfg(test)]
mod tests;
