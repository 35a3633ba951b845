//! What holds for any listing, however it is made up.

use proptest::prelude::*;
use types::WeightsPolicy;

use super::*;

const FOLDERS: [&str; 12] = [
    "",
    "",
    "",
    "onnx/",
    "unet/",
    "vae/",
    "2_Dense/",
    "4bit/",
    "original/",
    "openvino/",
    "checkpoint-5/",
    "Q4_K_M/",
];
const STEMS: [&str; 22] = [
    "model",
    "model",
    "pytorch_model",
    "model.fp16",
    "model-00001-of-00002",
    "model-00002-of-00002",
    "model.fp16-00001-of-00002",
    "model.safetensors.index",
    "pytorch_model.bin.index",
    "diffusion_pytorch_model",
    "consolidated",
    "consolidated.00",
    "adapter_model",
    "adapter_config",
    "config",
    "tokenizer",
    "tiny-Q4_K_M",
    "tiny-Q8_0-00001-of-00002",
    "mmproj-F16",
    "optimizer",
    "model_q4",
    "openvino_model",
];
const ENDINGS: [&str; 16] = [
    "safetensors",
    "safetensors",
    "bin",
    "pt",
    "json",
    "gguf",
    "onnx",
    "onnx_data",
    "xml",
    "h5",
    "msgpack",
    "txt",
    "png",
    "ot",
    "index.fp16.json",
    "model",
];

fn listings() -> impl Strategy<Value = Vec<ManifestFile>> {
    let file = (
        0..FOLDERS.len(),
        0..STEMS.len(),
        0..ENDINGS.len(),
        prop_oneof![0..100_u64, Just(u64::MAX / 2), Just(20_000_000)],
    );
    let strange = ("[a-zA-Z0-9_.-]{1,12}(/[a-z.]{1,6})?", 0..9_u64);
    let named = file.prop_map(|(folder, stem, ending, size)| {
        (format!("{}{}.{}", FOLDERS[folder], STEMS[stem], ENDINGS[ending]), size)
    });
    let any = prop_oneof![8 => named, 1 => strange, 1 => Just(("model_index.json".to_owned(), 9))];
    proptest::collection::vec(any, 1..24).prop_map(|files| {
        let mut listing: Vec<ManifestFile> = files
            .into_iter()
            .filter(|(path, _)| path.parse::<RepoPath>().is_ok())
            .map(|(path, size)| entry(&path, size, size > 50))
            .collect();
        listing.sort_unstable();
        listing.dedup_by(|a, b| a.path == b.path);
        listing
    })
}

fn documents(listing: &[ManifestFile], bodies: &[String]) -> Documents {
    let mut documents = Documents::default();
    for (file, body) in documents_wanted(listing).into_iter().zip(bodies.iter().cycle()) {
        documents.insert(file.path.clone(), body.clone().into());
    }
    documents
}

