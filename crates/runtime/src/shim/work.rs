//! A worker's working folder: the released folder, with a layer of the worker's own above it.
//!
//! Older worker libraries write into the folder that they start in, so it has to be writable; the release itself
//! never changes. The layer is an overlay where the system allows one, and a copy otherwise.

use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{chown, lchown, symlink},
    },
    path::Path,
};

use super::{
    mount,
    root::{SCRATCH, Users, WORK_FOLDER, place_folder},
};
use crate::protocol::{During as _, Enclosure, Identity, Refusal};

/// Where the released folder stands while the worker's root is assembled.
const LOWER: &str = "/.lower";
/// Nested folders in a released folder; paths end at 4096 bytes (path_resolution(7)), so nothing real is deeper.
const DEPTH_MAX: usize = 256;

/// Opens the released folder. Where the system can, its files are shown as the worker's own.
pub(super) fn open_lower(folder: &Path, users: Users<'_>) -> Result<OwnedFd, Refusal> {
    if !folder.is_dir() {
        return Err(Refusal::FolderNotFound);
    }
    let lower = mount::clone_of(folder, mount::READ_ONLY)
        .during(format!("take {} into the worker's root", folder.display()))?;
    match users.identity {
        // File systems that can't map owners lead to a copy later: an overlay of files that are nobody's would
        // let the worker add files but change none.
        Identity::Range { .. } => drop(mount::map_owners(&lower, users.namespace)),
        Identity::Single => {}
    }
    Ok(lower)
}

/// Puts the working folder in its place. The scratch file system stands at [`SCRATCH`].
pub(super) fn place(lower: &OwnedFd, enclosure: Enclosure, users: Users<'_>) -> Result<(), Refusal> {
    place_folder(lower, Path::new(LOWER))?;
    let own = Path::new(SCRATCH);
    let (upper, work, copy) = (own.join("work-upper"), own.join("work-overlay"), own.join("work-copy"));
    for folder in [&upper, &work] {
        fs::create_dir(folder)
            .and_then(|()| chown(folder, Some(users.owner()), Some(users.owner())))
            .during("make the working folder's layer")?;
    }
    let tree = match owned_by_worker(users).then(|| overlay(&upper, &work, enclosure)) {
        Some(Ok(tree)) => tree,
        Some(Err(_)) | None => {
            copy_folder(Path::new(LOWER), &copy, users.owner(), 0).during("copy the released folder")?;
            mount::clone_of(&copy, mount::HARMLESS).during("mount the copy of the released folder")?
        }
    };
    place_folder(&tree, Path::new(WORK_FOLDER))?;
    mount::detach(LOWER).and_then(|()| fs::remove_dir(LOWER)).during("put the released folder away")
}

fn owned_by_worker(users: Users<'_>) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(LOWER).is_ok_and(|meta| meta.uid() == users.owner())
}

fn overlay(upper: &Path, work: &Path, enclosure: Enclosure) -> io::Result<OwnedFd> {
    let (upper, work) = (upper.to_string_lossy(), work.to_string_lossy());
    let mut options = vec![
        ("source", Some("app")),
        ("lowerdir", Some(LOWER)),
        ("upperdir", Some(&*upper)),
        ("workdir", Some(&*work)),
    ];
    match enclosure {
        // Its marks on files are `trusted.*` attributes, which only real root may write (overlayfs, "User xattr").
        Enclosure::Sandbox(Identity::Single) => options.push(("userxattr", None)),
        Enclosure::Sandbox(Identity::Range { .. }) | Enclosure::Plain => {}
    }
    mount::fresh("overlay", &options, mount::HARMLESS)
}

/// Copies a folder with its links; what is neither file, folder nor link is left out.
pub(super) fn copy_folder(from: &Path, to: &Path, owner: u32, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("the folder is nested too deeply"));
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join::<OsString>(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folder(&source, &target, owner, depth + 1)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
            lchown(&target, Some(owner), Some(owner))?;
        } else if kind.is_file() {
            fs::copy(&source, &target)?;
            chown(&target, Some(owner), Some(owner))?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    chown(to, Some(owner), Some(owner))
}
