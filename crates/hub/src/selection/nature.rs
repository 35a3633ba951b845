//! What a file of a repository is, by its name, its size and what stands beside it. Pure.

use std::collections::BTreeSet;

use types::{ManifestFile, RepoPath};

/// A file that is neither weights nor a tokenizer comes along up to this size: none that loaders need has been seen
/// above 10 MB.
const COMPANION_BYTES_MAX: u64 = 10_000_000;
/// Names in GGUF files that are drafts of speculative decoding, not the model itself.
const ASIDE: [&str; 4] = ["mtp-", "eagle3-", "dflash-", "dspark-"];
/// Endings of Python pickles, and of archives that hold some.
const PICKLED: [&str; 10] = ["bin", "pt", "pth", "th", "ckpt", "pkl", "pickle", "joblib", "dill", "nemo"];
/// Pictures, films and papers: for readers of the model's page.
const MEDIA: [&str; 16] = [
    "png", "jpg", "jpeg", "gif", "webp", "svg", "bmp", "tiff", "ico", "heic", "mp4", "webm", "mov", "avi",
    "mkv", "pdf",
];
/// What begins the names of files that a tokenizer is made of, whatever their size.
const TOKENIZERS: [&str; 6] = ["tokenizer", "vocab", "merges", "tekken", "spiece", "sentencepiece"];
/// What begins the names of files that only a trainer reads.
const TRAINING: [&str; 10] = [
    "optimizer",
    "scheduler.",
    "scaler.",
    "rng_state",
    "random_states",
    "training_args",
    "trainer_state",
    "events.out.tfevents",
    "pytorch_model_fsdp",
    "mp_rank_",
];
/// Names of weights that loaders look for, the one that goes first in front. Only these have variants in their names.
pub(super) const LOADED: [&str; 8] = [
    "model",
    "diffusion_pytorch_model",
    "pytorch_model",
    "tf_model",
    "flax_model",
    "diffusion_flax_model",
    "adapter_model",
    "consolidated",
];

/// How weights are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Format {
    Safetensors,
    Gguf,
    Pickle,
    Onnx,
    CTranslate2,
    OpenVino,
    TensorFlow,
    Flax,
    TfLite,
    CoreMl,
    Rust,
    Ggml,
    NumPy,
}

impl Format {
    /// Returns its name, for people.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Gguf => "GGUF",
            Self::Pickle => "PyTorch",
            Self::Onnx => "ONNX",
            Self::CTranslate2 => "CTranslate2",
            Self::OpenVino => "OpenVINO",
            Self::TensorFlow => "TensorFlow",
            Self::Flax => "Flax",
            Self::TfLite => "TensorFlow Lite",
            Self::CoreMl => "Core ML",
            Self::Rust => "Rust (tch)",
            Self::Ggml => "GGML",
            Self::NumPy => "NumPy",
        }
    }

    /// Returns the name of the variant that is all there is in this format.
    pub(super) const fn variant(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Gguf => "gguf",
            Self::Pickle => "pytorch",
            Self::Onnx => "onnx",
            Self::CTranslate2 => "ctranslate2",
            Self::OpenVino => "openvino",
            Self::TensorFlow => "tensorflow",
            Self::Flax => "flax",
            Self::TfLite => "tflite",
            Self::CoreMl => "coreml",
            Self::Rust => "rust",
            Self::Ggml => "ggml",
            Self::NumPy => "numpy",
        }
    }
}

/// The name of a file of weights, taken apart: `model.fp16-00001-of-00002.safetensors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WeightName {
    pub(super) format: Format,
    /// The folder that a loader would be pointed to.
    pub(super) home: String,
    /// What the name begins with: `model`.
    pub(super) base: String,
    /// `fp16`.
    pub(super) variant: Option<String>,
    /// Which part of how many.
    pub(super) part: Option<(u32, u32)>,
}

/// What a file is to a loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// Configuration, tokenizer, documentation, code: comes along.
    Companion,
    Weights(WeightName),
    /// Says which parts weights are in.
    Index(WeightName),
    /// Beside a model of GGUF files, and never part of it.
    Aside,
    /// Left behind by a training.
    Training,
    /// For readers of the model's page.
    Media,
    /// Large, and of no use that is known.
    Large,
}

