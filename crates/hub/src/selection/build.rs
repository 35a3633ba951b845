//! All the ways to take the weights of a repository, the default first. Pure.
//!
//! What common loaders do is written beside each rule; where they differ, the one that most workers use goes first.

use std::collections::{BTreeMap, BTreeSet};

use types::{ManifestFile, Variant};

use super::{
    RepoKind,
    candidate::Candidate,
    documents::{ADAPTER, Documents, PIPELINE, components, named_weights},
    gguf,
    nature::{Format, Nature, folder_of},
    weights::{Set, Shelf},
};

/// Endings of names by which exporters tell apart what they made of one model: `model_q4f16.onnx`.
const EXPORTED: [&str; 16] = [
    "fp16",
    "fp32",
    "bf16",
    "int8",
    "uint8",
    "int4",
    "q4",
    "q4f16",
    "q8",
    "bnb4",
    "quantized",
    "o1",
    "o2",
    "o3",
    "o4",
    "optimized",
];
/// Words in the name of a folder that holds the same model in another form, not a further part of it.
const FORMS: [&str; 28] = [
    "awq",
    "gptq",
    "exl2",
    "exl3",
    "hqq",
    "bnb",
    "int4",
    "int8",
    "fp4",
    "fp8",
    "fp16",
    "bf16",
    "fp32",
    "nf4",
    "gguf",
    "onnx",
    "openvino",
    "coreml",
    "mlx",
    "original",
    "tf",
    "flax",
    "tflite",
    "tensorrt",
    "pytorch",
    "safetensors",
    "checkpoints",
    "ema",
];
/// Candidates of one repository; the largest collections of quantisations have below 100.
const CANDIDATES_MAX: usize = 1000;
/// Folders that one candidate joins, and variants of one format: image pipelines have about ten of each.
const JOINED_MAX: usize = 64;

/// Ranks of candidates: what is lower is taken first.
mod rank {
    pub(super) const SAFETENSORS: u32 = 0;
    pub(super) const VARIANT: u32 = 1;
    pub(super) const MISTRAL: u32 = 2;
    pub(super) const GGUF: u32 = 3;
    pub(super) const PICKLE: u32 = 4;
    pub(super) const EXPORT: u32 = 10;
    pub(super) use super::super::candidate::ASKED;
}

/// What there is to choose from.
#[derive(Debug)]
pub(super) struct Choices {
    pub(super) kind: RepoKind,
    /// Sorted by order; the default first, unless everything is.
    pub(super) candidates: Vec<Candidate>,
}

/// Finds all candidates of a repository.
pub(super) fn choices(
    listing: &[ManifestFile],
    natures: &[Nature],
    documents: &Documents,
) -> Result<Choices, String> {
    let shelf = Shelf::new(listing, natures, documents);
    let parts = match documents.get(PIPELINE) {
        Some(bytes) => Some(components(bytes).map_err(|reason| format!("{PIPELINE}: {reason}"))?),
        None => None,
    };
    let kind = kind_of(&shelf, parts.is_some(), natures);
    let mut builder = Builder { listing, natures, shelf, taken: BTreeSet::new(), candidates: Vec::new() };
    match (kind, parts) {
        (RepoKind::Unknown, _) => builder.single_files(|_| true),
        (RepoKind::Diffusers, Some(parts)) => builder.pipeline(&parts),
        (_, _) => builder.model(documents),
    }
    if kind != RepoKind::Unknown {
        builder.candidates.extend(gguf::candidates(listing, natures, rank::GGUF));
    }
    let mut candidates = builder.candidates;
    for candidate in &mut candidates {
        // Only what can be asked for is a name.
        candidate.names = candidate.names.iter().map(|name| folder_name(name)).collect();
        candidate.names.retain(|name| name.parse::<Variant>().is_ok());
        if candidate.names.is_empty() {
            candidate.names.push(candidate.format.variant().to_owned());
        }
    }
    candidates.sort_by(|a, b| a.order.cmp(&b.order).then_with(|| a.names.cmp(&b.names)));
    // Each is shown by the first of its names that nothing before it has; the rest still find it.
    let mut shown = BTreeSet::new();
    candidates.retain_mut(|candidate| {
        let free = candidate.names.iter().position(|name| !shown.contains(&name.to_ascii_lowercase()));
        if let Some(at) = free {
            candidate.names.swap(0, at);
            shown.insert(candidate.name().to_ascii_lowercase());
        }
        free.is_some()
    });
    candidates.truncate(CANDIDATES_MAX);
    Ok(Choices { kind, candidates })
}

