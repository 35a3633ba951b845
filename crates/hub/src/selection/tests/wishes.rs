//! What is chosen for what was asked: variants by any of their names, patterns, consent.

use expect_test::{Expect, expect};
use types::WeightsPolicy;

use super::*;

fn wish(include: &[&str], exclude: &[&str], weights: WeightsPolicy) -> SelectionWish {
    let parsed = |patterns: &[&str]| patterns.iter().map(|text| text.parse().unwrap()).collect();
    SelectionWish { include: parsed(include), exclude: parsed(exclude), weights }
}

/// Shows what was chosen, without what comes along with any choice.
fn shown(outcome: Result<Selected, SelectError>) -> String {
    match outcome {
        Ok(selected) => {
            let common = [".gitattributes", "README.md", "config.json", "vocab.txt"];
            let paths = paths(&selected);
            let rest: Vec<&str> = paths.iter().copied().filter(|path| !common.contains(path)).collect();
            let pickled = if selected.choice.pickled { " (pickled)" } else { "" };
            format!("{}{pickled}: {}", selected.choice.name, rest.join(" "))
        }
        Err(error) => {
            let fault = error.fault();
            format!("{}: {}; {}", fault.code, fault.message, fault.hint.unwrap_or_default())
        }
    }
}

fn check(repo: &str, variant: &str, expected: &Expect) {
    expected.assert_eq(&shown(Fixture::read(repo).select(variant, &SelectionWish::default())));
}

fn check_any(repo: &str, variant: &str, expected: &Expect) {
    expected.assert_eq(&shown(Fixture::read(repo).select(variant, &wish(&[], &[], WeightsPolicy::Any))));
}

fn check_patterns(repo: &str, include: &[&str], exclude: &[&str], weights: WeightsPolicy, expected: &Expect) {
    expected.assert_eq(&shown(Fixture::read(repo).select("", &wish(include, exclude, weights))));
}

