//! The Hub's own origin: metadata, listings, and where the bytes are.
//!
//! One request: count it, know its caller, find the repository, decide, answer. Access is decided before anything is
//! said about a repository, its spelling included, so that private ones stay unknown.

mod answers;
mod files;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use base::{ByteSize, Clock, Timestamp};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, LOCATION, RANGE},
    request::Parts,
};
use hub::{Ask, RepoRoute, Route};
use types::{RepoName, Revision};
use web::Peer;

use crate::{
    access::{AccessRules, Caller, RepoAccess, Wish},
    faults::{FaultBook, Faults, Hit},
    link::LinkSigner,
    quota::{Bucket, Counted, QuotaBook},
    record::{Origin, RequestLog, RequestRecord},
    refusal::Refusal,
    shelf::{NameMatch, Shelf, ShelfError, match_name},
};

/// What the request handlers of both origins share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) shelf: Shelf,
    pub(crate) access: AccessRules,
    pub(crate) signer: LinkSigner,
    pub(crate) quotas: QuotaBook,
    pub(crate) faults: FaultBook,
    pub(crate) requests: RequestLog,
    pub(crate) clock: Clock,
    pub(crate) settings: Settings,
}

/// The parts of the options that requests need.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// For messages only; files are reached through the shelf.
    pub(crate) folder: PathBuf,
    pub(crate) page_entries_max: usize,
    pub(crate) link_lifetime: Duration,
    pub(crate) rate_max: Option<ByteSize>,
    /// How clients reach this origin, when it is not by the address that they name.
    pub(crate) public_url: Option<String>,
    /// How clients reach the origin of the bytes, when it is not by the address below.
    pub(crate) cdn_url: Option<String>,
    pub(crate) address: SocketAddr,
    pub(crate) cdn_address: SocketAddr,
}

/// A request whose repository was found and may be seen.
pub(crate) struct Granted<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) repo: RepoName,
    pub(crate) access: RepoAccess,
    pub(crate) faults: Faults,
    pub(crate) branches: &'a BTreeMap<Revision, String>,
}

impl From<ShelfError> for Refusal {
    fn from(error: ShelfError) -> Self {
        tracing::warn!(%error, "could not read the served folder");
        Self::Folder { message: error.to_string() }
    }
}

/// Answers a request to the Hub's own origin.
pub(crate) async fn handle(State(hub): State<Arc<Hub>>, peer: Peer, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let route = Route::parse(parts.uri.path());
    let caller = hub.access.caller(web::key_of(&parts.headers).as_ref());
    let now = hub.clock.now();
    let standing = hub.quotas.take(counted(&hub.access, &caller, peer), bucket(&route), now);
    let faults = hub.faults.faults();
    if let Some(delay) = faults.answer_delay {
        hub.clock.sleep(delay).await;
    }
    let result = if standing.exceeded {
        Err(Refusal::TooMany { reset_seconds: standing.reset_seconds })
    } else {
        hub.answer(&parts, body, &route, &caller, faults).await
    };
    let mut response = result.unwrap_or_else(IntoResponse::into_response);
    standing.write(response.headers_mut());
    hub.requests.push(record(Origin::Hub, now, &parts, response.status()));
    response
}

/// Returns what is kept of a request.
pub(crate) fn record(origin: Origin, at: Timestamp, parts: &Parts, status: StatusCode) -> RequestRecord {
    RequestRecord {
        origin,
        at,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        status: status.as_u16(),
        authorized: parts.headers.contains_key(AUTHORIZATION),
        range: parts.headers.get(RANGE).and_then(|range| range.to_str().ok()).map(str::to_owned),
    }
}

impl Hub {
    async fn answer(
        &self,
        parts: &Parts,
        body: Body,
        route: &Route,
        caller: &Caller,
        faults: Faults,
    ) -> Result<Response, Refusal> {
        match route {
            Route::Unknown => Err(Refusal::NoRoute),
            Route::WhoAmI => {
                self.fail(Hit::Api)?;
                require(&parts.method, &[Method::GET, Method::HEAD])?;
                answers::who_am_i(&self.access, caller)
            }
            Route::Repo(route) => self.answer_repo(parts, body, route, caller, faults).await,
        }
    }

