//! The one parser of model references.
//!
//! ```text
//! [hub!]org/name[@revision][:variant]
//! https://huggingface.co/org/name[/tree/revision][:revision]
//! ```
//!
//! A name without an organisation is taken as it is; the hub redirects it to its canonical name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The hub library refuses longer ids (`huggingface_hub`, `validate_repo_id`).
const REPO_BYTES_MAX: usize = 96;
const HUB_BYTES_MAX: usize = 100;
const REVISION_BYTES_MAX: usize = 255;

/// A text that is no model reference, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a model reference: {reason}")]
pub struct ModelRefError {
    /// The text as given, cut to 200 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl ModelRefError {
    /// What a reference looks like, for hints.
    pub const EXPECTED: &'static str =
        "write org/name, org/name@revision, org/name:variant, or a link to the model's page";

    fn new(text: &str, reason: &'static str) -> Self {
        Self { text: text.chars().take(200).collect(), reason }
    }
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Returns it as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ModelRefError;

            fn from_str(text: &str) -> Result<Self, ModelRefError> {
                match $check(text) {
                    None => Ok(Self(text.into())),
                    Some(reason) => Err(ModelRefError::new(text, reason)),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = ModelRefError;

            fn try_from(text: String) -> Result<Self, ModelRefError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

checked_text! {
    /// The name of a hub: a configured word, or the host and port of one given by address.
    HubName, refuse_hub
}
checked_text! {
    /// A repository's name: `org/name`, or `name` alone where the hub knows such.
    RepoName, refuse_repo
}
checked_text! {
    /// A branch, tag, pull request or commit, as a person writes it.
    Revision, refuse_revision
}
checked_text! {
    /// A named part of a repository, such as a quantisation (`Q4_K_M`).
    Variant, refuse_variant
}

impl HubName {
    /// Returns the name of the public Hugging Face Hub.
    pub fn hugging_face() -> Self {
        Self("huggingface".into())
    }
}

impl Revision {
    /// Returns the branch that a reference without a revision means.
    pub fn main() -> Self {
        Self("main".into())
    }
}

impl RepoName {
    /// Returns the folder name that the Hugging Face cache layout gives this repository.
    pub fn cache_folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }

    /// Returns the same name in lower case: some published workers look for that spelling.
    pub fn to_lowercase(&self) -> Self {
        Self(self.0.to_lowercase().into())
    }
}

/// A model as a person names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelRef {
    /// The hub, when one is named.
    pub hub: Option<HubName>,
    /// The repository, as spelt.
    pub repo: RepoName,
    /// The revision, when one is named.
    pub revision: Option<Revision>,
    /// The variant, when one is named.
    pub variant: Option<Variant>,
}

impl FromStr for ModelRef {
    type Err = ModelRefError;

    fn from_str(text: &str) -> Result<Self, ModelRefError> {
        let refuse = |reason| ModelRefError::new(text, reason);
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(refuse("it is empty"));
        }
        if let Some(rest) = trimmed.strip_prefix("https://").or_else(|| trimmed.strip_prefix("http://")) {
            return parse_link(rest).map_err(|error| refuse(error.reason));
        }
        let (hub, rest) = match trimmed.split_once('!') {
            Some((hub, rest)) => (Some(hub.parse().map_err(|e: ModelRefError| refuse(e.reason))?), rest),
            None => (None, trimmed),
        };
        let (rest, revision, variant) = match rest.split_once('@') {
            // A revision may hold no colon (git forbids it), so the variant stands behind the first one.
            Some((repo, tail)) => match tail.split_once(':') {
                Some((revision, variant)) => (repo, Some(revision), Some(variant)),
                None => (repo, Some(tail), None),
            },
            None => match rest.split_once(':') {
                Some((repo, variant)) => (repo, None, Some(variant)),
                None => (rest, None, None),
            },
        };
        let parsed = || {
            Ok(Self {
                hub,
                repo: rest.parse()?,
                revision: revision.map(str::parse).transpose()?,
                variant: variant.map(str::parse).transpose()?,
            })
        };
        parsed().map_err(|error: ModelRefError| refuse(error.reason))
    }
}

