//! Who may read what: rules from a small TOML file, and the decision for one request.
//!
//! ```toml
//! [repos."acme/secret"]
//! access = "private"          # public (the default), gated, private, disabled
//!
//! [[tokens]]
//! token = "hf_…"
//! user = "alice"
//! repos = ["acme/secret"]     # the gated and private repositories that it opens
//! ```

use std::{collections::BTreeMap, io, os::unix::fs::PermissionsExt, path::PathBuf};

use base::Redacted;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use types::{ErrorCode, Fault, RepoName};

use crate::refusal::Refusal;

/// A file of rules with more tokens than this is no small file; each token is compared on each request.
const TOKENS_MAX: usize = 1000;

/// Who may read a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepoAccess {
    /// Everyone.
    #[default]
    Public,
    /// Everyone may see the list of files; the files need a token to which the repository is granted.
    Gated,
    /// Only tokens to which it is granted may see that it exists.
    Private,
    /// Nobody: it was taken down.
    Disabled,
}

/// Which repositories are not public, and which tokens open them. The default: all public, no token known.
#[derive(Clone, Debug, Default)]
pub struct AccessRules {
    /// By the name in lower case: a rule that is spelt otherwise than its folder must not leave it open.
    repos: BTreeMap<RepoName, RepoAccess>,
    tokens: Vec<TokenRule>,
}

#[derive(Clone, Debug)]
struct TokenRule {
    /// SHA-256 of the token: of one length for all, so that a comparison tells nothing about it.
    digest: Redacted<[u8; 32]>,
    user: String,
    repos: Vec<RepoName>,
}

/// The rules could not be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessRulesError {
    /// The file can't be read.
    #[error("can't read the access rules in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The text is no set of rules.
    #[error("the access rules are wrong: {reason}")]
    Invalid {
        /// What is wrong, with the line where there is one.
        reason: String,
    },
}

