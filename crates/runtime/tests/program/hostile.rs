//! A worker that is root in its view and tries to get out of it.
//!
//! Each attempt is one line: its name and the error that the system gave, or `ALLOWED`. The words of the command
//! are `view=PATH` for each spelling of a model's place, and `secret=PATH` for each file of the host that must
//! stay out of reach.

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString},
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::fs::symlink},
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::kernel;

/// Tries everything.
pub(crate) fn attack(words: &[String]) -> ExitCode {
    let named = |prefix: &str| -> Vec<PathBuf> {
        words.iter().filter_map(|word| word.strip_prefix(prefix)).map(PathBuf::from).collect()
    };
    let (views, secrets) = (named("view="), named("secret="));
    describe();
    for view in &views {
        harm_view(view);
    }
    for secret in &secrets {
        steal(secret, &views);
    }
    make_devices();
    look_into_first_process();
    change_machine();
    kernel::ask_for_everything();
    println!("done");
    ExitCode::SUCCESS
}

/// Writes down how an attempt went.
pub(crate) fn tell<T>(name: &str, result: io::Result<T>) {
    match result {
        Ok(_) => println!("{name}: ALLOWED"),
        Err(error) => println!("{name}: refused {}", error.raw_os_error().unwrap_or(0)),
    }
}

/// Turns a system call's result into one that can be told.
pub(crate) fn answer(result: impl Into<i64>) -> io::Result<i64> {
    match result.into() {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

pub(crate) fn c_string(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().to_string_lossy().as_bytes()).expect("paths of the tests hold no NUL")
}

/// Says who the worker is, so that the test knows that it was root and could have succeeded.
fn describe() {
    // SAFETY: neither call has a precondition.
    println!("= uid {}", unsafe { libc::getuid() });
    let status = fs::read_to_string("/proc/self/status").expect("the worker has a /proc");
    for line in status.lines().filter(|line| line.starts_with("Cap") || line.starts_with("NoNew")) {
        println!("= {}", line.replace('\t', " "));
    }
    let mut files: Vec<_> = fs::read_dir("/proc/self/fd")
        .expect("the worker has a /proc")
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some(format!("{}:{}", entry.file_name().display(), target.display()))
        })
        // The folder that is being read is an open file too.
        .filter(|file| !file.contains("/proc/"))
        .map(|file| file.split('[').next().unwrap_or_default().to_owned())
        .collect();
    files.sort();
    println!("= files {}", files.join(" "));
    println!(
        "= Seccomp {}",
        status.lines().find_map(|line| line.strip_prefix("Seccomp:")).unwrap_or("?").trim()
    );
}

/// Tries to change a model, through one of its spellings.
fn harm_view(view: &Path) {
    let name = view.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let tell = |what: &str, result: io::Result<()>| tell(&format!("{name} {what}"), result);
    let blob = view.join("blobs/weights");
    let link = view.join("snapshots/c0ffee/model.bin");
    let text = fs::read_to_string(&link).expect("the model can be read");
    println!("= {name} holds {text}");
    let open = |path: &Path, options: &mut OpenOptions| options.open(path).map(drop);
    tell("open blob to write", open(&blob, OpenOptions::new().write(true)));
    tell("open blob through its link", open(&link, OpenOptions::new().append(true)));
    tell("truncate blob", open(&blob, OpenOptions::new().write(true).truncate(true)));
    tell("create file", open(&view.join("blobs/new"), OpenOptions::new().write(true).create(true)));
    tell("create file at the top", fs::write(view.join("new"), "x"));
    tell("make folder", fs::create_dir(view.join("snapshots/beef")));
    tell("remove blob", fs::remove_file(&blob));
    tell("rename blob", fs::rename(&blob, view.join("blobs/other")));
    tell("replace link", fs::remove_file(&link).and_then(|()| symlink("/etc/passwd", &link)));
    tell("rewrite ref", fs::write(view.join("refs/main"), "bad"));
    tell("rename the model", fs::rename(view, view.with_file_name("moved")));
    tell("remove the model's folder", fs::remove_dir(view));
    tell("put another in its place", symlink("/tmp", view));
    let hard_link = view.parent().expect("a view is in hub/").join(format!("{name}-stolen"));
    tell("hard link into the own folder", fs::hard_link(&blob, hard_link));
    harm_file(&blob, &tell);
    let path = c_string(view);
    kernel::harm_mount(&path, &tell);
}

