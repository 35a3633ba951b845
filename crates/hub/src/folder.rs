//! Folders of files over plain HTTP, and buckets of S3-compatible stores: sources that know bytes and nothing else.
//!
//! What they give is checked against the digests that a hub has told, so they need no trust, and no token of a hub
//! ever goes to them. The layout is that of `larder hub serve`: `org/name/` and the file's path, below an address
//! or prefix; `{repo}` and `{commit}` in it say otherwise.

mod error;

use std::{sync::Arc, time::Duration};

use base::{Clock, Redacted};
use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, LOCATION, RANGE},
};
use rusty_s3::{Bucket as S3Bucket, Credentials, S3Action, UrlStyle};
use types::{Commit, ManifestFile, RepoName};
use url::Url;

pub use self::error::FolderError;
use crate::{
    HubSetupError,
    address::{authority, encoded, redirect_target},
    answer::header,
    client::{ByteRange, REDIRECTS_MAX, http_client},
    error::TransportError,
    file::{Misfit, fit},
    window::{Caller, Told, Windows, pause, retry_after},
};

/// Stands for the repository's name in an address or prefix.
const REPO: &str = "{repo}";
/// Stands for the commit there.
const COMMIT: &str = "{commit}";
/// A signed address is made for each request and used at once; so long it may be under way, clocks that differ
/// included.
const SIGNATURE_LIFETIME: Duration = Duration::from_secs(300);

/// Where a folder's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderPlace {
    /// Below an address, such as `https://files.example.com/models/`.
    Http {
        /// The address. `{repo}` and `{commit}` stand for those; without `{repo}`, it comes last.
        address: String,
    },
    /// In a bucket.
    Bucket {
        /// The store's address; the bucket's name comes behind it ("path style").
        endpoint: Url,
        /// The region that signatures name; stores of one's own take any, often `us-east-1`.
        region: String,
        /// The bucket.
        bucket: String,
        /// What comes before the repository's name; empty for none. Placeholders as in an address.
        prefix: String,
        /// The keys with which requests are signed; without them the bucket must be public.
        keys: Option<BucketKeys>,
    },
}

/// Keys of an S3-compatible store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketKeys {
    /// The key's name.
    pub access_key: String,
    /// The key.
    pub secret_key: Redacted<String>,
}

/// Settings of a [`Folder`].
#[derive(Clone, Debug)]
pub struct FolderOptions {
    /// Where its files are.
    pub place: FolderPlace,
    /// The proxy for `https` addresses, if there is one.
    pub proxy: Option<Url>,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest silence of a connection, before and amid an answer.
    pub stall_timeout: Duration,
    /// The clock of pauses and signatures.
    pub clock: Clock,
}

impl FolderOptions {
    /// Makes settings with the defaults of a hub's client.
    pub fn new(place: FolderPlace) -> Self {
        Self {
            place,
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            clock: Clock::System,
        }
    }
}

/// A folder of many repositories. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    place: Place,
    http: reqwest::Client,
    windows: Arc<Windows>,
    clock: Clock,
}

enum Place {
    /// With placeholders, and a slash at its end.
    Http(String),
    Bucket {
        bucket: Box<S3Bucket>,
        credentials: Option<Credentials>,
        prefix: String,
    },
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(_) => f.write_str("Http"),
            Self::Bucket { bucket, .. } => write!(f, "Bucket({})", bucket.name()),
        }
    }
}

/// A file of a folder, to be read by ranges. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FolderFile {
    folder: Folder,
    file: ManifestFile,
    repo: RepoName,
    commit: Commit,
}

impl Folder {
    /// Makes a client. Connects to nothing yet.
    ///
    /// # Errors
    /// [`HubSetupError`] when the address can't be used.
    pub fn new(options: FolderOptions) -> Result<Self, HubSetupError> {
        let FolderOptions { place, proxy, connect_timeout, stall_timeout, clock } = options;
        let http = http_client(proxy.as_ref(), connect_timeout, stall_timeout)?;
        let (name, place) = match place {
            FolderPlace::Http { address } => http_place(&address)?,
            FolderPlace::Bucket { endpoint, region, bucket, prefix, keys } => {
                check_address(&endpoint)?;
                let name = format!("bucket {bucket} at {}", authority(&endpoint));
                let unusable = |_| refused(&endpoint, "it can't hold a bucket");
                let bucket =
                    S3Bucket::new(endpoint.clone(), UrlStyle::Path, bucket, region).map_err(unusable)?;
                let credentials =
                    keys.map(|keys| Credentials::new(keys.access_key, keys.secret_key.expose()));
                (name, Place::Bucket { bucket: Box::new(bucket), credentials, prefix: with_slash(&prefix) })
            }
        };
        Ok(Self(Arc::new(Inner { name, place, http, windows: Arc::default(), clock })))
    }