impl AccessRulesError {
    /// Returns the error as a user sees it.
    pub fn fault(&self) -> Fault {
        let fault = Fault::from_error(ErrorCode::FieldInvalid, self);
        match self {
            Self::Unreadable { .. } => fault.with_hint("name a file that this user may read"),
            Self::Invalid { .. } => fault.with_hint(
                "a rule is [repos.\"org/name\"] with access = \"public\", \"gated\", \"private\" or \"disabled\"; \
                 a token is [[tokens]] with token, user and repos",
            ),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    #[serde(default)]
    repos: BTreeMap<RepoName, RepoSection>,
    #[serde(default)]
    tokens: Vec<TokenSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RepoSection {
    access: RepoAccess,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenSection {
    token: Redacted<String>,
    user: String,
    #[serde(default)]
    repos: Vec<RepoName>,
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Nobody in particular.
    Anonymous,
    /// The holder of a token that is known; its place in the rules.
    Known(usize),
    /// The holder of a token that is not.
    Unknown,
}

/// What a request wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Names, sizes, commits.
    Listing,
    /// Bytes.
    Bytes,
}

impl AccessRules {
    /// Reads rules from a file.
    ///
    /// # Errors
    /// [`AccessRulesError`] by condition.
    pub fn read(path: &std::path::Path) -> Result<Self, AccessRulesError> {
        let unreadable = |source| AccessRulesError::Unreadable { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(file = %path.display(), "others may read the tokens in this file; chmod 600 it");
        }
        Self::parse(&text)
    }

    /// Reads rules from text.
    ///
    /// # Errors
    /// [`AccessRulesError::Invalid`], also for a key that means nothing.
    pub fn parse(text: &str) -> Result<Self, AccessRulesError> {
        let invalid = |reason: String| AccessRulesError::Invalid { reason };
        let file: RulesFile = toml::from_str(text).map_err(|error| {
            // The parser's own text shows the line, which may hold a token.
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            invalid(match line {
                Some(line) => format!("line {line}: {}", error.message()),
                None => error.message().to_owned(),
            })
        })?;
        if file.tokens.len() > TOKENS_MAX {
            return Err(invalid(format!("there are more than {TOKENS_MAX} tokens")));
        }
        let mut tokens = Vec::new();
        for section in file.tokens {
            let text = section.token.expose().trim();
            if text.is_empty() || text.contains(char::is_whitespace) {
                return Err(invalid(format!("the token of {} is empty or holds a space", section.user)));
            }
            let digest = Redacted::new(Sha256::digest(text).into());
            tokens.push(TokenRule { digest, user: section.user, repos: section.repos });
        }
        let mut repos = BTreeMap::new();
        for (name, section) in file.repos {
            if repos.insert(name.to_lowercase(), section.access).is_some_and(|other| other != section.access)
            {
                return Err(invalid(format!("{name} has two rules, in different spellings")));
            }
        }
        Ok(Self { repos, tokens })
    }

    /// Returns who may read a repository.
    pub fn access_of(&self, repo: &RepoName) -> RepoAccess {
        self.repos.get(&repo.to_lowercase()).copied().unwrap_or_default()
    }

    /// Returns the names of rules and grants that mean none of these repositories.
    pub(crate) fn unmatched<'a>(&'a self, there: &[&RepoName]) -> Vec<&'a RepoName> {
        let lower: Vec<RepoName> = there.iter().map(|name| name.to_lowercase()).collect();
        let rules = self.repos.keys().filter(|name| !lower.contains(name));
        let grants = self.tokens.iter().flat_map(|token| &token.repos).filter(|name| !there.contains(name));
        rules.chain(grants).collect()
    }

    /// Returns whose token this is. Takes the same time for every token of the rules.
    pub(crate) fn caller(&self, token: Option<&Redacted<String>>) -> Caller {
        let Some(token) = token else { return Caller::Anonymous };
        let digest: [u8; 32] = Sha256::digest(token.expose()).into();
        let mut found = Caller::Unknown;
        for (place, rule) in self.tokens.iter().enumerate() {
            if bool::from(rule.digest.expose().ct_eq(&digest)) {
                found = Caller::Known(place);
            }
        }
        found
    }

    /// Returns the name of a caller whose token is known.
    pub(crate) fn user(&self, caller: &Caller) -> Option<&str> {
        match caller {
            Caller::Known(place) => self.tokens.get(*place).map(|rule| rule.user.as_str()),
            Caller::Anonymous | Caller::Unknown => None,
        }
    }

    /// Decides whether a caller gets what it wishes; `repo` is `None` when there is no such repository.
    ///
    /// # Errors
    /// The refusal that the public Hub gives in that case.
    pub(crate) fn check(&self, caller: &Caller, repo: Option<&RepoName>, wish: Wish) -> Result<(), Refusal> {
        if *caller == Caller::Unknown {
            return Err(Refusal::BadToken);
        }
        let hidden = match caller {
            Caller::Anonymous => Refusal::RepoHidden,
            Caller::Known(_) | Caller::Unknown => Refusal::RepoNotFound,
        };
        let Some(repo) = repo else { return Err(hidden) };
        let granted = match caller {
            Caller::Known(place) => self.tokens.get(*place).is_some_and(|rule| rule.repos.contains(repo)),
            Caller::Anonymous | Caller::Unknown => false,
        };
        match (self.access_of(repo), wish) {
            (RepoAccess::Public, _) | (RepoAccess::Gated, Wish::Listing) => Ok(()),
            (RepoAccess::Private | RepoAccess::Gated, _) if granted => Ok(()),
            (RepoAccess::Private, _) => Err(hidden),
            (RepoAccess::Gated, Wish::Bytes) => Err(match caller {
                Caller::Anonymous => Refusal::GatedNoToken { repo: repo.clone() },
                Caller::Known(_) | Caller::Unknown => Refusal::GatedNotGranted { repo: repo.clone() },
            }),
            (RepoAccess::Disabled, _) => Err(Refusal::Disabled),
        }
    }
}

#[cfg(test)]
mod tests;
