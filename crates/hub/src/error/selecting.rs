//! What choosing files from a listing can fail with.

use base::ByteSize;
use types::{ErrorCode, Fault, ManifestError, RepoName, RepoPath, Variant};

/// Variants that a hint lists.
const VARIANTS_SHOWN_MAX: usize = 40;

/// What choosing files from a listing can fail with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
#[expect(missing_docs, reason = "each variant holds the condition of its name, which is documented there")]
pub enum SelectError {
    VariantNotFound(#[from] VariantNotFound),
    VariantIncomplete(#[from] VariantIncomplete),
    VariantWithPatterns(#[from] VariantWithPatterns),
    IndexPathMissing(#[from] IndexPathMissing),
    IndexPathRefused(#[from] IndexPathRefused),
    IndexInvalid(#[from] IndexInvalid),
    DocumentInvalid(#[from] DocumentInvalid),
    WeightsPickled(#[from] WeightsPickled),
    SelectionEmpty(#[from] SelectionEmpty),
    NoFiles(#[from] NoFiles),
    Files(#[from] ManifestError),
}

impl SelectError {
    /// Returns the error as a person sees it.
    pub fn fault(&self) -> Fault {
        let fault = |code| Fault::from_error(code, self);
        match self {
            Self::VariantNotFound(error) => fault(ErrorCode::VariantNotFound).with_hint(error.hint()),
            Self::VariantIncomplete(_) | Self::IndexPathMissing(_) | Self::IndexInvalid(_) => {
                fault(ErrorCode::VariantNotFound)
                    .with_hint("choose another variant, or another revision; `larder model show` lists them")
            }
            Self::VariantWithPatterns(_) => fault(ErrorCode::FieldInvalid)
                .with_hint("leave the variant out of the reference: patterns say all that is wanted"),
            Self::IndexPathRefused(_) => fault(ErrorCode::PathRefused).with_hint(
                "nothing was written; do not use this repository until its owner has removed the file",
            ),
            Self::WeightsPickled(error) => fault(ErrorCode::WeightsPickled).with_hint(error.hint()),
            Self::SelectionEmpty(_) => fault(ErrorCode::SelectionEmpty).with_hint(
                "patterns match whole paths and tell letter cases apart; `larder model show` lists what there is",
            ),
            Self::NoFiles(_) => fault(ErrorCode::FileNotFound).with_hint("choose another revision"),
            Self::DocumentInvalid(_) | Self::Files(_) => fault(ErrorCode::HubAnswerInvalid),
        }
    }
}

/// A variant that a repository has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailableVariant {
    /// What to ask for it by.
    pub name: String,
    /// The size of its weights.
    pub bytes: ByteSize,
}

/// The repository has no such variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repository {repo} has no variant {variant}")]
pub struct VariantNotFound {
    /// The repository.
    pub repo: RepoName,
    /// The variant asked for.
    pub variant: Variant,
    /// The variants that it has, the most usual first.
    pub available: Vec<AvailableVariant>,
}

impl VariantNotFound {
    fn hint(&self) -> String {
        if self.available.is_empty() {
            return "leave the variant out: the repository has none to choose from".to_owned();
        }
        let shown = self.available.iter().take(VARIANTS_SHOWN_MAX);
        let mut names: Vec<String> = shown.map(|one| format!("{} ({})", one.name, one.bytes)).collect();
        if self.available.len() > VARIANTS_SHOWN_MAX {
            names.push(format!("and {} more", self.available.len() - VARIANTS_SHOWN_MAX));
        }
        format!("choose one of: {}", names.join(", "))
    }
}

/// A variant lacks some of its parts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("variant {variant} of repository {repo} is incomplete: part {part} of {parts} is missing")]
pub struct VariantIncomplete {
    /// The repository.
    pub repo: RepoName,
    /// The variant.
    pub variant: String,
    /// The first part that is missing, from 1.
    pub part: u32,
    /// How many parts it should have.
    pub parts: u32,
}

/// A variant and patterns were given, and each says all that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a variant and patterns can't both say what is wanted of repository {repo}")]
pub struct VariantWithPatterns {
    /// The repository.
    pub repo: RepoName,
}

/// An index of weights names a file that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index {index} of repository {repo} names {path}, which the repository lacks")]
pub struct IndexPathMissing {
    /// The repository.
    pub repo: RepoName,
    /// The index.
    pub index: RepoPath,
    /// The file that it names.
    pub path: RepoPath,
}

/// An index of weights names a path that could leave the model's folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index {index} of repository {repo} names a path that is refused")]
pub struct IndexPathRefused {
    /// The repository.
    pub repo: RepoName,
    /// The index.
    pub index: RepoPath,
    /// The path and what is wrong with it.
    pub source: types::RepoPathError,
}

/// An index of weights can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index {index} of repository {repo} can't be used: {reason}")]
pub struct IndexInvalid {
    /// The repository.
    pub repo: RepoName,
    /// The index.
    pub index: RepoPath,
    /// What is wrong with it.
    pub reason: String,
}

/// A file that says how a repository is laid out is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repository {repo} describes itself in a way that makes no sense: {reason}")]
pub struct DocumentInvalid {
    /// The repository.
    pub repo: RepoName,
    /// Which file, and what is wrong with it.
    pub reason: String,
}

/// The weights that would be taken are pickles, and nobody has consented.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the weights of repository {repo} are pickled: loading them runs whatever program their author put in"
)]
pub struct WeightsPickled {
    /// The repository.
    pub repo: RepoName,
    /// Variants that are not pickled.
    pub others: Vec<String>,
}

impl WeightsPickled {
    fn hint(&self) -> String {
        let consent = "consent with --weights any if you trust the author";
        if self.others.is_empty() {
            return consent.to_owned();
        }
        let others: Vec<String> = self.others.iter().map(|name| format!(":{name}")).collect();
        format!("{consent}, or take another format: {}", others.join(", "))
    }
}

/// Nothing fits what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no file of repository {repo} fits the patterns")]
pub struct SelectionEmpty {
    /// The repository.
    pub repo: RepoName,
}

/// The repository holds no files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repository {repo} holds no files")]
pub struct NoFiles {
    /// The repository.
    pub repo: RepoName,
}
