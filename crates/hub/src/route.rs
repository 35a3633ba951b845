//! What an address of a hub asks for, for whoever answers as one. Pure: from the raw path to a value, and back for
//! redirects.
//!
//! Addresses are taken apart before they are decoded, since a revision is one segment with its slashes encoded
//! (`refs%2Fpr%2F1`). An id has one or two segments, so the words after it decide which.

use percent_encoding::percent_decode_str;

/// A request's aim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Who the token belongs to.
    WhoAmI,
    /// Something about one repository.
    Repo(RepoRoute),
    /// Nothing that is served here.
    Unknown,
}

/// A request about one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoRoute {
    /// The repository as spelt.
    pub id: String,
    /// What is asked about it.
    pub ask: Ask,
    before_id: String,
    after_id: String,
}

/// What is asked about a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The model, at a revision.
    Model {
        /// The revision; none means the default one.
        revision: Option<String>,
    },
    /// The list of files.
    Tree {
        /// The revision.
        revision: String,
        /// Only what is below this folder.
        folder: Option<String>,
    },
    /// Some entries of that list.
    PathsInfo {
        /// The revision.
        revision: String,
    },
    /// Branches.
    Refs,
    /// A file.
    Resolve {
        /// The revision.
        revision: String,
        /// The file. Not yet known to be a path that stays in its folder.
        path: String,
    },
    /// A small file, at the address that [`Ask::Resolve`] leads to.
    ResolveCache {
        /// The revision.
        revision: String,
        /// The file. Not yet known to be a path that stays in its folder.
        path: String,
    },
}

impl RepoRoute {
    /// Returns the same address with another spelling of the id.
    pub fn with_id(&self, id: &str) -> String {
        format!("{}{id}{}", self.before_id, self.after_id)
    }
}

impl Route {
    /// Reads the raw path of a request.
    pub fn parse(path: &str) -> Self {
        parse(path)
    }
}

fn parse(path: &str) -> Route {
    if path == "/api/whoami-v2" {
        return Route::WhoAmI;
    }
    let parsed = if let Some(rest) = path.strip_prefix("/api/models/") {
        parse_with(rest, "/api/models/", api_ask)
    } else if let Some(rest) = path.strip_prefix("/api/resolve-cache/models/") {
        parse_with(rest, "/api/resolve-cache/models/", |tail| match tail {
            [revision, path @ ..] if !path.is_empty() => {
                Some(Ask::ResolveCache { revision: decode(revision)?, path: decode_path(path)? })
            }
            _ => None,
        })
    } else if path.starts_with("/api/") {
        None
    } else {
        parse_with(path.strip_prefix('/').unwrap_or(path), "/", |tail| match tail {
            ["resolve", revision, path @ ..] if !path.is_empty() => {
                Some(Ask::Resolve { revision: decode(revision)?, path: decode_path(path)? })
            }
            _ => None,
        })
    };
    parsed.map_or(Route::Unknown, Route::Repo)
}

/// Tries an id of two segments, then of one.
fn parse_with(rest: &str, before_id: &str, ask: impl Fn(&[&str]) -> Option<Ask>) -> Option<RepoRoute> {
    let segments: Vec<&str> = rest.split('/').collect();
    let split = |count: usize| {
        let (id, tail) = segments.split_at_checked(count)?;
        let ask = ask(tail)?;
        let id = decode_path(id)?;
        let after_id = tail.iter().map(|segment| format!("/{segment}")).collect();
        Some(RepoRoute { id, ask, before_id: before_id.to_owned(), after_id })
    };
    match (split(2), split(1)) {
        // `NAME/refs` reads as an id of two segments as well; the word wins, as on the public Hub.
        (Some(RepoRoute { ask: Ask::Model { revision: None }, .. }), Some(one)) => Some(one),
        (two, one) => two.or(one),
    }
}

fn api_ask(tail: &[&str]) -> Option<Ask> {
    match tail {
        [] => Some(Ask::Model { revision: None }),
        ["revision", revision] => Some(Ask::Model { revision: Some(decode(revision)?) }),
        ["tree", revision] => Some(Ask::Tree { revision: decode(revision)?, folder: None }),
        ["tree", revision, folder @ ..] => {
            let folder = decode_path(folder)?;
            let folder = folder.trim_end_matches('/');
            let folder = (!folder.is_empty()).then(|| folder.to_owned());
            Some(Ask::Tree { revision: decode(revision)?, folder })
        }
        ["paths-info", revision] => Some(Ask::PathsInfo { revision: decode(revision)? }),
        ["refs"] => Some(Ask::Refs),
        _ => None,
    }
}

fn decode(segment: &str) -> Option<String> {
    if segment.is_empty() {
        return None;
    }
    percent_decode_str(segment).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn decode_path(segments: &[&str]) -> Option<String> {
    let decoded: Result<Vec<_>, _> =
        segments.iter().map(|segment| percent_decode_str(segment).decode_utf8()).collect();
    decoded.ok().map(|segments| segments.join("/"))
}

#[cfg(test)]
mod tests;