fn kind_of(shelf: &Shelf<'_>, is_pipeline: bool, natures: &[Nature]) -> RepoKind {
    let formats: BTreeSet<Format> = natures
        .iter()
        .filter_map(|nature| match nature {
            Nature::Weights(name) => Some(name.format),
            _ => None,
        })
        .collect();
    let at_root = |format| !shelf.all("", format).is_empty();
    let has_model = at_root(Format::Safetensors);
    if is_pipeline {
        RepoKind::Diffusers
    } else if formats.contains(&Format::Gguf) && !has_model {
        RepoKind::Gguf
    } else if formats.iter().all(|format| *format == Format::Onnx) && !formats.is_empty() {
        RepoKind::Onnx
    } else if shelf.place(ADAPTER).is_some() && shelf.place("config.json").is_none() {
        RepoKind::Adapter
    } else if (shelf.place("config.json").is_some() || shelf.place("params.json").is_some())
        && (formats.is_empty() || formats.iter().any(|format| at_root(*format) || is_export(*format)))
    {
        RepoKind::Transformers
    } else {
        RepoKind::Unknown
    }
}

/// Whether a format is one that models are exported to, for a runtime of its own.
const fn is_export(format: Format) -> bool {
    match format {
        Format::Safetensors | Format::Pickle | Format::Gguf => false,
        Format::Onnx
        | Format::CTranslate2
        | Format::OpenVino
        | Format::TensorFlow
        | Format::Flax
        | Format::TfLite
        | Format::CoreMl
        | Format::Rust
        | Format::Ggml
        | Format::NumPy => true,
    }
}

struct Builder<'a> {
    listing: &'a [ManifestFile],
    natures: &'a [Nature],
    shelf: Shelf<'a>,
    /// Folders that are part of the model, not a form of it.
    taken: BTreeSet<String>,
    candidates: Vec<Candidate>,
}