    /// Returns the name by which people know it: what it is and where, without secrets.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Opens a file for reading by ranges. Asks nobody yet.
    pub fn open_file(&self, repo: &RepoName, commit: Commit, file: &ManifestFile) -> FolderFile {
        FolderFile { folder: self.clone(), file: file.clone(), repo: repo.clone(), commit }
    }
}

impl FolderFile {
    /// Asks for `len` bytes from `offset`, at least one, and returns them as they come.
    ///
    /// # Errors
    /// [`FolderError`] by condition; [`FolderError::retry`] tells what may help.
    ///
    /// # Panics
    /// When the range is empty or not within the listed size.
    ///
    /// # Cancel safety
    /// Dropping the future or the body ends the connection and loses nothing else.
    pub async fn read_range(&self, offset: u64, len: u64) -> Result<FolderBody, FolderError> {
        let within = offset.checked_add(len).is_some_and(|end| end <= self.file.size);
        assert!(within && len > 0, "a range must hold something and lie within its file");
        let range = ByteRange { offset, len };
        let mut url = self.address();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.hop(&url, range).await?;
            if !response.status().is_redirection() {
                self.check(&response, range)?;
                return Ok(FolderBody { file: self.clone(), response, wanted: len, got: 0 });
            }
            let location = header(response.headers(), LOCATION.as_str());
            url = location
                .ok_or("without saying where to")
                .and_then(|location| redirect_target(&url, location))
                .map_err(|reason| FolderError::Redirect { name: self.name(), reason })?;
        }
        Err(FolderError::Redirect { name: self.name(), reason: "too often" })
    }

    /// Returns where the file is asked for. A signed address is a secret until it expires.
    fn address(&self) -> Url {
        let inner = &*self.folder.0;
        match &inner.place {
            Place::Http(template) => {
                let segments: Vec<String> = self.file.path.as_str().split('/').map(encoded).collect();
                let text = format!("{}{}", expand(template, &self.repo, self.commit), segments.join("/"));
                Url::parse(&text).expect("a checked address stays one with encoded segments behind it")
            }
            Place::Bucket { bucket, credentials, prefix } => {
                let key = format!("{}{}", expand(prefix, &self.repo, self.commit), self.file.path);
                let now =
                    jiff::Timestamp::from_microsecond(inner.clock.now().as_micros()).unwrap_or_default();
                bucket.get_object(credentials.as_ref(), &key).sign_with_time(SIGNATURE_LIFETIME, &now)
            }
        }
    }

    async fn hop(&self, url: &Url, range: ByteRange) -> Result<Response, FolderError> {
        let inner = &*self.folder.0;
        let asking = inner
            .windows
            .ask(Caller::Elsewhere(authority(url)), inner.clock.now())
            .map_err(|retry_after| FolderError::RateLimited { name: self.name(), retry_after })?;
        let request = inner
            .http
            .request(Method::GET, url.clone())
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .header(RANGE, format!("bytes={}-{}", range.offset, range.last()));
        let response = request.send().await.map_err(|error| self.broken(url, error))?;
        let now = inner.clock.now();
        asking.answered(Told::read(response.status(), response.headers(), now), now);
        Ok(response)
    }

    fn check(&self, response: &Response, range: ByteRange) -> Result<(), FolderError> {
        let (status, headers) = (response.status(), response.headers());
        let (name, path) = (|| self.name(), || self.file.path.clone());
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(FolderError::Missing { name: name(), path: path() });
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let what = "the range is past its end".to_owned();
                return Err(FolderError::Changed { name: name(), path: path(), what });
            }
            _ => {}
        }
        if let Some(error) = self.not_now(status, headers) {
            return Err(error);
        }
        if status.is_client_error() {
            return Err(FolderError::Refused { name: name(), path: path(), status: status.as_u16() });
        }
        fit(response.into(), range, self.file.size).map_err(|misfit| {
            let what = misfit.words(&self.file);
            match misfit {
                Misfit::Size(_) => FolderError::Changed { name: name(), path: path(), what },
                Misfit::Whole => FolderError::RangesUnsupported { name: name(), path: path() },
                Misfit::Encoded(_) | Misfit::PartUntold | Misfit::OtherPart | Misfit::Status(_) => {
                    FolderError::Invalid { name: name(), what }
                }
            }
        })
    }

    fn not_now(&self, status: StatusCode, headers: &HeaderMap) -> Option<FolderError> {
        let now = self.folder.0.clock.now();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Some(FolderError::RateLimited { name: self.name(), retry_after: pause(headers, now) });
        }
        (status == StatusCode::REQUEST_TIMEOUT || status.is_server_error()).then(|| FolderError::Server {
            name: self.name(),
            status: status.as_u16(),
            retry_after: retry_after(headers, now),
        })
    }

    fn broken(&self, url: &Url, error: reqwest::Error) -> FolderError {
        let (name, authority) = (self.name(), authority(url));
        let (is_connect, is_timeout) = (error.is_connect(), error.is_timeout());
        let source = TransportError::innermost(error);
        if is_connect {
            FolderError::Unreachable { name, authority, source }
        } else if is_timeout {
            FolderError::Stalled { name, source }
        } else {
            FolderError::ConnectionLost { name, source }
        }
    }

    fn name(&self) -> String {
        self.folder.name().to_owned()
    }
}

