//! The words by which files of a model are chosen.

use clap::{Args, ValueEnum};
use types::{Pattern, WeightsPolicy};

/// Which files of a model.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SelectionArgs {
    /// Take the files whose paths match, as Python's fnmatch reads it; small files come along. Repeat for several
    /// [default: one format of weights, the one that common loaders take]
    #[arg(long, value_name = "PATTERN")]
    pub(crate) include: Vec<Pattern>,
    /// Leave out the files whose paths match, whatever else wants them. Repeat for several
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<Pattern>,
    /// Which weights may be taken [default: safe]
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) weights: Option<WeightsWish>,
}

/// Which weights may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WeightsWish {
    /// No Python pickle: loading one runs whatever program its author put in
    Safe,
    /// Pickles too, where nothing else will do: you trust the author
    Any,
}

impl SelectionArgs {
    /// Returns whether nothing is said.
    pub(crate) fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty() && self.weights.is_none()
    }

    /// Returns the patterns of what is wanted, as the API takes them.
    pub(crate) fn include(&self) -> Vec<String> {
        self.include.iter().map(ToString::to_string).collect()
    }

    /// Returns the patterns of what is not wanted, as the API takes them.
    pub(crate) fn exclude(&self) -> Vec<String> {
        self.exclude.iter().map(ToString::to_string).collect()
    }

    /// Returns which weights may be taken, as the API takes it.
    pub(crate) fn weights(&self) -> Option<WeightsPolicy> {
        self.weights.map(|wish| match wish {
            WeightsWish::Safe => WeightsPolicy::Safe,
            WeightsWish::Any => WeightsPolicy::Any,
        })
    }
}
