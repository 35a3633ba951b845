//! What every driver does, asked of each of them in the same words.

use std::{collections::BTreeSet, net::TcpStream, time::Duration};

use runtime::{DriverError, DriverEvent, Egress, ExitReason, RelaySharing};
use types::CommandLine;

use crate::support::{Behaviour, DEADLINE, Host, Kind, start, wait_for, worker};

const KINDS: [Kind; 3] = [Kind::Sim, Kind::Sandbox, Kind::Plain];
/// Longer than any test waits: a stop with this grace ends the command or nothing.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(100);

/// Runs a case on a fresh host of each kind.
async fn on_each(case: impl AsyncFn(&mut Host, Kind)) {
    for kind in KINDS {
        case(&mut Host::new(kind), kind).await;
    }
}

#[tokio::test]
async fn a_start_is_told_and_so_is_the_end() {
    on_each(async |host, kind| {
        let cases = [
            (Behaviour::Exit(0), ExitReason::Code(0)),
            (Behaviour::Exit(3), ExitReason::Code(3)),
            (Behaviour::Signal(6), ExitReason::Signal(6)),
            (Behaviour::Signal(9), ExitReason::Signal(9)),
        ];
        for (number, (behaviour, expected)) in cases.iter().enumerate() {
            let name = format!("end{number}");
            let started = host.driver.start(start(&name, host.command(behaviour))).await.unwrap();
            let first = host.event().await;
            assert_eq!(
                first,
                DriverEvent::ProcessStarted { worker: worker(&name), at: started.at },
                "{kind:?}"
            );
            match host.event().await {
                DriverEvent::Exited { worker: ended, status, at } => {
                    assert_eq!((ended, status), (worker(&name), *expected), "{kind:?}");
                    assert!(at >= started.at);
                }
                DriverEvent::ProcessStarted { .. } => panic!("it started twice"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_heeds_a_stop_or_its_grace_ends() {
    on_each(async |host, kind| {
        let cases = [
            ("heeds", Behaviour::Run, LONG, ExitReason::Signal(15)),
            ("stays", Behaviour::Stubborn, SHORT, ExitReason::Killed),
        ];
        for (name, behaviour, grace, expected) in cases {
            host.driver.start(start(name, host.command(&behaviour))).await.unwrap();
            if matches!(behaviour, Behaviour::Stubborn) {
                host.lines(&worker(name), 1).await;
            }
            host.driver.stop(&worker(name), grace).await.unwrap();
            assert_eq!(host.end_of(&worker(name)).await, expected, "{kind:?}");
            host.driver.stop(&worker(name), grace).await.unwrap();
            host.driver.kill(&worker(name)).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_kill_needs_no_grace() {
    on_each(async |host, kind| {
        host.driver.start(start("victim", host.command(&Behaviour::Stubborn))).await.unwrap();
        host.lines(&worker("victim"), 1).await;
        host.driver.stop(&worker("victim"), LONG).await.unwrap();
        host.driver.kill(&worker("victim")).await.unwrap();
        assert_eq!(host.end_of(&worker("victim")).await, ExitReason::Killed, "{kind:?}");
    })
    .await;
}

#[tokio::test]
async fn what_a_worker_wrote_is_there_until_it_is_removed() {
    on_each(async |host, kind| {
        let name = worker("poet");
        host.driver
            .start(start("poet", host.command(&Behaviour::Say(&["one", "two", "three four"]))))
            .await
            .unwrap();
        assert_eq!(host.lines(&name, 3).await, ["one", "two", "three four"], "{kind:?}");
        assert!(matches!(host.driver.remove(&name).await, Err(DriverError::StillRunning { .. })));
        assert!(matches!(host.driver.strip(&name).await, Err(DriverError::StillRunning { .. })));
        host.driver.kill(&name).await.unwrap();
        host.end_of(&name).await;
        for _ in 0..2 {
            host.driver.strip(&name).await.unwrap();
        }
        let last = host.driver.logs(&name, 1).await.unwrap();
        assert_eq!(last.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["three four"]);
        host.driver.remove(&name).await.unwrap();
        host.driver.remove(&name).await.unwrap();
        assert!(matches!(host.driver.logs(&name, 1).await, Err(DriverError::UnknownWorker { .. })));
    })
    .await;
}

#[tokio::test]
async fn what_can_not_be_started_leaves_nothing() {
    on_each(async |host, kind| {
        let missing = host.driver.start(start("absent", host.command(&Behaviour::Missing))).await;
        assert!(matches!(missing, Err(DriverError::ProgramNotFound { .. })), "{kind:?}: {missing:?}");
        let mut homeless = start("absent", host.command(&Behaviour::Run));
        homeless.folder = Some(host.folder.path().join("gone"));
        let homeless = host.driver.start(homeless).await;
        assert!(matches!(homeless, Err(DriverError::FolderNotFound { .. })), "{kind:?}: {homeless:?}");
        assert!(matches!(host.driver.kill(&worker("absent")).await, Err(DriverError::UnknownWorker { .. })));

        host.driver.start(start("absent", host.command(&Behaviour::Run))).await.unwrap();
        let twice = host.driver.start(start("absent", host.command(&Behaviour::Run))).await;
        assert!(matches!(twice, Err(DriverError::AlreadyStarted { .. })), "{kind:?}: {twice:?}");
        host.driver.kill(&worker("absent")).await.unwrap();
        host.end_of(&worker("absent")).await;
    })
    .await;
}

#[tokio::test]
async fn a_new_driver_finds_what_runs_and_hears_what_ended() {
    on_each(async |host, kind| {
        for name in ["stays", "ends"] {
            host.driver.start(start(name, host.command(&Behaviour::Run))).await.unwrap();
        }
        host.driver.stop(&worker("ends"), LONG).await.unwrap();
        host.end_of(&worker("ends")).await;
        host.restart();
        let adopted = host.driver.adopt().await.unwrap();
        assert_eq!(
            adopted.iter().map(|one| one.worker.clone()).collect::<Vec<_>>(),
            [worker("stays")],
            "{kind:?}"
        );
        assert_eq!(host.end_of(&worker("ends")).await, ExitReason::Signal(15), "{kind:?}");
        host.driver.stop(&worker("stays"), LONG).await.unwrap();
        assert_eq!(host.end_of(&worker("stays")).await, ExitReason::Signal(15), "{kind:?}");
        for name in ["stays", "ends"] {
            host.driver.remove(&worker(name)).await.unwrap();
        }
        host.restart();
        assert_eq!(host.driver.adopt().await.unwrap().len(), 0, "{kind:?}");
    })
    .await;
}

#[tokio::test]
async fn workers_with_egress_share_one_relay_also_after_a_restart() {
    on_each(async |host, kind| {
        let mut addresses = BTreeSet::new();
        let mut begin = async |host: &mut Host, name: &str| {
            let start = runtime::ResolvedStart {
                egress: Egress::Shared,
                ..start(name, host.command(&Behaviour::Run))
            };
            let relay = host.driver.start(start).await.unwrap().relay;
            assert_eq!(relay.sharing, RelaySharing::Shared);
            let address = relay.listener.local_addr().unwrap();
            assert_eq!(relay.url, format!("http://{address}"));
            addresses.insert(address);
        };
        begin(host, "one").await;
        begin(host, "two").await;
        host.restart();
        let mut adopted = host.driver.adopt().await.unwrap();
        let relay = adopted.remove(0).relay;
        begin(host, "three").await;
        assert_eq!(addresses, BTreeSet::from([relay.listener.local_addr().unwrap()]), "{kind:?}");

        // A connection that came while nobody accepted is waiting.
        let _client = TcpStream::connect_timeout(&relay.listener.local_addr().unwrap(), DEADLINE).unwrap();
        wait_for("connection", async || relay.listener.accept().ok()).await;
        for name in ["one", "two", "three"] {
            host.driver.kill(&worker(name)).await.unwrap();
            host.end_of(&worker(name)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn events_have_one_taker() {
    on_each(async |host, _| assert!(host.driver.take_events().is_none())).await;
    CommandLine::try_from(Vec::new()).unwrap_err();
}
