//! The HTTP client of the public API: requests out, typed answers or faults back.
//!
//! It retries nothing: the commands that wait ask again by themselves.

mod calls;
mod events;
mod models;

pub(crate) use calls::job_body;

use std::time::Duration;

use api::FieldProblem;
use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Response};
use serde::{Serialize, de::DeserializeOwned};
use types::{ErrorCode, Fault};
use url::Url;

use crate::surroundings::Connection;

/// A server that has not taken the connection by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Saving an endpoint asks its hub about every model, which may take the hub's own time limits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// A stream of events says every ten seconds that it is there.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How much of an answer that is no JSON is shown.
const ANSWER_CHARACTERS_SHOWN: usize = 200;

/// A connection to one server with one key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    /// For answers that come whole.
    answers: reqwest::Client,
    /// For answers that come as events, for as long as it takes.
    streams: reqwest::Client,
    connection: Connection,
}

impl Client {
    /// Makes a client. Nothing is sent yet.
    ///
    /// # Errors
    /// A fault when the address is none that can be asked, or the system gives no TLS roots.
    pub fn new(connection: Connection) -> Result<Self, Fault> {
        let server = &connection.server;
        if !matches!(server.scheme(), "http" | "https") || server.cannot_be_a_base() || !server.has_host() {
            let message = format!("{server} is not the address of a server");
            return Err(Fault::new(ErrorCode::FieldInvalid, message).with_hint("write http://HOST:PORT"));
        }
        let answers = builder(server).timeout(ANSWER_TIMEOUT).build();
        let streams = builder(server).read_timeout(SILENCE_MAX).build();
        let made = |built: reqwest::Result<reqwest::Client>| {
            built.map_err(|error| Fault::from_error(ErrorCode::Internal, &error))
        };
        Ok(Self { answers: made(answers)?, streams: made(streams)?, connection })
    }

    /// Returns the server's address.
    pub const fn server(&self) -> &Url {
        &self.connection.server
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        self.request_by(&self.answers, method, path, query)
    }

    fn request_by(
        &self,
        http: &reqwest::Client,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> RequestBuilder {
        let mut url = self.connection.server.clone();
        url.path_segments_mut().expect("the address was checked to be a base").pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = http.request(method, url);
        match &self.connection.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, Fault> {
        self.answer(self.request(Method::GET, path, query)).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Fault> {
        self.answer(self.request(method, path, &[]).json(body)).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Fault> {
        let body = self.body(request).await?;
        self.read(&body)
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Fault> {
        serde_json::from_slice(body).map_err(|error| {
            let shown: String = String::from_utf8_lossy(body).chars().take(ANSWER_CHARACTERS_SHOWN).collect();
            let message =
                format!("the answer of {} makes no sense: {error}: {shown}", self.connection.server);
            Fault::new(ErrorCode::Internal, message)
                .with_hint("the server may be of another version, or no Larder server")
        })
    }

    /// Sends a request and returns the body of a good answer.
    async fn body(&self, request: RequestBuilder) -> Result<Bytes, Fault> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return response.bytes().await.map_err(|error| self.unreachable(&error));
        }
        Err(self.refusal(response).await)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Fault {
        let server = self.connection.server.as_str().trim_end_matches('/');
        if error.is_timeout() && !error.is_connect() {
            return Fault::new(ErrorCode::Timeout, format!("{server} takes too long to answer"));
        }
        let cause = innermost(error);
        Fault::new(ErrorCode::ServerAway, format!("no server answers at {server}: {cause}"))
            .with_hint("start one with `larder up`, or name another with --server")
    }

    async fn refusal(&self, response: Response) -> Fault {
        let status = response.status();
        let body = response.bytes().await.unwrap_or_default();
        if let Some(fault) = read_problem(&body) {
            return self.with_key_hint(fault);
        }
        let code = match status.as_u16() {
            401 => ErrorCode::KeyWrong,
            403 => ErrorCode::KeyForbidden,
            404 => ErrorCode::RouteNotFound,
            429 => ErrorCode::RateLimited,
            503 => ErrorCode::Unavailable,
            400..=499 => ErrorCode::FieldInvalid,
            _ => ErrorCode::Internal,
        };
        let text: String = String::from_utf8_lossy(&body).chars().take(ANSWER_CHARACTERS_SHOWN).collect();
        let message = format!("{} answers {status}: {}", self.connection.server, text.trim());
        self.with_key_hint(Fault::new(code, message.trim_end_matches([':', ' '])))
    }

    /// Says where a key comes from, to somebody who has none or a wrong one.
    fn with_key_hint(&self, fault: Fault) -> Fault {
        if !matches!(fault.code, ErrorCode::KeyMissing | ErrorCode::KeyWrong) {
            return fault;
        }
        let file = self.connection.key_file.display();
        match &self.connection.key {
            None => fault.with_hint(format!("give --key or set LARDER_KEY; there is no key in {file}")),
            Some(_) => fault.with_hint(format!(
                "the key comes from --key, from LARDER_KEY or else from {file}: check it"
            )),
        }
    }
}

fn builder(server: &Url) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("larder/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT);
    // A proxy from the environment can't reach this machine's own loopback.
    if is_loopback(server) { builder.no_proxy() } else { builder }
}

/// Reads an error of either face: a problem, or the job API's `{"error": …}` with our code beside it.
fn read_problem(body: &[u8]) -> Option<Fault> {
    #[derive(serde::Deserialize)]
    struct Answer {
        #[serde(alias = "error")]
        detail: String,
        code: ErrorCode,
        hint: Option<String>,
        #[serde(default)]
        errors: Vec<FieldProblem>,
    }
    let Answer { detail, code, hint, errors } = serde_json::from_slice(body).ok()?;
    // A problem with one field tells that field's own words already.
    let fields: Vec<String> = errors
        .iter()
        .filter(|error| !detail.contains(&error.message))
        .map(|error| format!("{}: {}", error.field, error.message))
        .collect();
    let message = if fields.is_empty() { detail } else { format!("{detail} ({})", fields.join("; ")) };
    Some(Fault { code, message, hint })
}

fn is_loopback(server: &Url) -> bool {
    match server.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Returns the last source's text: the transport's own words, without the layers around them.
fn innermost(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(next) = source.source() {
        source = next;
    }
    source.to_string()
}
