//! From a survey to what is fetched: one candidate or some patterns, what comes along, and what is left out.

use std::collections::{BTreeMap, BTreeSet};

use base::ByteSize;
use sha2::{Digest as _, Sha256};
use types::{
    Choice, LeftOut, Manifest, ManifestFile, Matcher, ModelKey, Pattern, RepoPath, SelectionKey,
    SelectionWish, Variant, WeightsPolicy,
};

use super::{
    Offer, RepoKind, Selected, Survey,
    candidate::{Candidate, Trouble},
    nature::{Format, Nature, folder_of},
};
use crate::{
    access::weight_file,
    error::{
        AvailableVariant, IndexInvalid, IndexPathMissing, IndexPathRefused, SelectError, SelectionEmpty,
        VariantIncomplete, VariantNotFound, VariantWithPatterns, WeightsPickled,
    },
};

/// Optional files that loaders ask for: `transformers` 5.23 for a tokenizer, a configuration and an adapter.
const PROBED: [&str; 12] = [
    "adapter_config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "custom_generate/generate.py",
    "generation_config.json",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "video_preprocessor_config.json",
];
/// Variants that are offered. Each costs a look at the whole listing.
const OFFERS_MAX: usize = 200;
/// Groups of files that are told one by one; the smallest of more become one.
const GROUPS_MAX: usize = 8;
/// Names of variants in one group's advice, and in an error.
const NAMES_SHOWN_MAX: usize = 3;
/// The name of a choice that no rule made.
const EVERYTHING: &str = "everything";
const PATTERNS: &str = "patterns";

