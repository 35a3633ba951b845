//! `larder model why`: tells why a model is on its hosts, or why it is gone.

use api::{ArrivalView, ArrivalWay, DepartureView, HostWhy, ModelPresence, UsesView, WhyView};
use base::ByteSize;

use super::{name, standing};
use crate::{args::OutputFormat, client::Client, failure::Failure, screen::Screen, words};

/// Tells what is known of a model.
pub(super) async fn run(reference: &str, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let view = client.why_model(reference).await?;
    if screen.format() == OutputFormat::Json {
        return screen.json(&view);
    }
    let WhyView { model, pull, workers, hosts } = &view;
    screen.line(format!("{} at {}", name(model), model.commit.short()))?;
    fact(screen, "status", &standing(model))?;
    if let Some(pull) = pull {
        fact(screen, "pull", pull)?;
    }
    let endpoints: Vec<&str> = model.endpoints.iter().map(types::EndpointName::as_str).collect();
    let wanted = if endpoints.is_empty() { "no endpoint".to_owned() } else { endpoints.join(", ") };
    fact(screen, "used by", &wanted)?;
    for worker in workers {
        let waits = worker.waits.as_ref().map_or_else(String::new, |waits| format!(", waits {waits}"));
        fact(
            screen,
            "worker",
            &format!("{} of {} on {}{waits}", worker.worker_id, worker.endpoint, worker.host),
        )?;
    }
    for host in hosts {
        for (index, line) in lines(host, screen).iter().enumerate() {
            fact(screen, if index == 0 { host.host.as_str() } else { "" }, line)?;
        }
    }
    Ok(())
}

fn fact(screen: &mut Screen, name: &str, value: &str) -> Result<(), Failure> {
    screen.line(format!("  {name:<10} {value}"))
}

/// Returns what a host knows, in lines.
fn lines(host: &HostWhy, screen: &Screen) -> Vec<String> {
    let ago = |moment: &String| words::ago(moment, screen.now());
    let Some(presence) = &host.presence else {
        return vec![format!("can't be asked: {}", host.trouble.as_deref().unwrap_or("it is away"))];
    };
    match presence {
        ModelPresence::Here {
            since,
            damaged,
            bytes,
            frees,
            leases,
            pinned_since,
            uses,
            arrival,
            verified_at,
        } => {
            let whole = if *damaged { "lacks damaged files; whole" } else { "here" };
            let mut lines = vec![format!(
                "{whole} since {}: {}, of which {} go with it",
                ago(since),
                ByteSize(*bytes),
                ByteSize(*frees)
            )];
            lines.extend(arrival.as_ref().map(arrival_words));
            if let Some(since) = pinned_since {
                lines.push(format!("pinned since {}", ago(since)));
            }
            if *leases > 0 {
                lines.push(format!("seen by {leases} workers"));
            }
            lines.extend(
                uses.as_ref()
                    .map(|UsesView { count, last_at }| format!("used {count} times, last {}", ago(last_at))),
            );
            lines.push(format!("last verified {}", ago(verified_at)));
            lines
        }
        ModelPresence::Gone { at, cause, since, bytes, freed, uses, arrival } => {
            let cause = match cause {
                DepartureView::Removed => "removed".to_owned(),
                DepartureView::Evicted { room_for: Some(model), .. } => format!("evicted for {model}"),
                DepartureView::Evicted { room_for: None, .. } => "evicted: the store was too full".to_owned(),
            };
            let mut lines = vec![format!(
                "{cause}, {}: {} of its {} were freed",
                ago(at),
                ByteSize(*freed),
                ByteSize(*bytes)
            )];
            if let Some(score) = score_of(presence) {
                lines.push(format!("why this one: {score}"));
            }
            lines.push(format!("it had been here since {}", ago(since)));
            lines.extend(arrival.as_ref().map(arrival_words));
            lines.extend(
                uses.as_ref()
                    .map(|UsesView { count, last_at }| format!("used {count} times, last {}", ago(last_at))),
            );
            lines
        }
        ModelPresence::Never => vec!["was never here, as far as is known".to_owned()],
    }
}

fn score_of(presence: &ModelPresence) -> Option<&str> {
    match presence {
        ModelPresence::Gone { cause: DepartureView::Evicted { score, .. }, .. } => Some(score),
        ModelPresence::Gone { cause: DepartureView::Removed, .. }
        | ModelPresence::Here { .. }
        | ModelPresence::Never => None,
    }
}

fn arrival_words(arrival: &ArrivalView) -> String {
    let way = match arrival.way {
        ArrivalWay::Fetched => "fetched",
        ArrivalWay::Imported => "imported",
        ArrivalWay::Linked => "linked",
    };
    let from: Vec<String> =
        arrival.from.iter().map(|share| format!("{} ({})", share.source, ByteSize(share.bytes))).collect();
    let from = if from.is_empty() { String::new() } else { format!(" from {}", from.join(", ")) };
    let rate = arrival.bytes_per_second.map_or_else(String::new, |rate| format!(" at {}/s", ByteSize(rate)));
    format!("{way}{from}: {} in {}{rate}", ByteSize(arrival.bytes), words::millis(arrival.took))
}
