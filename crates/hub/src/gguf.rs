//! Finds one quantisation in a repository of GGUF files. Pure.
//!
//! A quantisation is named by the last fitting word of the file name, or of a folder: `tiny-Q4_K_M.gguf`,
//! `Q4_K_M/tiny-00001-of-00003.gguf`, `UD-Q2_K_XL`.

use std::collections::BTreeSet;

use types::{ManifestFile, RepoName, RepoPath, Variant};

use crate::error::{SelectError, VariantIncomplete, VariantNotFound};

/// What quantisation names begin with, before their first digit.
const KINDS: [&str; 7] = ["IQ", "Q", "BF", "F", "MXFP", "NVFP", "TQ"];
/// Names in files that are not the model itself: importance matrices and drafts of speculative decoding.
const ASIDE: [&str; 5] = ["imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];
/// Small files of these kinds come along with any quantisation: configuration, tokenizer, documentation.
const COMPANIONS: [&str; 11] =
    ["json", "jsonl", "txt", "model", "tiktoken", "jinja", "md", "yaml", "yml", "vocab", "spm"];
/// A companion is not larger, unless it is a tokenizer: none that loaders need has been seen above 10 MB.
const COMPANION_BYTES_MAX: u64 = 10_000_000;

/// Returns the files of one quantisation with what loaders need beside it.
pub(crate) fn choose(
    repo: &RepoName,
    listing: &[ManifestFile],
    variant: &Variant,
) -> Result<Vec<ManifestFile>, SelectError> {
    let weights: Vec<(&ManifestFile, String)> = listing
        .iter()
        .filter(|file| is_weights(&file.path))
        .filter_map(|file| quantisation(&file.path).map(|name| (file, name)))
        .collect();
    let mut chosen: Vec<&ManifestFile> = weights
        .iter()
        .filter(|(_, name)| name.eq_ignore_ascii_case(variant.as_str()))
        .map(|(file, _)| *file)
        .collect();
    if chosen.is_empty() {
        let available: BTreeSet<String> = weights.into_iter().map(|(_, name)| name).collect();
        let available = available.into_iter().collect();
        return Err(VariantNotFound { repo: repo.clone(), variant: variant.clone(), available }.into());
    }
    check_parts(repo, variant, &chosen)?;
    let projector = projector(listing, chosen[0], variant.as_str());
    chosen.extend(projector);
    chosen.extend(listing.iter().filter(|file| is_companion(file)));
    Ok(chosen.into_iter().cloned().collect())
}

/// Returns the name of the quantisation that a file belongs to.
fn quantisation(path: &RepoPath) -> Option<String> {
    let (stem, _) = split_part(stem(path));
    let folders = path.as_str().rsplit('/').skip(1);
    std::iter::once(stem).chain(folders).find_map(last_quantisation)
}

/// Finds the last word of a name that names a quantisation, with `UD-` before it where that stands there.
fn last_quantisation(name: &str) -> Option<String> {
    let words: Vec<&str> = name.split(['-', '.']).collect();
    (0..words.len()).rev().find_map(|at| {
        // Names joined by underscores hide the quantisation at a word's end: `tiny_q4_0`.
        let starts = std::iter::once(0).chain(words[at].match_indices('_').map(|(index, _)| index + 1));
        let found = starts.map(|start| &words[at][start..]).find(|word| is_quantisation(word))?;
        let dynamic = at > 0 && found.len() == words[at].len() && words[at - 1].eq_ignore_ascii_case("UD");
        Some(if dynamic { format!("UD-{found}") } else { found.to_owned() })
    })
}

fn is_quantisation(word: &str) -> bool {
    let upper = word.to_ascii_uppercase();
    KINDS.iter().any(|kind| {
        upper.strip_prefix(kind).is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_digit())
                && rest.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        })
    })
}

/// Cuts `-00001-of-00003` off a stem and returns the part and how many there are.
fn split_part(stem: &str) -> (&str, Option<(u32, u32)>) {
    let part = || {
        let (rest, parts) = stem.rsplit_once("-of-")?;
        let (name, part) = rest.rsplit_once('-')?;
        let number = |text: &str| if text.len() == 5 { text.parse::<u32>().ok() } else { None };
        Some((name, (number(part)?, number(parts)?)))
    };
    part().map_or((stem, None), |(name, part)| (name, Some(part)))
}

/// Checks that all parts of every split file are there.
fn check_parts(repo: &RepoName, variant: &Variant, files: &[&ManifestFile]) -> Result<(), VariantIncomplete> {
    let part_of = |file: &ManifestFile| {
        let (name, part) = split_part(stem(&file.path));
        let folder = file.path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
        part.map(|(part, parts)| ((folder.to_owned(), name.to_owned(), parts), part))
    };
    let present: BTreeSet<_> = files.iter().filter_map(|file| part_of(file)).collect();
    let wholes: BTreeSet<_> = present.iter().map(|(whole, _)| whole.clone()).collect();
    for whole in wholes {
        let parts = whole.2;
        // A name may claim 99,999 parts; the first gap ends the search.
        if let Some(part) = (1..=parts).find(|part| !present.contains(&(whole.clone(), *part))) {
            return Err(VariantIncomplete { repo: repo.clone(), variant: variant.clone(), part, parts });
        }
    }
    Ok(())
}

/// Returns the image projector that fits best: the deepest common folder, then the closest width, as llama.cpp does.
fn projector<'a>(
    listing: &'a [ManifestFile],
    weights: &ManifestFile,
    variant: &str,
) -> Option<&'a ManifestFile> {
    let wanted = bits(variant);
    listing.iter().filter(|file| is_gguf(&file.path) && is_projector(&file.path)).min_by_key(|file| {
        let depth = common_folders(&file.path, &weights.path);
        let width = quantisation(&file.path).map_or(0, |name| bits(&name));
        (std::cmp::Reverse(depth), width.abs_diff(wanted), file.path.clone())
    })
}

/// Returns the first number in a quantisation's name: its bits for each weight.
fn bits(name: &str) -> u32 {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

fn common_folders(one: &RepoPath, other: &RepoPath) -> usize {
    let folders = |path: &RepoPath| {
        let mut parts: Vec<String> = path.as_str().split('/').map(str::to_owned).collect();
        parts.pop();
        parts
    };
    folders(one).iter().zip(folders(other).iter()).take_while(|(one, other)| one == other).count()
}

fn is_weights(path: &RepoPath) -> bool {
    let name = path.file_name().to_ascii_lowercase();
    is_gguf(path) && !is_projector(path) && !ASIDE.iter().any(|aside| name.contains(aside))
}

fn is_projector(path: &RepoPath) -> bool {
    path.file_name().to_ascii_lowercase().contains("mmproj")
}

fn is_gguf(path: &RepoPath) -> bool {
    path.file_name().to_ascii_lowercase().ends_with(".gguf")
}

/// Returns whether a file comes along with any quantisation. Index files name the shards of other formats.
fn is_companion(file: &ManifestFile) -> bool {
    let name = file.path.file_name();
    let upper = name.to_ascii_uppercase();
    if upper.starts_with("LICENSE") || upper.starts_with("USE_POLICY") || name == ".gitattributes" {
        return true;
    }
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    COMPANIONS.contains(&extension)
        && !name.ends_with(".index.json")
        && (file.size <= COMPANION_BYTES_MAX || name.starts_with("tokenizer"))
}

fn stem(path: &RepoPath) -> &str {
    let name = path.file_name();
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests;
