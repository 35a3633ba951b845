//! Documents as strangers write them, and which are asked for.

use expect_test::{Expect, expect};

use super::{super::nature::natures, *};
use crate::tests::stand_in::entry;

#[test]
fn only_documents_that_tell_something_are_asked_for() {
    let check = |files: &[(&str, u64)], expected: &Expect| {
        let listing: Vec<ManifestFile> = files.iter().map(|(path, size)| entry(path, *size, false)).collect();
        let natures = natures(&listing);
        let paths: Vec<&str> = wanted(&listing, &natures).iter().map(|file| file.path.as_str()).collect();
        expected.assert_eq(&paths.join(" "));
    };
    check(
        &[("config.json", 9), ("model.safetensors", 9), ("model.safetensors.index.json", 9)],
        &expect![[""]],
    );
    check(
        &[("config.json", 9), ("model-00001-of-00001.safetensors", 9), ("model.safetensors.index.json", 9)],
        &expect!["model.safetensors.index.json"],
    );
    check(&[("config.json", 9), ("output.safetensors", 9)], &expect!["config.json"]);
    check(
        &[("model_index.json", 9), ("a/model.safetensors.index.json", 9), ("adapter_config.json", 9)],
        &expect!["model_index.json adapter_config.json a/model.safetensors.index.json"],
    );
    // What is too long is not read; what needs it says so.
    check(&[("model.safetensors.index.json", DOCUMENT_BYTES_MAX + 1)], &expect![[""]]);
    let many: Vec<(String, u64)> =
        (0..100).map(|at| (format!("{at:02}/model.safetensors.index.json"), 9)).collect();
    let many: Vec<(&str, u64)> = many.iter().map(|(path, size)| (path.as_str(), *size)).collect();
    let listing: Vec<ManifestFile> = many.iter().map(|(path, size)| entry(path, *size, false)).collect();
    assert_eq!(wanted(&listing, &natures(&listing)).len(), DOCUMENTS_MAX);
}

#[test]
fn a_pipeline_is_made_of_what_has_classes() {
    let text = r#"{"_class_name": "P", "unet": ["diffusers", "U"], "image_encoder": [null, null],
        "force_zeros": true, "vae": ["diffusers", "V"], "watermark": null, "deep": {"a": [1]}}"#;
    assert_eq!(components(text.as_bytes()).unwrap(), BTreeSet::from(["unet".to_owned(), "vae".to_owned()]));
    assert!(components(b"[]").is_err());
}

#[test]
fn a_name_in_an_index_stays_below_its_folder() {
    let beside = |index: &str, name: &str| beside(&index.parse().unwrap(), name).map(String::from);
    assert_eq!(beside("a/x.index.json", "b/c.safetensors").unwrap(), "a/b/c.safetensors");
    assert_eq!(beside("x.index.json", "c.safetensors").unwrap(), "c.safetensors");
    for name in ["../c", "/c", "b/../../c", "", "b//c", "C:/x", "b\\c"] {
        assert!(beside("a/x.index.json", name).is_err(), "{name:?} was taken");
    }
}

#[test]
fn an_adapter_names_its_model_in_words_that_can_be_shown() {
    let check = |text: &str, expected: Option<&str>| {
        let mut documents = Documents::default();
        documents.insert(ADAPTER.parse().unwrap(), text.to_owned().into());
        assert_eq!(base_model(&documents).as_deref(), expected);
    };
    check(r#"{"base_model_name_or_path": "org/name"}"#, Some("org/name"));
    check(r#"{"base_model_name_or_path": "/home/me/model"}"#, None);
    check(r#"{"base_model_name_or_path": "a\u001b[31m"}"#, None);
    check("7", None);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..60), text in "\\PC{0,60}") {
        for bytes in [&bytes[..], text.as_bytes(), format!("{{\"weight_map\": {text}}}").as_bytes()] {
            let _ = (shards(bytes), components(bytes));
        }
    }

    #[test]
    fn an_index_gives_each_file_once(names in proptest::collection::vec("[a-c]{1,2}\\.safetensors", 1..20)) {
        let map: serde_json::Map<String, serde_json::Value> =
            names.iter().enumerate().map(|(at, name)| (at.to_string(), name.as_str().into())).collect();
        let text = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
        proptest::prop_assert_eq!(shards(text.as_bytes()).unwrap(), names.into_iter().collect());
    }
}
