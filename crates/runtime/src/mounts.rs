//! What a worker sees of models: the one list of mounts, for every driver. Pure.
//!
//! A worker gets a `hub/` of its own, writable and gone with it, in which each view is mounted read-only under
//! every name that a reader may look for. Each name is a mount of its own, never a link: a link inside a writable
//! folder could be replaced, and a link to another mount could be followed to its writable side.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use types::RepoName;

use crate::DriverError;

/// Where workers find the models, by the contract that published workers are written for.
pub const HUB_FOLDER: &str = "/runpod-volume/huggingface-cache/hub";

/// A view on the host, and the names under which a worker may look for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewMount {
    /// The view's `models--org--name` folder.
    pub host_path: PathBuf,
    /// The repository's name in the hub's spelling.
    pub canonical: RepoName,
    /// The repository's name as the endpoint's owner wrote it.
    pub spelled: RepoName,
}

/// What is found at a place of a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// An empty folder of the worker's own. It is writable, counts against `WorkerLimits::scratch`, and goes with
    /// the worker.
    Private,
    /// A file or folder of the host, read-only, without set-uid programs and devices.
    ReadOnly(PathBuf),
}

/// One mount. In a list, later ones lie on top of earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where the worker sees it: an absolute path.
    pub target: PathBuf,
    /// What it sees there.
    pub source: MountSource,
}

/// Returns the mounts of a worker's `hub/`: first the private folder, then each view under each of its names.
///
/// Canonical names come first, so that no other model's lower-case or personal spelling can stand in their place;
/// where two models claim one of those further names, the model that the owner named first has it.
///
/// # Errors
/// [`DriverError::ModelNameTwice`] when two different views have the same canonical folder name.
pub fn hub(views: &[ViewMount]) -> Result<Vec<Mount>, DriverError> {
    let mut named: Vec<(String, &Path)> = Vec::new();
    for view in views {
        let folder = view.canonical.cache_folder();
        match named.iter().find(|(taken, _)| *taken == folder) {
            None => named.push((folder, &view.host_path)),
            Some((_, path)) if *path == view.host_path => {}
            Some(_) => return Err(DriverError::ModelNameTwice { folder }),
        }
    }
    for view in views {
        for further in [view.canonical.to_lowercase(), view.spelled.clone()] {
            let folder = further.cache_folder();
            if named.iter().all(|(taken, _)| *taken != folder) {
                named.push((folder, &view.host_path));
            }
        }
    }
    let private = Mount { target: HUB_FOLDER.into(), source: MountSource::Private };
    let views = named.into_iter().map(|(folder, path)| Mount {
        target: Path::new(HUB_FOLDER).join(folder),
        source: MountSource::ReadOnly(path.to_owned()),
    });
    Ok(std::iter::once(private).chain(views).collect())
}

#[cfg(test)]
mod tests;
