//! A worker's root: made of parts, in a mount namespace of its own, never by hiding parts of the host's.
//!
//! The order matters. First every source is opened on the host, as a detached read-only copy. Then the process
//! moves into an empty root and the host's files are gone; only then are the copies put in their places, so no
//! link in anybody's folder can lead a mount astray. In the end the root itself becomes read-only.
//!
//! ```text
//! /usr /bin /sbin /lib*    the host's, read-only       /tmp /dev/shm     the worker's own   ┐ one tmpfs,
//! /etc                     chosen files                /home/worker      the worker's own   │ one limit
//! /dev                     null zero full random …     private mounts    the worker's own   │
//! /proc                    its own, dangerous parts covered       /app   released folder +  ┘ its changes
//! Python, views            read-only, each at the place that the start names
//! ```

use std::{
    fs,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    mount::MountAttrFlags,
};

use super::{
    etc,
    mount::{self, Depth},
    work,
};
use crate::{
    MountSource,
    protocol::{During as _, Identity, Refusal, Spec},
};

/// Where a worker starts when it has a released folder, and when it has none.
pub(crate) const WORK_FOLDER: &str = "/app";
/// A worker's home.
pub(crate) const HOME_FOLDER: &str = "/home/worker";

/// Folders of the system that every worker sees. Where one is a link on the host it is the same link inside.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// What numerical libraries ask for the number of processors and their caches.
const PROCESSORS: [&str; 2] = ["/sys/devices/system/cpu", "/sys/devices/system/node"];
/// Device files without side effects.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
/// Parts of /proc that tell about the host's memory, keys or hardware: those that container engines cover too.
const COVERED_FILES: [&str; 7] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/kmsg",
];
/// The first process is there too. It hides itself, but where the agent is root of a user namespace that is not the
/// machine's, what is hidden belongs to the agent's user, who is the worker's as well.
const COVERED_FOLDERS: [&str; 4] = ["/proc/1", "/proc/acpi", "/proc/asound", "/proc/scsi"];
/// Parts of /proc through which the whole machine could be changed.
const UNCHANGEABLE: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// The root holds folders, links and a few small files; this is fifty times what it takes.
const ROOT_SIZE: &str = "4m";
/// A tmpfs file takes at least a page (4 KiB) of memory even when it is empty, so this many files for each byte
/// keeps the kernel's own bookkeeping about as large as the limit.
const SCRATCH_BYTES_PER_FILE: u64 = 4096;

/// Where the scratch file system stands while the root is assembled.
pub(super) const SCRATCH: &str = "/.scratch";

/// The users of a worker, seen from the process that assembles its root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Users<'a> {
    pub(super) identity: Identity,
    /// The worker's user namespace.
    pub(super) namespace: BorrowedFd<'a>,
}

impl Users<'_> {
    /// Returns the worker's id 0, as the assembling process sees it.
    pub(super) fn owner(self) -> u32 {
        match self.identity {
            Identity::Range { first } => first,
            Identity::Single => 0,
        }
    }
}

/// Sources of mounts, opened on the host and not yet in their places.
struct Sources {
    system: Vec<(PathBuf, OwnedFd)>,
    system_links: Vec<(PathBuf, PathBuf)>,
    devices: Vec<(PathBuf, OwnedFd)>,
    etc: etc::Files,
    lower: Option<OwnedFd>,
    /// In the order of `Spec::mounts`; None for private folders.
    mounts: Vec<Option<OwnedFd>>,
    proc: OwnedFd,
    terminals: OwnedFd,
    scratch: OwnedFd,
}

