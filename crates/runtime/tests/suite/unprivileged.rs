//! The whole suite once more, as a user without rights: the other way in which agents run.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    process::Command,
};

use crate::support::{PROGRAM_VARIABLE, program};

/// A user that no system has. The tests' processes are the only ones with this id.
const USER: u32 = 64_917;

#[test]
fn the_suite_passes_for_a_user_without_rights() {
    if !rustix::process::geteuid().is_root() {
        // The suite is running as such a user right now.
        return;
    }
    // The build's folder may be closed to others.
    let folder = tempfile::Builder::new().prefix("larder-runtime-user-").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (suite, copy) = (folder.path().join("suite"), folder.path().join("program"));
    fs::copy(std::env::current_exe().unwrap(), &suite).unwrap();
    fs::copy(program(), &copy).unwrap();
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    chown(&temporary, Some(USER), Some(USER)).unwrap();

    let run = |words: &[&str]| {
        let output = Command::new("setpriv")
            .args([format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TMPDIR", &temporary)
            .env(PROGRAM_VARIABLE, &copy)
            .current_dir("/")
            .output()
            .expect("setpriv (util-linux) is there");
        let [text, more] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(output.status.success(), "{text}{more}");
        println!("{text}");
    };
    let suite = suite.to_string_lossy();
    run(&[&suite]);
    // As root of a container without ids to give away.
    run(&["unshare", "--user", "--map-root-user", &suite, "conformance", "hostile"]);
}
