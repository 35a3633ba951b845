//! What the control plane is told when it is opened.

use std::{path::PathBuf, sync::Arc, time::Duration};

use base::{ByteSize, Disk};
use types::HubName;
use url::Url;

/// A hub that the operator has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubConfig {
    /// Its name in model references and repository identities.
    pub name: HubName,
    /// Where it answers.
    pub endpoint: Url,
    /// Whether bytes that are here already satisfy its word for them.
    pub trusted: bool,
}

/// How the control plane is opened.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// The data folder: `admin.key` and `folders/` stand in it.
    pub data_folder: PathBuf,
    /// The file calls for what stands there.
    pub disk: Arc<dyn Disk>,
    /// The hubs, the default one first. Not empty.
    pub hubs: Vec<HubConfig>,
    /// How clients reach the server, without a slash at the end; put before the paths in answers.
    pub public_url: String,
    /// The largest archive of a folder.
    pub folder_bytes_max: ByteSize,
    /// How long an agent may be silent before its link is given up.
    pub link_silence_max: Duration,
}

impl ControlOptions {
    /// Makes options with the defaults for everything but the places.
    pub fn new(data_folder: PathBuf, disk: Arc<dyn Disk>, hubs: Vec<HubConfig>) -> Self {
        Self {
            data_folder,
            disk,
            hubs,
            public_url: String::new(),
            // Code and small assets; weights belong into models.
            folder_bytes_max: ByteSize::mib(64),
            // Three heartbeats: one may be late, and one more may be lost in a reconnect.
            link_silence_max: 3 * crate::link::HEARTBEAT,
        }
    }
}
