//! Which names a view gets, as cases.

use expect_test::{Expect, expect};

use super::{MountSource, ViewMount, hub};

/// Each view as `host path = canonical / spelled`.
fn check(views: &[(&str, &str, &str)], expected: &Expect) {
    let views: Vec<_> = views
        .iter()
        .map(|(path, canonical, spelled)| ViewMount {
            host_path: path.into(),
            canonical: canonical.parse().unwrap(),
            spelled: spelled.parse().unwrap(),
        })
        .collect();
    let text = match hub(&views) {
        Err(error) => error.to_string(),
        Ok(mounts) => mounts
            .iter()
            .map(|mount| match &mount.source {
                MountSource::Private => format!("{} private\n", mount.target.display()),
                MountSource::ReadOnly(path) => format!("{} <- {}\n", mount.target.display(), path.display()),
            })
            .collect(),
    };
    expected.assert_eq(&text);
}

#[test]
fn no_model_still_has_a_private_hub() {
    check(
        &[],
        &expect![[r#"
        /runpod-volume/huggingface-cache/hub private
    "#]],
    );
}

#[test]
fn every_spelling_is_a_mount_of_its_own() {
    check(
        &[("/v/1", "Qwen/Qwen3-0.6B", "QWEN/qwen3-0.6b")],
        &expect![[r#"
        /runpod-volume/huggingface-cache/hub private
        /runpod-volume/huggingface-cache/hub/models--Qwen--Qwen3-0.6B <- /v/1
        /runpod-volume/huggingface-cache/hub/models--qwen--qwen3-0.6b <- /v/1
        /runpod-volume/huggingface-cache/hub/models--QWEN--qwen3-0.6b <- /v/1
    "#]],
    );
    check(
        &[("/v/1", "acme/tiny", "acme/tiny")],
        &expect![[r#"
        /runpod-volume/huggingface-cache/hub private
        /runpod-volume/huggingface-cache/hub/models--acme--tiny <- /v/1
    "#]],
    );
    check(
        &[("/v/1", "openai-community/gpt2", "gpt2")],
        &expect![[r#"
        /runpod-volume/huggingface-cache/hub private
        /runpod-volume/huggingface-cache/hub/models--openai-community--gpt2 <- /v/1
        /runpod-volume/huggingface-cache/hub/models--gpt2 <- /v/1
    "#]],
    );
}

#[test]
fn a_canonical_name_is_never_taken_by_anothers_spelling() {
    check(
        &[("/v/1", "Acme/Tiny", "Acme/Tiny"), ("/v/2", "acme/tiny", "ACME/TINY")],
        &expect![[r#"
        /runpod-volume/huggingface-cache/hub private
        /runpod-volume/huggingface-cache/hub/models--Acme--Tiny <- /v/1
        /runpod-volume/huggingface-cache/hub/models--acme--tiny <- /v/2
        /runpod-volume/huggingface-cache/hub/models--ACME--TINY <- /v/2
    "#]],
    );
}

#[test]
fn one_repository_twice_is_refused_unless_it_is_the_same_view() {
    check(
        &[("/v/1", "acme/tiny", "acme/tiny"), ("/v/2", "acme/tiny", "acme/tiny")],
        &expect!["two models of the endpoint would both be seen as models--acme--tiny"],
    );
    check(
        &[("/v/1", "acme/tiny", "acme/tiny"), ("/v/1", "acme/tiny", "acme/tiny")],
        &expect![[r#"
        /runpod-volume/huggingface-cache/hub private
        /runpod-volume/huggingface-cache/hub/models--acme--tiny <- /v/1
    "#]],
    );
}
