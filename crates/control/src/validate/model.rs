//! One model as it is asked for: its reference, its hub, and which of its files.

use api::{FieldProblem, OfferModel, Problem, PullModel};
use types::{ErrorCode, Fault, ModelRef, Pattern, SelectionWish, WeightsPolicy};
use url::Url;

use super::{FieldErrors, ModelDraft, hub_choice};
use crate::HubConfig;

/// Patterns of one list. Each is one look at every path.
const PATTERNS_MAX: usize = 32;

/// What a body says of a model's files, and where in the body that stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WishFields<'a> {
    /// What goes before the names of the fields: empty, or `models[0].`.
    pub(crate) prefix: &'a str,
    pub(crate) include: &'a [String],
    pub(crate) exclude: &'a [String],
    pub(crate) weights: Option<WeightsPolicy>,
}

/// Checks the model of a pull.
pub(crate) fn pull_draft(body: &PullModel, hubs: &[HubConfig]) -> Result<ModelDraft, Problem> {
    let fields =
        WishFields { prefix: "", include: &body.include, exclude: &body.exclude, weights: body.weights };
    draft(&body.reference, body.hub_endpoint.as_ref(), fields, hubs)
}

/// Checks the model of a question about what there is.
pub(crate) fn offer_draft(body: &OfferModel, hubs: &[HubConfig]) -> Result<ModelDraft, Problem> {
    let fields =
        WishFields { prefix: "", include: &body.include, exclude: &body.exclude, weights: body.weights };
    draft(&body.reference, body.hub_endpoint.as_ref(), fields, hubs)
}

fn draft(
    text: &str,
    hub_endpoint: Option<&Url>,
    fields: WishFields<'_>,
    hubs: &[HubConfig],
) -> Result<ModelDraft, Problem> {
    let reference: ModelRef = text.parse().map_err(|error: types::ModelRefError| {
        let fault = Fault::from_error(ErrorCode::ModelRefInvalid, &error);
        let mut problem = Problem::from(fault.with_hint(types::ModelRefError::EXPECTED));
        let message = error.to_string();
        problem.errors = vec![FieldProblem { field: "reference".to_owned(), message }];
        problem
    })?;
    let mut errors = FieldErrors::default();
    let wish = selection_wish(&reference, fields, &mut errors);
    let hub = hub_choice(&reference, hub_endpoint, hubs).map_err(|reason| errors.add("reference", reason));
    errors.check()?;
    match hub {
        Ok(hub) => Ok(ModelDraft { reference, hub, wish }),
        Err(()) => Err(Fault::new(ErrorCode::Internal, "a hub passed unchecked").into()),
    }
}

/// Checks which files of a model are wanted.
pub(super) fn selection_wish(
    reference: &ModelRef,
    fields: WishFields<'_>,
    errors: &mut FieldErrors,
) -> SelectionWish {
    let mut patterns = |name: &str, texts: &[String]| -> Vec<Pattern> {
        if texts.len() > PATTERNS_MAX {
            let count = texts.len();
            errors.add(
                format!("{}{name}", fields.prefix),
                format!("are {count} patterns, the limit is {PATTERNS_MAX}"),
            );
            return Vec::new();
        }
        let parsed = texts.iter().enumerate().filter_map(|(at, text)| {
            let field = || format!("{}{name}[{at}]", fields.prefix);
            text.parse().map_err(|error: types::PatternError| errors.add(field(), error.to_string())).ok()
        });
        parsed.collect()
    };
    let (include, exclude) = (patterns("include", fields.include), patterns("exclude", fields.exclude));
    if let Some(variant) = &reference.variant
        && !(include.is_empty() && exclude.is_empty())
    {
        let field = if include.is_empty() { "exclude" } else { "include" };
        errors.add(
            format!("{}{field}", fields.prefix),
            format!("patterns say all that is wanted: leave :{variant} out of the reference"),
        );
    }
    SelectionWish { include, exclude, weights: fields.weights.unwrap_or_default() }
}
