//! The settings of all roles: one typed tree, read once, in which an unknown key is an error.
//!
//! An option on the command line goes before the file, the file before the defaults.
//!
//! ```toml
//! [server]
//! listen = "127.0.0.1:8380"
//!
//! [agent]
//! egress = false
//! cache_bytes_max = "2 TB"
//! fetch_rate_max = "500 MB"                 # a second
//! disk_free_min = "50 GB"
//!
//! [[hubs]]                                  # the first one is the default
//! name = "huggingface"
//! endpoint = "https://huggingface.co"
//! trusted = true
//! mirrors = ["https://mirror.example.com"]   # asked before the hub: docs/sources.md
//! ```

mod source;

use std::{fs, net::SocketAddr, path::Path};

use agent::SideSource;
use base::ByteSize;
use hub::FolderPlace;
use serde::Deserialize;
use types::{ErrorCode, Fault, HubName};
use url::Url;

use self::source::{BucketSection, MirrorSection};
use crate::grammar::{IsolationWish, ListenArgs, WorkerArgs};

/// Where the public hub answers.
const PUBLIC_HUB: &str = "https://huggingface.co";
/// Where clients find the server unless told otherwise: `cli` looks there.
const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8380);

/// The file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConfigFile {
    server: ServerSection,
    agent: AgentSection,
    hubs: Vec<HubSection>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServerSection {
    listen: Option<SocketAddr>,
    insecure_http: bool,
    public_url: Option<Url>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AgentSection {
    egress: Option<bool>,
    edge_pass_through: Option<bool>,
    isolation: Option<IsolationWord>,
    workers_max: Option<u32>,
    cache_bytes_max: Option<SizeText>,
    fetch_rate_max: Option<SizeText>,
    disk_free_min: Option<SizeText>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HubSection {
    name: HubName,
    endpoint: Url,
    #[serde(default)]
    trusted: bool,
    #[serde(default)]
    mirrors: Vec<MirrorSection>,
    /// Addresses of folders over HTTP.
    #[serde(default)]
    folders: Vec<String>,
    #[serde(default)]
    buckets: Vec<BucketSection>,
}

impl HubSection {
    /// Returns the sources beside the hub, in the order in which they are asked.
    fn sources(&self) -> Vec<(HubName, SideSource)> {
        let mirrors = self.mirrors.iter().map(MirrorSection::source);
        let folders = self.folders.iter().cloned().map(|address| FolderPlace::Http { address });
        let folders = folders.chain(self.buckets.iter().map(BucketSection::place)).map(SideSource::Folder);
        mirrors.chain(folders).map(|source| (self.name.clone(), source)).collect()
    }
}

/// A size as people write it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct SizeText(ByteSize);

impl TryFrom<String> for SizeText {
    type Error = base::ParseByteSizeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum IsolationWord {
    Namespaces,
    None,
}

/// What the server goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerConfig {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// How clients reach it, where a proxy stands before it.
    pub(crate) public_url: Option<Url>,
    /// The hubs, the default one first.
    pub(crate) hubs: Vec<HubChoice>,
}

/// A hub that the operator names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubChoice {
    /// Its name in model references.
    pub(crate) name: HubName,
    /// Where it answers.
    pub(crate) endpoint: Url,
    /// Whether bytes that are here already satisfy its word for them.
    pub(crate) trusted: bool,
}

/// What the agent goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentConfig {
    /// Whether workers may reach anything but their relay.
    pub(crate) egress: bool,
    /// Whether the agent asks the hub for workers, for what is not among their models.
    pub(crate) edge_pass_through: bool,
    /// How workers are kept apart.
    pub(crate) isolation: IsolationWish,
    /// How many workers may run at once.
    pub(crate) workers_max: Option<u32>,
    /// How many bytes models may take.
    pub(crate) cache_bytes_max: Option<ByteSize>,
    /// Bytes per second that models are fetched with, all together.
    pub(crate) fetch_rate_max: Option<ByteSize>,
    /// How many bytes of the disk fetches leave free.
    pub(crate) disk_free_min: Option<ByteSize>,
    /// Where models come from beside their hubs, in the order in which they are asked.
    pub(crate) sources: Vec<(HubName, SideSource)>,
}

