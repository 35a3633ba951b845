//! A model from its reference to its files, against a stand-in.

use types::ErrorCode;

use super::*;
use crate::tests::stand_in::{Heard, Reply, StandIn, commit, token};

const OID: &str = "0202020202020202020202020202020202020202";

async fn hub(access: fn() -> Reply) -> StandIn {
    StandIn::start(move |heard: &Heard| {
        let commit = commit().to_string();
        if heard.path().starts_with("/api/models/acme/tiny/revision/") {
            Reply::json(&format!(r#"{{"id":"Acme/Tiny","sha":"{commit}","private":false,"gated":"auto"}}"#))
        } else if heard.path().starts_with("/api/models/Acme/Tiny/tree/") {
            let sha256 = "01".repeat(32);
            Reply::json(&format!(
                r#"[{{"type":"file","path":"config.json","size":2,"oid":"{OID}"}},
                    {{"type":"file","path":"t-Q8_0.gguf","size":7,"oid":"{OID}","lfs":{{"oid":"{sha256}","size":7}}}}]"#
            ))
        } else {
            assert_eq!(heard.path(), format!("/Acme/Tiny/resolve/{commit}/t-Q8_0.gguf"));
            access()
        }
    })
    .await
}

#[tokio::test]
async fn a_reference_becomes_files_that_may_be_read() {
    let hub = hub(|| Reply::redirect(302, "http://127.0.0.1:1/x")).await;
    let reference = "acme/tiny@v1:Q8_0".parse().unwrap();
    let model = hub.hub().resolve_model(&reference, Some(&token())).await.unwrap();
    assert_eq!(model.repo.to_string(), "test!Acme/Tiny");
    assert_eq!(model.visibility, Visibility::Gated);
    assert_eq!((model.bytes, model.weight_file.as_str()), (ByteSize(9), "t-Q8_0.gguf"));
    assert_eq!(model.manifest.key().commit, commit());
    assert_eq!(hub.heard()[0].path(), "/api/models/acme/tiny/revision/v1");
}

#[tokio::test]
async fn each_step_tells_its_own_refusal() {
    let check = async |reference: &str, access: fn() -> Reply, expected: ErrorCode| {
        let hub = hub(access).await;
        let error = hub.hub().resolve_model(&reference.parse().unwrap(), None).await.unwrap_err();
        assert_eq!(error.fault().code, expected, "{error}");
    };
    let granted = || Reply::status(200);
    check("acme/tiny:Q4_0", granted, ErrorCode::VariantNotFound).await;
    check(
        "acme/tiny",
        || Reply::status(401).header("x-error-code", "GatedRepo"),
        ErrorCode::RepoGatedNoToken,
    )
    .await;
}

/// A hub whose index of weights is served with some bytes, and listed with a digest of others or of the same.
async fn hub_with_index(served: &'static str) -> StandIn {
    const INDEX: &str = r#"{"weight_map": {"a": "model-00001-of-00001.safetensors"}}"#;
    let mut hash = sha1::Sha1::new_with_prefix(format!("blob {}\0", INDEX.len()));
    hash.update(INDEX);
    let index = hex(&hash.finalize());
    StandIn::start(move |heard: &Heard| {
        let commit = commit().to_string();
        let size = INDEX.len();
        if heard.path().contains("/revision/") {
            Reply::json(&format!(r#"{{"id":"acme/tiny","sha":"{commit}"}}"#))
        } else if heard.path().contains("/tree/") {
            let sha256 = "01".repeat(32);
            Reply::json(&format!(
                r#"[{{"type":"file","path":"config.json","size":2,"oid":"{OID}"}},
                    {{"type":"file","path":"model.safetensors.index.json","size":{size},"oid":"{index}"}},
                    {{"type":"file","path":"model-00001-of-00001.safetensors","size":7,"oid":"{OID}","lfs":{{"oid":"{sha256}","size":7}}}},
                    {{"type":"file","path":"onnx/model.onnx","size":5,"oid":"{OID}","lfs":{{"oid":"{sha256}","size":5}}}}]"#
            ))
        } else if heard.path().ends_with("/model.safetensors.index.json") {
            let text = if served.is_empty() { INDEX } else { served };
            Reply::json(text)
        } else {
            assert_eq!(heard.method, "HEAD", "no weights are read before they are fetched");
            Reply::redirect(302, "http://127.0.0.1:1/x")
        }
    })
    .await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn what_there_is_to_choose_from_is_told_before_anything_is_proven() {
    let hub = hub_with_index("").await;
    let (reference, wish) = ("acme/tiny".parse().unwrap(), SelectionWish::default());
    let offered = hub.hub().offer(&reference, &wish, None).await.unwrap();
    assert!(hub.heard().iter().all(|heard| heard.method == "GET"), "nothing is proven");
    let told: Vec<(&str, u64, bool)> =
        offered.offers.iter().map(|offer| (offer.name.as_str(), offer.files, offer.is_default)).collect();
    assert_eq!(told, [("safetensors", 3, true), ("onnx", 2, false)]);
    let resolved = hub.hub().resolve_model(&reference, None).await.unwrap();
    assert_eq!(offered.selected.unwrap().manifest, resolved.manifest);
    assert_eq!(offered.offers[0].selection, resolved.manifest.key().selection);
    let onnx = hub.hub().resolve_model(&"acme/tiny:onnx".parse().unwrap(), None).await.unwrap();
    assert_eq!(onnx.weight_file.as_str(), "onnx/model.onnx");
}

#[tokio::test]
async fn an_index_that_is_not_the_one_listed_is_refused() {
    let other = r#"{"weight_map": {"a": "model-00002-of-00001.safetensors"}}"#;
    let hub = hub_with_index(other).await;
    let error = hub.hub().resolve_model(&"acme/tiny".parse().unwrap(), None).await.unwrap_err();
    assert_eq!(error.fault().code, ErrorCode::ContentMismatch, "{error}");
}
