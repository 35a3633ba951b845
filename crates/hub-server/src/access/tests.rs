//! Who sees what, and which rules are refused.

use base::Redacted;

use super::{AccessRules, Caller, Wish};

const RULES: &str = r#"
[repos."acme/gated"]
access = "gated"
[repos."acme/private"]
access = "private"
[repos."acme/gone"]
access = "disabled"
[repos."acme/open"]
access = "public"

[[tokens]]
token = "hf_alice"
user = "alice"
repos = ["acme/gated", "acme/private"]

[[tokens]]
token = "hf_bob"
user = "bob"
"#;

#[test]
fn each_caller_gets_what_the_hub_would_give() {
    let rules = AccessRules::parse(RULES).unwrap();
    let check = |token: Option<&str>, repo: Option<&str>, listing: &str, bytes: &str| {
        let caller = rules.caller(token.map(|token| Redacted::new(token.to_owned())).as_ref());
        let repo = repo.map(|repo| repo.parse().unwrap());
        let seen = |wish| match rules.check(&caller, repo.as_ref(), wish) {
            Ok(()) => "ok".to_owned(),
            Err(refusal) => refusal.status_and_code(),
        };
        assert_eq!(
            (seen(Wish::Listing).as_str(), seen(Wish::Bytes).as_str()),
            (listing, bytes),
            "{token:?} {repo:?}"
        );
    };
    let (nobody, alice, bob, stranger) = (None, Some("hf_alice"), Some("hf_bob"), Some("hf_mallory"));
    for caller in [nobody, alice, bob] {
        check(caller, Some("acme/unnamed"), "ok", "ok");
        check(caller, Some("ACME/Gone"), "403 -", "403 -");
        check(caller, Some("acme/open"), "ok", "ok");
        check(caller, Some("acme/gone"), "403 -", "403 -");
    }
    check(nobody, Some("acme/gated"), "ok", "401 GatedRepo");
    check(bob, Some("acme/gated"), "ok", "403 GatedRepo");
    check(alice, Some("acme/gated"), "ok", "ok");
    check(nobody, Some("acme/private"), "401 RepoNotFound", "401 RepoNotFound");
    check(bob, Some("acme/private"), "404 RepoNotFound", "404 RepoNotFound");
    check(alice, Some("acme/private"), "ok", "ok");
    check(nobody, None, "401 RepoNotFound", "401 RepoNotFound");
    check(bob, None, "404 RepoNotFound", "404 RepoNotFound");
    for repo in ["acme/open", "acme/gated", "acme/private", "acme/gone"] {
        check(stranger, Some(repo), "401 -", "401 -");
    }
    assert_eq!(rules.user(&Caller::Known(1)), Some("bob"));
    assert_eq!(rules.user(&rules.caller(None)), None);
}

#[test]
fn rules_that_mean_nothing_are_refused_without_showing_tokens() {
    let check = |text: &str, expected: &str| {
        let error = AccessRules::parse(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{error} does not say {expected:?}");
        assert!(!error.to_string().contains("hf_secret"), "{error}");
        assert!(error.fault().hint.is_some());
    };
    check("[repos.\"a/b\"]\naccess = \"open\"", "line 2: unknown variant `open`");
    check("[repos.\"a/b\"]\naccess = \"public\"\nlevel = 3", "line 3: unknown field `level`");
    check("[repo.\"a/b\"]\naccess = \"public\"", "unknown field `repo`");
    check("[repos.\"../b\"]\naccess = \"public\"", "is not a model reference");
    check("[repos.\"a/b\"]\naccess = \"gated\"\n[repos.\"A/b\"]\naccess = \"public\"", "a/b has two rules");
    check("[[tokens]]\ntoken = \"hf_secret\"", "missing field `user`");
    check("[[tokens]]\ntoken = \"hf_secret\" user = 1", "line 2");
    check("[[tokens]]\ntoken = \"\"\nuser = \"a\"", "the token of a is empty");
    check("[[tokens]]\ntoken = \"hf_secret x\"\nuser = \"a\"", "the token of a is empty or holds a space");
}

#[test]
fn names_that_mean_nothing_are_known() {
    let rules = AccessRules::parse(RULES).unwrap();
    let there = ["Acme/Gated", "acme/open", "acme/gone"].map(|name| name.parse().unwrap());
    let unmatched: Vec<&str> =
        rules.unmatched(&there.iter().collect::<Vec<_>>()).iter().map(|name| name.as_str()).collect();
    assert_eq!(unmatched, ["acme/private", "acme/gated", "acme/private"]);
}

#[test]
fn debug_output_holds_no_token() {
    let rules = AccessRules::parse(RULES).unwrap();
    assert!(!format!("{rules:?}").contains("hf_"));
}
