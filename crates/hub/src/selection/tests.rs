//! What is chosen of repositories as they are: listings of real shapes, and any other.

mod any_listing;
mod wishes;

use std::{fmt::Write as _, path::Path};

use expect_test::expect_file;

use types::LeftOut;

use super::*;
use crate::tests::stand_in::{commit, entry};

/// A repository as a fixture writes it: a line for each file, then documents behind `== path`.
pub(super) struct Fixture {
    pub(super) repo: RepoId,
    pub(super) listing: Vec<ManifestFile>,
    pub(super) documents: Documents,
}

impl Fixture {
    pub(super) fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/selection/tests/repos");
        Self::parse(&std::fs::read_to_string(folder.join(name).with_extension("txt")).unwrap())
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut parts = text.split("== ");
        let files = parts.next().unwrap().lines().map(|line| {
            let (line, large) = line.strip_prefix("L ").map_or((line, false), |rest| (rest, true));
            let (size, path) = line.split_once(' ').unwrap();
            entry(path, size.parse().unwrap(), large)
        });
        let mut listing: Vec<ManifestFile> = files.collect();
        listing.sort_unstable();
        let mut documents = Documents::default();
        for part in parts {
            let (path, bytes) = part.split_once('\n').unwrap();
            documents.insert(path.parse().unwrap(), bytes.to_owned().into());
        }
        let repo = RepoId { hub: "test".parse().unwrap(), name: "acme/tiny".parse().unwrap() };
        Self { repo, listing, documents }
    }

    pub(super) fn survey(&self) -> Survey<'_> {
        Survey::new(&self.repo, commit(), &self.listing, &self.documents).unwrap()
    }

    pub(super) fn select(&self, variant: &str, wish: &SelectionWish) -> Result<Selected, SelectError> {
        let variant: Option<Variant> = (!variant.is_empty()).then(|| variant.parse().unwrap());
        self.survey().select(variant.as_ref(), wish)
    }
}

pub(super) fn paths(selected: &Selected) -> Vec<&str> {
    selected.manifest.files().iter().map(|file| file.path.as_str()).collect()
}

/// Returns all that a person would be told about a repository.
fn told(fixture: &Fixture) -> String {
    let survey = fixture.survey();
    let mut text = format!("{:?}", survey.kind());
    if let Some(base) = survey.base_model() {
        write!(text, ", needs {base}").unwrap();
    }
    if survey.has_code() {
        text.push_str(", has code");
    }
    text.push_str("\n\n");
    for offer in survey.offers() {
        let mark = if offer.is_default { "*" } else { " " };
        let pickled = if offer.is_pickled { ", pickled" } else { "" };
        let Offer { name, format, files, bytes, .. } = offer;
        writeln!(text, "{mark} {name:28} {format}{pickled}: {files} files, {bytes}").unwrap();
    }
    text.push('\n');
    match fixture.select("", &SelectionWish::default()) {
        Ok(selected) => {
            writeln!(text, "{}, by {}:", selected.choice.name, selected.weight_file).unwrap();
            for path in paths(&selected) {
                writeln!(text, "  {path}").unwrap();
            }
            writeln!(text, "left out:").unwrap();
            for group in &selected.choice.left_out {
                let LeftOut { what, files, bytes, ask } = group;
                let ask = ask.as_deref().unwrap_or("-");
                writeln!(text, "  {what}: {files} files, {bytes}; {ask}").unwrap();
            }
        }
        Err(error) => {
            let fault = error.fault();
            writeln!(text, "{}: {}\n{}", fault.code, fault.message, fault.hint.unwrap()).unwrap();
        }
    }
    text
}

macro_rules! repositories {
    ($($test:ident: $name:literal,)*) => {$(
        #[test]
        fn $test() {
            let told = told(&Fixture::read($name));
            expect_file![concat!("tests/repos/", $name, ".told")].assert_eq(&told);
        }
    )*};
}

repositories! {
    safetensors_go_before_the_original: "llama",
    one_of_many_quantisations_is_taken: "gguf",
    a_projector_comes_with_a_quantisation: "gguf-folders",
    a_pipeline_is_taken_whole_in_one_format: "sdxl",
    a_sentence_transformer_keeps_its_pooling: "sentence-transformers",
    modules_bring_their_own_weights: "modules",
    mistral_has_its_own_format_beside: "mistral",
    mistral_may_have_its_own_format_only: "mistral-only",
    a_variant_has_an_index_of_its_own: "whisper",
    pickles_need_consent: "pickle-only",
    an_adapter_names_its_model: "adapter",
    bert_has_seven_formats: "bert",
    checkpoints_are_taken_all_but_the_pickled: "checkpoints",
    mlx_looks_like_any_other: "mlx",
    folders_of_quantisations_are_variants: "quant-folders",
    onnx_may_be_all_there_is: "onnx",
    onnx_may_stand_in_folders: "onnx-folders",
    ctranslate2_is_no_pickle: "ctranslate2",
    other_pickles_need_consent_too: "custom",
}