    async fn answer_repo(
        &self,
        parts: &Parts,
        body: Body,
        route: &RepoRoute,
        caller: &Caller,
        faults: Faults,
    ) -> Result<Response, Refusal> {
        let (hit, wish, methods): (_, _, &[Method]) = match &route.ask {
            Ask::Model { .. } | Ask::Tree { .. } | Ask::Refs => {
                (Hit::Api, Wish::Listing, &[Method::GET, Method::HEAD])
            }
            Ask::PathsInfo { .. } => (Hit::Api, Wish::Listing, &[Method::POST]),
            Ask::Resolve { .. } => (Hit::Resolve, Wish::Bytes, &[Method::GET, Method::HEAD]),
            Ask::ResolveCache { .. } => (Hit::Bytes, Wish::Bytes, &[Method::GET, Method::HEAD]),
        };
        require(&parts.method, methods)?;
        self.fail(hit)?;
        let catalogue = self.shelf.catalogue().await?;
        let found = match route.id.parse() {
            Ok(asked) => match_name(&catalogue, &asked),
            Err(_) => NameMatch::None,
        };
        let (repo, canonical) = match found {
            NameMatch::Exact(repo) => (Some(repo), true),
            NameMatch::Other(repo) => (Some(repo), false),
            NameMatch::None => (None, true),
        };
        self.access.check(caller, repo.as_ref(), wish)?;
        let Some(repo) = repo else { return Err(Refusal::RepoNotFound) };
        let access = self.access.access_of(&repo);
        if faults.token_scope_refused && access == RepoAccess::Gated && wish == Wish::Bytes {
            return Err(Refusal::TokenScope);
        }
        if !canonical {
            return Ok(redirect_to(&route.with_id(repo.as_str()), parts.uri.query()));
        }
        let Some(branches) = catalogue.get(&repo) else { return Err(Refusal::RepoNotFound) };
        let granted = Granted { parts, repo, access, faults, branches };
        match &route.ask {
            Ask::Model { revision } => self.model(&granted, revision.as_deref()).await,
            Ask::Tree { revision, folder } => self.tree(&granted, revision, folder.as_deref()).await,
            Ask::PathsInfo { revision } => self.paths_info(&granted, revision, body).await,
            Ask::Refs => self.refs(&granted).await,
            Ask::Resolve { revision, path } => self.resolve(&granted, revision, path).await,
            Ask::ResolveCache { revision, path } => self.resolve_cache(&granted, revision, path).await,
        }
    }

    /// Fails a request when a drill has it so.
    pub(crate) fn fail(&self, hit: Hit) -> Result<(), Refusal> {
        match self.faults.failure(hit) {
            Some(failure) => Err(Refusal::Drill { status: failure.status, retry_after: failure.retry_after }),
            None => Ok(()),
        }
    }

    /// Returns the origin by which this client reaches the Hub.
    pub(crate) fn public_url(&self, headers: &HeaderMap) -> String {
        match (&self.settings.public_url, host_of(headers)) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(host)) => format!("http://{host}"),
            (None, None) => format!("http://{}", self.settings.address),
        }
    }

    /// Returns the origin by which this client reaches the bytes: the machine that it named, where the listener
    /// is on all of the machine's addresses.
    pub(crate) fn cdn_url(&self, headers: &HeaderMap) -> String {
        let address = self.settings.cdn_address;
        match (&self.settings.cdn_url, host_of(headers)) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(host)) if address.ip().is_unspecified() => {
                let name = match host.rsplit_once(':') {
                    Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
                    Some(_) | None => host,
                };
                format!("http://{name}:{}", address.port())
            }
            (None, _) => format!("http://{address}"),
        }
    }
}

/// Returns a `Host` header that is fit to be part of a link.
fn host_of(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(http::header::HOST)?.to_str().ok()?;
    let is_plain = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']'));
    is_plain.then_some(host)
}

fn require(method: &Method, allowed: &[Method]) -> Result<(), Refusal> {
    if allowed.contains(method) { Ok(()) } else { Err(Refusal::Method) }
}

fn redirect_to(path: &str, query: Option<&str>) -> Response {
    let location = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut response = (StatusCode::TEMPORARY_REDIRECT, "Temporary Redirect").into_response();
    let value = HeaderValue::from_str(&location).expect("a path and query that came in are ASCII");
    response.headers_mut().insert(LOCATION, value);
    response
}

fn bucket(route: &Route) -> Bucket {
    match route {
        Route::Unknown | Route::WhoAmI => Bucket::Api,
        Route::Repo(route) => match route.ask {
            Ask::Model { .. } | Ask::Tree { .. } | Ask::PathsInfo { .. } | Ask::Refs => Bucket::Api,
            Ask::Resolve { .. } | Ask::ResolveCache { .. } => Bucket::Resolvers,
        },
    }
}

fn counted(access: &AccessRules, caller: &Caller, peer: Peer) -> Counted {
    match (access.user(caller), peer) {
        (Some(user), _) => Counted::User(user.to_owned()),
        (None, Peer::Tcp(address)) => Counted::Address(address.ip()),
        (None, Peer::Unix { .. }) => Counted::Others,
    }
}