impl<'a> Builder<'a> {
    /// A model as `transformers` and vLLM look for it: weights in the root, with the modules of
    /// `sentence-transformers` and folders with a configuration of their own as further parts.
    fn model(&mut self, documents: &Documents) {
        let is_part = |home: &&str| !home.is_empty() && self.is_part(home);
        let safe: Vec<&str> = self.shelf.homes(Format::Safetensors).filter(is_part).collect();
        let pickled = self.shelf.homes(Format::Pickle).filter(is_part);
        let (modules, others): (BTreeSet<&str>, BTreeSet<&str>) =
            pickled.chain(safe.iter().copied()).partition(|home| is_module(home));
        // A further part that is pickled only is no reason to call a safe model pickled; a module is.
        let with = |parts: &[&'a str]| -> Vec<&'a str> {
            let parts = modules.iter().chain(parts).copied().collect::<BTreeSet<_>>();
            std::iter::once("").chain(parts.into_iter().take(JOINED_MAX)).collect()
        };
        let homes = with(&safe);
        let pickled_homes = with(&others.iter().copied().collect::<Vec<_>>());
        self.taken = homes.iter().chain(&pickled_homes).map(|part| (*part).to_owned()).collect();
        let named = named_weights(documents).and_then(|name| self.shelf.place(&name));
        match named {
            // `transformers` takes what the configuration names before anything else.
            Some(at) => {
                let set = Set { files: BTreeSet::from([at]), trouble: None };
                self.push(vec![], Format::Safetensors, set, &homes, (rank::SAFETENSORS, 0));
            }
            None => self.joined(Format::Safetensors, &homes, rank::SAFETENSORS, rank::VARIANT),
        }
        if let Some(set) = self.shelf.consolidated("") {
            let names = vec!["mistral".to_owned(), "consolidated".to_owned()];
            self.push(names, Format::Safetensors, set, &homes, (rank::MISTRAL, 0));
        }
        self.joined(Format::Pickle, &pickled_homes, rank::PICKLE, rank::PICKLE);
        self.exports();
        self.forms();
    }

    /// An image pipeline as `diffusers` looks for it: one set of weights in each component's folder. Safetensors are
    /// taken when every component has them; a variant falls back to the plain weights, component by component.
    fn pipeline(&mut self, parts: &BTreeSet<String>) {
        let formats = [Format::Safetensors, Format::Pickle];
        let has_weights =
            |part: &&String| formats.iter().any(|format| !self.shelf.sets(part, *format).is_empty());
        let parts: Vec<String> = parts.iter().filter(has_weights).take(JOINED_MAX).cloned().collect();
        self.taken = parts.iter().cloned().collect();
        let homes: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.joined(Format::Safetensors, &homes, rank::SAFETENSORS, rank::VARIANT);
        self.joined(Format::Pickle, &homes, rank::PICKLE, rank::PICKLE);
        for (at, format) in
            [Format::Onnx, Format::Flax, Format::OpenVino, Format::TensorFlow].into_iter().enumerate()
        {
            self.gathered(format, (rank::EXPORT, at));
        }
        self.single_files(str::is_empty);
        self.forms();
    }

    /// Adds a candidate for each variant of a format that is complete over several folders.
    fn joined(&mut self, format: Format, homes: &[&str], plain_rank: u32, variant_rank: u32) {
        let found: Vec<BTreeMap<Option<&str>, Set>> =
            homes.iter().map(|home| self.shelf.sets(home, format)).collect();
        let fallback = |home: &str| match format {
            // A pipeline of pickles may have components that were always safetensors.
            Format::Pickle => self.shelf.sets(home, Format::Safetensors).remove(&None),
            _ => None,
        };
        let variants: BTreeSet<Option<&str>> = found.iter().flat_map(BTreeMap::keys).copied().collect();
        let mut joined = Vec::new();
        for variant in variants.into_iter().take(JOINED_MAX) {
            let mut whole = Set::default();
            let mut is_complete = true;
            for (home, sets) in homes.iter().zip(&found) {
                let set = sets.get(&variant).or_else(|| sets.get(&None)).cloned().or_else(|| fallback(home));
                match set {
                    Some(set) => {
                        whole.files.extend(set.files);
                        whole.trouble = whole.trouble.or(set.trouble);
                    }
                    None => is_complete = false,
                }
            }
            if is_complete {
                joined.push((variant, whole));
            }
        }
        let preference = |variant: &str| {
            ["fp16", "bf16"].iter().position(|wanted| variant.eq_ignore_ascii_case(wanted)).unwrap_or(2)
        };
        for (variant, set) in joined {
            let (names, order) = match variant {
                None => (vec![], (plain_rank, 0)),
                Some(variant) if format == Format::Safetensors => {
                    (vec![variant.to_owned()], (variant_rank, preference(variant)))
                }
                Some(variant) => {
                    let names = vec![format!("{}-{variant}", format.variant()), variant.to_owned()];
                    (names, (variant_rank, 1 + preference(variant)))
                }
            };
            self.push(names, format, set, homes, order);
        }
    }

    /// Adds what the model was exported to, by format, and by the endings of names where there are several.
    fn exports(&mut self) {
        let formats = [
            Format::Onnx,
            Format::CTranslate2,
            Format::OpenVino,
            Format::TensorFlow,
            Format::Flax,
            Format::TfLite,
            Format::CoreMl,
            Format::Rust,
            Format::Ggml,
            Format::NumPy,
        ];
        for (place, format) in formats.into_iter().enumerate() {
            let by_ending = matches!(format, Format::Onnx | Format::OpenVino);
            if !by_ending {
                self.gathered(format, (rank::EXPORT, place));
                continue;
            }
            let homes: Vec<&str> = self.shelf.homes(format).collect();
            for home in homes {
                self.exported(home, format, place);
            }
        }
    }

    /// Adds the exports in one folder, told apart by the endings of their names.
    fn exported(&mut self, home: &str, format: Format, place: usize) {
        let mut groups: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for at in self.shelf.all(home, format) {
            let Nature::Weights(name) = &self.natures[at] else { continue };
            groups.entry(export_ending(&name.base).unwrap_or_default().to_owned()).or_default().insert(at);
        }
        let is_usual = home.is_empty() || home == format.variant();
        let prefix = if is_usual { format.variant().to_owned() } else { folder_name(home) };
        for (ending, files) in groups {
            let (names, order) = match (ending.as_str(), is_usual) {
                ("", true) => (vec![prefix.clone()], (rank::EXPORT, place)),
                ("", false) => (vec![prefix.clone()], (rank::ASKED, place)),
                (_, true) => (vec![format!("{prefix}-{ending}"), ending], (rank::EXPORT + 1, place)),
                (_, false) => (vec![format!("{prefix}-{ending}")], (rank::ASKED, place)),
            };
            self.push(names, format, Set { files, trouble: None }, &[home], order);
        }
    }

    /// Adds all files of a format as one candidate.
    fn gathered(&mut self, format: Format, order: (u32, usize)) {
        let homes: Vec<&str> = self.shelf.homes(format).collect();
        let files: BTreeSet<usize> = homes.iter().flat_map(|home| self.shelf.all(home, format)).collect();
        if !files.is_empty() {
            self.push(vec![], format, Set { files, trouble: None }, &homes, order);
        }
    }

    /// Adds what stands in folders that hold the model in another form: `4bit/`, `original/`.
    fn forms(&mut self) {
        for format in [Format::Safetensors, Format::Pickle] {
            let is_form = |home: &&str| !home.is_empty() && !self.taken.contains(*home);
            let homes: Vec<&str> = self.shelf.homes(format).filter(is_form).collect();
            for home in homes {
                for (variant, set) in self.shelf.sets(home, format) {
                    let folder = folder_name(home);
                    let name =
                        variant.map_or_else(|| folder.clone(), |variant| format!("{folder}-{variant}"));
                    let names = match format {
                        Format::Safetensors => vec![name],
                        _ => vec![name.clone(), format!("{name}-pytorch")],
                    };
                    self.push(
                        names,
                        format,
                        set,
                        &[home],
                        (rank::ASKED, usize::from(format == Format::Pickle)),
                    );
                }
            }
        }
    }

    /// Adds each file of weights in the wanted folders by itself: checkpoints for programs that take one file.
    fn single_files(&mut self, wanted: impl Fn(&str) -> bool) {
        for (at, nature) in self.natures.iter().enumerate() {
            let Nature::Weights(name) = nature else { continue };
            if !wanted(&name.home) || self.candidates.len() >= CANDIDATES_MAX {
                continue;
            }
            let set = Set { files: BTreeSet::from([at]), trouble: None };
            let path = self.listing[at].path.as_str();
            let file = path.rsplit('/').next().unwrap_or(path);
            let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
            let names = vec![stem.to_owned(), file.to_owned(), folder_name(path)];
            let place = usize::from(name.format == Format::Pickle);
            self.push(names, name.format, set, &[name.home.as_str()], (rank::ASKED, place));
        }
    }

    /// Returns whether a folder with weights is a part of the model: a module of `sentence-transformers`, or a folder
    /// with a configuration of its own that is not named like another form of the whole.
    fn is_part(&self, home: &str) -> bool {
        is_module(home) || self.shelf.place(&format!("{home}/config.json")).is_some() && !is_form(home)
    }

    fn push(&mut self, names: Vec<String>, format: Format, set: Set, homes: &[&str], order: (u32, usize)) {
        if set.files.is_empty() {
            return;
        }
        let names = if names.is_empty() { names_of(format) } else { names };
        let size = |at: &usize| self.listing[*at].size;
        let bytes = set.files.iter().map(size).fold(0, u64::saturating_add);
        let own_folders = set.files.iter().map(|at| folder_of(self.listing[*at].path.as_str()).to_owned());
        self.candidates.push(Candidate {
            names,
            format,
            folders: homes.iter().map(|home| (*home).to_owned()).chain(own_folders).collect(),
            files: set.files,
            order: (order.0, order.1, bytes),
            trouble: set.trouble,
        });
    }
}

/// Returns the names of all there is in a format.
fn names_of(format: Format) -> Vec<String> {
    let others: &[&str] = match format {
        Format::Pickle => &["bin", "pickle"],
        Format::TensorFlow => &["tf"],
        _ => &[],
    };
    std::iter::once(format.variant()).chain(others.iter().copied()).map(str::to_owned).collect()
}

/// Returns whether a folder is a module of `sentence-transformers`: `2_Dense`.
fn is_module(home: &str) -> bool {
    home.split_once('_').is_some_and(|(number, name)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains('/')
    })
}

/// Returns a folder's path as a variant's name.
fn folder_name(folder: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = folder.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    name.trim_start_matches(['-', '.']).to_owned()
}

/// Returns whether a folder is named like another form of the whole model: `4bit`, `awq-int4`, `5.0bpw`.
fn is_form(home: &str) -> bool {
    let mut words = home.split(['/', '-', '_', ' ']).map(str::to_ascii_lowercase);
    words.any(|word| {
        let counted = ["bit", "bits", "bpw"].iter().any(|unit| {
            word.strip_suffix(unit).is_some_and(|count| {
                !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            })
        });
        let quantised =
            word.strip_prefix('q').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        counted || quantised || FORMS.contains(&word.as_str())
    })
}

/// Returns the ending of a name by which an exporter tells what it made: `q4` of `decoder_model_merged_q4`.
fn export_ending(base: &str) -> Option<&str> {
    base.match_indices('_').map(|(at, _)| &base[at + 1..]).find(|ending| {
        let ending = ending.to_ascii_lowercase();
        EXPORTED.contains(&ending.as_str()) || ending.starts_with("qint8_") || ending.starts_with("quint8_")
    })
}
