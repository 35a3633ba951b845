//! All there is to know about a model before it is fetched, in one call.

use base::ByteSize;
use types::{Commit, Manifest, ModelRef, RepoId, RepoPath, Revision};

use crate::{Hub, LeftOut, Selected, Selection, Visibility, client::Token, error::ResolveModelError, select};

/// A model, resolved to a commit and to files, that the token has been proven to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedModel {
    /// The repository, as the hub spells it.
    pub repo: RepoId,
    /// The commit.
    pub commit: Commit,
    /// Who may read it.
    pub visibility: Visibility,
    /// The files that make up the model.
    pub manifest: Manifest,
    /// The file with which the right to read is proven, now and later.
    pub weight_file: RepoPath,
    /// The size of all files of the manifest.
    pub bytes: ByteSize,
    /// What the repository holds beyond the manifest.
    pub left_out: LeftOut,
}

impl Hub {
    /// Resolves a model reference, lists its files, chooses among them and proves the right to read them.
    ///
    /// The hub that the reference names is not looked at: whoever calls has chosen this one.
    ///
    /// # Errors
    /// [`ResolveModelError`] by step and condition.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn resolve_model(
        &self,
        reference: &ModelRef,
        token: Token<'_>,
    ) -> Result<ResolvedModel, ResolveModelError> {
        let revision = reference.revision.clone().unwrap_or_else(Revision::main);
        let resolved = self.resolve(&reference.repo, &revision, token).await?;
        let listing = self.list(&resolved.repo, resolved.commit, token).await?;
        let repo = RepoId { hub: self.name().clone(), name: resolved.repo };
        let selection = Selection::of_variant(reference.variant.as_ref());
        let Selected { manifest, weight_file, left_out } =
            select(&repo, resolved.commit, &listing, &selection)?;
        self.prove_access(&repo.name, resolved.commit, &weight_file, token).await?;
        Ok(ResolvedModel {
            repo,
            commit: resolved.commit,
            visibility: resolved.visibility,
            bytes: manifest.bytes(),
            manifest,
            weight_file,
            left_out,
        })
    }
}

#[cfg(test)]
mod tests;
