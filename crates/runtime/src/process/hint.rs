//! Which one thing would allow namespaces on a system that forbids them. Pure: the facts are arguments.

use std::{fs, path::Path};

/// What the system tells about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// `kernel.unprivileged_userns_clone`, on Debian's and its relatives' kernels.
    unprivileged_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, on Ubuntu.
    apparmor_restricts: Option<u64>,
    /// `user.max_user_namespaces`.
    namespaces_max: Option<u64>,
    /// Whether a container engine started this system.
    in_container: bool,
    /// What the failing call answered.
    errno: Option<i32>,
}

impl Facts {
    /// Asks the system.
    pub(super) fn read(errno: Option<i32>) -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        Self {
            unprivileged_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            namespaces_max: number("/proc/sys/user/max_user_namespaces"),
            in_container: ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists()),
            errno,
        }
    }

    /// Returns what to do, as a sentence that names one command.
    pub(super) fn hint(&self) -> String {
        let what = if self.errno == Some(libc::ENOSYS) {
            "use Linux 5.12 or newer".to_owned()
        } else if self.namespaces_max == Some(0) {
            command("user.max_user_namespaces=15000")
        } else if self.unprivileged_clone == Some(0) {
            command("kernel.unprivileged_userns_clone=1")
        } else if self.apparmor_restricts == Some(1) {
            command("kernel.apparmor_restrict_unprivileged_userns=0")
        } else if self.in_container {
            "start the container with --privileged".to_owned()
        } else {
            "run Larder as root".to_owned()
        };
        format!("{what}; or, for a single tenant, let workers run without isolation: --isolation none")
    }
}

fn command(setting: &str) -> String {
    format!("run: sudo sysctl -w {setting}")
}

#[cfg(test)]
mod tests {
    use super::Facts;

    #[test]
    fn the_one_command_is_named() {
        let check = |facts: Facts, expected: &str| {
            let hint = facts.hint();
            assert!(hint.starts_with(expected) && hint.ends_with("--isolation none"), "{hint}");
        };
        let facts = Facts::default;
        check(facts(), "run Larder as root;");
        check(
            Facts { unprivileged_clone: Some(0), in_container: true, ..facts() },
            "run: sudo sysctl -w kernel.unprivileged_userns_clone=1;",
        );
        check(Facts { unprivileged_clone: Some(1), ..facts() }, "run Larder as root;");
        check(
            Facts { apparmor_restricts: Some(1), unprivileged_clone: Some(1), ..facts() },
            "run: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0;",
        );
        check(
            Facts { namespaces_max: Some(0), ..facts() },
            "run: sudo sysctl -w user.max_user_namespaces=15000;",
        );
        check(Facts { in_container: true, ..facts() }, "start the container with --privileged;");
        check(Facts { errno: Some(libc::ENOSYS), in_container: true, ..facts() }, "use Linux 5.12 or newer;");
    }
}