#[test]
fn a_variant_is_found_by_any_of_its_names() {
    check("gguf", "q8_0", &expect!["Q8_0: Meta-Llama-3.1-8B-Instruct-Q8_0.gguf"]);
    check("gguf", "Meta-Llama-3.1-8B-Instruct-Q8_0", &expect!["Q8_0: Meta-Llama-3.1-8B-Instruct-Q8_0.gguf"]);
    check(
        "gguf-folders",
        "bf16",
        &expect![
            "BF16: BF16/gemma-3-27b-it-BF16-00001-of-00002.gguf BF16/gemma-3-27b-it-BF16-00002-of-00002.gguf mmproj-BF16.gguf params"
        ],
    );
    check(
        "gguf-folders",
        "UD-Q4_K_XL",
        &expect!["UD-Q4_K_XL: gemma-3-27b-it-UD-Q4_K_XL.gguf mmproj-BF16.gguf params"],
    );
    check(
        "sentence-transformers",
        "onnx",
        &expect![
            "onnx: 1_Pooling/config.json config_sentence_transformers.json data_config.json modules.json onnx/model.onnx sentence_bert_config.json special_tokens_map.json tokenizer.json tokenizer_config.json train_script.py"
        ],
    );
    check(
        "sentence-transformers",
        "qint8_arm64",
        &expect![
            "onnx-qint8_arm64: 1_Pooling/config.json config_sentence_transformers.json data_config.json modules.json onnx/model_qint8_arm64.onnx sentence_bert_config.json special_tokens_map.json tokenizer.json tokenizer_config.json train_script.py"
        ],
    );
    check(
        "sentence-transformers",
        "openvino",
        &expect![
            "openvino: 1_Pooling/config.json config_sentence_transformers.json data_config.json modules.json openvino/openvino_model.bin openvino/openvino_model.xml sentence_bert_config.json special_tokens_map.json tokenizer.json tokenizer_config.json train_script.py"
        ],
    );
    check(
        "onnx",
        "q4",
        &expect!["onnx-q4: generation_config.json onnx/model_q4.onnx tokenizer.json tokenizer_config.json"],
    );
    check(
        "onnx",
        "fp16",
        &expect![
            "onnx-fp16: generation_config.json onnx/model_fp16.onnx onnx/model_fp16.onnx_data tokenizer.json tokenizer_config.json"
        ],
    );
    check(
        "mistral",
        "mistral",
        &expect![
            "mistral: consolidated.safetensors generation_config.json params.json special_tokens_map.json tokenizer.json tokenizer.model tokenizer.model.v3 tokenizer_config.json"
        ],
    );
    check(
        "whisper",
        "fp32",
        &expect![
            "fp32: added_tokens.json generation_config.json merges.txt model.fp32-00001-of-00002.safetensors model.fp32-00002-of-00002.safetensors model.safetensors.index.fp32.json normalizer.json preprocessor_config.json special_tokens_map.json tokenizer.json tokenizer_config.json vocab.json"
        ],
    );
    check(
        "quant-folders",
        "8BIT",
        &expect!["8bit: 8bit/config.json 8bit/model.safetensors 8bit/quantize_config.json tokenizer.json"],
    );
    check(
        "onnx-folders",
        "cuda-cuda-fp16",
        &expect![
            "cuda-cuda-fp16: cuda/cuda-fp16/genai_config.json cuda/cuda-fp16/phi3-mini.onnx cuda/cuda-fp16/phi3-mini.onnx.data cuda/cuda-fp16/tokenizer.json"
        ],
    );
    check("checkpoints", "v1-5-pruned", &expect!["v1-5-pruned: v1-5-pruned.safetensors v1-inference.yaml"]);
    check(
        "sdxl",
        "fp16",
        &expect![
            "fp16: LICENSE.md model_index.json scheduler/scheduler_config.json text_encoder/config.json text_encoder/model.fp16.safetensors text_encoder_2/config.json text_encoder_2/model.fp16.safetensors tokenizer/merges.txt tokenizer/special_tokens_map.json tokenizer/tokenizer_config.json tokenizer/vocab.json tokenizer_2/merges.txt tokenizer_2/special_tokens_map.json tokenizer_2/tokenizer_config.json tokenizer_2/vocab.json unet/config.json unet/diffusion_pytorch_model.fp16.safetensors vae/config.json vae/diffusion_pytorch_model.fp16.safetensors"
        ],
    );
    check("bert", "tf", &expect!["tensorflow: LICENSE tf_model.h5 tokenizer.json tokenizer_config.json"]);
}

#[test]
fn pickles_come_with_consent_only() {
    check(
        "bert",
        "pytorch",
        &expect![
            "weights-pickled: the weights of repository acme/tiny are pickled: loading them runs whatever program their author put in; consent with --weights any if you trust the author, or take another format: :safetensors, :onnx, :tensorflow"
        ],
    );
    check_any(
        "bert",
        "pytorch",
        &expect!["pytorch (pickled): LICENSE pytorch_model.bin tokenizer.json tokenizer_config.json"],
    );
    check_any(
        "bert",
        "",
        &expect!["safetensors: LICENSE model.safetensors tokenizer.json tokenizer_config.json"],
    );
    check_any("pickle-only", "", &expect!["pytorch (pickled): pytorch_model.bin"]);
    check_any(
        "llama",
        "original",
        &expect![
            "original (pickled): LICENSE.txt USE_POLICY.md generation_config.json original/consolidated.00.pth original/params.json original/tokenizer.model special_tokens_map.json tokenizer.json tokenizer_config.json"
        ],
    );
    check_any(
        "checkpoints",
        "v1-5-pruned.ckpt",
        &expect!["v1-5-pruned.ckpt (pickled): v1-5-pruned.ckpt v1-inference.yaml"],
    );
    check_any("custom", "", &expect!["pytorch (pickled): kokoro-v1_0.pth samples/HEARME.wav"]);
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    check(
        "gguf-folders",
        "Q4",
        &expect![
            "variant-not-found: repository acme/tiny has no variant Q4; choose one of: Q4_K_M (17.4 GB), Q5_K_M (20.2 GB), Q8_0 (29.6 GB), UD-IQ1_S (7.2 GB), UD-IQ2_XXS (8.8 GB), Q2_K (11.4 GB), UD-Q2_K_XL (11.8 GB), Q3_K_M (14.3 GB), UD-Q4_K_XL (17.7 GB), Q6_K (23.1 GB), BF16 (54.9 GB)"
        ],
    );
    check(
        "mlx",
        "fp16",
        &expect![
            "variant-not-found: repository acme/tiny has no variant fp16; choose one of: safetensors (6.2 GB)"
        ],
    );
    check(
        "bert",
        "gptq",
        &expect![
            "variant-not-found: repository acme/tiny has no variant gptq; choose one of: safetensors (440.4 MB), pytorch (440.5 MB), onnx (532.1 MB), tensorflow (536.1 MB), flax (438.1 MB), coreml (532.2 MB), rust (534.2 MB)"
        ],
    );
}

