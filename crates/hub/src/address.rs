//! Addresses of a hub: how questions are spelt, what counts as home, and where a redirect may lead. All pure.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use types::{Commit, RepoName, RepoPath, Revision};
use url::{Host, Url};

use crate::error::HubSetupError;

/// Everything but RFC 3986's unreserved characters, so that one segment stays one segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a hub answers.
///
/// Invariant: `http` or `https`, with a host, without user, query and fragment.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    base: Url,
    /// The address without a slash at its end.
    text: String,
}

/// Where a redirect leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// To the endpoint's own origin: a token may go along.
    Home(Url),
    /// To another origin: no token, no referrer.
    Elsewhere(Url),
    /// To where nobody should go; the text is to be read after "redirects".
    Refused(&'static str),
}

impl Endpoint {
    pub(crate) fn new(base: Url) -> Result<Self, HubSetupError> {
        let reason = if !matches!(base.scheme(), "http" | "https") {
            Some("it is neither http nor https")
        } else if base.host().is_none() {
            Some("it names no host")
        } else if !base.username().is_empty() || base.password().is_some() {
            Some("it holds a user or password")
        } else if base.query().is_some() || base.fragment().is_some() {
            Some("it holds a query or fragment")
        } else {
            None
        };
        match reason {
            Some(reason) => Err(HubSetupError::Endpoint { endpoint: shown(&base), reason }),
            None => Ok(Self { text: base.as_str().trim_end_matches('/').to_owned(), base }),
        }
    }

    pub(crate) fn revision(&self, repo: &RepoName, revision: &Revision) -> Url {
        self.join(&format!("/api/models/{repo}/revision/{}", encoded(revision.as_str())))
    }

    pub(crate) fn tree(&self, repo: &RepoName, commit: Commit) -> Url {
        self.join(&format!("/api/models/{repo}/tree/{commit}?recursive=true&expand=false"))
    }

    pub(crate) fn file(&self, repo: &RepoName, commit: Commit, path: &RepoPath) -> Url {
        self.join(&file_target(repo, commit, path))
    }

    /// Returns the address of a path and query behind the endpoint's own address.
    pub(crate) fn below(&self, target: &str) -> Url {
        self.join(target)
    }

    /// Returns the path and query of an address behind the endpoint's own, or none when it is elsewhere.
    pub(crate) fn behind(&self, url: &Url) -> Option<String> {
        let below = url.path().strip_prefix(self.base.path().trim_end_matches('/'));
        let path = below.filter(|path| self.is_home(url) && path.starts_with('/'))?;
        Some(url.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")))
    }

    /// Returns the address of the page that a person opens for a repository.
    pub(crate) fn page(&self, repo: &RepoName) -> String {
        format!("{}/{repo}", self.text)
    }

    /// Returns whether an address is of the endpoint's origin: scheme, host and port.
    pub(crate) fn is_home(&self, url: &Url) -> bool {
        self.base.scheme() == url.scheme()
            && self.base.host() == url.host()
            && self.base.port_or_known_default() == url.port_or_known_default()
    }

    /// Returns whether what is sent there stays secret: encrypted, or within this machine.
    pub(crate) fn keeps_secrets(&self) -> bool {
        self.base.scheme() == "https"
            || match self.base.host() {
                Some(Host::Domain(name)) => name == "localhost",
                Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
                Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
                None => false,
            }
    }

    /// Decides where a redirect from `from` leads.
    pub(crate) fn redirect(&self, from: &Url, location: &str) -> Redirect {
        match redirect_target(from, location) {
            Ok(target) if self.is_home(&target) => Redirect::Home(target),
            Ok(target) => Redirect::Elsewhere(target),
            Err(reason) => Redirect::Refused(reason),
        }
    }

    fn join(&self, rest: &str) -> Url {
        Url::parse(&format!("{}{rest}", self.text))
            .expect("an address stays one when a path is put behind it")
    }
}

/// Returns what a hub is asked for a file: the path behind the hub's own address.
fn file_target(repo: &RepoName, commit: Commit, path: &RepoPath) -> String {
    let segments: Vec<String> = path.as_str().split('/').map(encoded).collect();
    format!("/{repo}/resolve/{commit}/{}", segments.join("/"))
}

/// Returns where a redirect from `from` leads, or why nobody should go there, to be read after "redirects".
pub(crate) fn redirect_target(from: &Url, location: &str) -> Result<Url, &'static str> {
    let Ok(target) = from.join(location) else { return Err("to something that is no address") };
    if !matches!(target.scheme(), "http" | "https") || target.host().is_none() {
        return Err("to an address that is neither http nor https");
    }
    if from.scheme() == "https" && target.scheme() == "http" {
        return Err("from https to http");
    }
    if !target.username().is_empty() || target.password().is_some() {
        return Err("to an address that holds a user or password");
    }
    Ok(target)
}

/// Returns host and port of an address: all of it that may be shown.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn shown(url: &Url) -> String {
    format!("{}://{}", url.scheme(), authority(url))
}

/// Encodes one segment of a path, so that it stays one.
pub(crate) fn encoded(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

#[cfg(test)]
mod tests;