fn bodies() -> impl Strategy<Value = Vec<String>> {
    let shard = prop_oneof![
        Just("model-00001-of-00002.safetensors".to_owned()),
        Just("model.safetensors".to_owned()),
        "[a-z./]{1,12}",
    ];
    let index = shard.prop_map(|path| format!(r#"{{"weight_map": {{"a": "{path}"}}}}"#));
    let pipeline = Just(r#"{"unet": ["diffusers", "X"], "vae": ["diffusers", "Y"]}"#.to_owned());
    proptest::collection::vec(prop_oneof![4 => index, 3 => pipeline, 1 => "\\PC{0,20}"], 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(testkit::cases(250)))]

    #[test]
    fn what_is_chosen_is_sound(
        listing in listings(),
        bodies in bodies(),
        variant in proptest::option::of("safetensors|fp16|pytorch|onnx|onnx-q4|Q4_K_M|4bit|everything|[a-z]{1,4}"),
        include in proptest::collection::vec("[*a-z.]{1,6}|\\*\\.json|onnx/", 0..2),
        exclude in proptest::collection::vec("\\*\\.(md|bin|json)", 0..2),
        any in any::<bool>(),
    ) {
        let repo = RepoId { hub: "test".parse().unwrap(), name: "acme/tiny".parse().unwrap() };
        let documents = documents(&listing, &bodies);
        let Ok(survey) = Survey::new(&repo, commit(), &listing, &documents) else { return Ok(()) };
        let offers = survey.offers();
        prop_assert!(offers.iter().filter(|offer| offer.is_default).count() <= 1);
        let names: BTreeSet<&str> = offers.iter().map(|offer| offer.name.as_str()).collect();
        prop_assert_eq!(names.len(), offers.len(), "a name twice");
        let weights = if any { WeightsPolicy::Any } else { WeightsPolicy::Safe };
        let parsed = |patterns: &[String]| patterns.iter().map(|text| text.parse().unwrap()).collect();
        let patterns = SelectionWish { include: parsed(&include), exclude: parsed(&exclude), weights };
        let rules = SelectionWish { weights, ..SelectionWish::default() };
        let variant: Option<Variant> = variant.map(|text| text.parse().unwrap());
        let outcomes = [survey.select(variant.as_ref(), &rules), survey.select(None, &rules), survey.select(None, &patterns)];
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let Ok(selected) = outcome else { continue };
            check_sound(&listing, &survey, &selected, weights, at < 2)?;
        }
        // Every name that is offered is taken, for what it was offered.
        for offer in offers {
            let consent = SelectionWish { weights: WeightsPolicy::Any, ..SelectionWish::default() };
            if let Ok(name) = offer.name.parse::<Variant>() {
                let selected = survey.select(Some(&name), &consent).map_err(|error| TestCaseError::fail(error.to_string()))?;
                if offer.name != "everything" {
                    prop_assert_eq!(selected.manifest.bytes(), offer.bytes);
                    prop_assert_eq!(selected.manifest.key().selection, offer.selection);
                    prop_assert_eq!(selected.choice.pickled, offer.is_pickled);
                }
            }
        }
    }

    #[test]
    fn no_document_makes_it_panic(text in "\\PC{0,80}", listing in listings()) {
        let mut documents = Documents::default();
        for file in documents_wanted(&listing) {
            documents.insert(file.path.clone(), text.clone().into());
        }
        let repo = RepoId { hub: "test".parse().unwrap(), name: "acme/tiny".parse().unwrap() };
        let _ = select(&repo, commit(), &listing, &documents, None, &SelectionWish::default());
    }
}

fn check_sound(
    listing: &[ManifestFile],
    survey: &Survey<'_>,
    selected: &Selected,
    weights: WeightsPolicy,
    by_rule: bool,
) -> Result<(), TestCaseError> {
    let chosen: BTreeSet<&ManifestFile> = selected.manifest.files().iter().collect();
    prop_assert!(chosen.iter().all(|file| listing.contains(file)), "more than there is");
    let is_pickled = chosen.iter().any(|file| {
        let at = listing.iter().position(|other| other == *file).unwrap();
        survey.natures[at].is_pickled(&file.path)
    });
    prop_assert_eq!(is_pickled, selected.choice.pickled);
    prop_assert!(!is_pickled || weights == WeightsPolicy::Any, "a pickle without consent");
    let left_out = &selected.choice.left_out;
    let files = left_out.iter().map(|group| group.files).sum::<u64>();
    prop_assert_eq!(files as usize + chosen.len(), listing.len());
    let bytes: ByteSize = left_out.iter().map(|group| group.bytes).sum();
    let all: ByteSize = listing.iter().map(|file| ByteSize(file.size)).sum();
    prop_assert_eq!(bytes + selected.manifest.bytes(), all);
    prop_assert!(chosen.iter().any(|file| file.path == selected.weight_file));
    for file in listing.iter().filter(|_| by_rule) {
        let comes_along = matches!(file.path.as_str(), "config.json" | "tokenizer.json" | "tokenizer.model")
            && file.size <= 100;
        prop_assert!(!comes_along || chosen.contains(file), "{} stays behind", file.path);
    }
    Ok(())
}
