//! Quantisations in a repository of GGUF files. Pure.
//!
//! A quantisation is named by the last fitting word of the file name, or of a folder: `tiny-Q4_K_M.gguf`,
//! `Q4_K_M/tiny-00001-of-00003.gguf`, `UD-Q2_K_XL`. A file without such a word is named by its stem.

use std::collections::{BTreeMap, BTreeSet};

use types::{ManifestFile, RepoPath};

use super::{
    candidate::{Candidate, Trouble},
    nature::{Format, Nature, folder_of, split_part},
};

/// What quantisation names begin with, before their first digit.
const KINDS: [&str; 7] = ["IQ", "Q", "BF", "F", "MXFP", "NVFP", "TQ"];
/// What llama.cpp and its users take first; then the smallest of the others.
const PREFERRED: [&str; 4] = ["Q4_K_M", "Q4_K_S", "Q5_K_M", "Q8_0"];

/// Image projectors that are looked at. Repositories have one or two for each model.
const PROJECTORS_MAX: usize = 64;

/// Returns a candidate for each quantisation, with its parts and the image projector that goes with it. Where one
/// quantisation is there of several models, each of these is a candidate of its own as well.
pub(super) fn candidates(listing: &[ManifestFile], natures: &[Nature], rank: u32) -> Vec<Candidate> {
    let is_weights =
        |at: &usize| matches!(&natures[*at], Nature::Weights(name) if name.format == Format::Gguf);
    let (mut projectors, weights): (Vec<usize>, Vec<usize>) =
        (0..listing.len()).filter(is_weights).partition(|at| is_projector(&listing[*at].path));
    projectors.truncate(PROJECTORS_MAX);
    // By quantisation in lower case (`q4_0` and `Q4_0` are one), then by model.
    let mut groups: BTreeMap<String, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for at in weights {
        let path = &listing[at].path;
        let model = split_part(stem(path)).0;
        let name = quantisation(path).unwrap_or_else(|| model.to_owned());
        groups.entry(name.to_ascii_lowercase()).or_default().entry(model).or_default().push(at);
    }
    let mut candidates = Vec::new();
    for models in groups.into_values() {
        let whole: Vec<usize> = models.values().flatten().copied().collect();
        let path = &listing[whole[0]].path;
        let only = models.keys().next().filter(|_| models.len() == 1);
        let name = quantisation(path).or_else(|| only.map(|model| (*model).to_owned())).unwrap_or_default();
        let preferred = PREFERRED.iter().position(|wanted| name.eq_ignore_ascii_case(wanted));
        let place = preferred.unwrap_or(PREFERRED.len());
        let projector = projector(listing, &projectors, path, &name);
        let names = std::iter::once(name).chain(only.map(|model| (*model).to_owned())).collect();
        if models.len() > 1 {
            // Never the default: the quantisation as a whole goes first.
            let place = PREFERRED.len() + 1 + place;
            candidates.extend(models.into_iter().map(|(model, files)| {
                candidate(listing, vec![model.to_owned()], files, projector, (rank, place))
            }));
        }
        candidates.push(candidate(listing, names, whole, projector, (rank, place)));
    }
    candidates
}

fn candidate(
    listing: &[ManifestFile],
    names: Vec<String>,
    files: Vec<usize>,
    projector: Option<usize>,
    (rank, place): (u32, usize),
) -> Candidate {
    let bytes = files.iter().map(|at| listing[*at].size).fold(0, u64::saturating_add);
    Candidate {
        names,
        format: Format::Gguf,
        trouble: missing_part(listing, &files),
        folders: files.iter().map(|at| folder_of(listing[*at].path.as_str()).to_owned()).collect(),
        order: (rank, place, bytes),
        files: files.into_iter().chain(projector).collect(),
    }
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

/// Returns the first part that is missing of any split file.
fn missing_part(listing: &[ManifestFile], files: &[usize]) -> Option<Trouble> {
    let part_of = |at: &usize| {
        let path = &listing[*at].path;
        let (name, part) = split_part(stem(path));
        part.map(|(part, parts)| ((folder_of(path.as_str()), name, parts), part))
    };
    let present: BTreeSet<_> = files.iter().filter_map(part_of).collect();
    let wholes: BTreeSet<_> = present.iter().map(|(whole, _)| *whole).collect();
    wholes.into_iter().find_map(|whole| {
        let parts = whole.2;
        // A name may claim 99,999 parts; the first gap ends the search.
        let part = (1..=parts).find(|part| !present.contains(&(whole, *part)))?;
        Some(Trouble::PartMissing { part, parts })
    })
}

/// Returns the image projector that fits best: the deepest common folder, then the closest width, as llama.cpp does.
fn projector(
    listing: &[ManifestFile],
    projectors: &[usize],
    weights: &RepoPath,
    name: &str,
) -> Option<usize> {
    let wanted = bits(name);
    projectors.iter().copied().min_by_key(|at| {
        let path = &listing[*at].path;
        let depth = common_folders(path, weights);
        let width = quantisation(path).map_or(0, |name| bits(&name));
        (std::cmp::Reverse(depth), width.abs_diff(wanted), path.clone())
    })
}

/// Returns the first number in a quantisation's name: its bits for each weight.
fn bits(name: &str) -> u32 {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

fn common_folders(one: &RepoPath, other: &RepoPath) -> usize {
    let folders = |path: &RepoPath| -> Vec<String> {
        let folder = folder_of(path.as_str());
        folder.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    folders(one).iter().zip(folders(other).iter()).take_while(|(one, other)| one == other).count()
}

fn is_projector(path: &RepoPath) -> bool {
    path.file_name().to_ascii_lowercase().contains("mmproj")
}

fn stem(path: &RepoPath) -> &str {
    let name = path.file_name();
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests;
