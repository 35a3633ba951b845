//! What callers may do, and what they are told when they may not.

use api::{Answer, DamagedFiles, LogLine, LogStream, Question, VerifyReport, WorkerIntent};
use base::Redacted;
use bytes::Bytes;
use types::{ErrorCode, Fault, JobRoute};

use super::harness::{Agent, MODEL_BYTES, World, done};
use crate::{Caller, KeyScope};

const WITH_MODEL: &str = r#"{"name":"embed","command":["x"],"models":[{"reference":"org/model"}]}"#;

#[tokio::test]
async fn keys_are_checked_and_scoped() {
    let world = World::begin().await;
    let (handle, admin) = (world.handle(), world.admin());
    let wrong = handle.authenticate(&Redacted::new("lk_wrong".to_owned())).unwrap_err();
    assert_eq!(wrong.code, ErrorCode::KeyWrong);
    use std::os::unix::fs::PermissionsExt;
    let file = std::fs::metadata(world.folder.path().join("admin.key")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    world.endpoint(WITH_MODEL).await;
    let reader = Caller { scopes: [KeyScope::Read].into(), ..admin.clone() };
    let body = || serde_json::from_str(r#"{"input":1}"#).unwrap();
    let refused = handle.submit(&reader, "embed", JobRoute::Async, body()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::KeyForbidden);
    handle.health(&reader, "embed").await.unwrap();
    let invoker = Caller { scopes: [KeyScope::Invoke].into(), ..admin.clone() };
    handle.submit(&invoker, "embed", JobRoute::Sync, body()).await.unwrap();
    assert_eq!(handle.delete_endpoint(&invoker, "embed").await.unwrap_err().code, ErrorCode::KeyForbidden);
    // Another tenant sees nothing of it.
    let other = Caller { tenant: "tn_other".parse().unwrap(), ..admin };
    assert_eq!(handle.endpoint(&other, "embed").await.unwrap_err().code, ErrorCode::EndpointNotFound);
    assert!(handle.models(&other).await.unwrap().models.is_empty());
}

#[tokio::test]
async fn an_endpoint_proves_its_own_right_to_a_model() {
    let world = World::begin().await;
    let (handle, admin) = (world.handle(), world.admin());
    world.endpoint(WITH_MODEL).await;
    let body = |name: &str, token: &str| {
        let text = format!(
            r#"{{"name":"{name}","command":["x"],"models":[{{"reference":"org/model"}}],"hubToken":"{token}"}}"#
        );
        serde_json::from_str(&text).unwrap()
    };
    *world.hub.refuses.lock().unwrap() = Some(Fault::new(ErrorCode::RepoGatedNotGranted, "no access"));
    let refused = handle.create_endpoint(&admin, body("two", "hf_two")).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.errors[0].field.as_str()),
        (ErrorCode::RepoGatedNotGranted, "models[0].reference")
    );
    *world.hub.refuses.lock().unwrap() = None;
    handle.create_endpoint(&admin, body("two", "hf_two")).await.unwrap();
    let asked = world.hub.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!(asked.token.unwrap().expose(), "hf_two");
    let taken = handle.create_endpoint(&admin, body("two", "hf_two")).await.unwrap_err();
    assert_eq!(taken.code, ErrorCode::EndpointNameTaken);
    let shown = serde_json::to_string(&handle.endpoint(&admin, "two").await.unwrap()).unwrap();
    assert!(!shown.contains("hf_two"), "the token is never shown");
}