#[test]
fn patterns_say_all_that_is_wanted_and_small_files_come_along() {
    use WeightsPolicy::{Any, Safe};
    check_patterns(
        "sentence-transformers",
        &["onnx/model_O[34].onnx"],
        &[],
        Safe,
        &expect![
            "patterns: 1_Pooling/config.json config_sentence_transformers.json data_config.json modules.json onnx/model_O3.onnx onnx/model_O4.onnx sentence_bert_config.json special_tokens_map.json tokenizer.json tokenizer_config.json train_script.py"
        ],
    );
    check_patterns(
        "bert",
        &["*.bin"],
        &[],
        Safe,
        &expect![
            "patterns: LICENSE coreml/fill-mask/float32_model.mlpackage/Data/com.apple.CoreML/weights/weight.bin tokenizer.json tokenizer_config.json"
        ],
    );
    check_patterns(
        "bert",
        &["*.bin"],
        &[],
        Any,
        &expect![
            "patterns (pickled): LICENSE coreml/fill-mask/float32_model.mlpackage/Data/com.apple.CoreML/weights/weight.bin pytorch_model.bin tokenizer.json tokenizer_config.json"
        ],
    );
    check_patterns(
        "bert",
        &[],
        &["*.onnx", "coreml/", "*.h5", "*.msgpack", "*.ot"],
        Safe,
        &expect!["patterns: LICENSE model.safetensors tokenizer.json tokenizer_config.json"],
    );
    check_patterns(
        "bert",
        &["model.safetensors"],
        &["*.md", "tokenizer*", "LICENSE"],
        Safe,
        &expect!["patterns: model.safetensors"],
    );
    check_patterns(
        "llama",
        &["model-00001*"],
        &["*.md", "*.txt"],
        Safe,
        &expect![
            "patterns: generation_config.json model-00001-of-00002.safetensors model.safetensors.index.json special_tokens_map.json tokenizer.json tokenizer_config.json"
        ],
    );
    check_patterns(
        "bert",
        &["*.gguf"],
        &[],
        Safe,
        &expect![
            "selection-empty: no file of repository acme/tiny fits the patterns; patterns match whole paths and tell letter cases apart; `larder model show` lists what there is"
        ],
    );
    check_patterns(
        "bert",
        &["MODEL.safetensors"],
        &[],
        Safe,
        &expect![
            "selection-empty: no file of repository acme/tiny fits the patterns; patterns match whole paths and tell letter cases apart; `larder model show` lists what there is"
        ],
    );
    let both = Fixture::read("bert").select("onnx", &wish(&["*.bin"], &[], Safe));
    expect!["field-invalid: a variant and patterns can't both say what is wanted of repository acme/tiny; leave the variant out of the reference: patterns say all that is wanted"].assert_eq(&shown(both));
}

/// A repository whose index says something.
fn with_index(index: &str) -> Result<Selected, SelectError> {
    let text = format!(
        "9 config.json\nL 90 model-00001-of-00002.safetensors\nL 90 model-00002-of-00002.safetensors\n\
         L 90 model-extra.safetensors\nL 70 sub/more.safetensors\n50 model.safetensors.index.json\n\
         == model.safetensors.index.json\n{index}"
    );
    Fixture::parse(&text).select("", &SelectionWish::default())
}