impl Nature {
    /// Returns whether a Python pickle is in the file.
    pub(super) fn is_pickled(&self, path: &RepoPath) -> bool {
        match self {
            Self::Weights(name) => name.format == Format::Pickle,
            Self::Training => is_pickle_name(&path.file_name().to_ascii_lowercase()),
            Self::Companion | Self::Index(_) | Self::Aside | Self::Media | Self::Large => false,
        }
    }
}

/// Says what each file of a listing is.
pub(super) fn natures(listing: &[ManifestFile]) -> Vec<Nature> {
    let paths: BTreeSet<&str> = listing.iter().map(|file| file.path.as_str()).collect();
    listing.iter().map(|file| nature(file, &paths)).collect()
}

/// Returns the folder that a path is in; empty for the root.
pub(super) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn nature(file: &ManifestFile, paths: &BTreeSet<&str>) -> Nature {
    let path = file.path.as_str();
    let name = file.path.file_name().to_ascii_lowercase();
    if is_of_training(path, &name) {
        return Nature::Training;
    }
    if let Some(index) = index_name(path) {
        return Nature::Index(index);
    }
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    if name.contains("imatrix") || ending == "gguf" && ASIDE.iter().any(|aside| name.contains(aside)) {
        return Nature::Aside;
    }
    if let Some(format) = format_of(path, &name, ending, paths) {
        return Nature::Weights(weight_name(path, format));
    }
    let is_tokenizer = TOKENIZERS.iter().any(|begin| name.starts_with(begin))
        || matches!(ending, "model" | "tiktoken" | "spm" | "vocab");
    if MEDIA.contains(&ending) {
        Nature::Media
    } else if is_tokenizer || file.size <= COMPANION_BYTES_MAX {
        Nature::Companion
    } else {
        Nature::Large
    }
}

