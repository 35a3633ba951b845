//! From a desired state to workers that see their models, and what is reported on the way.

use std::{collections::BTreeSet, sync::Arc};

use agent::AgentLimits;
use api::{
    AgentMessage, Answer, DesiredModel, EndReason, FolderPart, ModelState, Question, ServerMessage,
    WorkerIntent, WorkerState,
};
use base::{Clock, RealDisk, Redacted};
use data_encoding::BASE64;
use runtime::{MountSource, mounts::HUB_FOLDER};
use sha2::{Digest as _, Sha256};
use store::{HubStanding, Store, StoreOptions, Supplier};
use types::{
    Commit, Digest, ErrorCode, Manifest, ManifestFile, ModelKey, RepoId, SecretRef, SelectionKey, StartMark,
};

use crate::{
    bench::{Bench, desired, in_folder, patient, with_models, with_view, worker},
    drivers::WatchedDriver,
    server::Commits,
};

const CONFIG: &[u8] = b"{}";

pub(crate) fn manifest() -> Manifest {
    let repo = RepoId { hub: "main".parse().unwrap(), name: "Acme/Tiny".parse().unwrap() };
    let digest = Digest::Sha256(Sha256::digest(CONFIG).into());
    let file = ManifestFile { path: "config.json".parse().unwrap(), size: CONFIG.len() as u64, digest };
    let files = vec![file];
    let selection = Sha256::digest(Manifest::selection_input(&files));
    let selection = SelectionKey::from_bytes(selection.into());
    let key = ModelKey { repo, commit: Commit::from_bytes([1; 20]), selection };
    Manifest::new(key, files, BTreeSet::new()).unwrap()
}

pub(crate) fn model(hub_endpoint: &str) -> DesiredModel {
    DesiredModel {
        manifest: manifest(),
        hub_endpoint: hub_endpoint.parse().unwrap(),
        hub_trusted: true,
        tenant: "tn_default".parse().unwrap(),
        token: None,
    }
}

/// Puts the model into the store of an agent that is not open.
fn publish(bench: &Bench) {
    let options = StoreOptions::at(bench.folder.path().join("store"));
    let store = Store::open(Arc::new(RealDisk), Clock::System, options).unwrap();
    let supplier = Supplier {
        hub: "main".parse().unwrap(),
        tenant: "tn_default".parse().unwrap(),
        standing: HubStanding::Trusted,
    };
    let manifest = manifest();
    store.publish_small(vec![(manifest.files()[0].clone(), CONFIG.into())], &supplier).unwrap();
    store.publish_model(&manifest, &supplier).unwrap();
}

