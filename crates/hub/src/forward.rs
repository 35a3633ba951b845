//! Requests of somebody else, passed on to the hub as they are: for workers that reach it through their agent.
//!
//! ```text
//! request ─▶ hub ─┬─ an answer, or a redirect within its address ─▶ as it is
//!                 └─ a redirect elsewhere ─┬─ Tell ───▶ as it is: who asked goes there
//!                                          └─ Follow ─▶ GET: the bytes from there; HEAD: what the redirect says
//! ```
//! Nothing of this client is added: no token, no retry. The authorization of whoever asks goes to the hub's own
//! origin and nowhere else.

use bytes::Bytes;
use reqwest::{
    Body, Method, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue, LOCATION},
};
use url::Url;

use crate::{
    Hub, TokenOverHttp,
    address::{Redirect, authority},
    client::REDIRECTS_MAX,
    error::{HubError, RedirectRefused, TokenInsecure},
};

/// Headers that belong to one connection (RFC 9110, section 7.6.1), or to our own.
const OF_THE_CONNECTION: [&str; 12] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "cookie",
    "referer",
];
/// Headers of answers that mean the hub's own address, which who asks does not see.
const OF_THE_ORIGIN: [&str; 3] = ["set-cookie", "strict-transport-security", "alt-svc"];
/// What the redirect to a file's bytes tells of the file, and the answer with the bytes does not.
const OF_THE_FILE: [&str; 3] = ["x-repo-commit", "x-linked-etag", "x-linked-size"];

/// What becomes of a redirect to another origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Who asked is told, and goes there itself.
    Tell,
    /// It is followed here, for those who can't go there.
    Follow,
}

/// A request to be passed on.
#[derive(Debug)]
pub struct ForwardRequest {
    /// Its method.
    pub method: Method,
    /// Path and query behind the hub's address, beginning with a slash. No segment means another folder.
    pub target: String,
    /// Its headers; those of the connection are left out.
    pub headers: HeaderMap,
    /// Its body, if it has one.
    pub body: Option<Body>,
    /// What becomes of a redirect to another origin.
    pub elsewhere: Elsewhere,
}

/// What came back.
#[derive(Debug)]
pub struct Forwarded {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those of the connection.
    pub headers: HeaderMap,
    response: Option<Response>,
}

impl Forwarded {
    /// Returns the next bytes of the body, or none at its end.
    ///
    /// # Errors
    /// [`HubError`] when the connection breaks or stalls.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next call goes on.
    pub async fn chunk(&mut self, hub: &Hub) -> Result<Option<Bytes>, HubError> {
        let Some(response) = &mut self.response else { return Ok(None) };
        let url = response.url().clone();
        response.chunk().await.map_err(|error| hub.broken(&url, error))
    }
}

impl Hub {
    /// Passes a request on and returns the head of the answer, of any status.
    ///
    /// # Errors
    /// [`HubError`] when the hub can't be reached, redirects where nobody should go, or would get a token in the
    /// clear.
    ///
    /// # Cancel safety
    /// Dropping the future ends the connection; the hub may have taken the request.
    pub async fn forward(&self, request: ForwardRequest) -> Result<Forwarded, HubError> {
        let ForwardRequest { method, target, headers, body, elsewhere } = request;
        let mut headers = without(headers, &OF_THE_CONNECTION);
        if headers.contains_key(AUTHORIZATION) && !self.may_send_tokens() {
            return Err(TokenInsecure { hub: self.name().clone() }.into());
        }
        let mut url = self.endpoint().below(&target);
        let mut response = self.pass(&method, url.clone(), &headers, body).await?;
        let mut of_the_file = HeaderMap::new();
        for _ in 0..=REDIRECTS_MAX {
            let follow = match elsewhere {
                Elsewhere::Tell => None,
                Elsewhere::Follow => self.leads_elsewhere(&url, &response)?,
            };
            let Some(next) = follow else { return Ok(answer(response, &of_the_file)) };
            for name in OF_THE_FILE {
                if let Some(value) = response.headers().get(name) {
                    of_the_file.insert(HeaderName::from_static(name), value.clone());
                }
            }
            if method == Method::HEAD {
                return Ok(told_by_the_redirect(of_the_file));
            }
            if method != Method::GET {
                return Err(RedirectRefused { hub: self.name().clone(), reason: "what is sent to it" }.into());
            }
            headers.remove(AUTHORIZATION);
            url = next;
            response = self.pass(&method, url.clone(), &headers, None).await?;
        }
        Err(RedirectRefused { hub: self.name().clone(), reason: "too often" }.into())
    }

    /// Returns what stands behind the hub's own address in an absolute address below it, or in one that is relative
    /// to the answer for `target`. None means that the address is elsewhere.
    pub fn behind(&self, target: &str, location: &str) -> Option<String> {
        let url = self.endpoint().below(target).join(location).ok()?;
        self.endpoint().behind(&url)
    }

    fn may_send_tokens(&self) -> bool {
        match self.options().token_over_http {
            TokenOverHttp::Anywhere => true,
            TokenOverHttp::LoopbackOnly => self.endpoint().keeps_secrets(),
        }
    }

    async fn pass(
        &self,
        method: &Method,
        url: Url,
        headers: &HeaderMap,
        body: Option<Body>,
    ) -> Result<Response, HubError> {
        tracing::trace!(%method, authority = authority(&url), path = url.path(), "passing on");
        let mut request = self.http().request(method.clone(), url.clone()).headers(headers.clone());
        if let Some(body) = body {
            request = request.body(body);
        }
        request.send().await.map_err(|error| self.broken(&url, error))
    }

    /// Returns where a redirect leads that is not within the hub's own address.
    fn leads_elsewhere(&self, from: &Url, response: &Response) -> Result<Option<Url>, HubError> {
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let Some(location) = location.filter(|_| response.status().is_redirection()) else { return Ok(None) };
        match self.endpoint().redirect(from, location) {
            Redirect::Home(url) if self.endpoint().behind(&url).is_some() => Ok(None),
            Redirect::Home(url) | Redirect::Elsewhere(url) => Ok(Some(url)),
            Redirect::Refused(reason) => Err(RedirectRefused { hub: self.name().clone(), reason }.into()),
        }
    }
}

fn answer(response: Response, of_the_file: &HeaderMap) -> Forwarded {
    let mut headers = without(response.headers().clone(), &OF_THE_CONNECTION);
    headers = without(headers, &OF_THE_ORIGIN);
    // Another origin's etag is its own, not the hash that the hub vouches for.
    for (name, value) in of_the_file {
        headers.insert(name, value.clone());
    }
    Forwarded { status: response.status(), headers, response: Some(response) }
}

/// A file whose bytes are elsewhere, told of as if they were here.
fn told_by_the_redirect(mut headers: HeaderMap) -> Forwarded {
    if let Some(size) = headers.get("x-linked-size").cloned() {
        headers.insert(CONTENT_LENGTH, size);
    }
    if let Some(etag) = headers.get("x-linked-etag").cloned() {
        headers.insert(ETAG, etag);
    }
    headers.insert("accept-ranges", HeaderValue::from_static("bytes"));
    Forwarded { status: StatusCode::OK, headers, response: None }
}

fn without(mut headers: HeaderMap, names: &[&str]) -> HeaderMap {
    // What `Connection` names belongs to the connection as well.
    let named: Vec<String> = headers
        .get_all("connection")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_lowercase()))
        .collect();
    for name in names.iter().copied().chain(named.iter().map(String::as_str)) {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests;
