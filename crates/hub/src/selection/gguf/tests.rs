//! Names of quantisations as repositories spell them.

use super::*;

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
fn the_projector_in_the_deepest_common_folder_of_the_closest_width_fits_best() {
    let listing: Vec<ManifestFile> = ["a/mmproj-F16.gguf", "a/mmproj-Q8_0.gguf", "mmproj-Q4_0.gguf"]
        .map(|path| crate::tests::stand_in::entry(path, 1, true))
        .into();
    let check = |weights: &str, name: &str, expected: &str| {
        let found = projector(&listing, &[0, 1, 2], &weights.parse().unwrap(), name).unwrap();
        assert_eq!(listing[found].path.as_str(), expected, "{weights}");
    };
    check("a/tiny-Q4_0.gguf", "Q4_0", "a/mmproj-Q8_0.gguf");
    check("a/tiny-BF16.gguf", "BF16", "a/mmproj-F16.gguf");
    check("tiny-Q4_0.gguf", "Q4_0", "mmproj-Q4_0.gguf");
}
