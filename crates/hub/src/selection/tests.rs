//! What is chosen of a listing, under which key, and what is known to be absent.

use super::*;
use crate::tests::stand_in::{commit, entry};

fn repo_id() -> RepoId {
    RepoId { hub: "test".parse().unwrap(), name: "acme/tiny".parse().unwrap() }
}

fn listing() -> Vec<ManifestFile> {
    vec![
        entry("config.json", 10, false),
        entry("generation_config.json", 10, false),
        entry("tiny-Q4_K_M.gguf", 4000, true),
        entry("tiny-Q8_0.gguf", 8000, true),
    ]
}

#[test]
fn without_a_variant_everything_is_chosen() {
    let selected = select(&repo_id(), commit(), &listing(), &Selection::Everything).unwrap();
    assert_eq!(selected.manifest.files(), listing());
    assert_eq!(selected.weight_file.as_str(), "tiny-Q8_0.gguf");
    assert_eq!(selected.left_out, LeftOut::default());
    let absent: Vec<&str> = selected.manifest.absent().iter().map(RepoPath::as_str).collect();
    assert!(absent.contains(&"tokenizer.model") && !absent.contains(&"generation_config.json"), "{absent:?}");
}

#[test]
fn a_variant_leaves_the_others_out_and_has_a_key_of_its_own() {
    let variant = Selection::Variant("q4_k_m".parse().unwrap());
    let selected = select(&repo_id(), commit(), &listing(), &variant).unwrap();
    let all = select(&repo_id(), commit(), &listing(), &Selection::Everything).unwrap();
    assert_eq!(selected.left_out, LeftOut { files: 1, bytes: ByteSize(8000) });
    assert_eq!(selected.weight_file.as_str(), "tiny-Q4_K_M.gguf");
    assert_ne!(selected.manifest.key().selection, all.manifest.key().selection);
    assert_eq!(selected.manifest.absent(), all.manifest.absent());
}

#[test]
fn the_key_is_the_digest_of_the_selection_input_whatever_the_order() {
    let mut reversed = listing();
    reversed.reverse();
    let one = select(&repo_id(), commit(), &listing(), &Selection::Everything).unwrap();
    let other = select(&repo_id(), commit(), &reversed, &Selection::Everything).unwrap();
    assert_eq!(one, other);
    let digest = Sha256::digest(Manifest::selection_input(&listing()));
    assert_eq!(one.manifest.key().selection, SelectionKey::from_bytes(digest.into()));
}

#[test]
fn an_empty_or_impossible_listing_is_refused() {
    let check = |files: &[&str], expected: &str| {
        let files: Vec<_> = files.iter().map(|path| entry(path, 1, false)).collect();
        let error = select(&repo_id(), commit(), &files, &Selection::Everything).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(&[], "repository acme/tiny holds no files");
    check(&["a", "a/b"], "the list of files has a/b both as a file and as a folder");
}
