//! What an address asks for. Pure: from the raw path to a value, and back for redirects.
//!
//! Addresses are taken apart before they are decoded, since a revision is one segment with its slashes encoded
//! (`refs%2Fpr%2F1`). An id has one or two segments, so the words after it decide which.

use percent_encoding::percent_decode_str;

/// A request's aim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Who the token belongs to.
    WhoAmI,
    /// Something about one repository.
    Repo(RepoRoute),
    /// Nothing that is served here.
    Unknown,
}

/// A request about one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepoRoute {
    /// The repository as spelt.
    pub(crate) id: String,
    /// What is asked about it.
    pub(crate) ask: Ask,
    before_id: String,
    after_id: String,
}

/// What is asked about a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The model, at a revision.
    Model { revision: Option<String> },
    /// The list of files.
    Tree { revision: String, folder: Option<String> },
    /// Some entries of that list.
    PathsInfo { revision: String },
    /// Branches.
    Refs,
    /// A file.
    Resolve { revision: String, path: String },
    /// A small file, at the address that [`Ask::Resolve`] leads to.
    ResolveCache { revision: String, path: String },
}

impl RepoRoute {
    /// Returns the same address with another spelling of the id.
    pub(crate) fn with_id(&self, id: &str) -> String {
        format!("{}{id}{}", self.before_id, self.after_id)
    }
}

/// Reads the raw path of a request.
pub(crate) fn parse(path: &str) -> Route {
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
mod tests {
    use super::*;

    fn check(path: &str, id: &str, ask: &Ask) {
        match parse(path) {
            Route::Repo(route) => {
                assert_eq!((route.id.as_str(), &route.ask), (id, ask), "{path}");
                assert_eq!(parse(&route.with_id(id)), Route::Repo(route), "{path}");
            }
            other => panic!("{path} was read as {other:?}"),
        }
    }

    #[test]
    fn addresses_are_read_as_the_hub_reads_them() {
        let text = str::to_owned;
        let model = |revision: Option<&str>| Ask::Model { revision: revision.map(text) };
        let tree = |revision: &str, folder: Option<&str>| Ask::Tree {
            revision: text(revision),
            folder: folder.map(text),
        };
        let resolve =
            |revision: &str, path: &str| Ask::Resolve { revision: text(revision), path: text(path) };
        check("/api/models/acme/tiny", "acme/tiny", &model(None));
        check("/api/models/tiny", "tiny", &model(None));
        check("/api/models/acme/tiny/revision/main", "acme/tiny", &model(Some("main")));
        check("/api/models/acme/tiny/revision/refs%2Fpr%2F1", "acme/tiny", &model(Some("refs/pr/1")));
        check("/api/models/tiny/revision/main", "tiny", &model(Some("main")));
        check("/api/models/acme/tiny/tree/main", "acme/tiny", &tree("main", None));
        check("/api/models/acme/tiny/tree/main/", "acme/tiny", &tree("main", None));
        check("/api/models/acme/tiny/tree/main/a/b%20c", "acme/tiny", &tree("main", Some("a/b c")));
        check("/api/models/tiny/tree/main/a", "tiny", &tree("main", Some("a")));
        check("/api/models/acme/tiny/paths-info/v1", "acme/tiny", &Ask::PathsInfo { revision: text("v1") });
        check("/api/models/acme/tiny/refs", "acme/tiny", &Ask::Refs);
        check("/api/models/tiny/refs", "tiny", &Ask::Refs);
        check("/acme/tiny/resolve/main/config.json", "acme/tiny", &resolve("main", "config.json"));
        check("/acme/tiny/resolve/refs%2Fpr%2F1/a/b.bin", "acme/tiny", &resolve("refs/pr/1", "a/b.bin"));
        check("/tiny/resolve/main/config.json", "tiny", &resolve("main", "config.json"));
        check("/acme/resolve/resolve/main/x", "acme/resolve", &resolve("main", "x"));
        check(
            "/api/resolve-cache/models/acme/tiny/abc/a/b",
            "acme/tiny",
            &Ask::ResolveCache { revision: text("abc"), path: text("a/b") },
        );
        assert_eq!(parse("/api/whoami-v2"), Route::WhoAmI);
        for unknown in [
            "/",
            "",
            "/api/agent-harnesses",
            "/api/datasets/a/b",
            "/acme/tiny",
            "/acme/tiny/resolve/main",
            "/api/models/a/b/c",
            "/api/models/acme/tiny/tree",
            "/acme/tiny/resolve//x",
            "/a/b/resolve/main/%ff",
        ] {
            assert_eq!(parse(unknown), Route::Unknown, "{unknown}");
        }
    }

    #[test]
    fn a_redirect_keeps_all_but_the_id() {
        let Route::Repo(route) = parse("/ACME/Tiny/resolve/refs%2Fpr%2F1/a%20b") else {
            panic!("no repo route")
        };
        assert_eq!(route.with_id("acme/tiny"), "/acme/tiny/resolve/refs%2Fpr%2F1/a%20b");
        let Route::Repo(route) = parse("/api/models/Tiny/refs") else { panic!("no repo route") };
        assert_eq!(route.with_id("acme/tiny"), "/api/models/acme/tiny/refs");
    }
}
