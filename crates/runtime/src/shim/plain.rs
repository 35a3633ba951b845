//! A worker without isolation: the host's own files, and folders of its own where the sandbox would have mounts.
//!
//! It keeps nothing apart. It makes a worker run where the system allows no namespaces, with models found through
//! `HF_HUB_CACHE` instead of the path of the contract.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::work;
use crate::{
    Egress, MountSource,
    mounts::HUB_FOLDER,
    protocol::{During as _, Refusal, Spec},
};

/// Makes the worker's folders. Returns the one that it starts in, and what of the start is not so here.
pub(super) fn prepare(spec: &Spec) -> Result<(PathBuf, Vec<String>), Refusal> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).during("become a subreaper")?;
    let own = |name: &str| spec.run_folder.join(name);
    for name in ["home", "hub"] {
        fs::create_dir(own(name)).during(format!("make the worker's {name}"))?;
    }
    let folder = own("work");
    match &spec.folder {
        None => fs::create_dir(&folder).during("make the working folder")?,
        Some(released) if !released.is_dir() => return Err(Refusal::FolderNotFound),
        Some(released) => {
            let user = rustix::process::geteuid().as_raw();
            work::copy_folder(released, &folder, user, 0).during("copy the released folder")?;
        }
    }
    let mut notes = vec!["nothing keeps this worker apart from the host or from other workers".to_owned()];
    for mount in &spec.mounts {
        match (&mount.source, mount.target.strip_prefix(HUB_FOLDER)) {
            (MountSource::Private, _) => {}
            (MountSource::ReadOnly(view), Ok(name)) if name != Path::new("") => {
                symlink(view, own("hub").join(name)).during(format!("link {}", name.display()))?;
            }
            (MountSource::ReadOnly(_), _) => notes.push(format!("{} is not mounted", mount.target.display())),
        }
    }
    match spec.egress {
        Egress::None => {
            notes.push("the worker shares the host's network, although it should have none".to_owned());
        }
        Egress::Shared => {}
    }
    Ok((folder, notes))
}
