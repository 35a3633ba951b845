//! Names of quantisations as repositories spell them, and what is chosen for each.

use proptest::prelude::*;

use super::*;
use crate::tests::stand_in::entry;

#[test]
fn quantisations_are_found_in_names_and_folders() {
    let check = |path: &str, expected: Option<&str>| {
        assert_eq!(quantisation(&path.parse().unwrap()).as_deref(), expected, "{path}");
    };
    check("tiny-Q4_K_M.gguf", Some("Q4_K_M"));
    check("tiny.q8_0.gguf", Some("q8_0"));
    check("tiny_q4_0.gguf", Some("q4_0"));
    check("tiny-UD-Q2_K_XL.gguf", Some("UD-Q2_K_XL"));
    check("tiny-IQ3_XXS.gguf", Some("IQ3_XXS"));
    check("tiny-BF16-00001-of-00002.gguf", Some("BF16"));
    check("Q4_K_M/tiny-00001-of-00003.gguf", Some("Q4_K_M"));
    check("UD-Q4_K_XL/tiny-00001-of-00003.gguf", Some("UD-Q4_K_XL"));
    check("tiny-MXFP4_MOE.gguf", Some("MXFP4_MOE"));
    check("Qwen2-7B-Q5_K_S.gguf", Some("Q5_K_S"));
    check("Qwen2-7B.gguf", None);
    check("F-tiny.gguf", None);
}

#[test]
fn a_quantisation_brings_its_parts_and_companions_and_nothing_else() {
    let listing: Vec<ManifestFile> = [
        ("README.md", 10, false),
        ("LICENSE", 10, false),
        ("config.json", 10, false),
        ("big.json", 20_000_000, false),
        ("tokenizer.json", 20_000_000, true),
        ("model.safetensors.index.json", 10, false),
        ("model.safetensors", 900, true),
        ("imatrix-Q4_K_M.gguf", 9, true),
        ("mmproj-F16.gguf", 9, true),
        ("mmproj-Q8_0.gguf", 9, true),
        ("Q4_K_M/tiny-Q4_K_M-00001-of-00002.gguf", 400, true),
        ("Q4_K_M/tiny-Q4_K_M-00002-of-00002.gguf", 400, true),
        ("tiny-Q8_0.gguf", 800, true),
        ("cat.png", 10, false),
    ]
    .iter()
    .map(|(path, size, large)| entry(path, *size, *large))
    .collect();
    let check = |variant: &str, expected: &[&str]| {
        let files = choose(&"acme/tiny".parse().unwrap(), &listing, &variant.parse().unwrap()).unwrap();
        let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        paths.sort_unstable();
        let mut expected: Vec<&str> = ["LICENSE", "README.md", "config.json", "tokenizer.json"]
            .iter()
            .chain(expected)
            .copied()
            .collect();
        expected.sort_unstable();
        assert_eq!(paths, expected, "{variant}");
    };
    check(
        "q4_k_m",
        &[
            "Q4_K_M/tiny-Q4_K_M-00001-of-00002.gguf",
            "Q4_K_M/tiny-Q4_K_M-00002-of-00002.gguf",
            "mmproj-Q8_0.gguf",
        ],
    );
    check("Q8_0", &["mmproj-Q8_0.gguf", "tiny-Q8_0.gguf"]);
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let check = |paths: &[&str], variant: &str, expected: &str| {
        let listing: Vec<_> = paths.iter().map(|path| entry(path, 1, true)).collect();
        let error = choose(&"acme/tiny".parse().unwrap(), &listing, &variant.parse().unwrap()).unwrap_err();
        let fault = error.fault();
        assert_eq!(format!("{}; {}", fault.message, fault.hint.unwrap()), expected);
    };
    check(
        &["t-Q8_0.gguf", "t-Q4_0.gguf"],
        "Q4",
        "repository acme/tiny has no variant Q4; choose one of: Q4_0, Q8_0",
    );
    check(
        &["model.safetensors"],
        "fp16",
        "repository acme/tiny has no variant fp16; leave the variant out: the repository has no GGUF \
         quantisations to choose from",
    );
    check(
        &["t-Q8_0-00001-of-00003.gguf", "t-Q8_0-00003-of-00003.gguf"],
        "Q8_0",
        "variant Q8_0 of repository acme/tiny is incomplete: part 2 of 3 is missing; choose another variant",
    );
}

proptest! {
    #[test]
    fn any_name_is_survived(name in "[A-Za-z0-9_.-]{1,40}", variant in "[A-Z0-9][A-Z0-9_]{0,8}") {
        if let Ok(path) = format!("{name}.gguf").parse::<RepoPath>() {
            let listing = [entry(path.as_str(), 1, true)];
            let _ = choose(&"acme/tiny".parse().unwrap(), &listing, &variant.parse().unwrap());
        }
    }
}