/// Parses what follows the scheme of a link to a model's page. Runpod writes the revision behind a colon.
fn parse_link(rest: &str) -> Result<ModelRef, ModelRefError> {
    let refuse = |reason| ModelRefError::new(rest, reason);
    let (host, path) = rest.split_once('/').ok_or_else(|| refuse("the link names no model"))?;
    let hub = match host {
        "huggingface.co" | "www.huggingface.co" | "hf.co" => None,
        other => Some(other.parse::<HubName>()?),
    };
    let path = path.split(['?', '#']).next().expect("a split gives at least one part");
    let (path, colon) = match path.rsplit_once(':') {
        Some((path, revision)) => (path, Some(revision)),
        None => (path, None),
    };
    let mut parts = path.trim_end_matches('/').splitn(4, '/');
    let (Some(org), Some(name)) = (parts.next(), parts.next()) else {
        return Err(refuse("the link names no model: it needs an organisation and a name"));
    };
    let tree = match (parts.next(), parts.next()) {
        (None, _) => None,
        (Some("tree"), Some(revision)) => Some(revision),
        (Some(_), _) => {
            return Err(refuse("the link leads to a part of the model; give the link to its page"));
        }
    };
    if matches!(org, "datasets" | "spaces") {
        return Err(refuse("the link leads to a dataset or space, not to a model"));
    }
    let revision = match (tree, colon) {
        (Some(_), Some(_)) => return Err(refuse("the link names two revisions")),
        (one, other) => one.or(other).map(|text| text.replace("%2F", "/").parse()).transpose()?,
    };
    Ok(ModelRef { hub, repo: format!("{org}/{name}").parse()?, revision, variant: None })
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(hub) = &self.hub {
            write!(f, "{hub}!")?;
        }
        write!(f, "{}", self.repo)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(variant) = &self.variant {
            write!(f, ":{variant}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for ModelRef {
    type Error = ModelRefError;

    fn try_from(text: String) -> Result<Self, ModelRefError> {
        text.parse()
    }
}

impl From<ModelRef> for String {
    fn from(reference: ModelRef) -> Self {
        reference.to_string()
    }
}

fn refuse_hub(text: &str) -> Option<&'static str> {
    let (name, port) = text.rsplit_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let well_formed = !name.is_empty()
        && text.len() <= HUB_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !name.contains("..")
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
        && port.is_none_or(|port| port.parse::<u16>().is_ok());
    (!well_formed)
        .then_some("a hub's name holds lower-case letters, digits, dots and dashes, and perhaps a port")
}

/// The rules of the hub itself: `validate_repo_id` in `huggingface_hub` 2.4.
fn refuse_repo(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("the name is empty");
    }
    if text.len() > REPO_BYTES_MAX {
        return Some("the name is longer than 96 characters");
    }
    if text.matches('/').count() > 1 {
        return Some("a name has at most one slash: org/name");
    }
    text.split('/').find_map(|part| {
        if part.is_empty() {
            Some("the organisation or the name is empty")
        } else if !part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
            Some("a name holds only letters, digits, dots, dashes and underscores")
        } else if part.contains("--") || part.contains("..") {
            Some("a name holds no two dashes and no two dots in a row")
        } else if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
            Some("a name neither begins nor ends with a dash or a dot")
        } else if part.ends_with(".git") {
            Some("a name does not end with .git")
        } else {
            None
        }
    })
}

/// git-check-ref-format's rules, as far as they matter for a path below `refs/`.
fn refuse_revision(text: &str) -> Option<&'static str> {
    let unsafe_segment = |segment: &str| {
        segment.is_empty()
            || segment.starts_with(['.', '-'])
            || segment.ends_with('.')
            || segment.ends_with(".lock")
    };
    if text.is_empty() {
        Some("the revision is empty")
    } else if text.len() > REVISION_BYTES_MAX {
        Some("the revision is longer than 255 characters")
    } else if text.chars().any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\@#%\"'".contains(c)) {
        Some("the revision holds a character that git does not allow")
    } else if text.contains("..") || text.split('/').any(unsafe_segment) {
        Some("the revision has a part that git does not allow")
    } else {
        None
    }
}

fn refuse_variant(text: &str) -> Option<&'static str> {
    let well_formed = (1..=96).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !text.starts_with(['.', '-']);
    (!well_formed).then_some("a variant holds only letters, digits, dots, dashes and underscores")
}

#[cfg(test)]
mod tests;
