//! What only real processes can show: their ends, their limits, their logs, and what outlives what.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    path::Path,
    time::Duration,
};

use base::ByteSize;
use runtime::{DriverError, Egress, ExitReason, RelaySharing, ResolvedStart};
use types::{CommandLine, ErrorCode, Isolation};

use crate::support::{Behaviour, Host, Kind, command, is_root, program, shell, start, wait_for, worker};

const REAL: [Kind; 2] = [Kind::Sandbox, Kind::Plain];
const LONG: Duration = Duration::from_secs(600);

/// Returns the processes below this one, as the host sees them, with the time of their start.
fn descendants(ancestor: u32) -> BTreeSet<(u32, String)> {
    let mut stats = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().map(str::to_owned).collect();
        stats.push((pid, fields[1].parse::<u32>().unwrap(), fields[19].clone()));
    }
    let mut found = BTreeSet::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for (pid, _, started) in stats.iter().filter(|(_, its_parent, _)| *its_parent == parent) {
            found.insert((*pid, started.clone()));
            parents.push(*pid);
        }
    }
    found
}

fn is_alive(pid: u32, started: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[19] == started && fields[0] != "Z"
    })
}

/// Returns a start of a part of the tests' program, in a released folder that holds it.
fn part(host: &Host, name: &str, words: &[&str]) -> ResolvedStart {
    let released = host.folder.path().join("released");
    fs::create_dir_all(&released).unwrap();
    fs::copy(program(), released.join("program")).unwrap();
    let command = command(&[&["./program"], words].concat());
    ResolvedStart { folder: Some(released), ..start(name, command) }
}

#[tokio::test]
async fn the_probe_tells_how_workers_are_kept_apart() {
    let expected = if is_root() { Isolation::Privileged } else { Isolation::Unprivileged };
    let host = Host::new(Kind::Sandbox);
    assert_eq!(host.driver.probe().await.unwrap(), expected);
    assert_eq!(fs::read_dir(host.folder.path().join("run")).unwrap().count(), 0, "the probe left something");
    assert_nothing_left(&host, &[]).await;
    assert_eq!(Host::new(Kind::Plain).driver.probe().await.unwrap(), Isolation::None);
}

#[tokio::test]
async fn a_worker_ends_with_all_its_descendants() {
    for kind in REAL {
        let mut host = Host::new(kind);
        for (name, grace) in [("stopped", Some(Duration::from_millis(50))), ("killed", None)] {
            let started = host.driver.start(part(&host, name, &["family", "3"])).await.unwrap();
            host.lines(&worker(name), 4).await;
            let family = descendants(started.processes.shim);
            assert!(family.len() >= 5, "{kind:?}: {family:?}");
            match grace {
                Some(grace) => host.driver.stop(&worker(name), grace).await.unwrap(),
                None => host.driver.kill(&worker(name)).await.unwrap(),
            }
            assert_eq!(host.end_of(&worker(name)).await, ExitReason::Killed, "{kind:?}");
            let left: Vec<_> = family.iter().filter(|(pid, started)| is_alive(*pid, started)).collect();
            assert!(left.is_empty(), "{kind:?}: {left:?}");
            assert!(
                !Path::new(&format!("/proc/{}", started.processes.shim)).exists(),
                "the shim was not collected"
            );
        }
    }
}

#[tokio::test]
async fn a_command_that_ends_takes_its_children_along() {
    for kind in REAL {
        let mut host = Host::new(kind);
        let command = shell("trap 'exit 4' TERM; sleep 1000 & setsid sleep 1000 & echo ready; wait");
        let started = host.driver.start(start("parent", command)).await.unwrap();
        host.lines(&worker("parent"), 1).await;
        let family = descendants(started.processes.shim);
        assert!(family.len() >= 4, "{kind:?}: {family:?}");
        host.driver.stop(&worker("parent"), LONG).await.unwrap();
        assert_eq!(host.end_of(&worker("parent")).await, ExitReason::Code(4), "{kind:?}");
        let left: Vec<_> = family.iter().filter(|(pid, started)| is_alive(*pid, started)).collect();
        assert!(left.is_empty(), "{kind:?}: {left:?}");
    }
}

#[tokio::test]
async fn a_worker_ends_with_its_shim_and_is_lost() {
    let mut host = Host::new(Kind::Sandbox);
    let started = host.driver.start(part(&host, "orphan", &["family", "1"])).await.unwrap();
    host.lines(&worker("orphan"), 2).await;
    let family = descendants(started.processes.shim);
    let shim = rustix::process::Pid::from_raw(started.processes.shim.cast_signed()).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    assert_eq!(host.end_of(&worker("orphan")).await, ExitReason::Lost);
    wait_for("end of the family", async || family.iter().all(|(pid, at)| !is_alive(*pid, at)).then_some(()))
        .await;
    host.driver.remove(&worker("orphan")).await.unwrap();
    assert_nothing_left(&host, &["orphan"]).await;
}

