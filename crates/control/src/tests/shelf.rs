//! Models that operators bring, keep, watch and let go.

use std::time::Duration;

use api::{
    AgentMessage, Answer, DamagedFiles, FetchProgress, FileProgress, ImportReport, ImportSummary, ImportWay,
    ImportedManifest, ModelEnd, ModelEvent, ModelPresence, ModelReport, ModelState, ModelStatus, ModelView,
    Question, VerifyReport, WorkProgress,
};
use types::{ErrorCode, Fault, Stamp};

use super::harness::{Agent, MODEL_BYTES, World};
use crate::Retention;

const MODEL: &str = "org/model";

async fn pull(world: &World, more: &str) -> ModelView {
    let body = serde_json::from_str(&format!(r#"{{"reference":"Org/Model"{more}}}"#)).unwrap();
    world.handle().pull_model(&world.admin(), body).await.unwrap()
}

/// Waits until the event of the model looks as wanted.
async fn event(world: &World, wanted: impl Fn(&ModelEvent) -> bool) -> ModelEvent {
    let (handle, admin) = (world.handle(), world.admin());
    let looking = async {
        let mut seen = None;
        loop {
            let until = world.now() + Duration::from_secs(3600);
            let event = handle.watch_model(&admin, MODEL, seen.as_ref(), until).await.unwrap();
            if event.as_ref().is_some_and(&wanted) {
                return event.unwrap();
            }
            seen = event;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking).await.expect("the event never came")
}

fn fetching(bytes_done: u64) -> ModelState {
    ModelState::Fetching(FetchProgress {
        files_total: 1,
        bytes_total: MODEL_BYTES,
        bytes_done,
        bytes_per_second: 50,
        eta_millis: Some(1000),
        sources: vec!["hub one".to_owned()],
        files: vec![FileProgress {
            path: "model.safetensors".to_owned(),
            bytes_total: MODEL_BYTES,
            bytes_done,
        }],
        ..FetchProgress::default()
    })
}

#[tokio::test]
async fn a_pull_is_watched_and_done_when_the_model_is_there() {
    let mut world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    assert_eq!(pull(&world, "").await.status, ModelStatus::Waiting);
    agent.report_model(fetching(400), 400).await;
    let seen = event(&world, |event| matches!(event.model.status, ModelStatus::Fetching(_))).await;
    let ModelStatus::Fetching(fetch) = &seen.model.status else { unreachable!("it was just matched") };
    assert_eq!((fetch.bytes_done, fetch.sources.as_slice()), (400, &["hub one".to_owned()][..]));
    assert_eq!(fetch.files[0].path, "model.safetensors");
    assert_eq!((seen.end, seen.model.places.len()), (None, 1));
    agent.report_ready(Some(world.now())).await;
    let seen = event(&world, |event| event.end.is_some()).await;
    assert_eq!((seen.end, seen.model.pinned), (Some(ModelEnd::Ready), false));
    // Nothing wants it any more: it is a cached one, which may be evicted.
    agent.until("nothing desired", |agent| agent.desired.models.is_empty().then_some(())).await;
    world.stop().await;
    world.start().await;
    let mut agent = Agent::dial_with(&world, agent.observed, 0).await;
    event(&world, |event| event.end == Some(ModelEnd::Ready)).await;
    let list = world.handle().models(&world.admin()).await.unwrap();
    assert_eq!(list.models.len(), 1, "a cached model is listed after a restart");
    // Once it is evicted, it is listed no more, and who asks for it by name is told so.
    agent.until("what is desired", |agent| (agent.desired.stamp > Stamp::default()).then_some(())).await;
    agent.observed.models.clear();
    agent.report().await;
    let seen = event(&world, |event| event.model.status == ModelStatus::Absent).await;
    assert_eq!(seen.end, Some(ModelEnd::Absent));
    assert!(world.handle().models(&world.admin()).await.unwrap().models.is_empty());
    assert!(agent.desired.models.is_empty(), "it does not come back by itself");
}

#[tokio::test]
async fn a_model_that_is_there_is_pulled_at_once_and_one_pulled_before_any_host_waits_for_the_first() {
    let world = World::begin().await;
    pull(&world, "").await;
    let seen = event(&world, |_| true).await;
    assert_eq!((seen.model.status, seen.end), (ModelStatus::Waiting, None));
    let mut agent = Agent::dial(&world).await;
    agent.report_ready(None).await;
    event(&world, |event| event.end == Some(ModelEnd::Ready)).await;
    agent.until("nothing desired", |agent| agent.desired.models.is_empty().then_some(())).await;
    assert_eq!(pull(&world, "").await.status, ModelStatus::Ready);
    agent.report().await;
    let seen = event(&world, |_| true).await;
    assert_eq!(seen.end, Some(ModelEnd::Ready));
    assert!(agent.desired.models.is_empty());
}

#[tokio::test]
async fn pins_reach_hosts_and_last() {
    let mut world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    assert!(pull(&world, r#","pin":true"#).await.pinned);
    agent.report_ready(None).await;
    let key = agent.until("a pin", |agent| agent.desired.pins.first().cloned()).await;
    agent.until("nothing desired", |agent| agent.desired.models.is_empty().then_some(())).await;
    world.crash().await;
    world.start().await;
    let mut agent = Agent::dial_with(&world, agent.observed, 0).await;
    agent.until("the pin again", |agent| agent.desired.pins.contains(&key).then_some(())).await;
    let (handle, admin) = (world.handle(), world.admin());
    assert!(pull(&world, "").await.pinned, "another pull does not take a pin off");
    let refused = handle.remove_model(&admin, MODEL).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ModelPinned);
    assert!(handle.models(&admin).await.unwrap().models[0].pinned, "a refusal changes nothing");
    assert!(!handle.retain_model(&admin, MODEL, Retention::Evictable).await.unwrap().pinned);
    agent.until("no pin", |agent| agent.desired.pins.is_empty().then_some(())).await;
    let unknown = handle.retain_model(&admin, "org/other", Retention::Pinned).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::ModelNotFound);
    // One that came for an endpoint is pinned like one that was pulled.
    world.endpoint(r#"{"name":"embed","command":["x"],"models":[{"reference":"org/model"}]}"#).await;
    assert!(handle.retain_model(&admin, MODEL, Retention::Pinned).await.unwrap().pinned);
    agent.until("a pin", |agent| agent.desired.pins.contains(&key).then_some(())).await;
}

#[tokio::test]
async fn a_fetch_is_called_off_and_begun_again() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let (handle, admin) = (world.handle(), world.admin());
    pull(&world, r#","hubToken":"hf_x""#).await;
    agent.report_model(fetching(400), 400).await;
    event(&world, |event| matches!(event.model.status, ModelStatus::Fetching(_))).await;
    handle.cancel_pull(&admin, MODEL).await.unwrap();
    let seen = event(&world, |event| event.end.is_some()).await;
    assert_eq!(seen.end, Some(ModelEnd::Cancelled));
    agent.until("nothing desired", |agent| agent.desired.models.is_empty().then_some(())).await;
    let again = handle.cancel_pull(&admin, MODEL).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::ModelNotFetching);
    pull(&world, "").await;
    let model = agent.until("the model", |agent| agent.desired.models.first().cloned()).await;
    assert!(model.token.is_none(), "the token of the earlier pull is not used for another's");
}

#[tokio::test]
async fn a_failure_that_needs_a_person_ends_the_stream_and_another_does_not() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    pull(&world, "").await;
    let failed = |code| ModelState::Failed {
        fault: Fault::new(code, "no"),
        failures: 1,
        retry_at: world.now() + Duration::from_secs(5),
    };
    for (code, end) in [
        (ErrorCode::HubServerError, None),
        (ErrorCode::HubRateLimited, None),
        (ErrorCode::RepoGatedNotGranted, Some(ModelEnd::Failed)),
        (ErrorCode::DiskFull, Some(ModelEnd::Failed)),
    ] {
        agent.report_model(failed(code), 0).await;
        let is_it = |event: &ModelEvent| match &event.model.status {
            ModelStatus::Failed { fault, .. } => fault.code == code,
            _ => false,
        };
        assert_eq!(event(&world, is_it).await.end, end, "{code}");
        // What advances has got over its failure.
        agent.report_model(fetching(400), 400).await;
        event(&world, |event| matches!(event.model.status, ModelStatus::Fetching(_))).await;
    }
}

#[tokio::test]
async fn a_model_larger_than_every_host_is_refused_at_once() {
    let world = World::begin().await;
    let body = || serde_json::from_str(r#"{"reference":"Org/Model"}"#).unwrap();
    let (handle, admin) = (world.handle(), world.admin());
    let _small = Agent::dial_with_room(&world, MODEL_BYTES - 1).await;
    let refused = handle.pull_model(&admin, body()).await.unwrap_err();
    assert_eq!((refused.code, refused.errors[0].field.as_str()), (ErrorCode::ModelTooLarge, "reference"));
    assert!(refused.detail.contains("holds 999 B at most"), "{refused:?}");
    let spec = r#"{"name":"embed","command":["x"],"models":[{"reference":"org/model"}]}"#;
    let refused = handle.create_endpoint(&admin, serde_json::from_str(spec).unwrap()).await.unwrap_err();
    assert_eq!(refused.errors[0].field, "models[0].reference");
}

#[tokio::test]
async fn damaged_files_are_fetched_again_and_the_why_is_asked_of_hosts() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    pull(&world, "").await;
    agent.report_ready(None).await;
    event(&world, |event| event.end.is_some()).await;
    agent.until("nothing desired", |agent| agent.desired.models.is_empty().then_some(())).await;
    let (handle, admin) = (world.handle(), world.admin());
    let shown = tokio::sync::watch::Sender::new(None);
    let damaged = async |agent: &mut Agent| {
        let (id, question) = agent.until("a question", |agent| agent.questions.pop_front()).await;
        let quarantine = DamagedFiles::Quarantine;
        assert!(matches!(question, Question::VerifyModel { damaged, .. } if damaged == quarantine));
        let report =
            VerifyReport { files: 1, bytes: MODEL_BYTES, damaged: vec!["model.safetensors".to_owned()] };
        agent.say(AgentMessage::Answer { id, answer: Ok(Answer::Verified(report)) }).await;
    };
    let (view, ()) = tokio::join!(
        handle.verify_model(&admin, MODEL, DamagedFiles::Quarantine, &shown),
        damaged(&mut agent)
    );
    assert_eq!(view.unwrap().repairing.len(), 1);
    // It is wanted until it is whole again, also by somebody who has no endpoint with it.
    agent.report_model(fetching(900), 900).await;
    event(&world, |event| matches!(event.model.status, ModelStatus::Fetching(_))).await;
    agent.report_ready(Some(world.now())).await;
    event(&world, |event| event.end == Some(ModelEnd::Ready)).await;
    let why = async |agent: &mut Agent, answer: ModelPresence| {
        let (id, _) = agent.until("a question", |agent| agent.questions.pop_front()).await;
        agent.say(AgentMessage::Answer { id, answer: Ok(Answer::Why(Box::new(answer))) }).await;
    };
    let (view, ()) = tokio::join!(handle.why_model(&admin, MODEL), why(&mut agent, ModelPresence::Never));
    let view = view.unwrap();
    assert!(view.pull.is_some_and(|words| words.starts_with("done since")));
    assert_eq!(view.hosts[0].presence, Some(ModelPresence::Never));
    assert_eq!(handle.why_model(&admin, "a/b").await.unwrap_err().code, ErrorCode::ModelNotFound);
}

#[tokio::test]
async fn an_imported_model_is_known_as_a_pulled_one() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    let (handle, admin) = (world.handle(), world.admin());
    let shown = tokio::sync::watch::Sender::new(None);
    let body = |more: &str| serde_json::from_str(&format!(r#"{{"folder":"/cache"{more}}}"#)).unwrap();
    let unknown = handle.import_models(&admin, body(r#","host":"host_x""#), &shown).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::HostNotFound);
    let unknown = handle.import_models(&admin, body(r#","hub":"other""#), &shown).await.unwrap_err();
    assert_eq!(unknown.errors[0].field, "hub");
    let answering = async {
        let (id, question) = agent.until("a question", |agent| agent.questions.pop_front()).await;
        let Question::ImportCache(order) = question else { panic!("{question:?} was asked") };
        assert!(order.hub_trusted && order.way == ImportWay::Link, "{order:?}");
        let imported =
            ImportedManifest { manifest: super::harness::some_manifest(), refs: vec!["main".to_owned()] };
        let report = ImportReport { models: vec![imported], summary: ImportSummary::default() };
        agent.say(AgentMessage::Answer { id, answer: Ok(Answer::Imported(Box::new(report))) }).await;
        id
    };
    let (view, _) = tokio::join!(handle.import_models(&admin, body(r#","link":true"#), &shown), answering);
    view.unwrap();
    let list = handle.models(&admin).await.unwrap().models;
    assert_eq!(list[0].status, ModelStatus::Ready, "before the host's next report: {list:?}");
    let key = super::harness::some_manifest().key().clone();
    let state =
        ModelState::Ready { since: world.now(), fetch_started_at: None, bytes_fetched: 0, fetch_millis: 0 };
    agent.observed.models = vec![ModelReport { key, state, bytes_here: MODEL_BYTES }];
    agent.report().await;
    let seen = event(&world, |event| event.end == Some(ModelEnd::Ready)).await;
    assert_eq!(seen.model.reference.to_string(), "huggingface!org/model");
}

#[tokio::test]
async fn work_on_a_host_is_waited_for_while_it_goes_on() {
    let world = World::begin().await;
    let mut agent = Agent::dial(&world).await;
    pull(&world, "").await;
    agent.report_ready(None).await;
    event(&world, |event| event.end.is_some()).await;
    let (handle, admin) = (world.handle(), world.admin());
    let shown = tokio::sync::watch::Sender::new(None);
    let mut seen = shown.subscribe();
    let working = async {
        let (id, _) = agent.until("a question", |agent| agent.questions.pop_front()).await;
        for files_done in 1..=5 {
            let progress = WorkProgress { files_done, files_total: 5, ..WorkProgress::default() };
            agent.say(AgentMessage::Working { id, progress }).await;
            let told = |work: &Option<crate::HostWork>| {
                work.as_ref().is_some_and(|work| work.progress.files_done == files_done)
            };
            seen.wait_for(told).await.unwrap();
            // Longer in all than any silence may be.
            world.advance(40_000);
        }
        let report = VerifyReport { files: 5, bytes: MODEL_BYTES, damaged: Vec::new() };
        agent.say(AgentMessage::Answer { id, answer: Ok(Answer::Verified(report)) }).await;
    };
    let (view, ()) = tokio::join!(handle.verify_model(&admin, MODEL, DamagedFiles::Report, &shown), working);
    assert_eq!(view.unwrap().files, 5);
    let silent = async {
        agent.until("a question", |agent| agent.questions.pop_front()).await;
        world.advance(61_000);
    };
    let (view, ()) = tokio::join!(handle.verify_model(&admin, MODEL, DamagedFiles::Report, &shown), silent);
    assert_eq!(view.unwrap_err().code, ErrorCode::Timeout);
}