/// A bench whose host holds the model.
pub(crate) async fn bench_with_model() -> (Bench, Arc<WatchedDriver>) {
    let first = Arc::new(WatchedDriver::new());
    let mut bench = Bench::new(first.clone(), patient(), Commits::AtOnce).await;
    bench.kill().await;
    // The killed agent's last tasks let go of the store.
    let deadline = std::time::Instant::now() + crate::server::DEADLINE;
    let options = || StoreOptions::at(bench.folder.path().join("store"));
    while Store::open(Arc::new(RealDisk), Clock::System, options()).is_err() {
        assert!(std::time::Instant::now() < deadline, "the store stays locked");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    publish(&bench);
    let driver = Arc::new(first.restarted());
    bench.reopen(driver.clone(), patient(), Commits::AtOnce).await;
    (bench, driver)
}

#[tokio::test]
async fn a_worker_sees_its_model_under_every_spelling() {
    let (bench, driver) = bench_with_model().await;
    let order = with_view(worker("wk_1", WorkerIntent::Run, &["run"]), manifest().key(), "acme/TINY@v1");
    bench.server.desire(with_models(desired(1, vec![order]), vec![model("http://127.0.0.1:1")]));
    bench.alive("wk_1").await;
    let seen = driver.seen(&"wk_1".parse().unwrap());
    let names: Vec<String> = seen
        .start
        .mounts
        .iter()
        .map(|mount| {
            let source = match &mount.source {
                MountSource::Private => "private",
                MountSource::ReadOnly(path) => {
                    assert!(path.join("refs/main").is_file() || !path.exists(), "{path:?}");
                    "view"
                }
            };
            format!("{source} {}", mount.target.strip_prefix(HUB_FOLDER).unwrap().display())
        })
        .collect();
    let expected =
        ["private ", "view models--Acme--Tiny", "view models--acme--tiny", "view models--acme--TINY"];
    assert_eq!(names, expected);
    assert_eq!(seen.env["MODEL_NAME"], "Acme/Tiny");
    assert_eq!(seen.env["HF_HUB_OFFLINE"], "1");
    let observed = bench.server.observe("the report", |observed| !observed.models.is_empty()).await;
    assert!(matches!(observed.models[0].state, ModelState::Ready { fetch_started_at: None, .. }));
    let marks: Vec<StartMark> = observed.workers[0].marks.keys().copied().collect();
    assert_eq!(marks, [StartMark::ViewMounted, StartMark::ProcessStarted]);
    bench.end().await;
}

#[tokio::test]
async fn a_model_that_another_tenant_brought_is_not_shown_through_a_hub_that_nobody_vouches_for() {
    let (bench, _driver) = bench_with_model().await;
    let stranger = DesiredModel {
        hub_trusted: false,
        tenant: "tn_stranger".parse().unwrap(),
        ..model("http://127.0.0.1:1")
    };
    let order = with_view(worker("wk_1", WorkerIntent::Run, &["run"]), manifest().key(), "Acme/Tiny");
    bench.server.desire(with_models(desired(1, vec![order]), vec![stranger]));
    let asked_the_hub = |state: &ModelState| matches!(state, ModelState::Failed { .. });
    let observed = bench
        .server
        .observe("a fetch of its own", |seen| seen.models.iter().any(|model| asked_the_hub(&model.state)))
        .await;
    assert_eq!(observed.workers[0].state, WorkerState::Pending("waits for Acme/Tiny".to_owned()));
    bench.end().await;
}

#[tokio::test]
async fn a_fetch_that_fails_is_reported_with_its_reason_and_holds_the_start() {
    let driver = Arc::new(WatchedDriver::new());
    let bench = Bench::new(driver, patient(), Commits::AtOnce).await;
    let order = with_view(worker("wk_1", WorkerIntent::Run, &["run"]), manifest().key(), "acme/tiny");
    bench.server.desire(with_models(desired(1, vec![order]), vec![model("http://127.0.0.1:1")]));
    let failed = |state: &ModelState| matches!(state, ModelState::Failed { fault, .. } if fault.code == ErrorCode::HubUnreachable);
    let observed = bench
        .server
        .observe("the failure", |observed| observed.models.first().is_some_and(|model| failed(&model.state)))
        .await;
    assert_eq!(observed.workers[0].state, WorkerState::Pending("waits for Acme/Tiny".to_owned()));
    // A model that is no longer wanted is given up.
    bench.server.desire(desired(2, Vec::new()));
    bench
        .server
        .observe("nothing", |observed| observed.models.is_empty() && observed.workers.is_empty())
        .await;
    bench.end().await;
}

#[tokio::test]
async fn a_start_gets_its_folder_and_its_environment_from_the_server() {
    let driver = Arc::new(WatchedDriver::new());
    let bench = Bench::new(driver.clone(), patient(), Commits::AtOnce).await;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    archive.append_data(&mut header, "handler.py", &b"print"[..]).unwrap();
    let archive = archive.into_inner().unwrap();
    let digest = Digest::Sha256(Sha256::digest(&archive).into());
    let secret: SecretRef = "sec_1".parse().unwrap();
    let mut order = in_folder(worker("wk_1", WorkerIntent::Run, &["run"]), digest);
    order.env = Some(secret.clone());
    bench.server.desire(desired(1, vec![order]));
    bench
        .server
        .hear("the wish for the folder", |message| match message {
            AgentMessage::FolderWanted(wanted) => (*wanted == digest).then_some(()),
            _ => None,
        })
        .await;
    let secrets = [(secret, Redacted::new(r#"{"GREETING": "hello"}"#.to_owned()))].into();
    bench.server.say(ServerMessage::Secrets(secrets));
    for (index, part) in archive.chunks(1000).enumerate() {
        bench.server.say(ServerMessage::Folder(FolderPart {
            digest,
            offset: index as u64 * 1000,
            bytes: BASE64.encode(part),
            total: archive.len() as u64,
        }));
    }
    bench.alive("wk_1").await;
    let seen = driver.seen(&"wk_1".parse().unwrap());
    assert_eq!(seen.env["GREETING"], "hello");
    assert_eq!(std::fs::read(seen.start.folder.unwrap().join("handler.py")).unwrap(), b"print");
}

#[tokio::test]
async fn a_start_that_can_not_be_made_is_reported() {
    let driver = Arc::new(WatchedDriver::new());
    let bench = Bench::new(driver, patient(), Commits::AtOnce).await;
    let missing = Digest::Sha256([9; 32]);
    let orders = vec![
        worker("wk_1", WorkerIntent::Run, &["sim-missing"]),
        in_folder(worker("wk_2", WorkerIntent::Run, &["run"]), missing),
    ];
    bench.server.desire(desired(1, orders));
    bench
        .server
        .hear("the wish for the folder", |message| {
            matches!(message, AgentMessage::FolderWanted(_)).then_some(())
        })
        .await;
    let part = FolderPart { digest: missing, offset: 0, bytes: String::new(), total: 0 };
    bench.server.say(ServerMessage::Folder(part));
    for (id, code) in [("wk_1", ErrorCode::DriverFailed), ("wk_2", ErrorCode::FolderNotFound)] {
        let state = bench.state(id, |state| matches!(state, WorkerState::Failed(_))).await;
        let WorkerState::Failed(fault) = state else { unreachable!("it was waited for") };
        assert_eq!(fault.code, code, "{fault}");
    }
}

#[tokio::test]
async fn workers_are_held_started_and_stopped_as_desired() {
    let driver = Arc::new(WatchedDriver::new());
    let limits = AgentLimits { stop_grace: std::time::Duration::from_millis(50), ..patient() };
    let bench = Bench::new(driver, limits, Commits::AtOnce).await;
    let order = |intent| vec![worker("wk_1", intent, &["sim-stubborn"])];
    bench.server.desire(desired(1, order(WorkerIntent::Hold)));
    bench.state("wk_1", |state| matches!(state, WorkerState::Pending(why) if why.contains("held"))).await;
    bench.server.desire(desired(2, order(WorkerIntent::Run)));
    bench.alive("wk_1").await;
    bench.server.desire(desired(3, order(WorkerIntent::Stop)));
    let ended = |state: &WorkerState| matches!(state, WorkerState::Ended { reason: EndReason::Stopped, .. });
    bench.state("wk_1", ended).await;
    bench.server.desire(desired(4, Vec::new()));
    bench.server.observe("no worker", |observed| observed.workers.is_empty()).await;
}

#[tokio::test]
async fn workers_that_end_at_once_are_told_with_their_reason() {
    let driver = Arc::new(WatchedDriver::new());
    let bench = Bench::new(driver, patient(), Commits::AtOnce).await;
    let cases = [
        ("wk_1", "sim-exit", EndReason::Exited(3)),
        ("wk_2", "sim-signal", EndReason::Signalled(3)),
        ("wk_3", "sim-oom", EndReason::OutOfMemory),
    ];
    let orders = cases.iter().map(|(id, program, _)| worker(id, WorkerIntent::Run, &[program, "3"]));
    bench.server.desire(desired(1, orders.collect()));
    for (id, _, expected) in cases {
        let state = bench.state(id, |state| matches!(state, WorkerState::Ended { .. })).await;
        let WorkerState::Ended { reason, .. } = state else { unreachable!("it was waited for") };
        assert_eq!(reason, expected);
    }
    let started = |report: &api::WorkerReport| report.marks.contains_key(&StartMark::ProcessStarted);
    let observed = bench.server.observe("the marks", |observed| observed.workers.iter().all(started)).await;
    let over = |report: &api::WorkerReport| matches!(report.state, WorkerState::Ended { .. });
    assert!(observed.workers.iter().all(over), "a worker that ended came back to life");
}

#[tokio::test]
async fn questions_are_answered() {
    let (bench, driver) = bench_with_model().await;
    bench.server.desire(desired(1, vec![worker("wk_1", WorkerIntent::Run, &["sim-say", "one", "two"])]));
    bench.alive("wk_1").await;
    driver.sim.say(&"wk_1".parse().unwrap(), "three");
    let key = manifest().key().clone();
    let ask = async |id: u64, question: Question| {
        bench.server.say(ServerMessage::Question { id, question });
        bench
            .server
            .hear("an answer", |message| match message {
                AgentMessage::Answer { id: answered, answer } => (*answered == id).then(|| answer.clone()),
                _ => None,
            })
            .await
    };
    let logs = ask(1, Question::Logs { worker: "wk_1".parse().unwrap(), tail: 2 }).await;
    let Ok(Answer::Logs(lines)) = logs else { panic!("{logs:?}") };
    assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["two", "three"]);
    let verified =
        ask(2, Question::VerifyModel { key: key.clone(), damaged: api::DamagedFiles::Report }).await;
    let Ok(Answer::Verified(report)) = verified else { panic!("{verified:?}") };
    assert_eq!((report.files, report.bytes, report.damaged.len()), (1, 2, 0));
    let path = ask(3, Question::ModelPath(key.clone())).await;
    let Ok(Answer::Path(path)) = path else { panic!("{path:?}") };
    assert_eq!(std::fs::read(path.join("config.json")).unwrap(), CONFIG);
    let removed = ask(4, Question::RemoveModel(key.clone())).await;
    assert!(matches!(removed, Ok(Answer::Removed(_))), "{removed:?}");
    let gone = ask(5, Question::ModelPath(key)).await;
    assert_eq!(gone.unwrap_err().code, ErrorCode::ModelNotFound);
    let nowhere = ask(7, Question::InspectPython("/nowhere/venv".into())).await;
    assert_eq!(nowhere.unwrap_err().code, ErrorCode::PythonUnusable);
    let unknown = ask(6, Question::Logs { worker: "wk_9".parse().unwrap(), tail: 2 }).await;
    assert_eq!(unknown.unwrap_err().code, ErrorCode::WorkerNotFound);
}

#[tokio::test]
async fn the_log_of_an_ended_worker_is_kept_for_a_while() {
    let driver = Arc::new(WatchedDriver::new());
    let limits = AgentLimits { ended_logs_max: 1, ..patient() };
    let mut bench = Bench::new(driver.clone(), limits, Commits::AtOnce).await;
    // Runs a worker to its end, until the host lists it no more.
    let generation = std::cell::Cell::new(0);
    let live_and_die = async |bench: &Bench, name: &str| {
        generation.set(generation.get() + 2);
        let order = worker(name, WorkerIntent::Run, &["sim-say", name]);
        bench.server.desire(desired(generation.get() - 1, vec![order]));
        bench.alive(name).await;
        bench.server.desire(desired(generation.get(), Vec::new()));
        bench.server.observe("no worker", |observed| observed.workers.is_empty()).await;
    };
    let id = std::cell::Cell::new(0);
    let logs = async |bench: &Bench, name: &str| {
        id.set(id.get() + 1);
        let question = Question::Logs { worker: name.parse().unwrap(), tail: 9 };
        bench.server.say(ServerMessage::Question { id: id.get(), question });
        let answer = |message: &AgentMessage| match message {
            AgentMessage::Answer { id: answered, answer } => (*answered == id.get()).then(|| answer.clone()),
            _ => None,
        };
        match bench.server.hear("an answer", answer).await {
            Ok(Answer::Logs(lines)) => Ok(lines.into_iter().map(|line| line.text).collect::<Vec<_>>()),
            Ok(other) => panic!("{other:?}"),
            Err(fault) => Err(fault.code),
        }
    };
    live_and_die(&bench, "wk_1").await;
    assert_eq!(logs(&bench, "wk_1").await, Ok(vec!["wk_1".to_owned()]));
    live_and_die(&bench, "wk_2").await;
    testkit::wait_for("the oldest log to go", crate::server::DEADLINE, async || {
        (logs(&bench, "wk_1").await == Err(ErrorCode::WorkerNotFound)).then_some(())
    })
    .await;
    assert_eq!(logs(&bench, "wk_2").await, Ok(vec!["wk_2".to_owned()]));
    // The next agent keeps what is kept.
    bench.kill().await;
    let driver = Arc::new(driver.restarted());
    bench
        .reopen(driver, AgentLimits { ended_logs_kept: std::time::Duration::ZERO, ..limits }, Commits::AtOnce)
        .await;
    testkit::wait_for("the last log to go", crate::server::DEADLINE, async || {
        (logs(&bench, "wk_2").await == Err(ErrorCode::WorkerNotFound)).then_some(())
    })
    .await;
    bench.end().await;
}
