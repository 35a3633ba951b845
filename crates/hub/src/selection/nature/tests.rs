//! Names of files as repositories spell them.

use super::*;
use crate::tests::stand_in::entry;

#[test]
fn names_of_weights_are_taken_apart() {
    let check = |path: &str, home: &str, base: &str, variant: Option<&str>, part: Option<(u32, u32)>| {
        let name = match nature(&entry(path, 1, true), &BTreeSet::new()) {
            Nature::Weights(name) | Nature::Index(name) => name,
            other => panic!("{path}: {other:?}"),
        };
        let found = (name.home.as_str(), name.base.as_str(), name.variant.as_deref(), name.part);
        assert_eq!(found, (home, base, variant, part), "{path}");
    };
    check("model.safetensors", "", "model", None, None);
    check(
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet",
        "diffusion_pytorch_model",
        Some("fp16"),
        None,
    );
    check("model.fp32-00001-of-00002.safetensors", "", "model", Some("fp32"), Some((1, 2)));
    check("model-00002-of-00003.bf16.safetensors", "", "model", Some("bf16"), Some((2, 3)));
    check("model.safetensors.index.json", "", "model", None, None);
    check("model.safetensors.index.fp16.json", "", "model", Some("fp16"), None);
    check("a/pytorch_model.fp16.bin.index.json", "a", "pytorch_model", Some("fp16"), None);
    check("sd_xl_base_1.0.safetensors", "", "sd_xl_base_1.0", None, None);
    check("consolidated.00.pth", "", "consolidated.00", None, None);
    check("onnx/model_q4.onnx_data", "onnx", "model_q4", None, None);
    check("model-0001-of-0002.safetensors", "", "model-0001-of-0002", None, None);
    check("x/y.mlpackage/Data/weights/weight.bin", "x", "weight", None, None);
    check("saved/variables/variables.data-00000-of-00001", "saved", "variables", None, None);
}

#[test]
fn what_is_no_weights_is_told_apart() {
    let check = |path: &str, size: u64, expected: &Nature| {
        assert_eq!(&nature(&entry(path, size, true), &BTreeSet::new()), expected, "{path}");
    };
    check("config.json", 1, &Nature::Companion);
    check("tokenizer.json", 20_000_000, &Nature::Companion);
    check("tekken.json", 20_000_000, &Nature::Companion);
    check("spiece.model", 20_000_000, &Nature::Companion);
    check("big.json", 20_000_000, &Nature::Large);
    check("scheduler/scheduler_config.json", 1, &Nature::Companion);
    check("modeling_optimizer.py", 1, &Nature::Companion);
    check("optimizer.py", 1, &Nature::Companion);
    check("optimizer.pt", 1, &Nature::Training);
    check("training_args.bin", 1, &Nature::Training);
    check("checkpoint-500/model.safetensors", 1, &Nature::Training);
    check("runs/May01/events.out.tfevents.1", 1, &Nature::Training);
    check("cat.PNG", 1, &Nature::Media);
    check("tiny-imatrix.gguf", 1, &Nature::Aside);
    check("imatrix.dat", 1, &Nature::Aside);
    check("mtp-tiny.gguf", 1, &Nature::Aside);
}
