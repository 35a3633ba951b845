//! Which files of a model: what may be asked for, what was chosen, what there is to choose from.

use base::Redacted;
use serde::{Deserialize, Serialize};
use types::{Choice, Commit, HubName, LeftOut, RepoName, SelectionKey, WeightsPolicy};
use url::Url;

use super::model::ModelView;

/// What was chosen of a repository, and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChoiceView {
    /// The name of the variant, or `patterns`, or `everything`.
    pub name: String,
    /// The patterns of paths that were wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// The patterns of paths that were not wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Whether weights were allowed to be pickled.
    pub weights: WeightsPolicy,
    /// Whether some are.
    pub pickled: bool,
    /// What stays in the repository, the largest group first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutView>,
}

/// Files that a selection leaves in the repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOutView {
    /// What they are, in words.
    pub what: String,
    /// How many.
    pub files: u64,
    /// Their size together.
    pub bytes: u64,
    /// What to write to get them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
}

impl From<&Choice> for ChoiceView {
    fn from(choice: &Choice) -> Self {
        let texts = |patterns: &[types::Pattern]| patterns.iter().map(ToString::to_string).collect();
        Self {
            name: choice.name.clone(),
            include: texts(&choice.wish.include),
            exclude: texts(&choice.wish.exclude),
            weights: choice.wish.weights,
            pickled: choice.pickled,
            left_out: choice.left_out.iter().map(LeftOutView::from).collect(),
        }
    }
}

impl From<&LeftOut> for LeftOutView {
    fn from(group: &LeftOut) -> Self {
        let LeftOut { what, files, bytes, ask } = group;
        Self { what: what.clone(), files: *files, bytes: bytes.bytes(), ask: ask.clone() }
    }
}

/// `POST /models/offer`: what there is to choose from. A question, but with a token that no address should carry.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OfferModel {
    /// A model reference.
    pub reference: String,
    /// See `POST /models/pull`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// See `POST /models/pull`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// See `POST /models/pull`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightsPolicy>,
    /// A hub token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub_token: Option<Redacted<String>>,
    /// The address of the hub, when it is not the configured one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub_endpoint: Option<Url>,
}

/// What the hub offers under a reference, and what of it is on hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelOffer {
    /// As it was asked.
    pub reference: String,
    /// What the hub says; none when it can't be asked, and then `notes` say why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubOffer>,
    /// The models of this repository that the caller's endpoints and pulls use.
    pub held: Vec<ModelView>,
    /// What a person should know: that the hub is down, that the weights are pickled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a hub offers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HubOffer {
    /// The hub.
    pub hub: HubName,
    /// Its spelling of the name.
    pub repo: RepoName,
    /// The commit that the revision stands for now.
    pub commit: Commit,
    /// Who may read it: `public`, `gated` or `private`.
    pub visibility: String,
    /// How it is laid out, in words.
    pub layout: String,
    /// What the reference would take; none when that is refused, and then `notes` say why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<ChosenView>,
    /// The ways to take it, the default first.
    pub variants: Vec<VariantView>,
}

/// What a reference would take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChosenView {
    /// What would be chosen, and what not.
    pub choice: ChoiceView,
    /// Which files.
    pub selection: SelectionKey,
    /// How many.
    pub files: u64,
    /// Their size together.
    pub bytes: u64,
}

/// One way to take a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VariantView {
    /// What to ask for it by, behind a colon.
    pub name: String,
    /// How its weights are written, in words.
    pub format: String,
    /// How many files, with all that comes along.
    pub files: u64,
    /// Their size together.
    pub bytes: u64,
    /// Whether a reference without a variant means it.
    pub default: bool,
    /// Whether it needs consent.
    pub pickled: bool,
    /// Which files.
    pub selection: SelectionKey,
    /// How many hosts hold exactly these files at this commit, as far as the caller may know.
    pub hosts: u64,
}
