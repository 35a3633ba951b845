//! Whether the files of a snapshot lack one that another of them names: a shard by its number, or by an index. Pure.
//!
//! A listing can't tell: it names also what was never asked for.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use types::RepoPath;

/// Indexes of the largest models hold about 5 MB; larger ones are not looked into.
pub(crate) const INDEX_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// The name of an index ends so.
pub(crate) const INDEX_SUFFIX: &str = ".index.json";
/// Shards of one file. The most that was seen is a few hundred.
const SHARDS_MAX: u32 = 10_000;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Returns the files that an index names, as paths of the repository; nothing when it is no index.
pub(crate) fn named_by_index(path: &RepoPath, bytes: &[u8]) -> BTreeSet<String> {
    let Ok(index) = serde_json::from_slice::<Index>(bytes) else { return BTreeSet::new() };
    let folder = path.as_str().strip_suffix(path.file_name()).unwrap_or_default();
    index.weight_map.into_values().map(|name| format!("{folder}{name}")).collect()
}

/// Returns the files of a named set that are missing, unless all of them are: a set that was never asked for.
pub(super) fn missing_of(named: &BTreeSet<String>, there: &BTreeSet<&str>) -> Vec<String> {
    let missing: Vec<String> = named.iter().filter(|name| !there.contains(name.as_str())).cloned().collect();
    if missing.len() == named.len() { Vec::new() } else { missing }
}

/// Returns the shards that numbered files lack, as `model-00002-of-00003.safetensors`.
pub(super) fn missing_shards(there: &BTreeSet<&str>) -> Vec<String> {
    let mut sets: BTreeMap<(&str, &str, &str), BTreeSet<u32>> = BTreeMap::new();
    for path in there {
        if let Some((stem, number, total, suffix)) = shard(path) {
            sets.entry((stem, total, suffix)).or_default().insert(number);
        }
    }
    let missing = sets.into_iter().flat_map(|((stem, total, suffix), numbers)| {
        let count = total.parse::<u32>().unwrap_or(0).min(SHARDS_MAX);
        let width = total.len();
        let lacking = (1..=count).filter(move |number| !numbers.contains(number));
        lacking.map(move |number| format!("{stem}-{number:0width$}-of-{total}{suffix}"))
    });
    missing.collect()
}

/// Takes the name of a shard apart: what stands before, its number, how many there are, and what stands behind.
fn shard(path: &str) -> Option<(&str, u32, &str, &str)> {
    let (before, after) = path.rsplit_once("-of-")?;
    let (stem, number) = before.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (total, suffix) = (after.get(..5)?, after.get(5..)?);
    (digits(number) && digits(total) && suffix.starts_with('.'))
        .then(|| number.parse().ok().map(|number| (stem, number, total, suffix)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_shard_is_found_by_its_number() {
        let check = |there: &[&str], expected: &[&str]| {
            assert_eq!(missing_shards(&there.iter().copied().collect()), expected, "{there:?}");
        };
        check(&["config.json", "model.safetensors"], &[]);
        check(&["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], &[]);
        check(&["model-00002-of-00002.safetensors"], &["model-00001-of-00002.safetensors"]);
        check(
            &["Q4/m-00001-of-00003.gguf", "Q8/m-00001-of-00001.gguf"],
            &["Q4/m-00002-of-00003.gguf", "Q4/m-00003-of-00003.gguf"],
        );
        check(&["a-1-of-2.txt", "b-00001-of-00002", "-of-", "é-of-éé"], &[]);
    }

    #[test]
    fn an_index_names_what_must_be_there() {
        let path: RepoPath = "unet/model.safetensors.index.json".parse().unwrap();
        let named = named_by_index(&path, br#"{"weight_map":{"a":"x.safetensors","b":"y.safetensors"}}"#);
        let check = |there: &[&str], expected: &[&str]| {
            assert_eq!(missing_of(&named, &there.iter().copied().collect()), expected, "{there:?}");
        };
        check(&["unet/x.safetensors", "unet/y.safetensors"], &[]);
        check(&["unet/x.safetensors"], &["unet/y.safetensors"]);
        // Weights in another format were asked for.
        check(&["x.safetensors"], &[]);
        assert!(named_by_index(&path, b"{").is_empty());
    }
}
