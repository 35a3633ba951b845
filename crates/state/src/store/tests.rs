//! What was acknowledged is there, whole; what was refused left no trace.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use base::{ManualTime, RealDisk};
use serde_json::value::RawValue;
use types::{EndpointId, LedgerPhase, SecretRef, WorkerId};

use super::*;
use crate::{IntervalRow, JobPayload, JobRow, OutputRow, SecretRow, TenantRow};

const START: Timestamp = Timestamp::from_millis(1_000_000);

fn options(folder: &Path) -> StateOptions {
    StateOptions { folder: folder.join("state"), disk: Arc::new(RealDisk), pages_max: None }
}

fn open(options: &StateOptions) -> Result<State, OpenStateError> {
    State::open(options, &Clock::Manual(ManualTime::starting_at(START)), Entropy::System)
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn job_row(tenant: &TenantId, job: &str) -> JobRow {
    JobRow {
        tenant: tenant.clone(),
        job: job.parse().unwrap(),
        endpoint: "ep_a".parse::<EndpointId>().unwrap(),
        place: 1,
        low_priority: false,
        machine: serde_json::json!({"state": "in_queue"}),
        epoch: Epoch(0),
        forget_at: None,
    }
}

fn add_job(tenant: &TenantId, job: &str, input: &str) -> Mutation {
    let input = RawValue::from_string(input.to_owned()).unwrap();
    let s3_config = Some(Redacted::new("{\"accessSecret\":\"open-sesame\"}".to_owned()));
    Mutation::AddJob(job_row(tenant, job), JobPayload { input, webhook: None, s3_config })
}

fn interval(tenant: &TenantId, from: i64, to: i64) -> IntervalRow {
    IntervalRow {
        tenant: tenant.clone(),
        endpoint: "ep_a".parse().unwrap(),
        worker: "wk_a".parse::<WorkerId>().unwrap(),
        phase: LedgerPhase::Idle,
        from: Timestamp::from_millis(from),
        to: Timestamp::from_millis(to),
        fetched_bytes: 0,
    }
}

#[tokio::test]
async fn rows_come_back_and_only_to_their_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, other) = (tenant("tn_mine"), tenant("tn_other"));
    let state = open(&options(folder.path())).unwrap();
    let epoch = state.begin_epoch().await.unwrap();
    let secret = SecretRow {
        tenant: mine.clone(),
        secret: "sec_1".parse::<SecretRef>().unwrap(),
        value: Redacted::new("hf_hidden_token".to_owned()),
    };
    let output = OutputRow {
        tenant: mine.clone(),
        job: "j1".parse().unwrap(),
        output: Some(RawValue::from_string("{\"b\": 1.10}".to_owned()).unwrap()),
        error: None,
    };
    let batch = vec![
        Mutation::PutTenant(TenantRow { tenant: mine.clone(), created_at: START }),
        Mutation::PutSecret(secret.clone()),
        add_job(&mine, "j1", "{\"a\":  [1, 2]}"),
        Mutation::PutOutput(output),
        Mutation::AddInterval(interval(&mine, 10, 20)),
    ];
    state.commit(epoch, batch).await.unwrap();
    drop(state);

    let state = open(&options(folder.path())).unwrap();
    let loaded = state.load().await.unwrap();
    assert_eq!(loaded.secrets, [secret]);
    assert_eq!(loaded.jobs, [job_row(&mine, "j1")]);
    let job = "j1".parse().unwrap();
    let payload = state.payload(&mine, &job).await.unwrap().unwrap();
    assert_eq!(payload.input.get(), "{\"a\":  [1, 2]}");
    assert!(payload.s3_config.unwrap().expose().contains("open-sesame"));
    assert_eq!(state.output(&mine, &job).await.unwrap().unwrap().output.unwrap().get(), "{\"b\": 1.10}");
    let window = (Timestamp::from_millis(15), Timestamp::from_millis(30));
    assert_eq!(state.intervals(&mine, window.0, window.1).await.unwrap().len(), 1);
    assert!(state.payload(&other, &job).await.unwrap().is_none());
    assert!(state.output(&other, &job).await.unwrap().is_none());
    assert!(state.intervals(&other, window.0, window.1).await.unwrap().is_empty());
    let epoch = state.begin_epoch().await.unwrap();
    state.commit(epoch, vec![Mutation::RemoveJob(mine.clone(), job.clone())]).await.unwrap();
    assert!(state.payload(&mine, &job).await.unwrap().is_none());
    assert!(state.load().await.unwrap().jobs.is_empty());

    for name in ["state.sqlite", "state.sqlite-wal"] {
        let bytes = std::fs::read(folder.path().join("state").join(name)).unwrap();
        for secret in [&b"hf_hidden_token"[..], b"open-sesame"] {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret), "a secret stands in {name}");
        }
    }
}

#[tokio::test]
async fn an_older_term_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mine = tenant("tn_mine");
    let state = open(&options(folder.path())).unwrap();
    let old = state.begin_epoch().await.unwrap();
    let new = state.begin_epoch().await.unwrap();
    let refused = state.commit(old, vec![add_job(&mine, "j1", "1")]).await;
    assert!(
        matches!(refused, Err(CommitError::Superseded { yours, present }) if yours == old && present == new)
    );
    assert!(state.load().await.unwrap().jobs.is_empty());
    state.commit(new, vec![add_job(&mine, "j1", "1")]).await.unwrap();
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = open(&options(folder.path())).unwrap();
    let refused = open(&options(folder.path())).unwrap_err();
    assert_eq!(refused.fault().code, types::ErrorCode::StateLocked);
    drop(state);
    open(&options(folder.path())).unwrap();
}

