//! Which files of a listing make up the model. Pure.
//!
//! Without a variant that is every file of the repository; with one it is a GGUF quantisation.

use std::collections::BTreeSet;

use base::ByteSize;
use sha2::{Digest as _, Sha256};
use types::{Commit, Manifest, ManifestFile, ModelKey, RepoId, RepoPath, SelectionKey, Variant};

use crate::{
    access::weight_file,
    error::{NoFiles, SelectError},
    gguf,
};

/// Optional files that loaders ask for: `transformers` 5.23 for a tokenizer, a configuration and an adapter.
const PROBED: [&str; 12] = [
    "adapter_config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "custom_generate/generate.py",
    "generation_config.json",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "video_preprocessor_config.json",
];

/// What is wanted of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every file.
    Everything,
    /// A named part.
    Variant(Variant),
}

impl Selection {
    /// Makes the selection that a model reference asks for.
    pub fn of_variant(variant: Option<&Variant>) -> Self {
        variant.cloned().map_or(Self::Everything, Self::Variant)
    }
}

/// The files that were chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The files, under their key.
    pub manifest: Manifest,
    /// The file that best stands for the weights.
    pub weight_file: RepoPath,
    /// What was not chosen.
    pub left_out: LeftOut,
}

/// What a selection leaves in the repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many files.
    pub files: usize,
    /// Their size together.
    pub bytes: ByteSize,
}

/// Chooses the files of a model from the whole listing of a commit.
///
/// # Errors
/// [`SelectError`] by condition.
pub fn select(
    repo: &RepoId,
    commit: Commit,
    listing: &[ManifestFile],
    selection: &Selection,
) -> Result<Selected, SelectError> {
    let files = match selection {
        Selection::Everything => listing.to_vec(),
        Selection::Variant(variant) => gguf::choose(&repo.name, listing, variant)?,
    };
    let weight_file = weight_file(&files)
        .map(|file| file.path.clone())
        .ok_or_else(|| NoFiles { repo: repo.name.clone() })?;
    let left_out = LeftOut {
        files: listing.len() - files.len(),
        bytes: ByteSize(total(listing).0.saturating_sub(total(&files).0)),
    };
    let selection = SelectionKey::from_bytes(Sha256::digest(Manifest::selection_input(&files)).into());
    let key = ModelKey { repo: repo.clone(), commit, selection };
    let manifest = Manifest::new(key, files, absent(listing))?;
    Ok(Selected { manifest, weight_file, left_out })
}

/// Returns the optional files that the whole listing lacks. A file that exists and was not chosen is not absent.
fn absent(listing: &[ManifestFile]) -> BTreeSet<RepoPath> {
    let present: BTreeSet<&str> = listing.iter().map(|file| file.path.as_str()).collect();
    PROBED
        .iter()
        .filter(|path| !present.contains(**path))
        .map(|path| path.parse().expect("the paths above are fixed and valid"))
        .collect()
}

fn total(files: &[ManifestFile]) -> ByteSize {
    files.iter().map(|file| ByteSize(file.size)).sum()
}

#[cfg(test)]
mod tests;