impl ConfigFile {
    /// Reads the file, when one was named.
    ///
    /// # Errors
    /// A fault that shows the line that is wrong.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, Fault> {
        let Some(path) = path else { return Ok(Self::default()) };
        let wrong = |reason: String| {
            Fault::new(
                ErrorCode::FieldInvalid,
                format!("the settings in {} are wrong: {reason}", path.display()),
            )
        };
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }

    /// Returns what the server goes by.
    ///
    /// # Errors
    /// A fault when it would listen where others can hear it without having been told to.
    pub(crate) fn server(&self, arguments: &ListenArgs) -> Result<ServerConfig, Fault> {
        let section = &self.server;
        let listen = arguments.listen.or(section.listen).unwrap_or_else(|| SocketAddr::from(DEFAULT_LISTEN));
        let may_listen = listen.ip().is_loopback() || arguments.insecure_http || section.insecure_http;
        if !may_listen {
            let message = format!("{listen} can be reached by others, and keys would travel in the clear");
            return Err(Fault::new(ErrorCode::ListenFailed, message)
                .with_hint("listen on 127.0.0.1 behind a proxy that encrypts, or give --insecure-http"));
        }
        let configured = self.hubs.iter().map(|hub| HubChoice {
            name: hub.name.clone(),
            endpoint: hub.endpoint.clone(),
            trusted: hub.trusted,
        });
        let mut hubs: Vec<HubChoice> = configured.collect();
        if let Some(endpoint) = &arguments.hub_endpoint {
            let at = hubs.iter().position(|hub| hub.endpoint == *endpoint);
            let named = at.map(|at| hubs.remove(at));
            hubs.insert(0, named.map_or_else(|| hub_at(endpoint), Ok)?);
        }
        if hubs.is_empty() {
            let endpoint = Url::parse(PUBLIC_HUB).expect("the address is fixed and valid");
            hubs.push(HubChoice { name: HubName::hugging_face(), endpoint, trusted: true });
        }
        Ok(ServerConfig { listen, public_url: section.public_url.clone(), hubs })
    }

    /// Returns what the agent goes by.
    pub(crate) fn agent(&self, arguments: WorkerArgs) -> AgentConfig {
        let section = &self.agent;
        let isolation = section.isolation.map(|word| match word {
            IsolationWord::Namespaces => IsolationWish::Namespaces,
            IsolationWord::None => IsolationWish::None,
        });
        let egress = !arguments.no_egress && section.egress.unwrap_or(true);
        AgentConfig {
            egress,
            // Workers without a way out get none through the agent either, unless the operator says so.
            edge_pass_through: arguments.edge_pass_through || section.edge_pass_through.unwrap_or(egress),
            isolation: arguments.isolation.or(isolation).unwrap_or_default(),
            workers_max: arguments.host_workers_max.or(section.workers_max),
            cache_bytes_max: arguments.cache_bytes_max.or(section.cache_bytes_max.map(|size| size.0)),
            fetch_rate_max: arguments.fetch_rate_max.or(section.fetch_rate_max.map(|size| size.0)),
            disk_free_min: arguments.disk_free_min.or(section.disk_free_min.map(|size| size.0)),
            sources: self.hubs.iter().flat_map(HubSection::sources).collect(),
        }
    }
}

/// Names a hub that is given by address only. Who gives the address of the default hub trusts it.
fn hub_at(endpoint: &Url) -> Result<HubChoice, Fault> {
    if endpoint.as_str().trim_end_matches('/') == PUBLIC_HUB {
        return Ok(HubChoice { name: HubName::hugging_face(), endpoint: endpoint.clone(), trusted: true });
    }
    let host = endpoint.host_str().unwrap_or_default();
    let name = endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let name = name.parse().map_err(|error: types::ModelRefError| {
        Fault::from_error(ErrorCode::FieldInvalid, &error)
            .with_hint("name the hub in the settings: [[hubs]] with name and endpoint")
    })?;
    Ok(HubChoice { name, endpoint: endpoint.clone(), trusted: true })
}

#[cfg(test)]
mod tests;
