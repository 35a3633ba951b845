//! What is refused, by the command line itself and by the server; and what the grammar tells about itself.

use expect_test::expect;
use serde_json::json;

use crate::canned::{check, check_json};
use crate::views::problem;

#[tokio::test]
async fn what_is_wrong_is_told_with_a_code_and_a_hint() {
    check("endpoint create abc --command x --model ../x --no-dir", &[], expect![[r#"
        ! error: "../x" is not a model reference: a name holds no two dashes and no two dots in a row (model-ref-invalid)
        ! hint: write org/name, org/name@revision, org/name:variant, or a link to the model's page
        exit 6
    "#]]).await;
    check(
        "endpoint create abc --model a/b",
        &[],
        expect![[r#"
        ! error: an endpoint needs something that its workers run (field-invalid)
        ! hint: give --command "python handler.py", or --image NAME
        exit 6
    "#]],
    )
    .await;
    check(
        "endpoint create abc --command 'python \"x' --no-dir",
        &[],
        expect![[r#"
        ! error: the command ends inside a quotation: python "x (field-invalid)
        exit 6
    "#]],
    )
    .await;
    check(
        "run text-embed {text:1}",
        &[],
        expect![[r#"
        ! error: the input is not JSON: key must be a string at line 1 column 2 (body-not-json)
        ! hint: quote it for the shell: larder run NAME '{"text": "hello"}'
        exit 6
    "#]],
    )
    .await;
    let unknown =
        problem("endpoint-not-found", 404, "there is no endpoint nope", Some("see `larder endpoint list`"));
    check(
        "endpoint get nope",
        &[("GET /api/v2/serverless/nope", 404, unknown.clone())],
        expect![[r#"
        > GET /api/v2/serverless/nope
        ! error: there is no endpoint nope (endpoint-not-found)
        ! hint: see `larder endpoint list`
        exit 5
    "#]],
    )
    .await;
    check_json("endpoint get nope", &[("GET /api/v2/serverless/nope", 404, unknown)], expect![[r#"
        > GET /api/v2/serverless/nope
        ! {"code":"endpoint-not-found","message":"there is no endpoint nope","hint":"see `larder endpoint list`"}
        exit 5
    "#]]).await;
    let full = json!({"error": "the queue holds 50 jobs", "code": "queue-full", "hint": "wait", "errors": [
        {"field": "policy.ttl", "message": "must be 10 s or more"},
    ]});
    check(
        "run text-embed 1",
        &[("POST /v2/text-embed/run", 429, full)],
        expect![[r#"
        > POST /v2/text-embed/run {"input":1}
        ! error: the queue holds 50 jobs (policy.ttl: must be 10 s or more) (queue-full)
        ! hint: wait
        exit 6
    "#]],
    )
    .await;
    let echo = json!({"detail": "no repository a/b", "code": "repo-not-found", "errors": [
        {"field": "reference", "message": "no repository a/b"},
    ]});
    check(
        "model pull a/b",
        &[("POST /api/v2/models/pull", 404, echo)],
        expect![[r#"
            > POST /api/v2/models/pull {"reference":"a/b","pin":false}
            ! error: no repository a/b (repo-not-found)
            exit 6
        "#]],
    )
    .await;
    let key = problem("key-wrong", 401, "the key is not known", None);
    check("host list", &[("GET /api/v2/hosts", 401, key)], expect![[r#"
        > GET /api/v2/hosts
        ! error: the key is not known (key-wrong)
        ! hint: the key comes from --key, from LARDER_KEY or else from /home/user/.local/share/larder/admin.key: check it
        exit 4
    "#]]).await;
    check(
        "host list",
        &[("GET /api/v2/hosts", 502, json!("<html>proxy</html>"))],
        expect![[r#"
        > GET /api/v2/hosts
        ! error: http://SERVER/ answers 502 Bad Gateway: <html>proxy</html> (internal)
        exit 1
    "#]],
    )
    .await;
    check("host list", &[("GET /api/v2/hosts", 200, json!("hello"))], expect![[r#"
        > GET /api/v2/hosts
        ! error: the answer of http://SERVER/ makes no sense: expected value at line 1 column 1: hello (internal)
        ! hint: the server may be of another version, or no Larder server
        exit 1
    "#]]).await;
    check(
        "host list --server http://127.0.0.1:9",
        &[],
        expect![[r#"
            ! error: no server answers at http://127.0.0.1:9: Connection refused (os error 111) (server-away)
            ! hint: start one with `larder up`, or name another with --server
            exit 3
        "#]],
    )
    .await;
}

#[tokio::test]
async fn the_grammar_tells_about_itself() {
    check(
        "completion fish | head -3",
        &[],
        expect![[r#"
        # Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
        function __fish_larder_global_optspecs
            string join \n server= key= data-dir= output= h/help
    "#]],
    )
    .await;
    check(
        "man | head -3",
        &[],
        expect![[r#"
        .ie \n(.g .ds Aq \(aq
        .el .ds Aq '
        .TH larder 1  "larder " 
    "#]],
    )
    .await;
}