fn harm_file(blob: &Path, tell: &dyn Fn(&str, io::Result<()>)) {
    let path = c_string(blob);
    let file = File::open(blob).expect("the blob can be read");
    let fd = file.as_raw_fd();
    let told = |what: &str, result: libc::c_int| tell(what, answer(result).map(drop));
    // SAFETY (all calls of this function): every pointer is to a value that lives during the call.
    unsafe {
        told("chmod", libc::chmod(path.as_ptr(), 0o777));
        told("fchmod", libc::fchmod(fd, 0o666));
        told("chown", libc::chown(path.as_ptr(), 0, 0));
        told("touch", libc::utimensat(libc::AT_FDCWD, path.as_ptr(), std::ptr::null(), 0));
        told("truncate by path", libc::truncate(path.as_ptr(), 0));
        told("ftruncate", libc::ftruncate(fd, 0));
        let value = c"x";
        told("set attribute", libc::setxattr(path.as_ptr(), c"user.x".as_ptr(), value.as_ptr().cast(), 1, 0));
        told("take a lease", libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK));
        let shared = libc::mmap(std::ptr::null_mut(), 1, libc::PROT_READ, libc::MAP_SHARED, fd, 0);
        assert!(shared != libc::MAP_FAILED, "the blob can be mapped to read");
        told("map to write", libc::mprotect(shared, 1, libc::PROT_READ | libc::PROT_WRITE));
    }
    let again = OpenOptions::new().write(true).open(format!("/proc/self/fd/{fd}"));
    tell("open again through the own descriptor", again.map(drop));
}

/// Tries to read a file of the host by every way of writing its path.
fn steal(secret: &Path, views: &[PathBuf]) {
    let plain = secret.to_string_lossy().into_owned();
    let up = "/..".repeat(20);
    let mut spellings: BTreeSet<String> = [
        plain.clone(),
        format!("/{plain}"),
        plain.replace('/', "//"),
        plain.replace('/', "/./"),
        format!("{up}{plain}"),
        format!("/tmp{up}{plain}"),
        format!("/app{up}{plain}"),
        format!("/dev/fd{up}{plain}"),
        format!("/proc/self/root{plain}"),
        format!("/proc/self/root{up}{plain}"),
        format!("/proc/self/cwd{up}{plain}"),
        format!("/proc/thread-self/root{plain}"),
        format!("/proc/1/root{plain}"),
        format!("/proc/1/cwd{up}{plain}"),
        format!("/proc/1/task/1/root{plain}"),
        format!("/.old{plain}"),
        format!("/.scratch{plain}"),
        format!("/.lower{up}{plain}"),
    ]
    .into();
    spellings.extend(views.iter().map(|view| format!("{}{up}{plain}", view.display())));
    spellings.extend(views.iter().map(|view| format!("{}/snapshots/c0ffee{up}{plain}", view.display())));
    for pid in 2..12 {
        spellings.insert(format!("/proc/{pid}/root{plain}"));
    }
    for spelling in spellings {
        let read = File::open(&spelling).and_then(|mut file| file.read_to_end(&mut Vec::new()));
        tell(&format!("read {spelling}"), read);
        let listed =
            Path::new(&spelling).parent().map_or_else(|| Err(io::ErrorKind::NotFound.into()), fs::read_dir);
        tell(&format!("list the folder of {spelling}"), listed);
    }
    let link = PathBuf::from("/tmp/link");
    let _ = fs::remove_file(&link);
    symlink(secret, &link).expect("links in the own folder are allowed");
    tell(&format!("read {plain} through an own link"), File::open(&link));
    let from_root = File::open("/").and_then(|root| {
        let relative = c_string(plain.trim_start_matches('/'));
        // SAFETY: the path is NUL-terminated and lives during the call.
        answer(unsafe { libc::openat(root.as_raw_fd(), relative.as_ptr(), libc::O_RDONLY) })
    });
    tell(&format!("read {plain} from the root's descriptor"), from_root);
}

