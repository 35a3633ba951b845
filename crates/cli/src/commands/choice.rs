//! What was chosen of a repository, in words: one line, or two.

use api::{ChoiceView, LeftOutView};
use base::ByteSize;

/// Groups that are told by name; `larder model show` tells all.
const GROUPS_SHOWN_MAX: usize = 3;

/// Returns what a choice is called between the parentheses behind a model's name, or nothing where there is nothing to
/// tell.
pub(super) fn words(choice: &ChoiceView) -> String {
    let consent = if choice.pickled { "pickled weights by consent, " } else { "" };
    match choice.name.as_str() {
        // Recorded before there were choices.
        "" | "everything" => consent.to_owned(),
        name => format!("{name}, {consent}"),
    }
}

/// Returns what a choice leaves out and how to ask for it, where there is something to ask for.
pub(super) fn left_out(model: &str, choice: &ChoiceView) -> Option<String> {
    let of_use: Vec<&LeftOutView> = choice.left_out.iter().filter(|group| group.ask.is_some()).collect();
    if of_use.is_empty() {
        return None;
    }
    let mut told: Vec<String> = of_use.iter().take(GROUPS_SHOWN_MAX).map(|group| one(group)).collect();
    if of_use.len() > GROUPS_SHOWN_MAX {
        told.push(format!("and {} more", of_use.len() - GROUPS_SHOWN_MAX));
    }
    Some(format!("Left out of {model}: {} (all of it: larder model show {model})", told.join(", ")))
}

/// Returns one group with its size and what to write for it.
pub(super) fn one(group: &LeftOutView) -> String {
    let LeftOutView { what, bytes, ask, files: _ } = group;
    match ask {
        Some(ask) => format!("{what} ({}: {ask})", ByteSize(*bytes)),
        None => format!("{what} ({})", ByteSize(*bytes)),
    }
}
