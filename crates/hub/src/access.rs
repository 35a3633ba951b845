//! Proof that a token may read a repository's files: one question about one file of weights.
//!
//! Descriptions and listings of gated repositories are public, so they prove nothing.

use reqwest::Method;
use types::{Commit, Digest, ManifestFile, RepoName, RepoPath};

use crate::{
    Hub,
    answer::About,
    client::{Landed, Question, Token},
    error::HubError,
    window::Bucket,
};

/// Returns the file that best stands for the weights: the largest in large-file storage, else the largest.
pub fn weight_file(files: &[ManifestFile]) -> Option<&ManifestFile> {
    let in_large_storage = |file: &ManifestFile| match file.digest {
        Digest::Sha256(_) => true,
        Digest::GitSha1(_) => false,
    };
    // Ties go to the first path, so that the choice depends on nothing but the files.
    files.iter().max_by(|a, b| {
        (in_large_storage(a), a.size).cmp(&(in_large_storage(b), b.size)).then_with(|| b.path.cmp(&a.path))
    })
}

impl Hub {
    /// Proves that the token (or everyone, without one) may read a file, without reading it.
    ///
    /// # Errors
    /// [`HubError`] by condition; each reason to refuse is its own.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn prove_access(
        &self,
        repo: &RepoName,
        commit: Commit,
        path: &RepoPath,
        token: Token<'_>,
    ) -> Result<(), HubError> {
        let asked = self.asked(repo, About::File(path.clone()), token);
        let url = self.endpoint().file(repo, commit, path);
        self.with_tries(|| async {
            let question = Question {
                method: Method::HEAD,
                url: url.clone(),
                token,
                bucket: Bucket::Files,
                range: None,
            };
            match self.ask(&question).await? {
                Landed::Here(response) => self.successful(response, &asked).await.map(drop),
                // Whoever gets a signed link may read.
                Landed::Elsewhere { .. } => Ok(()),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests;