#[tokio::test]
async fn updates_make_releases_only_for_the_spec() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let (handle, admin) = (world.handle(), world.admin());
    world.endpoint(WITH_MODEL).await;
    let update = async |text: &str| {
        let body = serde_json::from_str(text).unwrap();
        handle.update_endpoint(&admin, "embed", body).await.unwrap()
    };
    let view = update(r#"{"workers":{"max":5}}"#).await;
    assert_eq!((view.release.version, view.workers.max), (1, Some(5)));
    let asked = world.hub.asked.lock().unwrap().len();
    let view = update(r#"{"env":{"MODEL_NAME":"a/b"}}"#).await;
    assert_eq!((view.release.version, view.env_names.as_slice()), (2, &["MODEL_NAME".to_owned()][..]));
    assert_eq!(world.hub.asked.lock().unwrap().len(), asked, "models that stay are not asked for again");
    assert!(view.warnings.is_empty());
    let view = update(r#"{"models":[]}"#).await;
    assert_eq!((view.release.version, view.models.len()), (3, 0));
    assert!(view.warnings[0].contains("--model a/b"));
    world.send("embed", "1").await;
    let worker = agent.worker(WorkerIntent::Run).await;
    assert!(worker.views.is_empty());
}

#[tokio::test]
async fn a_python_environment_that_no_worker_can_be_given_is_refused() {
    let world = World::begin().await;
    let (handle, admin) = (world.handle(), world.admin());
    let body = |name: &str| {
        let text = format!(r#"{{"name":"{name}","command":["x"],"python":"/home/me/venv"}}"#);
        serde_json::from_str(&text).unwrap()
    };
    let unseen = handle.create_endpoint(&admin, body("unseen")).await.unwrap();
    assert!(unseen.warnings[0].starts_with("no host is connected: "), "{:?}", unseen.warnings);
    let mut agent = Agent::dial(&world).await;
    let asking = async |agent: &mut Agent, answer: Result<Answer, Fault>| {
        let (id, question) = agent.until("a question", |agent| agent.questions.pop_front()).await;
        assert!(matches!(question, Question::InspectPython(path) if path.as_os_str() == "/home/me/venv"));
        agent.say(api::AgentMessage::Answer { id, answer }).await;
    };
    let unusable = || Err(Fault::new(ErrorCode::PythonUnusable, "a home").with_hint("make another"));
    let (refused, ()) =
        tokio::join!(handle.create_endpoint(&admin, body("home")), asking(&mut agent, unusable()));
    let refused = refused.unwrap_err();
    assert_eq!((refused.code, refused.errors[0].field.as_str()), (ErrorCode::PythonUnusable, "python"));
    assert!(refused.hint.is_some());
    assert_eq!(handle.endpoint(&admin, "home").await.unwrap_err().code, ErrorCode::EndpointNotFound);
    let (made, ()) = tokio::join!(
        handle.create_endpoint(&admin, body("usable")),
        asking(&mut agent, Ok(Answer::PythonUsable))
    );
    assert!(made.unwrap().warnings.is_empty());
    let change = || serde_json::from_str(r#"{"python":"/home/me/venv"}"#).unwrap();
    let (refused, ()) =
        tokio::join!(handle.update_endpoint(&admin, "usable", change()), asking(&mut agent, unusable()));
    assert_eq!(refused.unwrap_err().code, ErrorCode::PythonUnusable);
    // What is not given is not looked at again.
    let change = serde_json::from_str(r#"{"env":{"A":"b"}}"#).unwrap();
    assert_eq!(handle.update_endpoint(&admin, "usable", change).await.unwrap().release.version, 2);
}

#[tokio::test]
async fn a_change_never_drops_a_model_whose_hub_is_not_configured_any_more() {
    let mut world = World::begin().await;
    world.endpoint(WITH_MODEL).await;
    world.stop().await;
    world.hub_name = "other".parse().unwrap();
    world.start().await;
    let (handle, admin) = (world.handle(), world.admin());
    let change = serde_json::from_str(r#"{"env":{"A":"b"}}"#).unwrap();
    let refused = handle.update_endpoint(&admin, "embed", change).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::FieldInvalid);
    assert!(refused.detail.contains("org/model"), "{}", refused.detail);
    let view = handle.endpoint(&admin, "embed").await.unwrap();
    assert_eq!((view.release.version, view.models.len()), (1, 1));
}

#[tokio::test]
async fn an_earlier_release_goes_with_its_secrets_when_its_last_worker_is_forgotten() {
    let mut world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    world.endpoint(r#"{"name":"work","command":["x"],"env":{"A":"one"}}"#).await;
    world.send("work", "1").await;
    let first = agent.bring_up().await;
    let update = async |world: &World, text: &str| {
        let body = serde_json::from_str(text).unwrap();
        world.handle().update_endpoint(&world.admin(), "work", body).await.unwrap()
    };
    // One that no worker was ever of goes at once.
    update(&world, r#"{"env":{"A":"two"}}"#).await;
    update(&world, r#"{"env":{"A":"three"}}"#).await;
    let stored = async |world: &mut World| {
        world.stop().await;
        let loaded = world.loaded().await;
        world.start().await;
        let versions: Vec<u32> = loaded.releases.iter().map(|release| release.version).collect();
        let mut secrets: Vec<_> = loaded.secrets.iter().map(|row| row.value.expose().clone()).collect();
        secrets.sort();
        (versions, secrets)
    };
    let (mut versions, secrets) = stored(&mut world).await;
    versions.sort_unstable();
    assert_eq!((versions, secrets), (vec![1, 3], vec![r#"{"A":"one"}"#.into(), r#"{"A":"three"}"#.into()]));
    let mut observed = agent.observed.clone();
    observed.workers.retain(|report| report.worker != first.worker);
    let _agent = Agent::dial_with(&world, observed, 0).await;
    let (handle, admin) = (world.handle(), world.admin());
    let gone = async {
        while handle.worker(&admin, first.worker.as_str()).await.is_ok() {
            world.advance(60_000);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.unwrap();
    drop(handle);
    assert_eq!(stored(&mut world).await, (vec![3], vec![r#"{"A":"three"}"#.into()]));
}

#[tokio::test]
async fn models_are_pulled_checked_and_removed() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let (handle, admin) = (world.handle(), world.admin());
    let pull = serde_json::from_str(r#"{"reference":"Org/Model","hubToken":"hf_x"}"#).unwrap();
    let view = handle.pull_model(&admin, pull).await.unwrap();
    assert_eq!((view.bytes, view.status), (MODEL_BYTES, api::ModelStatus::Waiting));
    agent.report_ready(Some(world.now())).await;
    let ready = async {
        while handle.models(&admin).await.unwrap().models[0].hosts.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), ready).await.unwrap();

    let asking = async |agent: &mut Agent, answer: Result<Answer, Fault>| {
        let (id, question) = agent.until("a question", |agent| agent.questions.pop_front()).await;
        agent.say(api::AgentMessage::Answer { id, answer }).await;
        question
    };
    let shown = tokio::sync::watch::Sender::new(None);
    let report = VerifyReport { files: 1, bytes: MODEL_BYTES, damaged: vec!["x".to_owned()] };
    let (view, _) = tokio::join!(
        handle.verify_model(&admin, "org/model", DamagedFiles::Report, &shown),
        asking(&mut agent, Ok(Answer::Verified(report))),
    );
    assert_eq!(view.unwrap().damaged, ["x"]);
    let (path, _) = tokio::join!(
        handle.model_path(&admin, "org/model"),
        asking(&mut agent, Ok(Answer::Path("/views/1".into())))
    );
    let path = path.unwrap();
    let commit = "07".repeat(20);
    assert_eq!(
        path.worker_path,
        format!("/runpod-volume/huggingface-cache/hub/models--Org--Model/snapshots/{commit}")
    );
    assert_eq!(path.host_path.as_deref(), Some("/views/1"));

    let used =
        serde_json::from_str(r#"{"name":"uses","command":["x"],"models":[{"reference":"Org/Model"}]}"#);
    handle.create_endpoint(&admin, used.unwrap()).await.unwrap();
    assert_eq!(handle.remove_model(&admin, "org/model").await.unwrap_err().code, ErrorCode::ModelInUse);
    handle.delete_endpoint(&admin, "uses").await.unwrap();
    let (freed, question) =
        tokio::join!(handle.remove_model(&admin, "org/model"), asking(&mut agent, Ok(Answer::Removed(7))));
    assert_eq!(freed.unwrap().freed_bytes, 7);
    assert!(matches!(question, Question::RemoveModel(_)));
    assert!(agent.desired.models.is_empty(), "it is let go before it is removed");
    assert_eq!(handle.model_path(&admin, "org/model").await.unwrap_err().code, ErrorCode::ModelNotFound);
    for wrong in ["", "../x", "a/b/c"] {
        assert_eq!(handle.model_path(&admin, wrong).await.unwrap_err().code, ErrorCode::ModelRefInvalid);
    }
}

#[tokio::test]
async fn logs_come_from_the_host_and_questions_time_out() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let (handle, admin) = (world.handle(), world.admin());
    world.endpoint(r#"{"name":"work","command":["x"]}"#).await;
    world.send("work", "1").await;
    let worker = agent.bring_up().await.worker;
    let answering = async {
        let (id, _) = agent.until("a question", |agent| agent.questions.pop_front()).await;
        let line = LogLine { at: world.now(), stream: LogStream::Stderr, text: "hello".to_owned() };
        agent.say(api::AgentMessage::Answer { id, answer: Ok(Answer::Logs(vec![line])) }).await;
    };
    let (logs, ()) = tokio::join!(handle.worker_logs(&admin, worker.as_str(), 10), answering);
    let lines = logs.unwrap().lines;
    assert_eq!((lines[0].line.as_str(), lines[0].source.as_str()), ("hello", "container"));
    let waiting = async {
        agent.until("a question", |agent| agent.questions.pop_front()).await;
        world.advance(10_000);
    };
    let (logs, ()) = tokio::join!(handle.worker_logs(&admin, worker.as_str(), 10), waiting);
    assert_eq!(logs.unwrap_err().code, ErrorCode::Timeout);
    assert_eq!(handle.worker_logs(&admin, "wk_x", 1).await.unwrap_err().code, ErrorCode::WorkerNotFound);
}

#[tokio::test]
async fn folders_are_kept_by_content_and_sent_in_parts() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let (handle, admin) = (world.handle(), world.admin());
    let bytes = Bytes::from(vec![7; 1_200_000]);
    let digest = crate::folders::digest_of(&bytes);
    let wrong = handle.put_folder(&admin, &"0".repeat(64), bytes.clone()).await.unwrap_err();
    assert_eq!(wrong.errors[0].field, "digest");
    let missing = serde_json::from_str(&format!(r#"{{"name":"work","command":["x"],"folder":"{digest}"}}"#));
    let refused = handle.create_endpoint(&admin, missing.unwrap()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::FolderNotFound);
    handle.put_folder(&admin, &digest.to_string(), bytes.clone()).await.unwrap();
    assert_eq!(handle.folder(&admin, &digest.to_string()).await.unwrap().bytes, 1_200_000);
    world.endpoint(&format!(r#"{{"name":"work","command":["x"],"folder":"{digest}"}}"#)).await;
    agent.say(api::AgentMessage::FolderWanted(digest)).await;
    let whole = |agent: &mut Agent| {
        let parts = agent.folders.iter().map(|part| part.bytes.len()).sum::<usize>();
        (parts >= bytes.len() * 4 / 3).then_some(agent.folders.len())
    };
    assert_eq!(agent.until("a folder", whole).await, 3);
    let large = Bytes::from(vec![0; 65 << 20]);
    let digest = crate::folders::digest_of(&large).to_string();
    assert_eq!(handle.put_folder(&admin, &digest, large).await.unwrap_err().code, ErrorCode::FolderTooLarge);
}

#[tokio::test]
async fn waiting_for_a_job_ends_with_it_or_with_the_deadline() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let (handle, admin) = (world.handle(), world.admin());
    world.endpoint(r#"{"name":"work","command":["x"]}"#).await;
    let job = world.send("work", "1").await;
    let until = world.now() + std::time::Duration::from_secs(5);
    let (view, ()) = tokio::join!(handle.wait_job(&admin, "work", job.as_str(), until), async {
        agent.bring_up().await;
        world.advance(5000);
    });
    assert!(!view.unwrap().status.is_terminal());
    let assignment = agent.assignment().await;
    let until = world.now() + std::time::Duration::from_secs(5);
    let (view, _) = tokio::join!(
        handle.wait_job(&admin, "work", job.as_str(), until),
        agent.tell_durably(&assignment, done("\"x\"")),
    );
    assert_eq!(view.unwrap().output.unwrap().get(), "\"x\"");
}
