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
