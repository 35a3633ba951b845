//! Who this agent is across restarts: `agent.json` in the data folder.

use std::{io, path::Path, sync::Arc};

use base::{Disk, Entropy, write_durably};
use serde::{Deserialize, Serialize};
use types::HostId;

/// An id and a number are below a hundred bytes; what is longer is not ours.
const FILE_BYTES_MAX: u64 = 4096;
const FILE_NAME: &str = "agent.json";

/// Who this agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The host, as the server knows it.
    pub(crate) host: HostId,
    /// The newest incarnation of the control plane that was seen: desired states of an older one are refused also
    /// after a restart.
    pub(crate) incarnation: u64,
}

impl Identity {
    /// Reads the identity, or makes one for a host that has none.
    ///
    /// # Errors
    /// The disk's, and `InvalidData` for a file that is not ours.
    pub(crate) fn load(disk: &Arc<dyn Disk>, data_dir: &Path, entropy: &Entropy) -> io::Result<Self> {
        match disk.read(&data_dir.join(FILE_NAME), FILE_BYTES_MAX) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let identity = Self { host: HostId::generate(entropy), incarnation: 0 };
                identity.save(disk, data_dir)?;
                Ok(identity)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the identity.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn save(&self, disk: &Arc<dyn Disk>, data_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).expect("an identity is text and a number");
        write_durably(disk, &data_dir.join(FILE_NAME), &text)
    }
}
