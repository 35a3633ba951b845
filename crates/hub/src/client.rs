//! The client itself: one question at a time, with redirects decided hop by hop and tokens kept at home.

use std::{future::Future, sync::Arc, time::Duration};

use base::Redacted;
use bytes::Bytes;
use reqwest::{
    Method, Response,
    header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE},
    redirect::Policy,
};
use serde::{Deserialize, de::DeserializeOwned};
use types::{HubName, RepoName};
use url::Url;

use crate::{
    HubOptions, TokenOverHttp,
    address::{Endpoint, Redirect, authority},
    answer::{About, Asked, TokenSent, Unsuccessful, cleaned, header, meaning},
    error::{
        AnswerInvalid, ConnectionLost, HubError, HubSetupError, RateLimited, RedirectRefused, Stalled,
        TokenInsecure, TokenWrong, TransportError, Unreachable,
    },
    window::{Bucket, Caller, Told, Windows},
};

/// The public hub needs two (renamed repository, then its cache); mirrors add one or two.
pub(crate) const REDIRECTS_MAX: usize = 5;
/// An error's body is read up to this length for the words in it.
const ERROR_BYTES_MAX: usize = 16 * 1024;

/// A client of one hub. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: HubOptions,
    endpoint: Endpoint,
    http: reqwest::Client,
    windows: Arc<Windows>,
}

/// A token as callers hand it over, for one question.
pub(crate) type Token<'a> = Option<&'a Redacted<String>>;

/// A range of bytes asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) offset: u64,
    /// At least 1.
    pub(crate) len: u64,
}

impl ByteRange {
    /// Returns the offset of the last byte, as HTTP names ranges.
    pub(crate) const fn last(self) -> u64 {
        self.offset.saturating_add(self.len - 1)
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) token: Token<'a>,
    /// What the hub counts it as.
    pub(crate) bucket: Bucket,
    pub(crate) range: Option<ByteRange>,
}

/// Where a question ended.
#[derive(Debug)]
pub(crate) enum Landed {
    /// At the endpoint's origin, with an answer that is no redirect.
    Here(Response),
    /// The hub points to another origin. Nothing has been asked there.
    Elsewhere {
        location: Url,
        /// The headers of the redirect, which describe the file.
        headers: HeaderMap,
    },
}

impl Hub {
    /// Makes a client. Connects to nothing yet.
    ///
    /// # Errors
    /// [`HubSetupError`] when the endpoint or proxy can't be used.
    pub fn new(options: HubOptions) -> Result<Self, HubSetupError> {
        let endpoint = Endpoint::new(options.endpoint.clone())?;
        let http = http_client(options.proxy.as_ref(), options.connect_timeout, options.stall_timeout)?;
        Ok(Self { inner: Arc::new(Inner { options, endpoint, http, windows: Arc::default() }) })
    }

    /// Returns the hub's name.
    pub fn name(&self) -> &HubName {
        &self.inner.options.name
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    pub(crate) fn options(&self) -> &HubOptions {
        &self.inner.options
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.inner.http
    }

    pub(crate) fn asked(&self, repo: &RepoName, about: About, token: Token<'_>) -> Asked {
        Asked {
            hub: self.name().clone(),
            repo: repo.clone(),
            about,
            page: self.endpoint().page(repo),
            token: if token.is_some() { TokenSent::Yes } else { TokenSent::No },
        }
    }

    pub(crate) fn invalid(&self, what: impl Into<String>) -> HubError {
        AnswerInvalid { hub: self.name().clone(), what: what.into() }.into()
    }

    /// Asks for JSON about a repository, with tries. Returns it with its headers and length.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        url: &Url,
        token: Token<'_>,
        asked: &Asked,
    ) -> Result<(T, HeaderMap, u64), HubError> {
        self.with_tries(|| async {
            let question =
                Question { method: Method::GET, url: url.clone(), token, bucket: Bucket::Api, range: None };
            let response = match self.ask(&question).await? {
                Landed::Here(response) => self.successful(response, asked).await?,
                Landed::Elsewhere { .. } => return Err(self.redirect_refused("a question to another origin")),
            };
            let headers = response.headers().clone();
            let bytes = self.body(response).await?;
            let value = serde_json::from_slice(&bytes).map_err(|error| {
                self.invalid(format!("its JSON does not fit: {}", cleaned(&error.to_string())))
            })?;
            Ok((value, headers, bytes.len() as u64))
        })
        .await
    }

