//! What every answer carries, whoever gave it.

use axum::{Router, body::Body, routing::get};
use base::{Clock, Entropy};
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{REQUEST_ID_HEADER, RequestId, observed, problem_fallbacks};

fn router() -> Router {
    let routes = Router::new()
        .route("/ok", get(async |id: RequestId| id.to_string()))
        .route("/panic", get(async || -> &'static str { panic!("boom") }));
    observed(problem_fallbacks(routes), Clock::System, Entropy::seeded(1))
}

#[tokio::test]
async fn every_answer_is_a_problem_or_an_answer_and_names_its_request() {
    let check = async |method: &str, path: &str, status: u16, text: &str| {
        let request = Request::builder().method(method).uri(path).header(REQUEST_ID_HEADER, "stale");
        let response = router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let id = response.headers()[REQUEST_ID_HEADER].to_str().unwrap().to_owned();
        assert!(id.starts_with("rq_") && id.len() == 23, "{id}");
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        if status == 405 {
            assert_eq!(response.headers()["allow"], "GET,HEAD");
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        match serde_json::from_slice::<api::Problem>(&body) {
            Ok(problem) => {
                assert_eq!((problem.status, problem.detail.as_str()), (status, text));
                assert_eq!(problem.kind, format!("/docs/errors/{}", problem.code));
                assert!(problem.hint.is_some());
            }
            Err(_) => assert_eq!((body, status), (bytes::Bytes::from(id), 200)),
        }
    };
    check("GET", "/ok", 200, "").await;
    check("GET", "/nowhere?key=secret", 404, "there is nothing at GET /nowhere").await;
    check("DELETE", "/ok", 405, "/ok does not take DELETE").await;
    check("GET", "/panic", 500, "the request met a mistake in Larder").await;
}