impl Survey<'_> {
    /// Returns the ways to take the repository, the default first.
    pub fn offers(&self) -> Vec<Offer> {
        let default = self.default_candidate().map(Candidate::name);
        let sound = self.choices.candidates.iter().filter(|candidate| candidate.trouble.is_none());
        let offers = sound.take(OFFERS_MAX).map(|candidate| {
            let files = self.with_companions(&candidate.files, &candidate.folders);
            Offer {
                name: candidate.name().to_owned(),
                format: candidate.format.label(),
                is_default: default == Some(candidate.name()),
                is_pickled: self.is_pickled(candidate),
                ..self.offer(&files)
            }
        });
        let everything = default.is_none().then(|| {
            let files = self.everything(WeightsPolicy::Safe);
            let is_pickled = self.lost_weights(&files);
            let files = if is_pickled { self.everything(WeightsPolicy::Any) } else { files };
            Offer { is_default: true, is_pickled, ..self.offer(&files) }
        });
        let mut offers: Vec<Offer> = everything.into_iter().chain(offers).collect();
        // Of quantisations people look for the one that fits, so these go by size.
        if self.kind() == RepoKind::Gguf {
            offers.sort_by_key(|offer| (!offer.is_default, offer.bytes));
        }
        offers
    }

    fn offer(&self, files: &BTreeSet<usize>) -> Offer {
        let files = self.files(files);
        Offer {
            name: EVERYTHING.to_owned(),
            format: "as it is",
            files: files.len() as u64,
            bytes: total(&files),
            is_default: false,
            is_pickled: false,
            selection: selection_key(&files),
        }
    }

    /// Chooses files. A variant and patterns exclude each other.
    ///
    /// # Errors
    /// [`SelectError`] by condition.
    pub fn select(&self, variant: Option<&Variant>, wish: &SelectionWish) -> Result<Selected, SelectError> {
        let (name, files) = match variant {
            Some(_) if wish.has_patterns() => {
                return Err(VariantWithPatterns { repo: self.repo.name.clone() }.into());
            }
            Some(variant) => self.named(variant, wish.weights)?,
            None if wish.has_patterns() => (PATTERNS.to_owned(), self.matching(wish)?),
            None => self.usual(wish.weights)?,
        };
        let chosen = self.files(&files);
        let weight_file = weight_file(&chosen)
            .map(|file| file.path.clone())
            .ok_or_else(|| SelectionEmpty { repo: self.repo.name.clone() })?;
        let key =
            ModelKey { repo: self.repo.clone(), commit: self.commit, selection: selection_key(&chosen) };
        let choice = Choice {
            name,
            wish: wish.clone(),
            pickled: files.iter().any(|at| self.is_pickle(*at)),
            left_out: self.left_out(&files),
        };
        let manifest = Manifest::new(key, chosen, self.absent())?;
        Ok(Selected { manifest, weight_file, choice })
    }

    fn named(
        &self,
        variant: &Variant,
        weights: WeightsPolicy,
    ) -> Result<(String, BTreeSet<usize>), SelectError> {
        let asked = variant.as_str();
        let candidates = &self.choices.candidates;
        let shown = candidates.iter().find(|candidate| candidate.name().eq_ignore_ascii_case(asked));
        let by_any = || {
            let has =
                |candidate: &&Candidate| candidate.names.iter().any(|name| name.eq_ignore_ascii_case(asked));
            candidates.iter().find(has)
        };
        match shown.or_else(by_any) {
            Some(candidate) => self.taken(candidate, weights),
            None if asked.eq_ignore_ascii_case(EVERYTHING) => {
                self.all_of_it(weights).map(|files| (EVERYTHING.to_owned(), files))
            }
            None => Err(VariantNotFound {
                repo: self.repo.name.clone(),
                variant: variant.clone(),
                available: self.available(),
            }
            .into()),
        }
    }

    fn usual(&self, weights: WeightsPolicy) -> Result<(String, BTreeSet<usize>), SelectError> {
        match self.default_candidate() {
            Some(candidate) => self.taken(candidate, weights),
            None => self.all_of_it(weights).map(|files| (EVERYTHING.to_owned(), files)),
        }
    }

    fn taken(
        &self,
        candidate: &Candidate,
        weights: WeightsPolicy,
    ) -> Result<(String, BTreeSet<usize>), SelectError> {
        if let Some(trouble) = &candidate.trouble {
            return Err(self.error_of(candidate, trouble));
        }
        if self.is_pickled(candidate) && weights == WeightsPolicy::Safe {
            return Err(self.pickled().into());
        }
        let files = self.with_companions(&candidate.files, &candidate.folders);
        Ok((candidate.name().to_owned(), files))
    }

    fn all_of_it(&self, weights: WeightsPolicy) -> Result<BTreeSet<usize>, SelectError> {
        let files = self.everything(weights);
        if self.lost_weights(&files) { Err(self.pickled().into()) } else { Ok(files) }
    }

    fn everything(&self, weights: WeightsPolicy) -> BTreeSet<usize> {
        (0..self.listing.len()).filter(|at| self.may_take(*at, weights)).collect()
    }

    fn may_take(&self, at: usize, weights: WeightsPolicy) -> bool {
        match weights {
            WeightsPolicy::Safe => !self.is_pickle(at),
            WeightsPolicy::Any => true,
        }
    }

    /// Returns whether the only weights are pickles that these files lack.
    fn lost_weights(&self, files: &BTreeSet<usize>) -> bool {
        let is_weights = |at: &usize| matches!(self.natures[*at], Nature::Weights(_));
        let left_out = (0..self.listing.len()).filter(|at| !files.contains(at));
        !files.iter().any(is_weights) && left_out.filter(is_weights).any(|at| self.is_pickle(at))
    }

    fn matching(&self, wish: &SelectionWish) -> Result<BTreeSet<usize>, SelectError> {
        let matchers = |patterns: &[Pattern]| patterns.iter().map(Pattern::matcher).collect::<Vec<Matcher>>();
        let (include, exclude) = (matchers(&wish.include), matchers(&wish.exclude));
        let any = |matchers: &[Matcher], at: usize| {
            let path = self.listing[at].path.as_str();
            matchers.iter().any(|matcher| matcher.matches(path))
        };
        let is_wanted = |at: &usize| (include.is_empty() || any(&include, *at)) && !any(&exclude, *at);
        let wanted: BTreeSet<usize> = (0..self.listing.len()).filter(is_wanted).collect();
        let mut files: BTreeSet<usize> =
            wanted.iter().copied().filter(|at| self.may_take(*at, wish.weights)).collect();
        if files.is_empty() && wanted.is_empty() {
            return Err(SelectionEmpty { repo: self.repo.name.clone() }.into());
        }
        let is_weights = |at: &usize| matches!(self.natures[*at], Nature::Weights(_));
        if !files.iter().any(is_weights) && wanted.iter().any(is_weights) {
            return Err(self.pickled().into());
        }
        let weights: BTreeSet<usize> = files.iter().copied().filter(is_weights).collect();
        let folder = |at: &usize| folder_of(self.listing[*at].path.as_str()).to_owned();
        let folders: BTreeSet<String> = weights.iter().map(folder).collect();
        files.extend(self.with_companions(&weights, &folders));
        files.extend(self.indexes_of(&weights));
        files.retain(|at| !any(&exclude, *at));
        Ok(files)
    }

    /// Returns the indexes of these weights.
    fn indexes_of(&self, weights: &BTreeSet<usize>) -> Vec<usize> {
        let named: BTreeSet<_> = weights
            .iter()
            .filter_map(|at| match &self.natures[*at] {
                Nature::Weights(name) => Some((&name.home, &name.base, &name.variant, name.format)),
                _ => None,
            })
            .collect();
        let is_theirs = |at: &usize| match &self.natures[*at] {
            Nature::Index(name) => named.contains(&(&name.home, &name.base, &name.variant, name.format)),
            _ => false,
        };
        (0..self.listing.len()).filter(is_theirs).collect()
    }

    fn files(&self, places: &BTreeSet<usize>) -> Vec<ManifestFile> {
        places.iter().map(|at| self.listing[*at].clone()).collect()
    }

    /// Returns the optional files that the whole listing lacks. A file that exists and was not chosen is not absent.
    fn absent(&self) -> BTreeSet<RepoPath> {
        let present: BTreeSet<&str> = self.listing.iter().map(|file| file.path.as_str()).collect();
        let lacking = PROBED.iter().filter(|path| !present.contains(**path));
        lacking.map(|path| path.parse().expect("the paths above are fixed and valid")).collect()
    }

    fn available(&self) -> Vec<AvailableVariant> {
        let sound = self.choices.candidates.iter().filter(|candidate| candidate.trouble.is_none());
        let weigh = |candidate: &Candidate| AvailableVariant {
            name: candidate.name().to_owned(),
            bytes: candidate.files.iter().map(|at| ByteSize(self.listing[*at].size)).sum(),
        };
        sound.take(OFFERS_MAX).map(weigh).collect()
    }

    fn pickled(&self) -> WeightsPickled {
        let safe = self.choices.candidates.iter().filter(|candidate| {
            candidate.trouble.is_none() && !self.is_pickled(candidate) && self.kind() != RepoKind::Unknown
        });
        let others = safe.take(NAMES_SHOWN_MAX).map(|candidate| candidate.name().to_owned()).collect();
        WeightsPickled { repo: self.repo.name.clone(), others }
    }

    fn error_of(&self, candidate: &Candidate, trouble: &Trouble) -> SelectError {
        let (repo, variant) = (self.repo.name.clone(), candidate.name().to_owned());
        match trouble.clone() {
            Trouble::PartMissing { part, parts } => VariantIncomplete { repo, variant, part, parts }.into(),
            Trouble::NotListed { index, path } => IndexPathMissing { repo, index, path }.into(),
            Trouble::PathRefused { index, error } => IndexPathRefused { repo, index, source: error }.into(),
            Trouble::IndexInvalid { index, reason } => IndexInvalid { repo, index, reason }.into(),
        }
    }

    /// Groups what was not chosen by what it is.
    fn left_out(&self, chosen: &BTreeSet<usize>) -> Vec<LeftOut> {
        let owners = self.owners();
        let formats: BTreeSet<Format> = chosen
            .iter()
            .filter_map(|at| match &self.natures[*at] {
                Nature::Weights(name) => Some(name.format),
                _ => None,
            })
            .collect();
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let of_use = |at: usize| match self.natures[at] {
            Nature::Weights(_) | Nature::Index(_) | Nature::Companion | Nature::Large => true,
            Nature::Aside | Nature::Training | Nature::Media => false,
        };
        for at in (0..self.listing.len()).filter(|at| !chosen.contains(at)) {
            let owner = owners[at].map(|owner| &self.choices.candidates[owner]);
            let what = self.what(at, owner, &formats);
            let group = groups.entry(what).or_default();
            group.files += 1;
            group.bytes += ByteSize(self.listing[at].size);
            group.is_pickled |= self.is_pickle(at);
            match owner {
                Some(owner) => {
                    group.names.insert((owner.order, owner.name().to_owned()));
                }
                None if group.example.is_none() && of_use(at) => {
                    group.example = Some(self.listing[at].path.as_str().to_owned());
                }
                None => {}
            }
        }
        told(groups)
    }

    /// Returns, for each file, the candidate that would bring it, the most usual one first.
    fn owners(&self) -> Vec<Option<usize>> {
        let mut owners: Vec<Option<usize>> = vec![None; self.listing.len()];
        let mut by_folder: BTreeMap<&str, usize> = BTreeMap::new();
        for (owner, candidate) in self.choices.candidates.iter().enumerate() {
            for at in &candidate.files {
                owners[*at].get_or_insert(owner);
            }
            for folder in &candidate.folders {
                by_folder.entry(folder).or_insert(owner);
            }
        }
        for (at, nature) in self.natures.iter().enumerate() {
            if *nature == Nature::Companion && !self.scopes[at].is_empty() {
                owners[at] = owners[at].or_else(|| by_folder.get(self.scopes[at]).copied());
            }
        }
        owners
    }

    fn what(&self, at: usize, owner: Option<&Candidate>, chosen: &BTreeSet<Format>) -> String {
        let label = |format: Format| match format {
            Format::Pickle => "pickled PyTorch".to_owned(),
            _ if chosen.contains(&format) => format!("other {}", format.label()),
            _ => format.label().to_owned(),
        };
        match (&self.natures[at], owner) {
            (Nature::Training, _) => "left by a training".to_owned(),
            (Nature::Media, _) => "pictures, films and papers".to_owned(),
            (Nature::Aside, _) => "importance matrices and drafts".to_owned(),
            (Nature::Large, _) => "large files that no loader asks for".to_owned(),
            (_, Some(owner)) => label(owner.format),
            (Nature::Weights(name) | Nature::Index(name), None) => label(name.format),
            (Nature::Companion, None) => "other files".to_owned(),
        }
    }
}

