//! Every form that people paste, and every one that must be refused with its reason.

use expect_test::{Expect, expect};

use super::*;

fn check(text: &str, expected: &Expect) {
    let shown = match text.parse::<ModelRef>() {
        Ok(reference) => {
            assert_eq!(
                reference.to_string().parse::<ModelRef>().as_ref(),
                Ok(&reference),
                "it does not read back"
            );
            reference.to_string()
        }
        Err(error) => error.reason.to_owned(),
    };
    expected.assert_eq(&shown);
}

#[test]
fn forms_that_people_write_are_taken() {
    check("Qwen/Qwen3-0.6B", &expect!["Qwen/Qwen3-0.6B"]);
    check(" gpt2 ", &expect!["gpt2"]);
    check("org/name@v1.0", &expect!["org/name@v1.0"]);
    check("org/name@refs/pr/1:Q4_K_M", &expect!["org/name@refs/pr/1:Q4_K_M"]);
    check("org/name:Q4_K_M", &expect!["org/name:Q4_K_M"]);
    check("local!org/name", &expect!["local!org/name"]);
    check("127.0.0.1:8060!org/name", &expect!["127.0.0.1:8060!org/name"]);
    check("https://huggingface.co/org/name", &expect!["org/name"]);
    check("https://huggingface.co/org/name/", &expect!["org/name"]);
    check("https://huggingface.co/org/name/tree/refs%2Fpr%2F1", &expect!["org/name@refs/pr/1"]);
    check("https://huggingface.co/org/name/tree/feature/x", &expect!["org/name@feature/x"]);
    check("https://huggingface.co/org/name:main", &expect!["org/name@main"]);
    check("https://hub.example.com/org/name", &expect!["hub.example.com!org/name"]);
}

#[test]
fn other_forms_are_refused_with_the_reason() {
    check("", &expect!["it is empty"]);
    check("../x", &expect!["a name holds no two dashes and no two dots in a row"]);
    check("a/b/c", &expect!["a name has at most one slash: org/name"]);
    check("a/b/c/d", &expect!["a name has at most one slash: org/name"]);
    check("/name", &expect!["the organisation or the name is empty"]);
    check("org/", &expect!["the organisation or the name is empty"]);
    check("org/na me", &expect!["a name holds only letters, digits, dots, dashes and underscores"]);
    check("org/a--b", &expect!["a name holds no two dashes and no two dots in a row"]);
    check("org/name@", &expect!["the revision is empty"]);
    check("org/name@../x", &expect!["the revision has a part that git does not allow"]);
    check("org/name:", &expect!["a variant holds only letters, digits, dots, dashes and underscores"]);
    check(
        "https://huggingface.co/",
        &expect!["the link names no model: it needs an organisation and a name"],
    );
    check(
        "https://huggingface.co/datasets/a",
        &expect!["the link leads to a dataset or space, not to a model"],
    );
    check(
        "https://huggingface.co/org/name/blob/main/x.bin",
        &expect!["the link leads to a part of the model; give the link to its page"],
    );
}

proptest::proptest! {
    #[test]
    fn what_is_written_reads_back(
        hub in proptest::option::of("[a-z][a-z0-9.-]{0,8}(:[1-9][0-9]{0,3})?"),
        repo in "([A-Za-z0-9_.-]{1,6}/)?[A-Za-z0-9_.-]{1,6}",
        revision in proptest::option::of("[A-Za-z0-9_./-]{1,8}"),
        variant in proptest::option::of("[A-Za-z0-9_.-]{1,8}"),
    ) {
        let mut text = hub.map_or_else(String::new, |hub| format!("{hub}!")) + &repo;
        text += &revision.map_or_else(String::new, |revision| format!("@{revision}"));
        text += &variant.map_or_else(String::new, |variant| format!(":{variant}"));
        if let Ok(reference) = text.parse::<ModelRef>() {
            proptest::prop_assert_eq!(reference.to_string(), text);
            let json = serde_json::to_string(&reference).unwrap();
            proptest::prop_assert_eq!(serde_json::from_str::<ModelRef>(&json).unwrap(), reference);
        }
    }

    #[test]
    fn whatever_is_taken_reads_back(text in "(https://)?[a-z.]{0,4}[!/]?[a-zA-Z0-9@:/._%-]{0,24}") {
        if let Ok(reference) = text.parse::<ModelRef>() {
            proptest::prop_assert_eq!(reference.to_string().parse::<ModelRef>(), Ok(reference));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        let _ = text.parse::<ModelRef>();
    }
}