#[tokio::test]
async fn a_worker_whose_shim_does_not_answer_a_new_agent_is_ended() {
    let mut host = Host::new(Kind::Sandbox);
    let started = host.driver.start(part(&host, "silent", &["family", "1"])).await.unwrap();
    host.lines(&worker("silent"), 2).await;
    let mut family = descendants(started.processes.shim);
    // The worker goes with its control groups where there are any; the shim is in none.
    family.extend(
        descendants(std::process::id()).into_iter().filter(|(pid, _)| *pid == started.processes.shim),
    );
    let shim = rustix::process::Pid::from_raw(started.processes.shim.cast_signed()).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::STOP).unwrap();
    host.restart();
    assert_eq!(host.driver.adopt().await.unwrap().len(), 0);
    assert_eq!(host.end_of(&worker("silent")).await, ExitReason::Lost);
    wait_for("end of the family", async || family.iter().all(|(pid, at)| !is_alive(*pid, at)).then_some(()))
        .await;
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing() {
    let host = Host::new(Kind::Sandbox);
    let given_up = tokio::time::timeout(Duration::from_micros(1), async {
        tokio::task::yield_now().await;
        host.driver.start(start("unwanted", host.command(&Behaviour::Run))).await
    });
    given_up.await.unwrap_err();
    wait_for("nothing", async || {
        (fs::read_dir(host.folder.path().join("run")).unwrap().count() == 0).then_some(())
    })
    .await;
    assert!(matches!(host.driver.kill(&worker("unwanted")).await, Err(DriverError::UnknownWorker { .. })));
    assert_nothing_left(&host, &["unwanted"]).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_removed_worker() {
    for kind in REAL {
        let mut host = Host::new(kind);
        let released = host.folder.path().join("released");
        fs::create_dir(&released).unwrap();
        for name in ["one", "two"] {
            let start =
                ResolvedStart { folder: Some(released.clone()), ..start(name, shell("echo x > file")) };
            let started = host.driver.start(start).await.unwrap();
            assert_eq!(host.end_of(&worker(name)).await, ExitReason::Code(0));
            host.driver.remove(&worker(name)).await.unwrap();
            assert!(!Path::new(&format!("/proc/{}", started.processes.shim)).exists());
        }
        assert_eq!(fs::read_dir(host.folder.path().join("run")).unwrap().count(), 0);
        assert_nothing_left(&host, &["spent1", "spent2"]).await;
    }
}

/// Asserts that no mount and no control group of this host's workers is left. Names of workers are unique among
/// the tests that call this, which run side by side.
async fn assert_nothing_left(host: &Host, names: &[&str]) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let folder = host.folder.path().to_string_lossy().into_owned();
    assert!(!mounts.contains(&folder), "{mounts}");
    wait_for("end of the control groups", async || {
        let groups = control_groups();
        names.iter().all(|name| !groups.contains(&format!("larder-wk_{name}"))).then_some(())
    })
    .await;
}

/// Returns the names of workers' control groups, wherever they are.
fn control_groups() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("larder-") {
                found.push(name);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    found
}

#[tokio::test]
async fn want_of_memory_is_a_reason_of_its_own() {
    let mut host = Host::new(Kind::Sandbox);
    let mut start = part(&host, "hungry", &["hungry"]);
    start.limits.memory = Some(ByteSize::mib(64));
    let notes = host.driver.start(start).await.unwrap().notes;
    let end = host.end_of(&worker("hungry")).await;
    if notes.is_empty() {
        assert_eq!(end, ExitReason::OutOfMemory);
    } else {
        assert!(notes.iter().any(|note| note.contains("memory is not applied")), "{notes:?}");
        assert!(!is_root(), "root can limit memory here: {notes:?}");
    }
}

#[tokio::test]
async fn processes_are_limited() {
    let mut host = Host::new(Kind::Sandbox);
    let mut start = part(&host, "many", &["fork-bomb"]);
    start.limits.pids = Some(30);
    let notes = host.driver.start(start).await.unwrap().notes;
    host.end_of(&worker("many")).await;
    let lines = host.lines(&worker("many"), 1).await;
    let number: u32 = lines[0].strip_prefix("started ").unwrap().parse().unwrap();
    if notes.is_empty() {
        assert!((20..30).contains(&number), "{number}");
    } else {
        assert!(notes.iter().any(|note| note.contains("pids is not applied")), "{notes:?}");
        assert!(!is_root(), "root can limit processes here: {notes:?}");
    }
}