/// The bytes of a range as they come. Never gives more than were asked for.
#[derive(Debug)]
pub struct FolderBody {
    file: FolderFile,
    response: Response,
    wanted: u64,
    got: u64,
}

impl FolderBody {
    /// Returns the next bytes, or `None` after the last.
    ///
    /// # Errors
    /// [`FolderError`] by condition. Bytes handed out before are good as far as they go.
    ///
    /// # Cancel safety
    /// Dropping the future loses no bytes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FolderError> {
        let (name, path) = (self.file.name(), self.file.file.path.clone());
        match self.response.chunk().await {
            Ok(Some(chunk)) => {
                self.got += chunk.len() as u64;
                if self.got > self.wanted {
                    return Err(FolderError::BodyLong { name, path, wanted: self.wanted });
                }
                Ok(Some(chunk))
            }
            Ok(None) if self.got < self.wanted => {
                Err(FolderError::BodyShort { name, path, wanted: self.wanted, got: self.got })
            }
            Ok(None) => Ok(None),
            Err(error) => {
                let url = self.response.url().clone();
                Err(self.file.broken(&url, error))
            }
        }
    }
}

fn http_place(address: &str) -> Result<(String, Place), HubSetupError> {
    let template = with_slash(address);
    let sample = template.replace(REPO, "org/name").replace(COMMIT, "main");
    let parsed = Url::parse(&sample).map_err(|_| HubSetupError::Endpoint {
        // What is no address may be anything, a secret too.
        endpoint: "of a folder".to_owned(),
        reason: "it is no address",
    })?;
    check_address(&parsed)?;
    // Without the placeholders, and cut to what people recognise.
    let shown = address.split('{').next().unwrap_or_default().trim_end_matches('/');
    Ok((format!("folder {shown}"), Place::Http(template)))
}

fn check_address(url: &Url) -> Result<(), HubSetupError> {
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(refused(url, "it is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(url, "it holds a user or password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused(url, "it holds a query or fragment"));
    }
    Ok(())
}

fn refused(url: &Url, reason: &'static str) -> HubSetupError {
    HubSetupError::Endpoint { endpoint: format!("{}://{}", url.scheme(), authority(url)), reason }
}

/// Puts the repository's name at the end where it has no place yet, and a slash behind.
fn with_slash(template: &str) -> String {
    let mut template = template.to_owned();
    if !template.is_empty() && !template.ends_with('/') {
        template.push('/');
    }
    if !template.contains(REPO) {
        template.push_str(REPO);
        template.push('/');
    }
    template
}

/// Names of repositories and commits hold nothing that means something in an address.
fn expand(template: &str, repo: &RepoName, commit: Commit) -> String {
    template.replace(REPO, repo.as_str()).replace(COMMIT, &commit.to_string())
}

#[cfg(test)]
mod tests;
