//! Processes that are no workers: found again, ended, told apart.

use std::time::Duration;

use super::*;

/// Far longer than any step here takes.
const DEADLINE: Duration = Duration::from_secs(20);

fn shell(script: &str) -> ChildSpec {
    ChildSpec { output: ChildOutput::Lines, ..ChildSpec::new("/bin/sh", ["-c", script]) }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap()
}

#[tokio::test]
async fn a_child_gives_its_lines_and_its_end() {
    let mut spec = shell("echo $GREETING; echo oops >&2; exit 3");
    spec.environment.insert("GREETING".into(), Some("hello".into()));
    let mut child = Child::start(spec).unwrap();
    let mut lines = child.lines().unwrap();
    let mut seen = Vec::new();
    while let Some(line) = in_time(lines.next()).await.unwrap() {
        seen.push(line);
    }
    seen.sort_unstable();
    assert_eq!(seen, ["hello", "oops"]);
    assert_eq!(in_time(child.wait()).await.unwrap().code(), Some(3));
    child.signal(ChildSignal::Terminate).unwrap();
}

#[tokio::test]
async fn a_process_is_found_again_by_its_record_only() {
    let mut child = Child::start(shell("exec sleep 600")).unwrap();
    let record = child.identity().to_string();
    let identity: ProcessIdentity = record.parse().unwrap();
    assert_eq!(identity, child.identity());
    let adopted = AdoptedChild::find(identity).unwrap().unwrap();
    let another = ProcessIdentity { started_ticks: identity.started_ticks + 1, ..identity };
    assert!(
        AdoptedChild::find(another).unwrap().is_none(),
        "a later process with the same id is another one"
    );
    adopted.signal(ChildSignal::Terminate).unwrap();
    in_time(adopted.ended()).await.unwrap();
    assert!(!in_time(child.wait()).await.unwrap().success());
    assert!(AdoptedChild::find(identity).unwrap().is_none());
    for wrong in ["", "1", "x 1", "1 x"] {
        assert!(wrong.parse::<ProcessIdentity>().is_err(), "{wrong:?} was taken");
    }
}

#[tokio::test]
async fn a_child_of_ours_ends_when_it_is_dropped() {
    let child = Child::start(shell("exec sleep 600")).unwrap();
    let adopted = AdoptedChild::find(child.identity()).unwrap().unwrap();
    drop(child);
    in_time(adopted.ended()).await.unwrap();
}

#[test]
fn programs_are_found_as_a_shell_finds_them() {
    assert_eq!(find_program("sh", "/nowhere:/bin".as_ref()), Some("/bin/sh".into()));
    assert_eq!(find_program("no-such-program", "/bin".as_ref()), None);
    assert_eq!(find_program("passwd", "/etc".as_ref()), None, "a file that nobody may run is no program");
}