/// Puts the calling process, which has a mount namespace of its own, into the worker's root.
pub(super) fn enter(spec: &Spec, users: Users<'_>) -> Result<(), Refusal> {
    let sources = open_sources(spec, users)?;
    let root = mount::fresh(
        "tmpfs",
        &[("source", Some("root")), ("size", Some(ROOT_SIZE)), ("mode", Some("755"))],
        mount::HARMLESS,
    )
    .forbidden("a file system in memory of its own")?;
    pivot(&root, &spec.run_folder.join("root")).during("enter the worker's root")?;
    place_system(&sources)?;
    place_own(spec, &sources, users)?;
    for ((path, target), tree) in spec.mounts.iter().map(|mount| (mount, &mount.target)).zip(&sources.mounts)
    {
        match (&path.source, tree) {
            (MountSource::Private, _) => own_folder(target, 0o755, users)?,
            (MountSource::ReadOnly(_), Some(tree)) => place(tree, target)?,
            (MountSource::ReadOnly(_), None) => {}
        }
    }
    for (link, target) in &spec.links {
        make_parents(link)?;
        symlink(target, link).during(format!("make the link {}", link.display()))?;
    }
    mount::detach(SCRATCH).and_then(|()| fs::remove_dir(SCRATCH)).during("put the scratch folder away")?;
    mount::restrict(root_folder()?, "", mount::READ_ONLY, Depth::Single).during("make the root read-only")
}

fn open_sources(spec: &Spec, users: Users<'_>) -> Result<Sources, Refusal> {
    let open = |path: &Path, attributes| {
        mount::clone_of(path, attributes).during(format!("take {} into the worker's root", path.display()))
    };
    let mut system = Vec::new();
    let mut system_links = Vec::new();
    for path in SYSTEM.iter().chain(&PROCESSORS).map(Path::new) {
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_symlink() => {
                let target = fs::read_link(path).during(format!("read the link {}", path.display()))?;
                system_links.push((path.to_owned(), target));
            }
            Ok(_) => system.push((path.to_owned(), open(path, mount::READ_ONLY)?)),
            Err(_) => {}
        }
    }
    let etc = etc::Files::read(spec);
    for path in etc.folders() {
        system.push((path.to_owned(), open(path, mount::READ_ONLY)?));
    }
    let mut devices = Vec::new();
    for path in DEVICES.iter().map(Path::new).chain(spec.devices.iter().map(PathBuf::as_path)) {
        devices.push((path.to_owned(), open(path, mount::DEVICE)?));
    }
    let lower = spec.folder.as_deref().map(|folder| work::open_lower(folder, users)).transpose()?;
    let mut mounts = Vec::new();
    for mount in &spec.mounts {
        mounts.push(match &mount.source {
            MountSource::Private => None,
            MountSource::ReadOnly(path) => Some(open(path, mount::READ_ONLY)?),
        });
    }
    // Both have to be made while the host's are still in sight: the kernel asks for that in a user namespace.
    let proc = mount::fresh("proc", &[], mount::HARMLESS | MountAttrFlags::MOUNT_ATTR_NOEXEC)
        .forbidden("a /proc of its own")?;
    let terminals = mount::fresh(
        "devpts",
        &[("newinstance", None), ("ptmxmode", Some("0666")), ("mode", Some("620"))],
        mount::DEVICE,
    )
    .forbidden("terminals of its own")?;
    let size = spec.limits.scratch.to_string();
    let files = (spec.limits.scratch / SCRATCH_BYTES_PER_FILE).max(1024).to_string();
    let scratch = mount::fresh(
        "tmpfs",
        &[
            ("source", Some("scratch")),
            ("size", Some(&size)),
            ("nr_inodes", Some(&files)),
            ("mode", Some("755")),
        ],
        mount::HARMLESS,
    )
    .forbidden("a file system in memory of its own")?;
    Ok(Sources { system, system_links, devices, etc, lower, mounts, proc, terminals, scratch })
}

/// Makes `root` the root and lets the host's go.
fn pivot(root: &OwnedFd, place: &Path) -> std::io::Result<()> {
    // Only this: when the worker's folder is gone, nobody wants the worker any more.
    fs::create_dir(place)?;
    mount::attach(root, place)?;
    rustix::process::fchdir(root)?;
    // The old root then lies on top of the new one and is taken away (pivot_root(2), "pivot_root(".", ".")").
    rustix::process::pivot_root(".", ".")?;
    mount::detach(".")?;
    std::env::set_current_dir("/")
}

