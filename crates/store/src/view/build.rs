//! A view on the disk: made from its plan, or compared with it.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use base::{Access, Disk, EntryKind};

use super::plan::{Planned, ViewPlan};
use crate::{DiskTrouble, store::Inner};

const FOLDER: u32 = 0o755;
const BLOB: u32 = 0o444;

/// Makes a view aside and renames it into its place. Nothing is synced: after a power loss it is checked or made anew.
pub(super) fn build(store: &Inner, path: &Path, plan: &ViewPlan) -> Result<(), DiskTrouble> {
    let aside = store.scratch(&store.layout.building());
    let built = build_aside(store, &aside, plan).and_then(|()| {
        let renamed = store.disk.rename(&aside, path);
        renamed.map_err(|error| DiskTrouble::new("making", path, error))
    });
    if built.is_err()
        && let Err(error) = store.disk.remove_tree(&aside)
    {
        tracing::warn!(path = %aside.display(), %error, "a view that was cut short stays until the next open");
    }
    built
}

fn build_aside(store: &Inner, aside: &Path, plan: &ViewPlan) -> Result<(), DiskTrouble> {
    let disk = &store.disk;
    make_folder(disk, aside).map_err(|error| DiskTrouble::new("making", aside, error))?;
    for (name, planned) in plan.entries() {
        let path = aside.join(name);
        let made = match planned {
            Planned::Folder => make_folder(disk, &path),
            Planned::Blob { digest, .. } => disk.link(&store.layout.blob(digest), &path),
            Planned::Link { target } => disk.symlink(Path::new(target), &path),
            Planned::File { bytes, mode } => write_file(disk, &path, bytes, *mode),
        };
        made.map_err(|error| DiskTrouble::new("making", path, error))?;
    }
    Ok(())
}

fn make_folder(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<()> {
    disk.make_folder(path)?;
    disk.chmod(path, FOLDER)
}

fn write_file(disk: &Arc<dyn Disk>, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let file = disk.open(path, Access::CreateNew)?;
    file.write_all_at(bytes, 0)?;
    disk.chmod(path, mode)
}

/// Returns whether exactly the plan stands at a path.
pub(super) fn stands(disk: &Arc<dyn Disk>, path: &Path, plan: &ViewPlan) -> Result<bool, DiskTrouble> {
    let mut found = BTreeMap::new();
    walk(disk, path, "", &mut found)?;
    if !found.keys().eq(plan.entries().keys()) {
        return Ok(false);
    }
    for (name, planned) in plan.entries() {
        let path = path.join(name);
        let right =
            is_right(disk, &path, planned).map_err(|error| DiskTrouble::new("checking", path, error))?;
        if !right {
            return Ok(false);
        }
    }
    Ok(true)
}

fn walk(
    disk: &Arc<dyn Disk>,
    root: &Path,
    below: &str,
    found: &mut BTreeMap<String, EntryKind>,
) -> Result<(), DiskTrouble> {
    let folder = root.join(below);
    for entry in disk.list(&folder).map_err(|error| DiskTrouble::new("listing", folder, error))? {
        let name = if below.is_empty() { entry.name } else { format!("{below}/{}", entry.name) };
        if entry.kind == EntryKind::Folder {
            walk(disk, root, &name, found)?;
        }
        found.insert(name, entry.kind);
    }
    Ok(())
}

fn is_right(disk: &Arc<dyn Disk>, path: &Path, planned: &Planned) -> io::Result<bool> {
    let meta = disk.metadata(path)?;
    Ok(match planned {
        Planned::Folder => meta.kind == EntryKind::Folder && meta.mode == FOLDER,
        // A file that has a second name was linked, not copied or made by another.
        Planned::Blob { size, .. } => {
            meta.kind == EntryKind::File && meta.len == *size && meta.mode == BLOB && meta.links > 1
        }
        Planned::Link { target } => {
            meta.kind == EntryKind::Link && disk.read_link(path)? == Path::new(target)
        }
        Planned::File { bytes, mode } => {
            let len = bytes.len() as u64;
            meta.kind == EntryKind::File
                && meta.mode == *mode
                && meta.len == len
                && disk.read(path, len)? == *bytes
        }
    })
}