#[test]
fn an_index_says_which_files_are_weights_and_is_not_believed() {
    let check = |index: &str, expected: &Expect| expected.assert_eq(&shown(with_index(index)));
    check(
        r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "sub/more.safetensors"}}"#,
        &expect![
            "safetensors: model-00001-of-00002.safetensors model.safetensors.index.json sub/more.safetensors"
        ],
    );
    check(
        r#"{"weight_map": {"a": "model-00003-of-00003.safetensors"}}"#,
        &expect![
            "variant-not-found: the index model.safetensors.index.json of repository acme/tiny names model-00003-of-00003.safetensors, which the repository lacks; choose another variant, or another revision; `larder model show` lists them"
        ],
    );
    check(
        r#"{"weight_map": {"a": "../../other/repo/resolve/main/x.safetensors"}}"#,
        &expect![[
            r#"path-refused: the index model.safetensors.index.json of repository acme/tiny names a path that is refused: the path "../../other/repo/resolve/main/x.safetensors" is refused: it has a segment that means another folder; nothing was written; do not use this repository until its owner has removed the file"#
        ]],
    );
    check(
        r#"{"weight_map": {"a": "/etc/passwd"}}"#,
        &expect![[
            r#"path-refused: the index model.safetensors.index.json of repository acme/tiny names a path that is refused: the path "/etc/passwd" is refused: it is absolute; nothing was written; do not use this repository until its owner has removed the file"#
        ]],
    );
    check(
        r#"{"weight_map": {}}"#,
        &expect![
            "variant-not-found: the index model.safetensors.index.json of repository acme/tiny can't be used: it names no file; choose another variant, or another revision; `larder model show` lists them"
        ],
    );
    check(
        r#"{"weight_map": {"a": 7}}"#,
        &expect![
            "variant-not-found: the index model.safetensors.index.json of repository acme/tiny can't be used: invalid type: integer `7`, expected a string at line 1 column 22; choose another variant, or another revision; `larder model show` lists them"
        ],
    );
    check(
        &format!("{}1{}", "[".repeat(200), "]".repeat(200)),
        &expect![
            "variant-not-found: the index model.safetensors.index.json of repository acme/tiny can't be used: invalid type: sequence, expected a map from tensors to files at line 1 column 1; choose another variant, or another revision; `larder model show` lists them"
        ],
    );
    check(
        "",
        &expect![
            "variant-not-found: the index model.safetensors.index.json of repository acme/tiny can't be used: EOF while parsing a value at line 1 column 0; choose another variant, or another revision; `larder model show` lists them"
        ],
    );
}

