//! Every row of the hub's table of errors, and the headers that ask for a pause or name a page.

use proptest::prelude::*;
use types::ErrorCode;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn asked(about: About, token: TokenSent) -> Asked {
    Asked {
        hub: "test".parse().unwrap(),
        repo: "acme/tiny".parse().unwrap(),
        about,
        page: "https://hub.test/acme/tiny".to_owned(),
        token,
    }
}

#[test]
fn each_refusal_has_its_own_code() {
    use ErrorCode as Code;
    use TokenSent::{No, Yes};
    let revision = || About::Revision("main".parse().unwrap());
    let file = || About::File("model.safetensors".parse().unwrap());
    let check = |status: u16, code: &str, words: &str, token: TokenSent, about: About, expected: Code| {
        let headers = headers(&[("x-error-code", code), ("x-error-message", words)]);
        let answer = Unsuccessful {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            at: Timestamp::EPOCH,
            body_words: None,
            authority: "hub.test:443",
        };
        let fault = meaning(&asked(about, token), &answer).fault();
        assert_eq!(fault.code, expected, "{status} {code:?} {words:?} {token:?}");
        assert!(!fault.message.is_empty() && !fault.message.ends_with('.'), "{}", fault.message);
    };
    let invalid = "Invalid credentials in Authorization header";
    let scope = "Please enable access to public gated repositories in your fine-grained token settings";
    check(401, "RepoNotFound", "Invalid username or password.", No, revision(), Code::RepoNotFoundOrPrivate);
    check(404, "RepoNotFound", "Repository not found", Yes, revision(), Code::RepoNotFound);
    check(404, "RepoNotFound", "Repository not found", No, revision(), Code::RepoNotFoundOrPrivate);
    check(401, "GatedRepo", "Access is restricted", No, file(), Code::RepoGatedNoToken);
    check(403, "GatedRepo", "Access is restricted", No, file(), Code::RepoGatedNoToken);
    check(403, "GatedRepo", "not in the authorized list", Yes, file(), Code::RepoGatedNotGranted);
    check(401, "GatedRepo", "Access is restricted", Yes, file(), Code::RepoGatedNotGranted);
    check(401, "", invalid, Yes, revision(), Code::HubTokenWrong);
    check(401, "RepoNotFound", invalid, Yes, revision(), Code::HubTokenWrong);
    check(401, "", "", Yes, revision(), Code::HubTokenWrong);
    check(401, "", "", No, revision(), Code::RepoNotFoundOrPrivate);
    check(403, "", scope, Yes, file(), Code::HubTokenScope);
    check(403, "", "Access to this resource is disabled.", Yes, file(), Code::RepoDisabled);
    check(403, "", "go away", Yes, file(), Code::HubRefused);
    check(403, "", "", No, file(), Code::HubRefused);
    check(404, "RevisionNotFound", "Invalid rev id", No, revision(), Code::RevisionNotFound);
    check(404, "EntryNotFound", "Entry not found", No, file(), Code::FileNotFound);
    check(404, "", "", No, file(), Code::FileNotFound);
    check(404, "", "", Yes, revision(), Code::RepoNotFound);
    check(429, "", "", Yes, revision(), Code::HubRateLimited);
    for status in [408, 500, 502, 503, 504] {
        check(status, "", "", No, file(), Code::HubServerError);
    }
    check(451, "", "", No, file(), Code::HubRefused);
    check(418, "", "", No, file(), Code::HubAnswerInvalid);
}

#[test]
fn the_words_of_a_body_count_where_headers_are_missing_and_are_cleaned() {
    let headers = HeaderMap::new();
    let meaning_of = |words: &str| {
        let answer = Unsuccessful {
            status: StatusCode::FORBIDDEN,
            headers: &headers,
            at: Timestamp::EPOCH,
            body_words: Some(words),
            authority: "hub.test:443",
        };
        meaning(&asked(About::Revision("main".parse().unwrap()), TokenSent::Yes), &answer)
    };
    assert_eq!(meaning_of("Access to this resource is disabled.").fault().code, ErrorCode::RepoDisabled);
    let text = meaning_of(&format!("\x1b[31mred\n{}", "x".repeat(10_000))).to_string();
    assert!(text.len() < 400 && !text.contains(char::is_control), "{text}");
}

#[test]
fn hints_say_what_to_do() {
    let headers = headers(&[("x-error-code", "GatedRepo")]);
    let answer = Unsuccessful {
        status: StatusCode::UNAUTHORIZED,
        headers: &headers,
        at: Timestamp::EPOCH,
        body_words: None,
        authority: "hub.test:443",
    };
    let about = About::File("model.safetensors".parse().unwrap());
    let fault = meaning(&asked(about, TokenSent::No), &answer).fault();
    assert_eq!(fault.hint.unwrap(), "accept the terms at https://hub.test/acme/tiny, then pass --hf-token");
}

#[test]
fn the_next_page_is_found_in_any_spelling() {
    let check = |values: &[&str], expected: Option<&str>| {
        let pairs: Vec<_> = values.iter().map(|value| ("link", *value)).collect();
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value.parse().unwrap());
        }
        assert_eq!(next_page(&map), expected, "{values:?}");
    };
    check(&[r#"<https://hub.test/x?cursor=a,b>; rel="next""#], Some("https://hub.test/x?cursor=a,b"));
    check(
        &[r#"<https://hub.test/1>; rel="prev", <https://hub.test/3>; rel="next""#],
        Some("https://hub.test/3"),
    );
    check(&["<https://hub.test/1>; rel=prev", "</3>;title=x; rel=next , <y>"], Some("/3"));
    check(&[r#"<https://hub.test/1>; rel="xet-auth""#], None);
    check(&["<broken"], None);
    check(&[], None);
}

#[test]
fn entity_tags_lose_their_marks() {
    for (tag, expected) in [("\"abc\"", "abc"), ("W/\"abc\"", "abc"), ("abc", "abc")] {
        assert_eq!(entity_tag(tag), expected);
    }
}

proptest! {
    #[test]
    fn any_header_is_survived(text in "[ -~]{0,80}", link in "[<>;, =\"a-z/]{0,60}") {
        let map = headers(&[("ratelimit", &text), ("retry-after", &text), ("link", &link)]);
        prop_assert!(pause(&map, Timestamp::EPOCH) <= crate::window::PAUSE_MAX);
        let _ = (next_page(&map), entity_tag(&text));
    }
}
