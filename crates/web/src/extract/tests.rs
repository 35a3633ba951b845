//! Addresses that parse and that do not.

use axum::{Router, body::Body, routing::get};
use http::Request;
use http_body_util::BodyExt;
use serde::Deserialize;
use tower::ServiceExt;

use super::{Path, Query};

#[derive(Deserialize)]
struct Wait {
    wait: Option<u32>,
}

async fn show(Path((name, number)): Path<(String, u8)>, Query(Wait { wait }): Query<Wait>) -> String {
    format!("{name} {number} {wait:?}")
}

#[tokio::test]
async fn what_cannot_be_parsed_is_a_problem() {
    let router = Router::new().route("/{name}/{number}", get(show));
    let check = async |uri: &str, expected: &str| {
        let response = router.clone().oneshot(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = match serde_json::from_slice::<api::Problem>(&bytes) {
            Ok(problem) => {
                let fields: Vec<String> = problem
                    .errors
                    .iter()
                    .map(|error| format!("{}: {}", error.field, error.message))
                    .collect();
                format!("{status} {} {fields:?}", problem.code)
            }
            Err(_) => format!("{status} {}", String::from_utf8_lossy(&bytes)),
        };
        assert_eq!(text, expected, "{uri}");
    };
    check("/a%20b/7?wait=3", "200 a b 7 Some(3)").await;
    check("/a/7", "200 a 7 None").await;
    check("/a/x", "422 field-invalid []").await;
    check("/a/7?wait=soon", r#"422 field-invalid ["wait: invalid digit found in string"]"#).await;
    check("/%ff/7", r#"422 field-invalid ["name: it is not UTF-8"]"#).await;
}