fn is_of_training(path: &str, name: &str) -> bool {
    let numbered = |folder: &str, begin: &str| {
        folder.strip_prefix(begin).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let folders = folder_of(path).split('/');
    TRAINING.iter().any(|begin| name.starts_with(begin))
        && !name.ends_with(".py")
        && !is_scheduler_config(name)
        || folders.into_iter().any(|folder| {
            folder == "runs" || numbered(folder, "checkpoint-") || numbered(folder, "global_step")
        })
}

/// Image pipelines have a scheduler too, and its configuration is part of them.
fn is_scheduler_config(name: &str) -> bool {
    name.ends_with(".json") && name != "trainer_state.json"
}

fn is_pickle_name(name: &str) -> bool {
    let name = name.strip_suffix(".tar").unwrap_or(name);
    name.rsplit_once('.').is_some_and(|(_, ending)| PICKLED.contains(&ending))
}

fn format_of(path: &str, name: &str, ending: &str, paths: &BTreeSet<&str>) -> Option<Format> {
    let beside = |other: &str| {
        let folder = folder_of(path);
        let path = if folder.is_empty() { other.to_owned() } else { format!("{folder}/{other}") };
        paths.contains(path.as_str())
    };
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    if path.split('/').any(|part| part.ends_with(".mlpackage") || part.ends_with(".mlmodelc")) {
        return Some(Format::CoreMl);
    }
    match ending {
        "safetensors" => Some(Format::Safetensors),
        "gguf" => Some(Format::Gguf),
        "bin" if paths.contains(format!("{stem}.xml").as_str()) => Some(Format::OpenVino),
        "xml" if paths.contains(format!("{stem}.bin").as_str()) => Some(Format::OpenVino),
        "bin" if name.starts_with("ggml") => Some(Format::Ggml),
        "bin" if name == "model.bin" && is_ctranslate2(&beside) => Some(Format::CTranslate2),
        "h5" | "keras" => Some(Format::TensorFlow),
        "pb" if name == "saved_model.pb" => Some(Format::TensorFlow),
        "onnx" | "ort" | "pb" => Some(Format::Onnx),
        "msgpack" => Some(Format::Flax),
        "ot" => Some(Format::Rust),
        "tflite" => Some(Format::TfLite),
        "mlmodel" => Some(Format::CoreMl),
        "npz" if name.starts_with("weights") => Some(Format::NumPy),
        _ if name.contains(".onnx_data") || name.contains(".onnx.data") => Some(Format::Onnx),
        _ if name.starts_with("variables.data-") => Some(Format::TensorFlow),
        _ if is_pickle_name(name) => Some(Format::Pickle),
        _ => None,
    }
}

/// CTranslate2 calls its weights as nobody else does, and has its vocabulary beside them.
fn is_ctranslate2(beside: &impl Fn(&str) -> bool) -> bool {
    let vocabularies =
        ["vocabulary.json", "vocabulary.txt", "shared_vocabulary.json", "shared_vocabulary.txt"];
    vocabularies.into_iter().any(beside)
}

/// Takes the name of an index apart: `model.safetensors.index.json`, `model.safetensors.index.fp16.json`.
fn index_name(path: &str) -> Option<WeightName> {
    let rest = path.strip_suffix(".json")?;
    let (weights, variant) = match rest.strip_suffix(".index") {
        Some(weights) => (weights, None),
        None => {
            let (before, variant) = rest.rsplit_once('.')?;
            (before.strip_suffix(".index")?, Some(variant))
        }
    };
    let (_, ending) = weights.rsplit_once('.')?;
    let format = match ending {
        "safetensors" => Format::Safetensors,
        "bin" => Format::Pickle,
        "h5" => Format::TensorFlow,
        "msgpack" => Format::Flax,
        _ => return None,
    };
    let mut name = weight_name(weights, format);
    name.variant = variant.map(str::to_owned).or(name.variant);
    Some(name)
}

/// Takes the name of a file of weights apart.
fn weight_name(path: &str, format: Format) -> WeightName {
    let home = home_of(path, format);
    let name = path.rsplit('/').next().unwrap_or(path);
    let cut = match format {
        // What follows `.onnx` says which piece of the weights it is.
        Format::Onnx => name.find(".onnx").unwrap_or(name.len()),
        _ => name.rfind('.').unwrap_or(name.len()),
    };
    let whole = &name[..cut];
    // Older writers put the variant behind the part: `model-00001-of-00002.fp16.safetensors`.
    let (stem, part) = split_part(whole);
    let known = |stem: &str| LOADED.contains(&stem);
    let with_variant = |stem: &str| {
        let (base, variant) = stem.split_once('.')?;
        // `consolidated.00.pth` numbers its parts in its own way.
        let is_variant = variant.starts_with(|c: char| c.is_ascii_alphabetic());
        (known(base) && is_variant).then(|| (base.to_owned(), variant.to_owned()))
    };
    let (base, variant, part) = match (part, with_variant(stem)) {
        (Some(_), Some((base, variant))) => (base, Some(variant), part),
        (Some(_), None) => (stem.to_owned(), None, part),
        (None, Some((base, variant))) => (base, Some(variant), None),
        (None, None) => match whole.rsplit_once('.').map(|(front, variant)| (split_part(front), variant)) {
            Some(((front, part @ Some(_)), variant)) if known(front) => {
                (front.to_owned(), Some(variant.to_owned()), part)
            }
            Some(_) | None => (whole.to_owned(), None, None),
        },
    };
    WeightName { format, home: home.to_owned(), base, variant, part }
}

/// Returns the folder that a loader is pointed to. A package of Core ML and a saved model are folders themselves.
fn home_of(path: &str, format: Format) -> &str {
    let folder = folder_of(path);
    match format {
        Format::CoreMl => {
            let package = path.find(".mlpackage").or_else(|| path.find(".mlmodelc"));
            package.map_or(folder, |at| folder_of(&path[..at]))
        }
        Format::TensorFlow => {
            folder.strip_suffix("variables").map_or(folder, |above| above.trim_end_matches('/'))
        }
        _ => folder,
    }
}

/// Cuts `-00001-of-00003` off a stem and returns the part and how many there are.
pub(super) fn split_part(stem: &str) -> (&str, Option<(u32, u32)>) {
    let part = || {
        let (rest, parts) = stem.rsplit_once("-of-")?;
        let (name, part) = rest.rsplit_once('-')?;
        let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = |text: &str| if digits(text) { text.parse::<u32>().ok() } else { None };
        Some((name, (number(part)?, number(parts)?)))
    };
    part().map_or((stem, None), |(name, part)| (name, Some(part)))
}

#[cfg(test)]
mod tests;
