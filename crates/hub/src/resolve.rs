//! From a name as spelt and a revision to the hub's own name and a commit.

use serde::Deserialize;
use types::{Commit, RepoName, Revision};

use crate::{
    Hub,
    answer::About,
    client::Token,
    error::{HubError, RepoDisabled},
};

/// Who may read a repository, as the hub tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Everyone.
    Public,
    /// Whoever has accepted its terms or was let in by its owner.
    Gated,
    /// Only whom its owner names.
    Private,
}

/// A repository at one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The repository, as the hub spells it.
    pub repo: RepoName,
    /// The commit that the revision stood for when it was asked.
    pub commit: Commit,
    /// Who may read it.
    pub visibility: Visibility,
}

/// The fields that matter of the hub's description of a repository.
#[derive(Deserialize)]
struct Description {
    id: String,
    sha: String,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    disabled: bool,
    gated: Option<Gate>,
}

/// `false`, or who lets people in: "auto" or "manual".
#[derive(Deserialize)]
#[serde(untagged)]
enum Gate {
    Flag(bool),
    Kind(#[expect(dead_code, reason = "both kinds are gates")] String),
}

impl Hub {
    /// Asks which repository a name means and which commit a revision stands for.
    ///
    /// # Errors
    /// [`HubError`] by condition. Descriptions of gated repositories are public: see [`Hub::prove_access`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn resolve(
        &self,
        repo: &RepoName,
        revision: &Revision,
        token: Token<'_>,
    ) -> Result<Resolved, HubError> {
        let asked = self.asked(repo, About::Revision(revision.clone()), token);
        let url = self.endpoint().revision(repo, revision);
        let (description, _, _) = self.json::<Description>(&url, token, &asked).await?;
        if description.disabled {
            return Err(RepoDisabled { hub: self.name().clone(), repo: repo.clone() }.into());
        }
        let repo = description
            .id
            .parse()
            .map_err(|error| self.invalid(format!("its name for the repository is none: {error}")))?;
        let commit = description.sha.parse().map_err(|error| self.invalid(format!("{error}")))?;
        let visibility = match (description.private, description.gated) {
            (true, _) => Visibility::Private,
            (false, None | Some(Gate::Flag(false))) => Visibility::Public,
            (false, Some(Gate::Flag(true) | Gate::Kind(_))) => Visibility::Gated,
        };
        Ok(Resolved { repo, commit, visibility })
    }
}

#[cfg(test)]
mod tests;
