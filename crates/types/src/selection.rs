//! Which files of a repository are wanted, and which were chosen.

use base::ByteSize;
use serde::{Deserialize, Serialize};

use crate::Pattern;

/// Whether weights may be pickled. Loading a pickle runs whatever program its author put into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightsPolicy {
    /// No pickle is ever chosen.
    #[default]
    Safe,
    /// Pickles are chosen where nothing else will do: the owner has consented.
    Any,
}

/// What is wanted of a repository, apart from the variant, which stands in the model reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct SelectionWish {
    /// Paths wanted. Empty: what the rules choose, or with `exclude` everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Pattern>,
    /// Paths not wanted, whatever else wants them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Pattern>,
    /// Whether weights may be pickled.
    pub weights: WeightsPolicy,
}

impl SelectionWish {
    /// Returns whether patterns say what is wanted, so that no rule chooses.
    pub fn has_patterns(&self) -> bool {
        !self.include.is_empty() || !self.exclude.is_empty()
    }
}

/// What was chosen of a repository, and what not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Choice {
    /// The name of the variant that was chosen, such as `safetensors` or `Q4_K_M`; `patterns` or `everything` where none was.
    pub name: String,
    /// What was wanted.
    #[serde(default)]
    pub wish: SelectionWish,
    /// Whether pickled weights are among the files. Only ever with consent.
    #[serde(default)]
    pub pickled: bool,
    /// What stays in the repository, by what it is; the largest group first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

impl Default for Choice {
    /// What releases fixed before there was a choice.
    fn default() -> Self {
        Self {
            name: "everything".to_owned(),
            wish: SelectionWish { weights: WeightsPolicy::Any, ..SelectionWish::default() },
            pickled: false,
            left_out: Vec::new(),
        }
    }
}

/// Files that a selection leaves in the repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeftOut {
    /// What they are, in words: "ONNX", "other quantisations".
    pub what: String,
    /// How many.
    pub files: u64,
    /// Their size together.
    pub bytes: ByteSize,
    /// What to write to get them: `:onnx`, `--weights any`. None for what no loader asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_without_fields_is_the_safe_default() {
        assert_eq!(serde_json::from_str::<SelectionWish>("{}").unwrap(), SelectionWish::default());
        assert_eq!(SelectionWish::default().weights, WeightsPolicy::Safe);
    }

    #[test]
    fn a_choice_reads_back() {
        let wish = SelectionWish {
            include: vec!["*.json".parse().unwrap()],
            exclude: vec!["[ab]/".parse().unwrap()],
            weights: WeightsPolicy::Any,
        };
        let group = LeftOut { what: "ONNX".into(), files: 1, bytes: ByteSize(2), ask: Some(":onnx".into()) };
        let choice = Choice { name: "Q8_0".into(), wish, pickled: true, left_out: vec![group] };
        let text = serde_json::to_string(&choice).unwrap();
        assert_eq!(serde_json::from_str::<Choice>(&text).unwrap(), choice);
    }
}
