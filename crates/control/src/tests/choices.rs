//! Which files of a model: asked for, recorded, shown; and what there is to choose from.

use api::{OfferModel, UpdateEndpoint};
use types::{ErrorCode, Fault, WeightsPolicy};

use super::harness::{Agent, World};
use crate::{Caller, KeyScope};

const WITH_PATTERNS: &str = r#"{"name":"embed","command":["x"],
    "models":[{"reference":"org/model","include":["*.safetensors"],"exclude":["*.md"],"weights":"any"}]}"#;

fn offer(reference: &str) -> OfferModel {
    OfferModel { reference: reference.to_owned(), ..OfferModel::default() }
}

#[tokio::test]
async fn what_is_wanted_is_asked_for_recorded_and_kept_through_restarts() {
    let mut world = World::begin().await;
    let created = world.endpoint(WITH_PATTERNS).await;
    let asked = world.hub.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!(asked.wish.include[0].as_str(), "*.safetensors");
    assert_eq!((asked.wish.exclude.len(), asked.wish.weights), (1, WeightsPolicy::Any));
    let choice = created.models[0].choice.clone();
    assert_eq!(
        (choice.name.as_str(), choice.include.as_slice()),
        ("fake", &["*.safetensors".to_owned()][..])
    );
    assert_eq!(choice.left_out[0].ask.as_deref(), Some(":onnx"));
    world.stop().await;
    world.start().await;
    let (handle, admin) = (world.handle(), world.admin());
    assert_eq!(handle.endpoint(&admin, "embed").await.unwrap().models[0].choice, choice);
    // Models that are resolved anew are asked for as before.
    let body: UpdateEndpoint = serde_json::from_str(r#"{"hubToken":"hf_other"}"#).unwrap();
    handle.update_endpoint(&admin, "embed", body).await.unwrap();
    let asked = world.hub.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!((asked.wish.include.len(), asked.wish.weights), (1, WeightsPolicy::Any));
    // A change of something else keeps the choice.
    let body: UpdateEndpoint = serde_json::from_str(r#"{"env":{"A":"1"}}"#).unwrap();
    let updated = handle.update_endpoint(&admin, "embed", body).await.unwrap();
    assert_eq!(updated.models[0].choice, choice);
}

#[tokio::test]
async fn one_repository_is_seen_once_by_a_worker() {
    let world = World::begin().await;
    let text = r#"{"name":"two","command":["x"],"models":[{"reference":"org/model:Q4_0"},{"reference":"Org/Model:Q8_0"}]}"#;
    let refused = world
        .handle()
        .create_endpoint(&world.admin(), serde_json::from_str(text).unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code, refused.errors[0].field.as_str()),
        (ErrorCode::FieldInvalid, "models[1].reference")
    );
}

#[tokio::test]
async fn what_there_is_is_told_before_anything_is_fetched_and_while_the_hub_is_down() {
    let world = World::begin().await;
    let (handle, admin) = (world.handle(), world.admin());
    let told = handle.offer_model(&admin, offer("org/model")).await.unwrap();
    let hub = told.hub.unwrap();
    assert_eq!(
        (hub.variants[0].name.as_str(), hub.variants[0].default, hub.variants[0].hosts),
        ("safetensors", true, 0)
    );
    assert!(told.held.is_empty() && hub.chosen.is_some());
    assert!(told.notes.iter().any(|note| note.contains("Python code")), "{:?}", told.notes);

    let mut agent = Agent::dial(&world).await;
    let body = serde_json::from_str(r#"{"reference":"org/model"}"#).unwrap();
    handle.pull_model(&admin, body).await.unwrap();
    agent.report_ready(None).await;
    let told = testkit::wait_for("the model on the host", std::time::Duration::from_secs(20), async || {
        let told = handle.offer_model(&admin, offer("ORG/model")).await.unwrap();
        (told.hub.as_ref()?.variants[0].hosts == 1).then_some(told)
    })
    .await;
    assert_eq!(told.held[0].repo.as_str(), "org/model");

    *world.hub.refuses.lock().unwrap() =
        Some(Fault::new(ErrorCode::HubUnreachable, "the hub does not answer"));
    let told = handle.offer_model(&admin, offer("org/model")).await.unwrap();
    assert!(told.hub.is_none() && told.held.len() == 1);
    assert!(told.notes[0].contains("the hub does not answer (hub-unreachable)"), "{:?}", told.notes);
    let refused = handle.offer_model(&admin, offer("org/other")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::HubUnreachable);
}

#[tokio::test]
async fn only_an_administrator_has_the_server_ask_an_address() {
    let world = World::begin().await;
    let reader = Caller { scopes: [KeyScope::Read].into(), ..world.admin() };
    world.handle().offer_model(&reader, offer("org/model")).await.unwrap();
    let elsewhere =
        OfferModel { hub_endpoint: Some("http://127.0.0.1:9".parse().unwrap()), ..offer("org/model") };
    let refused = world.handle().offer_model(&reader, elsewhere).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::KeyForbidden);
    let refused = world.handle().offer_model(&reader, offer("../x")).await.unwrap_err();
    assert_eq!((refused.code, refused.errors[0].field.as_str()), (ErrorCode::ModelRefInvalid, "reference"));
    let refused = world.handle().offer_model(&reader, offer("other!a/b")).await.unwrap_err();
    assert_eq!((refused.code, refused.errors[0].field.as_str()), (ErrorCode::FieldInvalid, "reference"));
}