    /// Does something again while the hub has errors of its own and tries are left.
    pub(crate) async fn with_tries<T, F: Future<Output = Result<T, HubError>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T, HubError> {
        let options = self.options();
        let mut tries = 1;
        loop {
            let error = match ask().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let worth_it = matches!(error, HubError::ConnectionLost(_))
                || matches!(&error, HubError::ServerError(error) if error.retry_after.is_none());
            if !worth_it || tries >= options.tries_max {
                return Err(error);
            }
            tracing::debug!(hub = %self.name(), %error, tries, "asking the hub again");
            options.clock.sleep(options.backoff.after_with_jitter(tries, options.entropy.number())).await;
            tries += 1;
        }
    }

    /// Asks and follows redirects within the endpoint's origin. The answer may be an error of any status.
    pub(crate) async fn ask(&self, question: &Question<'_>) -> Result<Landed, HubError> {
        let mut question = question.clone();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.hop(&question).await?;
            if !response.status().is_redirection() {
                return Ok(Landed::Here(response));
            }
            match self.redirect(&question.url, response.headers())? {
                Redirect::Home(url) => question.url = url,
                Redirect::Elsewhere(location) => {
                    return Ok(Landed::Elsewhere { location, headers: response.headers().clone() });
                }
                Redirect::Refused(reason) => return Err(self.redirect_refused(reason)),
            }
        }
        Err(self.redirect_refused("too often"))
    }

    /// Asks elsewhere, without token, following redirects wherever they lead. The answer may be an error.
    pub(crate) async fn ask_elsewhere(&self, url: Url, range: ByteRange) -> Result<Response, HubError> {
        let mut question =
            Question { method: Method::GET, url, token: None, bucket: Bucket::Files, range: Some(range) };
        for _ in 0..=REDIRECTS_MAX {
            let response = self.hop(&question).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            question.url = match self.redirect(&question.url, response.headers())? {
                Redirect::Home(url) | Redirect::Elsewhere(url) => url,
                Redirect::Refused(reason) => return Err(self.redirect_refused(reason)),
            };
        }
        Err(self.redirect_refused("too often"))
    }

    /// Passes a successful answer on, and says what any other means.
    pub(crate) async fn successful(&self, response: Response, asked: &Asked) -> Result<Response, HubError> {
        if response.status().is_success() {
            return Ok(response);
        }
        #[derive(Deserialize)]
        struct ErrorBody {
            error: String,
        }
        let (status, headers, authority) =
            (response.status(), response.headers().clone(), authority(response.url()));
        let body = read_some(response).await;
        let body: Option<ErrorBody> = serde_json::from_slice(&body).ok();
        let body_words = body.as_ref().map(|body| body.error.as_str());
        let at = self.options().clock.now();
        Err(meaning(
            asked,
            &Unsuccessful { status, headers: &headers, at, body_words, authority: &authority },
        ))
    }

    /// Returns what a failed connection means.
    pub(crate) fn broken(&self, url: &Url, error: reqwest::Error) -> HubError {
        let (hub, authority) = (self.name().clone(), authority(url));
        let (is_connect, is_timeout) = (error.is_connect(), error.is_timeout());
        let source = TransportError::innermost(error);
        if is_connect {
            Unreachable { hub, authority, source }.into()
        } else if is_timeout {
            Stalled { hub, authority, source }.into()
        } else {
            ConnectionLost { hub, authority, source }.into()
        }
    }

    fn redirect(&self, from: &Url, headers: &HeaderMap) -> Result<Redirect, HubError> {
        let location = header(headers, LOCATION.as_str())
            .ok_or_else(|| self.invalid("it redirects without saying where to"))?;
        Ok(self.endpoint().redirect(from, location))
    }

    fn redirect_refused(&self, reason: &'static str) -> HubError {
        RedirectRefused { hub: self.name().clone(), reason }.into()
    }

    /// Sends one request and returns its answer, redirects included. One for which the window is used up is not sent.
    async fn hop(&self, question: &Question<'_>) -> Result<Response, HubError> {
        let url = &question.url;
        let mut request = self
            .inner
            .http
            .request(question.method.clone(), url.clone())
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(authorization) = self.authorization(url, question.token)? {
            request = request.header(AUTHORIZATION, authorization);
        }
        match question.range {
            Some(range) => {
                request = request.header(RANGE, format!("bytes={}-{}", range.offset, range.last()));
            }
            // Only bytes of files may take as long as they need.
            None => request = request.timeout(self.options().answer_timeout),
        }
        tracing::trace!(method = %question.method, authority = authority(url), path = url.path(), "asking");
        let clock = &self.options().clock;
        let asking = self
            .inner
            .windows
            .ask(self.caller(question), clock.now())
            .map_err(|retry_after| RateLimited { hub: self.name().clone(), retry_after })?;
        let response = request.send().await.map_err(|error| self.broken(url, error))?;
        let now = clock.now();
        asking.answered(Told::read(response.status(), response.headers(), now), now);
        Ok(response)
    }

    /// Returns whose questions a request is counted among.
    fn caller(&self, question: &Question<'_>) -> Caller {
        if self.endpoint().is_home(&question.url) {
            Caller::home(question.token, question.bucket)
        } else {
            Caller::Elsewhere(authority(&question.url))
        }
    }

    /// Returns the header that carries the token, if there is one and this address may see it.
    fn authorization(&self, url: &Url, token: Token<'_>) -> Result<Option<HeaderValue>, HubError> {
        let Some(token) = token.filter(|_| self.endpoint().is_home(url)) else {
            return Ok(None);
        };
        match self.options().token_over_http {
            TokenOverHttp::LoopbackOnly if !self.endpoint().keeps_secrets() => {
                return Err(TokenInsecure { hub: self.name().clone() }.into());
            }
            TokenOverHttp::LoopbackOnly | TokenOverHttp::Anywhere => {}
        }
        // A token with a line break or the like is none that a hub has given out.
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| TokenWrong { hub: self.name().clone() })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn body(&self, mut response: Response) -> Result<Bytes, HubError> {
        let limit = self.options().limits.answer_bytes_max;
        let url = response.url().clone();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&url, error))? {
            if (bytes.len() + chunk.len()) as u64 > limit.bytes() {
                return Err(self.invalid(format!("it is longer than {limit}")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }
}

/// Makes a client that follows no redirect by itself, tells nobody where it comes from, and asks no environment.
pub(crate) fn http_client(
    proxy: Option<&Url>,
    connect_timeout: Duration,
    stall_timeout: Duration,
) -> Result<reqwest::Client, HubSetupError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("larder/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .referer(false)
        // One HTTP/2 connection would carry all ranges and cap them together.
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(connect_timeout)
        .read_timeout(stall_timeout)
        .no_proxy();
    if let Some(proxy) = proxy {
        builder = builder.proxy(reqwest::Proxy::https(proxy.clone()).map_err(HubSetupError::Client)?);
    }
    builder.build().map_err(HubSetupError::Client)
}

/// Reads the start of a body whose loss is no matter.
async fn read_some(mut response: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= ERROR_BYTES_MAX {
            break;
        }
    }
    bytes
}
