//! Children that are adopted, replaced, restarted and ended.

use std::{fs, path::Path};

use super::*;

/// Far longer than any step here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// Keeps a shell script instead of a role.
fn keeper(folder: &Path, script: &str) -> Keeper {
    let options = KeeperOptions {
        name: "agent",
        program: "/bin/sh".into(),
        arguments: ["-c", script].map(Into::into).to_vec(),
        record: folder.join("agent.json"),
        log: folder.join("agent.log"),
    };
    Keeper::new(options, Clock::System)
}

fn pid(folder: &Path) -> String {
    fs::read_to_string(folder.join("agent.pid")).unwrap_or_default()
}

async fn until(what: impl Fn() -> bool) {
    let looking = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap();
}

async fn end(mut keeper: Keeper) {
    let mut signals = StopSignals::listen().unwrap();
    keeper.end(Duration::from_millis(200), &mut signals).await;
}

#[tokio::test]
async fn a_process_that_ends_is_started_again_until_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path(), "echo ran; exit 3");
    keeper.replace().await.unwrap();
    let stop = CancellationToken::new();
    let log = folder.path().join("agent.log");
    tokio::join!(keeper.keep(&stop), async {
        until(|| logging::tail(&log, 9).len() >= 3).await;
        stop.cancel();
    });
    let fault = keeper.with_log(Fault::new(ErrorCode::Unavailable, "why"));
    assert!(fault.hint.unwrap().contains("ends so:\n  ran"));
    end(keeper).await;
}

#[tokio::test]
async fn a_like_process_is_adopted_and_another_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = keeper(folder.path(), "exec sleep 600");
    first.adopt_or_start().await.unwrap();
    let started = pid(folder.path());
    let mut second = keeper(folder.path(), "exec sleep 600");
    second.adopt_or_start().await.unwrap();
    assert!(second.is_adopted() && !first.is_adopted());
    assert_eq!(pid(folder.path()), started);

    let mut other = keeper(folder.path(), "exec sleep 601");
    other.adopt_or_start().await.unwrap();
    assert!(!other.is_adopted());
    assert_ne!(pid(folder.path()), started);
    assert!(first.ended_early().await.is_some(), "the former process was ended");
    end(other).await;
    assert_eq!(pid(folder.path()), "", "a process that was ended leaves no record");
}

#[tokio::test]
async fn a_process_that_does_not_listen_is_killed_after_its_grace() {
    let folder = tempfile::tempdir().unwrap();
    let mut deaf = keeper(folder.path(), "trap '' TERM; echo deaf; while :; do sleep 0.05; done");
    deaf.replace().await.unwrap();
    let log = folder.path().join("agent.log");
    until(|| !logging::tail(&log, 1).is_empty()).await;
    tokio::time::timeout(DEADLINE, end(deaf)).await.unwrap();
}