/// Tries to make the machine's disk and memory into files.
fn make_devices() {
    let kinds: [(&str, libc::mode_t, u32, u32); 4] = [
        ("first SCSI disk", libc::S_IFBLK, 8, 0),
        ("first virtual disk", libc::S_IFBLK, 254, 0),
        ("memory", libc::S_IFCHR, 1, 1),
        ("kernel log", libc::S_IFCHR, 1, 11),
    ];
    for folder in ["/tmp", "/app", "/home/worker", "/dev", "/dev/shm", "/runpod-volume/huggingface-cache/hub"]
    {
        for (name, kind, major, minor) in kinds {
            let path = c_string(format!("{folder}/device-{major}-{minor}"));
            // SAFETY: the path is NUL-terminated and lives during the call.
            let made = unsafe { libc::mknod(path.as_ptr(), kind | 0o666, libc::makedev(major, minor)) };
            tell(&format!("make the {name} in {folder}"), answer(made));
        }
    }
}

/// Tries to see what the first process of the namespace sees.
fn look_into_first_process() {
    for name in [
        "root/",
        "cwd/",
        "fd",
        "fdinfo/0",
        "environ",
        "mem",
        "maps",
        "map_files",
        "auxv",
        "stack",
        "syscall",
        "io",
    ] {
        let path = format!("/proc/1/{name}");
        let result = if name.ends_with('/') || name == "fd" || name == "map_files" {
            fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map(|_| ())
        } else {
            fs::read(&path).map(drop)
        };
        tell(&format!("look into {path}"), result);
    }
    for number in 0..8 {
        tell(&format!("follow /proc/1/fd/{number}"), fs::read_link(format!("/proc/1/fd/{number}")));
    }
    for namespace in ["mnt", "user", "pid", "net"] {
        tell(&format!("open /proc/1/ns/{namespace}"), File::open(format!("/proc/1/ns/{namespace}")));
    }
    tell("follow /proc/1/exe", fs::read_link("/proc/1/exe"));
}

/// Tries to change the whole machine through files.
fn change_machine() {
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/proc/1/oom_score_adj",
        "/proc/irq/default_smp_affinity",
        "/usr/bin/true",
        "/bin/sh",
        "/etc/passwd",
        "/etc/ld.so.cache",
        "/sys/devices/system/cpu/online",
        "/dev/new",
        "/new",
    ] {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        tell(&format!("open {path} to write"), opened);
    }
    tell("map other users", fs::write("/proc/self/uid_map", "0 0 4294967295"));
    tell("be ended last of all", fs::write("/proc/self/oom_score_adj", "-1000"));
    for path in
        ["/sys/fs/cgroup", "/sys/kernel", "/sys/firmware", "/boot", "/var/lib", "/root/.ssh", "/etc/shadow"]
    {
        tell(&format!("see {path}"), fs::metadata(path));
    }
    for path in ["/proc/kcore", "/proc/kmsg"] {
        let read = File::open(path).and_then(|mut file| match file.read(&mut [0; 16])? {
            0 => Err(io::Error::from_raw_os_error(libc::ENODATA)),
            read => Ok(read),
        });
        tell(&format!("read {path}"), read);
    }
    const NAMES: [&CStr; 2] = [c"/proc", c"/dev"];
    for name in NAMES {
        // SAFETY: the path is NUL-terminated.
        let result = unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH) };
        tell(&format!("unmount {}", name.to_string_lossy()), answer(result));
    }
}
