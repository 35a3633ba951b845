//! Users, defaults and refusals, as cases.

use std::path::PathBuf;

use super::{FIRST_ID, SLOTS_MAX, can_give_ids, identity, refuse_protected};
use crate::protocol::Identity;

#[test]
fn only_root_with_all_ids_gives_workers_their_own() {
    let check = |is_root, map, expected| assert_eq!(can_give_ids(is_root, map), expected, "{map:?}");
    check(true, "         0          0 4294967295\n", true);
    check(false, "         0          0 4294967295\n", false);
    check(true, "0 100000 65536\n", false);
    check(true, "0 1000 1\n1 100000 2147483647\n", true);
    check(true, "", false);
}

#[test]
fn slots_never_share_an_id() {
    assert_eq!(identity(false, 3), Identity::Single);
    assert_eq!(identity(true, 0), Identity::Range { first: FIRST_ID });
    assert_eq!(identity(true, 1), Identity::Range { first: FIRST_ID + 65_536 });
    assert_eq!(identity(true, SLOTS_MAX - 1), Identity::Range { first: 0x7fff_0000 });
}

#[test]
fn no_environment_brings_our_own_data_along() {
    let protected = [PathBuf::from("/srv/larder")];
    let check = |path: &str, allowed| {
        assert_eq!(refuse_protected(&PathBuf::from(path), &protected).is_ok(), allowed, "{path}");
    };
    check("/srv", false);
    check("/srv/larder", false);
    check("/srv/larder/state", false);
    check("/srv/larder-python", true);
    check("/opt/python", true);
}