#[tokio::test]
async fn a_restored_database_is_a_new_incarnation() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("state/state.sqlite");
    let state = open(&options(folder.path())).unwrap();
    state.begin_epoch().await.unwrap();
    let first = state.load().await.unwrap().incarnation;
    drop(state);
    let backup = std::fs::read(&database).unwrap();

    let state = open(&options(folder.path())).unwrap();
    assert_eq!(state.load().await.unwrap().incarnation, first, "a mere restart is no new incarnation");
    state.begin_epoch().await.unwrap();
    drop(state);
    std::fs::write(&database, backup).unwrap();

    let state = open(&options(folder.path())).unwrap();
    assert!(state.load().await.unwrap().incarnation > first);
}

#[tokio::test]
async fn a_lost_seal_key_is_said_and_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&options(folder.path())).unwrap());
    std::fs::remove_file(folder.path().join("state/seal.key")).unwrap();
    let refused = open(&options(folder.path())).unwrap_err();
    assert_eq!(refused.fault().code, types::ErrorCode::SecretUnreadable);
    assert!(!folder.path().join("state/seal.key").exists());
}

#[tokio::test]
async fn a_full_disk_refuses_whole_batches_and_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mine = tenant("tn_mine");
    let small = StateOptions { pages_max: Some(80), ..options(folder.path()) };
    let state = open(&small).unwrap();
    let epoch = state.begin_epoch().await.unwrap();
    let large = format!("\"{}\"", "x".repeat(20_000));
    let (mut kept, mut refused) = (Vec::new(), 0);
    for number in 0..40 {
        let names = [format!("a{number}"), format!("b{number}")];
        let batch = names.iter().map(|name| add_job(&mine, name, &large)).collect();
        match state.commit(epoch, batch).await {
            Ok(()) => kept.extend(names),
            Err(CommitError::Database(error)) => {
                assert_eq!(error.fault().code, types::ErrorCode::StateError);
                refused += 1;
            }
            Err(error @ CommitError::Superseded { .. }) => panic!("{error}"),
        }
    }
    assert!(refused > 0 && !kept.is_empty());
    let mut there: Vec<_> =
        state.load().await.unwrap().jobs.into_iter().map(|row| row.job.to_string()).collect();
    there.sort();
    kept.sort();
    assert_eq!(there, kept);
    let first = kept[0].parse().unwrap();
    state.commit(epoch, vec![Mutation::RemoveJob(mine, first)]).await.unwrap();
}

#[tokio::test]
async fn the_ledger_only_grows() {
    let folder = tempfile::tempdir().unwrap();
    let state = open(&options(folder.path())).unwrap();
    let epoch = state.begin_epoch().await.unwrap();
    state.commit(epoch, vec![Mutation::AddInterval(interval(&tenant("tn_a"), 1, 2))]).await.unwrap();
    let connection = Connection::open(folder.path().join("state/state.sqlite")).unwrap();
    for sql in ["DELETE FROM ledger", "UPDATE ledger SET finish = 0"] {
        assert!(connection.execute_batch(sql).is_err(), "{sql} was allowed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_committers_at_once_are_all_answered() {
    let folder = tempfile::tempdir().unwrap();
    let state = open(&options(folder.path())).unwrap();
    let epoch = state.begin_epoch().await.unwrap();
    let mine = tenant("tn_mine");
    let mut commits = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (state, mine) = (state.clone(), mine.clone());
        commits.spawn(
            async move { state.commit(epoch, vec![add_job(&mine, &format!("j{number}"), "1")]).await },
        );
    }
    while let Some(result) = commits.join_next().await {
        result.unwrap().unwrap();
    }
    assert_eq!(state.load().await.unwrap().jobs.len(), 200);
}

const CHILD_FOLDER: &str = "STATE_CRASH_TEST_FOLDER";

/// The process that the crash test kills: it commits for ever and says what was acknowledged. By itself, without the
/// folder that the crash test names, it does nothing.
#[test]
fn crash_child() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let state = open(&options(Path::new(&folder))).unwrap();
        let epoch = state.begin_epoch().await.unwrap();
        // Bounded, so that a lost parent leaves no endless process behind.
        for number in 0..20_000 {
            let name = format!("e{}n{number}", epoch.0);
            let batch = vec![
                add_job(&tenant("tn_mine"), &format!("{name}a"), "1"),
                add_job(&tenant("tn_mine"), &format!("{name}b"), "1"),
            ];
            state.commit(epoch, batch).await.unwrap();
            println!("acknowledged {name}");
        }
    });
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for wanted in [1, 7, 23] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::crash_child", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let names = lines
            .map_while(Result::ok)
            .filter_map(|line| line.split_once("acknowledged ").map(|(_, name)| name.to_owned()));
        acknowledged.extend(names.take(wanted));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(acknowledged.len(), 31);
    let state = open(&options(folder.path())).unwrap();
    let jobs: std::collections::BTreeSet<String> =
        state.load().await.unwrap().jobs.into_iter().map(|row| row.job.to_string()).collect();
    for name in &acknowledged {
        assert!(jobs.contains(&format!("{name}a")), "{name} was acknowledged and is lost");
    }
    for job in &jobs {
        let twin = if let Some(name) = job.strip_suffix('a') {
            format!("{name}b")
        } else {
            format!("{}a", job.strip_suffix('b').unwrap())
        };
        assert!(jobs.contains(&twin), "half of a batch stands: {job}");
    }
}
