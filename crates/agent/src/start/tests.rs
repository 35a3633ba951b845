//! What is told of a worker that ended.

use super::*;

#[test]
fn the_reason_of_an_end_knows_whether_we_asked_for_it() {
    let cases = [
        (ExitReason::Code(0), AskedToEnd::No, EndReason::Exited(0)),
        (ExitReason::Code(3), AskedToEnd::Yes, EndReason::Stopped),
        (ExitReason::Signal(15), AskedToEnd::Yes, EndReason::Stopped),
        (ExitReason::Signal(11), AskedToEnd::No, EndReason::Signalled(11)),
        (ExitReason::OutOfMemory, AskedToEnd::Yes, EndReason::OutOfMemory),
        (ExitReason::Killed, AskedToEnd::No, EndReason::Stopped),
        (ExitReason::Lost, AskedToEnd::Yes, EndReason::Vanished),
    ];
    for (status, asked_to_end, expected) in cases {
        assert_eq!(end_reason(status, asked_to_end), expected, "{status:?} {asked_to_end:?}");
    }
}

#[test]
fn a_worker_that_lacks_a_repository_gets_a_hint() {
    let line =
        "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder";
    let check = |line: &str, reason, access, expected: bool| {
        let hint = offline_hint(&[line.to_owned()], reason, access);
        assert_eq!(hint.is_some_and(|hint| hint.contains("--hub-access edge")), expected, "{line}");
    };
    check(line, EndReason::Exited(1), HubAccess::Offline, true);
    check("OSError: ... since offline mode is enabled", EndReason::Exited(1), HubAccess::Offline, true);
    check(line, EndReason::Exited(1), HubAccess::Online, false);
    check(line, EndReason::Exited(0), HubAccess::Offline, false);
    check(line, EndReason::Stopped, HubAccess::Offline, false);
    check("ValueError: boom", EndReason::Exited(1), HubAccess::Offline, false);
}