#[tokio::test]
async fn a_log_is_rotated_within_its_size() {
    let mut host = Host::new(Kind::Plain);
    // 24 MB in lines of 200 bytes, three times what one file takes.
    let text = "x".repeat(199);
    let command = shell(&format!("yes {text} | head -n 120000; echo the end >&2"));
    host.driver.start(start("talker", command)).await.unwrap();
    assert_eq!(host.end_of(&worker("talker")).await, ExitReason::Code(0));
    let folder = host.folder.path().join("run/wk_talker");
    let sizes = ["log", "log.1"].map(|name| fs::metadata(folder.join(name)).unwrap().len());
    assert!(sizes.iter().all(|size| *size < 9 * 1024 * 1024), "{sizes:?}");
    let lines = host.driver.logs(&worker("talker"), 3).await.unwrap();
    let texts: BTreeSet<_> = lines.iter().map(|line| line.text.clone()).collect();
    assert_eq!((lines.len(), texts), (3, BTreeSet::from([text, "the end".to_owned()])));
}

#[tokio::test]
async fn connects_wait_for_a_new_agent_in_the_workers_own_network() {
    let mut host = Host::new(Kind::Sandbox);
    let mut call = part(&host, "caller", &["caller"]);
    call.relay_env = vec![("RELAY".to_owned(), "/path".to_owned().into())];
    let relay = host.driver.start(call).await.unwrap().relay;
    assert_eq!(relay.sharing, RelaySharing::Own);
    // The agent is gone, with its listener; the worker calls, and somebody else comes.
    drop(relay);
    host.restart();
    let adopted = host.driver.adopt().await.unwrap().remove(0);
    assert_eq!((adopted.worker, adopted.relay.sharing), (worker("caller"), RelaySharing::Own));
    let mut connection = wait_for("call", async || adopted.relay.listener.accept().ok()).await.0;
    connection.set_nonblocking(false).unwrap();
    let mut word = [0; 5];
    connection.read_exact(&mut word).unwrap();
    connection.write_all(&word).unwrap();
    drop(connection);
    assert_eq!(host.end_of(&worker("caller")).await, ExitReason::Code(0));
    assert_eq!(host.lines(&worker("caller"), 2).await, ["calling", "answer hello"]);
}

#[tokio::test]
async fn without_egress_there_is_nobody_to_reach() {
    let mut host = Host::new(Kind::Sandbox);
    host.driver.start(part(&host, "outward", &["outward"])).await.unwrap();
    assert_eq!(host.end_of(&worker("outward")).await, ExitReason::Code(0));
    let unreachable = format!("refused {}", libc::ENETUNREACH);
    assert_eq!(host.lines(&worker("outward"), 2).await, ["devices lo", &unreachable]);
}

#[tokio::test]
async fn forbidden_things_are_refused_before_anything_starts() {
    let host = Host::new(Kind::Sandbox);
    let run = || start("refused", host.command(&Behaviour::Run));
    let check = async |start: ResolvedStart, code: ErrorCode, words: &str| {
        let fault = host.driver.start(start).await.unwrap_err().fault();
        assert_eq!(fault.code, code);
        assert!(fault.message.contains(words), "{}", fault.message);
    };
    let device = ResolvedStart { devices: vec!["/etc/shadow".into()], ..run() };
    check(device, ErrorCode::DriverFailed, "no device file").await;
    let view = |target: &str, source: &str| runtime::Mount {
        target: target.into(),
        source: runtime::MountSource::ReadOnly(source.into()),
    };
    let crooked = ResolvedStart { mounts: vec![view("/app/../etc", "/usr")], ..run() };
    check(crooked, ErrorCode::DriverFailed, "no plain absolute path").await;
    let gone = ResolvedStart { mounts: vec![view("/model", "/no/such/view")], ..run() };
    check(gone, ErrorCode::DriverFailed, "could not take /no/such/view into the worker's root").await;
    let folder = ResolvedStart { command: CommandLine::try_from(vec!["/usr".to_owned()]).unwrap(), ..run() };
    check(folder, ErrorCode::DriverFailed, "can't be executed").await;
    assert_eq!(fs::read_dir(host.folder.path().join("run")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_start_is_a_matter_of_milliseconds() {
    for (kind, egress) in
        [(Kind::Sandbox, Egress::None), (Kind::Sandbox, Egress::Shared), (Kind::Plain, Egress::Shared)]
    {
        let mut host = Host::new(kind);
        let (mut starts, mut lives) = (Vec::new(), Vec::new());
        for number in 0..20 {
            let name = format!("quick{number}");
            let start = ResolvedStart { egress, ..start(&name, command(&["true"])) };
            let before = base::Clock::System.now();
            host.driver.start(start).await.unwrap();
            starts.push(base::Clock::System.now().since(before));
            host.end_of(&worker(&name)).await;
            lives.push(base::Clock::System.now().since(before));
        }
        starts.sort();
        lives.sort();
        println!(
            "{kind:?} {egress:?}: to the command {:?}, to its end known {:?} (medians)",
            starts[10], lives[10]
        );
        assert!(lives[10] < LONG);
    }
}