#[derive(Debug, Default)]
struct Group {
    files: u64,
    bytes: ByteSize,
    is_pickled: bool,
    /// Variants that bring these files, the most usual first.
    names: BTreeSet<((u32, usize, u64), String)>,
    /// A file that no variant brings.
    example: Option<String>,
}

impl Group {
    fn ask(&self) -> Option<String> {
        let consent = if self.is_pickled { " --weights any" } else { "" };
        let mut names: Vec<String> =
            self.names.iter().take(NAMES_SHOWN_MAX).map(|(_, name)| format!(":{name}")).collect();
        if names.is_empty() {
            return self
                .example
                .as_ref()
                .map(|path| format!("--include '{}'{consent}", path.replace('\'', "?")));
        }
        if self.names.len() > NAMES_SHOWN_MAX {
            names.push("…".to_owned());
        }
        Some(names.join(" ") + consent)
    }
}

/// Turns groups into what is told, the largest first.
fn told(groups: BTreeMap<String, Group>) -> Vec<LeftOut> {
    let one = |(what, group): (String, Group)| LeftOut {
        what,
        files: group.files,
        bytes: group.bytes,
        ask: group.ask(),
    };
    let mut told: Vec<LeftOut> = groups.into_iter().map(one).collect();
    told.sort_by(|a, b| (b.bytes, &a.what).cmp(&(a.bytes, &b.what)));
    if told.len() > GROUPS_MAX {
        let rest = told.split_off(GROUPS_MAX - 1);
        told.push(LeftOut {
            what: "the rest".to_owned(),
            files: rest.iter().map(|group| group.files).sum(),
            bytes: rest.iter().map(|group| group.bytes).sum(),
            ask: None,
        });
    }
    told
}

fn total(files: &[ManifestFile]) -> ByteSize {
    files.iter().map(|file| ByteSize(file.size)).sum()
}

fn selection_key(files: &[ManifestFile]) -> SelectionKey {
    SelectionKey::from_bytes(Sha256::digest(Manifest::selection_input(files)).into())
}
