//! Where a worker's control groups go, on the kinds of systems there are, and what is written into them.

use std::{fs, path::PathBuf};

use super::{ControlGroups, Controller, Version, own_group, remove, set_limit};

const HYBRID: (&str, &str) = (
    "8:pids:/\n4:memory:/system/agent\n0::/\n",
    "30 20 0:25 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
     31 30 0:26 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
     32 30 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
     33 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
);
const UNIFIED: (&str, &str) = (
    "0::/user.slice/user-1000.slice/larder.scope\n",
    "31 30 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
);
const IN_A_CONTAINER: (&str, &str) = (
    "4:memory:/docker/abc\n0::/docker/abc\n",
    "31 30 0:26 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
);

#[test]
fn the_own_group_is_found_on_every_kind_of_system() {
    let check = |(memberships, mounts): (&str, &str), controller, expected: Option<(Version, &str)>| {
        let expected = expected.map(|(version, path)| (version, PathBuf::from(path)));
        assert_eq!(own_group(controller, memberships, mounts), expected);
    };
    check(HYBRID, Controller::Memory, Some((Version::One, "/sys/fs/cgroup/memory/system/agent")));
    check(HYBRID, Controller::Pids, Some((Version::One, "/sys/fs/cgroup/pids/")));
    let unified = "/sys/fs/cgroup/user.slice/user-1000.slice/larder.scope";
    check(UNIFIED, Controller::Memory, Some((Version::Two, unified)));
    check(IN_A_CONTAINER, Controller::Memory, Some((Version::One, "/sys/fs/cgroup/memory/")));
    check(IN_A_CONTAINER, Controller::Pids, None);
    check(("", ""), Controller::Pids, None);
}

#[test]
fn limits_are_written_as_each_version_wants_them() {
    let tree = tempfile::tempdir().unwrap();
    let read = |name: &str| fs::read_to_string(tree.path().join(name)).unwrap_or_default();
    set_limit(Version::One, tree.path(), Controller::Memory, 1000).unwrap();
    set_limit(Version::Two, tree.path(), Controller::Memory, 2000).unwrap();
    set_limit(Version::Two, tree.path(), Controller::Pids, 30).unwrap();
    assert_eq!(read("memory.limit_in_bytes"), "1000");
    assert_eq!((read("memory.max").as_str(), read("memory.swap.max").as_str()), ("2000", "0"));
    assert_eq!(read("pids.max"), "30");
}

#[test]
fn want_of_memory_is_read_from_either_version() {
    let tree = tempfile::tempdir().unwrap();
    let check = |version, file: &str, text: &str, expected: bool| {
        fs::write(tree.path().join(file), text).unwrap();
        let groups = ControlGroups { groups: vec![(version, tree.path().to_owned())], notes: Vec::new() };
        assert_eq!(groups.ran_out_of_memory(), expected, "{text:?}");
    };
    check(Version::One, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", false);
    check(Version::One, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", true);
    check(Version::Two, "memory.events", "low 0\noom 3\noom_kill 0\noom_group_kill 0\n", false);
    check(Version::Two, "memory.events", "low 0\noom 3\noom_kill 1\n", true);
}

#[test]
fn a_group_is_removed_and_one_that_is_gone_is_fine() {
    let tree = tempfile::tempdir().unwrap();
    let group = tree.path().join("larder-wk_1");
    fs::create_dir(&group).unwrap();
    remove(&[group.clone(), tree.path().join("gone")]);
    assert!(!group.exists());
}
