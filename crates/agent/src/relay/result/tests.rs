//! Bodies as published SDKs send them, and bodies that nobody should.

use super::*;

fn show(posted: &Posted) -> String {
    match posted {
        Posted::Progress(update) => format!("progress {update}"),
        Posted::Final { outcome, stop_worker } => format!(
            "final output={} error={}{}",
            outcome.output.as_ref().map_or("-", |output| output.get()),
            outcome.error.as_deref().unwrap_or("-"),
            if *stop_worker { " stop" } else { "" },
        ),
    }
}

#[test]
fn every_body_of_the_protocol_is_understood() {
    let check =
        |body: &str, expected: &str| assert_eq!(show(&parse_result(body.as_bytes())), expected, "{body}");
    check(r#"{"output": {"a": 1.10, "b":[ ]}}"#, r#"final output={"a": 1.10, "b":[ ]} error=-"#);
    check(r#"{"output": null}"#, "final output=null error=-");
    check("{}", "final output=- error=-");
    check(r#"{"error": "text"}"#, "final output=- error=text");
    check(r#"{"output": {"k":1}, "error": "bad"}"#, r#"final output={"k":1} error=bad"#);
    check(r#"{"error": "{\"error_type\": \"x\"}"}"#, r#"final output=- error={"error_type": "x"}"#);
    check(r#"{"error": {"code": 3}}"#, r#"final output=- error={"code": 3}"#);
    check(r#"{"output": 1, "error": null}"#, "final output=1 error=-");
    check(r#"{"output": 1, "stopPod": true}"#, "final output=1 error=- stop");
    check(r#"{"output": 1, "stopPod": false}"#, "final output=1 error=-");
    check(r#"{"status": "IN_PROGRESS", "output": "half"}"#, r#"progress "half""#);
    check(r#"{"status": "IN_PROGRESS"}"#, "progress null");
    check(r#"{"output": {"status": "IN_PROGRESS"}}"#, r#"final output={"status": "IN_PROGRESS"} error=-"#);
    check(r#"{"output": [], "other": 1}"#, "final output=[] error=-");
}

#[test]
fn what_is_no_json_object_is_a_failed_result() {
    for body in [&b"{\"output\": NaN}"[..], b"", b"[1]", b"job=1", b"\xff\xfe", b"{\"output\": 1"] {
        let shown = show(&parse_result(body));
        assert!(
            shown.starts_with("final output=- error=the worker sent a result that is not JSON"),
            "{shown}"
        );
    }
    assert!(parse_chunk(b"x").is_none());
    assert_eq!(parse_chunk(b"{\"output\": {\"token\": 0}}").unwrap().get(), "{\"token\": 0}");
}
