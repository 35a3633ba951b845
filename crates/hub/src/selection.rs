//! Which files of a listing make up the model. Pure.
//!
//! ```text
//! listing ──names──▶ natures ──▶ candidates: one way each to take the weights, the default first
//!                       ▲                │ variant, patterns, consent to pickles
//!        small documents (indexes)       ▼
//!                          weights of one candidate + companions (configuration, tokenizer) = selection
//! ```
//! By default that is one format of weights, the one that common loaders take. Everything else is told, in groups, with
//! what to write to get it.

mod build;
mod candidate;
mod documents;
mod gguf;
mod nature;
mod outcome;
mod weights;

use std::collections::BTreeSet;

use base::ByteSize;
use types::{Choice, Commit, Manifest, ManifestFile, RepoId, RepoPath, SelectionKey, SelectionWish, Variant};

use self::{
    build::{Choices, choices},
    candidate::Candidate,
    nature::{Nature, natures},
};
use crate::error::{DocumentInvalid, NoFiles, SelectError};

pub use documents::Documents;

/// How a repository is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoKind {
    /// A model that `transformers`, `sentence-transformers` or vLLM load from the root.
    Transformers,
    /// A pipeline of components in folders, each with weights of its own.
    Diffusers,
    /// Quantisations, a file or some parts each.
    Gguf,
    /// An adapter to another model.
    Adapter,
    /// Nothing but exports to ONNX.
    Onnx,
    /// No layout that is known: all of it is taken.
    Unknown,
}

/// One way to take a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What to ask for it by.
    pub name: String,
    /// How its weights are written, in words.
    pub format: &'static str,
    /// How many files would be fetched, with all that comes along.
    pub files: u64,
    /// Their size together.
    pub bytes: ByteSize,
    /// Whether it is what a reference without a variant means.
    pub is_default: bool,
    /// Whether its weights are pickled, so that they need consent.
    pub is_pickled: bool,
    /// The key under which exactly these files are kept.
    pub selection: SelectionKey,
}

/// The files that were chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The files, under their key.
    pub manifest: Manifest,
    /// The file that best stands for the weights.
    pub weight_file: RepoPath,
    /// What was chosen, and what was not.
    pub choice: Choice,
}

/// A listing that has been understood.
#[derive(Debug)]
pub struct Survey<'a> {
    repo: &'a RepoId,
    commit: Commit,
    listing: &'a [ManifestFile],
    natures: Vec<Nature>,
    choices: Choices,
    base_model: Option<String>,
    /// For each file that is not weights, the folder with weights that it belongs to; empty where it comes along
    /// with any.
    scopes: Vec<&'a str>,
}

/// Returns the documents that must be read before files can be chosen.
pub fn documents_wanted(listing: &[ManifestFile]) -> Vec<&ManifestFile> {
    documents::wanted(listing, &natures(listing))
}

/// Chooses the files of a model from the whole listing of a commit. See [`Survey`] for more than one choice.
///
/// # Errors
/// [`SelectError`] by condition.
pub fn select(
    repo: &RepoId,
    commit: Commit,
    listing: &[ManifestFile],
    documents: &Documents,
    variant: Option<&Variant>,
    wish: &SelectionWish,
) -> Result<Selected, SelectError> {
    Survey::new(repo, commit, listing, documents)?.select(variant, wish)
}

impl<'a> Survey<'a> {
    /// Understands a listing, with the documents that [`documents_wanted`] named.
    ///
    /// # Errors
    /// [`NoFiles`] for an empty listing, [`DocumentInvalid`] when a document that everything depends on is none.
    pub fn new(
        repo: &'a RepoId,
        commit: Commit,
        listing: &'a [ManifestFile],
        documents: &Documents,
    ) -> Result<Self, SelectError> {
        if listing.is_empty() {
            return Err(NoFiles { repo: repo.name.clone() }.into());
        }
        let natures = natures(listing);
        let choices = choices(listing, &natures, documents)
            .map_err(|reason| DocumentInvalid { repo: repo.name.clone(), reason })?;
        let scopes = scopes(listing, &natures);
        let base_model = documents::base_model(documents);
        Ok(Self { repo, commit, listing, natures, choices, base_model, scopes })
    }

    /// Returns how the repository is laid out.
    pub fn kind(&self) -> RepoKind {
        self.choices.kind
    }

    /// Returns the model that an adapter needs beside itself, as its author names it.
    pub fn base_model(&self) -> Option<&str> {
        self.base_model.as_deref()
    }

    /// Returns whether the repository carries Python code, which some loaders run when they are told to trust it.
    pub fn has_code(&self) -> bool {
        self.listing.iter().any(|file| file.path.depth() == 0 && file.path.as_str().ends_with(".py"))
    }

    /// Returns what a reference without a variant means, where that is one candidate.
    fn default_candidate(&self) -> Option<&Candidate> {
        self.choices.candidates.first().filter(|candidate| candidate.is_default_worthy())
    }

    fn is_pickled(&self, candidate: &Candidate) -> bool {
        candidate.files.iter().any(|at| self.is_pickle(*at))
    }

    fn is_pickle(&self, at: usize) -> bool {
        self.natures[at].is_pickled(&self.listing[at].path)
    }

    /// Returns the places of a candidate's files with all that comes along.
    fn with_companions(&self, weights: &BTreeSet<usize>, folders: &BTreeSet<String>) -> BTreeSet<usize> {
        let comes_along = |at: &usize| match self.natures[*at] {
            Nature::Companion => self.scopes[*at].is_empty() || folders.contains(self.scopes[*at]),
            Nature::Weights(_)
            | Nature::Index(_)
            | Nature::Aside
            | Nature::Training
            | Nature::Media
            | Nature::Large => false,
        };
        weights.iter().copied().chain((0..self.listing.len()).filter(comes_along)).collect()
    }
}

/// Finds the folder with weights that each file belongs to: the deepest one that it stands in or below.
fn scopes<'a>(listing: &'a [ManifestFile], natures: &[Nature]) -> Vec<&'a str> {
    let holding = listing.iter().zip(natures).filter_map(|(file, nature)| match nature {
        Nature::Weights(_) | Nature::Index(_) => Some(nature::folder_of(file.path.as_str())),
        Nature::Companion | Nature::Aside | Nature::Training | Nature::Media | Nature::Large => None,
    });
    let holding: BTreeSet<&str> = holding.filter(|folder| !folder.is_empty()).collect();
    let scope = |file: &'a ManifestFile| {
        let mut folder = nature::folder_of(file.path.as_str());
        while !folder.is_empty() && !holding.contains(folder) {
            folder = nature::folder_of(folder);
        }
        folder
    };
    listing.iter().map(scope).collect()
}

#[cfg(test)]
mod tests;
