//! `larder model show`: what a hub has to choose from, before anything is fetched, and what is on hosts.

use api::{HubOffer, ModelView, OfferModel, VariantView};
use base::ByteSize;
use types::ModelRef;

use super::{
    super::{choice, endpoint::spec::parse_model},
    name, standing,
};
use crate::{
    args::{OutputFormat, ShowArgs},
    client::Client,
    failure::Failure,
    progress::Progress,
    screen::Screen,
    surroundings::Surroundings,
    table::{Align, Table},
};

/// Asks for a model and shows it.
pub(super) async fn run(
    arguments: ShowArgs,
    client: &Client,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let wanted = parse_model(&arguments.model)?;
    let body = OfferModel {
        reference: arguments.model.trim().to_owned(),
        include: arguments.selection.include(),
        exclude: arguments.selection.exclude(),
        weights: arguments.selection.weights(),
        hub_token: arguments.hf_token.or_else(|| surroundings.hub_token.clone()),
        hub_endpoint: arguments.hub_endpoint,
    };
    let mut progress = Progress::new();
    if screen.is_interactive() {
        progress.step(screen, "asking the hub about the model");
    }
    let mut offer = client.offer_model(&body).await?;
    progress.clear();
    offer.held.retain(|view| answers_to(view, &wanted));
    if screen.format() == OutputFormat::Json {
        return screen.json(&offer);
    }
    if let Some(hub) = &offer.hub {
        offered(hub, &wanted, screen)?;
    }
    for (at, view) in offer.held.iter().enumerate() {
        if at > 0 || offer.hub.is_some() {
            screen.line("")?;
        }
        held(view, screen)?;
    }
    for note in &offer.notes {
        screen.note(format!("Note: {note}"));
    }
    Ok(())
}

fn offered(offer: &HubOffer, wanted: &ModelRef, screen: &mut Screen) -> Result<(), Failure> {
    let HubOffer { hub, repo, commit, visibility, layout, chosen, variants } = offer;
    screen.line(format!("{repo} at {commit} on {hub}"))?;
    screen.line(format!("  access     {visibility}"))?;
    screen.line(format!("  layout     {layout}"))?;
    let mut table = Table::new([
        ("VARIANT", Align::Left),
        ("FORMAT", Align::Left),
        ("SIZE", Align::Right),
        ("FILES", Align::Right),
        ("HOSTS", Align::Right),
        ("NOTE", Align::Left),
    ]);
    for variant in variants {
        table.row([
            variant.name.clone(),
            variant.format.clone(),
            ByteSize(variant.bytes).to_string(),
            variant.files.to_string(),
            variant.hosts.to_string(),
            note(variant),
        ]);
    }
    screen.line("")?;
    table.write(screen, "there are no variants")?;
    if let Some(chosen) = chosen {
        screen.line("")?;
        let files = if chosen.files == 1 { "1 file".to_owned() } else { format!("{} files", chosen.files) };
        let size = ByteSize(chosen.bytes);
        screen.line(format!("{wanted} takes {}: {size} in {files}", chosen.choice.name))?;
        for group in &chosen.choice.left_out {
            screen.line(format!("  without {}", choice::one(group)))?;
        }
    }
    Ok(())
}

fn note(variant: &VariantView) -> String {
    let notes = [(variant.default, "default"), (variant.pickled, "pickled: needs --weights any")];
    let notes: Vec<&str> = notes.iter().filter(|(holds, _)| *holds).map(|(_, note)| *note).collect();
    notes.join(", ")
}

fn held(view: &ModelView, screen: &mut Screen) -> Result<(), Failure> {
    let listed = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let hosts = view.hosts.iter().map(types::HostId::as_str).collect();
    let endpoints = view.endpoints.iter().map(types::EndpointName::as_str).collect();
    screen.line(name(view))?;
    screen.line(format!("  commit     {}", view.commit))?;
    screen.line(format!("  hub        {}", view.hub))?;
    screen.line(format!(
        "  size       {}{} in {} files",
        choice::words(&view.choice),
        ByteSize(view.bytes),
        view.files
    ))?;
    let patterns = [("include", &view.choice.include), ("exclude", &view.choice.exclude)];
    for (word, patterns) in patterns.iter().filter(|(_, patterns)| !patterns.is_empty()) {
        screen.line(format!("  {word:10} {}", patterns.join(" ")))?;
    }
    screen.line(format!("  status     {}", standing(view)))?;
    screen.line(format!("  hosts      {}", listed(hosts)))?;
    screen.line(format!("  endpoints  {}", listed(endpoints)))
}

/// Returns whether a reference means this model. The hub does not tell letters' cases apart, and so don't we.
fn answers_to(view: &ModelView, wanted: &ModelRef) -> bool {
    let revision = wanted.revision.as_ref().is_none_or(|revision| {
        view.reference.revision.as_ref() == Some(revision)
            || view.commit.to_string().starts_with(revision.as_str())
            || (view.reference.revision.is_none() && *revision == types::Revision::main())
    });
    let variant = wanted.variant.as_ref().is_none_or(|variant| {
        view.reference.variant.as_ref() == Some(variant)
            || view.choice.name.eq_ignore_ascii_case(variant.as_str())
    });
    wanted.hub.as_ref().is_none_or(|hub| *hub == view.hub) && variant && revision
}