fn place_system(sources: &Sources) -> Result<(), Refusal> {
    for (path, tree) in &sources.system {
        place(tree, path)?;
    }
    for (link, target) in &sources.system_links {
        symlink(target, link).during(format!("make the link {}", link.display()))?;
    }
    sources.etc.write()?;
    for (path, tree) in &sources.devices {
        place(tree, path)?;
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ] {
        symlink(target, link).during(format!("make the link {link}"))?;
    }
    place_folder(&sources.terminals, Path::new("/dev/pts"))?;
    place_folder(&sources.proc, Path::new("/proc"))?;
    cover_proc()
}

fn cover_proc() -> Result<(), Refusal> {
    for path in COVERED_FILES.iter().filter(|path| Path::new(path).exists()) {
        let cover = mount::clone_of("/dev/null", mount::DEVICE | MountAttrFlags::MOUNT_ATTR_RDONLY);
        cover.and_then(|cover| mount::attach(cover, path)).during(format!("cover {path}"))?;
    }
    for path in COVERED_FOLDERS.iter().filter(|path| Path::new(path).exists()) {
        let cover = mount::fresh("tmpfs", &[("size", Some("0")), ("mode", Some("555"))], mount::READ_ONLY);
        cover.and_then(|cover| mount::attach(cover, path)).during(format!("cover {path}"))?;
    }
    for path in UNCHANGEABLE.iter().filter(|path| Path::new(path).exists()) {
        mount::clone_of(path, mount::READ_ONLY)
            .and_then(|same| mount::attach(same, path))
            .during(format!("make {path} read-only"))?;
    }
    Ok(())
}

/// Places what the worker may write.
fn place_own(spec: &Spec, sources: &Sources, users: Users<'_>) -> Result<(), Refusal> {
    place_folder(&sources.scratch, Path::new(SCRATCH))?;
    own_folder(Path::new("/tmp"), 0o1777, users)?;
    own_folder(Path::new("/dev/shm"), 0o1777, users)?;
    own_folder(Path::new(HOME_FOLDER), 0o700, users)?;
    make_parents(Path::new("/var/tmp"))?;
    symlink("../tmp", "/var/tmp").during("make the link /var/tmp")?;
    fs::create_dir("/run").during("make /run")?;
    match &sources.lower {
        None => own_folder(Path::new(WORK_FOLDER), 0o755, users),
        Some(lower) => work::place(lower, spec.enclosure, users),
    }
}

/// Makes an empty folder of the worker's own at `target`. Its bytes are those of the scratch file system.
pub(super) fn own_folder(target: &Path, mode: u32, users: Users<'_>) -> Result<(), Refusal> {
    let name = target.to_string_lossy().replace('/', "+");
    let folder = Path::new(SCRATCH).join(name);
    let made = fs::DirBuilder::new()
        .mode(mode)
        .create(&folder)
        .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)))
        .and_then(|()| chown(&folder, Some(users.owner()), Some(users.owner())))
        .and_then(|()| mount::clone_of(&folder, mount::HARMLESS));
    place_folder(&made.during(format!("make {}", target.display()))?, target)
}

/// Puts a mount of a file or a folder in its place.
fn place(tree: &OwnedFd, target: &Path) -> Result<(), Refusal> {
    let stage = || format!("mount {}", target.display());
    let stat = rustix::fs::fstat(tree).during(stage())?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
        return place_folder(tree, target);
    }
    make_parents(target)?;
    if fs::symlink_metadata(target).is_err() {
        fs::write(target, "").during(stage())?;
    }
    mount::attach(tree, target).during(stage())
}

pub(super) fn place_folder(tree: &OwnedFd, target: &Path) -> Result<(), Refusal> {
    let stage = || format!("mount {}", target.display());
    make_folder(target).during(stage())?;
    mount::attach(tree, target).during(stage())
}

fn make_parents(target: &Path) -> Result<(), Refusal> {
    let parent = target.parent().unwrap_or(Path::new("/"));
    make_folder(parent).during(format!("make {}", parent.display()))
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn root_folder() -> Result<OwnedFd, Refusal> {
    rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .during("open the worker's root")
}