#[test]
fn parts_are_counted_where_no_index_tells() {
    let check = |files: &[&str], variant: &str, expected: &Expect| {
        let text: String = files.iter().map(|path| format!("L 5 {path}\n")).collect();
        let fixture = Fixture::parse(&format!("9 config.json\n{text}"));
        expected.assert_eq(&shown(fixture.select(variant, &SelectionWish::default())));
    };
    check(
        &["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        "",
        &expect!["safetensors: model-00001-of-00002.safetensors model-00002-of-00002.safetensors"],
    );
    check(
        &["model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"],
        "",
        &expect![
            "variant-not-found: variant safetensors of repository acme/tiny is incomplete: part 2 of 3 is missing; choose another variant, or another revision; `larder model show` lists them"
        ],
    );
    check(
        &["model-00001-of-99999.safetensors"],
        "",
        &expect![
            "variant-not-found: variant safetensors of repository acme/tiny is incomplete: part 2 of 99999 is missing; choose another variant, or another revision; `larder model show` lists them"
        ],
    );
    check(
        &["t-Q8_0-00001-of-00003.gguf", "t-Q8_0-00003-of-00003.gguf"],
        "Q8_0",
        &expect![
            "variant-not-found: variant Q8_0 of repository acme/tiny is incomplete: part 2 of 3 is missing; choose another variant, or another revision; `larder model show` lists them"
        ],
    );
    check(&["model.fp16.safetensors"], "", &expect!["fp16: model.fp16.safetensors"]);
    check(&["output.safetensors"], "", &expect!["safetensors: output.safetensors"]);
    check(&["a-7b-Q4_0.gguf", "a-13b-Q4_0.gguf"], "", &expect!["Q4_0: a-13b-Q4_0.gguf a-7b-Q4_0.gguf"]);
    check(&["a-7b-Q4_0.gguf", "a-13b-Q4_0.gguf"], "a-13b-Q4_0", &expect!["a-13b-Q4_0: a-13b-Q4_0.gguf"]);
    check(
        &["model-00001-of-00001.fp16.safetensors"],
        "fp16",
        &expect!["fp16: model-00001-of-00001.fp16.safetensors"],
    );
    check(
        &["2_Dense/pytorch_model.bin", "model.safetensors"],
        "",
        &expect![
            "weights-pickled: the weights of repository acme/tiny are pickled: loading them runs whatever program their author put in; consent with --weights any if you trust the author"
        ],
    );
}

#[test]
fn a_configuration_may_name_its_weights() {
    let text = "40 config.json\nL 5 a.safetensors\nL 5 b.safetensors\n== config.json\n\
                {\"transformers_weights\": \"b.safetensors\"}";
    let outcome = Fixture::parse(text).select("", &SelectionWish::default());
    expect!["safetensors: b.safetensors"].assert_eq(&shown(outcome));
}

#[test]
fn a_pipeline_may_have_one_complete_variant_only() {
    let pipeline = |files: &str| {
        let index = "{\"unet\": [\"diffusers\", \"X\"], \"vae\": [\"diffusers\", \"Y\"]}";
        Fixture::parse(&format!("50 model_index.json\n{files}\n== model_index.json\n{index}"))
    };
    let check = |files: &str, variant: &str, expected: &Expect| {
        expected.assert_eq(&shown(pipeline(files).select(variant, &SelectionWish::default())));
    };
    let name = "diffusion_pytorch_model";
    // The plain weights of the first component are pickled; a variant falls back where it has to.
    let some = format!("L 9 unet/{name}.bin\nL 5 unet/{name}.fp16.safetensors\nL 9 vae/{name}.safetensors");
    check(
        &some,
        "",
        &expect![
            "fp16: model_index.json unet/diffusion_pytorch_model.fp16.safetensors vae/diffusion_pytorch_model.safetensors"
        ],
    );
    let none = format!("L 9 unet/{name}.bin\nL 9 vae/{name}.safetensors");
    check(
        &none,
        "",
        &expect![
            "weights-pickled: the weights of repository acme/tiny are pickled: loading them runs whatever program their author put in; consent with --weights any if you trust the author"
        ],
    );
    let broken = Fixture::parse("50 model_index.json\n5 x.json\n== model_index.json\n[]");
    let error = Survey::new(&broken.repo, commit(), &broken.listing, &broken.documents).unwrap_err();
    assert_eq!(error.fault().code, types::ErrorCode::HubAnswerInvalid);
}

#[test]
fn an_empty_listing_is_refused() {
    let empty = Fixture::parse("");
    let error = Survey::new(&empty.repo, commit(), &empty.listing, &empty.documents).unwrap_err();
    expect!["repository acme/tiny holds no files"].assert_eq(&error.to_string());
}

#[test]
fn the_key_is_the_digest_of_the_files_whatever_the_order() {
    let fixture = Fixture::read("bert");
    let mut reversed = Fixture::read("bert");
    reversed.listing.reverse();
    let (one, other) = (
        fixture.select("onnx", &SelectionWish::default()),
        reversed.select("onnx", &SelectionWish::default()),
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.manifest, other.manifest);
    let offered = fixture.survey().offers().into_iter().find(|offer| offer.name == "onnx").unwrap();
    assert_eq!(offered.selection, one.manifest.key().selection);
    assert_eq!(offered.bytes, one.manifest.bytes());
    let absent: Vec<&str> = one.manifest.absent().iter().map(RepoPath::as_str).collect();
    assert!(absent.contains(&"tokenizer.model") && absent.contains(&"generation_config.json"), "{absent:?}");
}
