//! Ways of a model to a host, written out.

use expect_test::{Expect, expect};
use types::ErrorCode;

use super::*;

fn check(events: &[(i64, FetchEvent)], expected: &Expect) {
    let mut state = FetchState::ABSENT;
    let mut shown = String::new();
    for (at, event) in events {
        let line = match state.step(event, Timestamp::from_millis(at * 1000)) {
            Step::Next(next, effects) => {
                state = next;
                format!("{} {effects:?}", show(&state))
            }
            Step::Denied(reason) => format!("denied, {reason}"),
            Step::Ignored(reason) => format!("ignored, {reason}"),
        };
        shown.push_str(&format!("{at} {line}\n"));
    }
    expected.assert_eq(&shown);
}

fn show(state: &FetchState) -> String {
    match state {
        FetchState::Wanted { present, failures } => format!("wanted, {present} there, {failures} failures"),
        FetchState::Fetching { present, failures, .. } => {
            format!("fetching, {present} there, {failures} failures")
        }
        FetchState::Ready => "ready".to_owned(),
        FetchState::Failed { present, retry_at, failures, .. } => {
            format!("failed {failures} times, {present} there, again at {}", retry_at.as_millis() / 1000)
        }
    }
}

fn failed(retry_after: Option<u64>) -> FetchEvent {
    let fault = Fault::new(ErrorCode::HubUnreachable, "down");
    FetchEvent::Failed { fault, retry_after: retry_after.map(Duration::from_secs) }
}

#[test]
fn a_fetch_is_tried_again_with_growing_pauses() {
    let events = [
        (0, FetchEvent::Progress(ByteSize(1))),
        (1, FetchEvent::Begun(Source::Hub)),
        (2, FetchEvent::Begun(Source::Hub)),
        (3, FetchEvent::Progress(ByteSize(500))),
        (4, failed(None)),
        (4, failed(None)),
        (5, FetchEvent::RetryDue),
        (6, FetchEvent::RetryDue),
        (6, FetchEvent::Begun(Source::Hub)),
        (7, failed(Some(60))),
        (67, FetchEvent::RetryDue),
        (68, FetchEvent::Begun(Source::Hub)),
        (69, FetchEvent::Lost(ByteSize(400))),
        (70, FetchEvent::Begun(Source::Hub)),
        (71, FetchEvent::Done),
        (72, FetchEvent::Done),
        (73, failed(None)),
        (74, FetchEvent::Lost(ByteSize(0))),
        (75, FetchEvent::Done),
    ];
    check(
        &events,
        &expect![[r#"
        0 denied, the fetch has not begun
        1 fetching, 0 B there, 0 failures []
        2 ignored, the fetch runs already
        3 fetching, 500 B there, 0 failures []
        4 failed 1 times, 500 B there, again at 6 [StartsFailing(Fault { code: HubUnreachable, message: "down", hint: None })]
        4 ignored, the failure is known
        5 denied, the pause is not over
        6 wanted, 500 B there, 1 failures [Fetch]
        6 fetching, 500 B there, 1 failures []
        7 failed 2 times, 500 B there, again at 67 [StartsFailing(Fault { code: HubUnreachable, message: "down", hint: None })]
        67 wanted, 500 B there, 2 failures [Fetch]
        68 fetching, 500 B there, 2 failures []
        69 wanted, 400 B there, 2 failures []
        70 fetching, 400 B there, 2 failures []
        71 ready [ModelReady]
        72 ignored, the model is already there
        73 ignored, the model is already there
        74 wanted, 0 B there, 0 failures []
        75 ready [ModelReady]
    "#]],
    );
}
