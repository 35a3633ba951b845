//! The few files of /etc that programs cannot do without: two made up, the others the host's.
//!
//! Never the whole folder: it holds the host's users, keys and the passwords of its services. Small files are
//! copied, because several of them are links to places that workers do not have.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::root::HOME_FOLDER;
use crate::{
    Egress,
    protocol::{During as _, Refusal, Spec},
};

/// Copied where the host has them: names, time zone, libraries. The largest, the linker's cache, is about 100 kB.
const COPIED: [&str; 10] = [
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/services",
    "/etc/timezone",
];
/// Copied only where the worker shares the host's network.
const COPIED_WITH_EGRESS: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];
/// Mounted where the host has them: public certificates, and links between variants of libraries. The private
/// halves of certificates are in folders beside these.
const FOLDERS: [&str; 7] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ld.so.conf.d",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/ssl/certs",
    "/etc/fonts",
];
/// A single file beside them that the TLS library reads.
const TLS_CONFIGURATION: &str = "/etc/ssl/openssl.cnf";
/// A file larger than this is not what it should be, and would not fit into the root.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Files that are to be written, read on the host.
pub(super) struct Files {
    texts: Vec<(PathBuf, Vec<u8>)>,
    folders: Vec<&'static Path>,
}

impl Files {
    /// Reads what the host has of them.
    pub(super) fn read(spec: &Spec) -> Self {
        let mut texts = vec![
            ("/etc/passwd".into(), passwd().into_bytes()),
            ("/etc/group".into(), b"root:x:0:\nnogroup:x:65534:\n".to_vec()),
            ("/etc/hostname".into(), format!("{}\n", spec.worker).into_bytes()),
        ];
        let with_egress = match spec.egress {
            Egress::Shared => COPIED_WITH_EGRESS.as_slice(),
            Egress::None => {
                let hosts = format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {}\n", host_name(spec));
                texts.push(("/etc/hosts".into(), hosts.into_bytes()));
                &[]
            }
        };
        for path in COPIED.iter().chain(with_egress).chain(std::iter::once(&TLS_CONFIGURATION)) {
            let small = fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= FILE_BYTES_MAX);
            if let (true, Ok(bytes)) = (small, fs::read(path)) {
                texts.push((path.into(), bytes));
            }
        }
        let folders = FOLDERS.iter().map(Path::new).filter(|path| path.is_dir()).collect();
        Self { texts, folders }
    }

    /// Returns the folders to mount.
    pub(super) fn folders(&self) -> impl Iterator<Item = &'static Path> {
        self.folders.iter().copied()
    }

    /// Writes the files. The root is the worker's.
    pub(super) fn write(&self) -> Result<(), Refusal> {
        for (path, bytes) in &self.texts {
            let folder = path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(path, bytes))
                .during(format!("write {} of the worker", path.display()))?;
        }
        Ok(())
    }
}

/// Returns the worker's name as a host: its id, whose letters are all allowed there but for the underscore.
pub(super) fn host_name(spec: &Spec) -> String {
    spec.worker.as_str().replace('_', "-")
}

fn passwd() -> String {
    format!(
        "root:x:0:0:worker:{HOME_FOLDER}:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
}
