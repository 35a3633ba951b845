//! What the store knows of a model, in the shapes of the link.

use api::{ArrivalView, ArrivalWay, DepartureView, ModelPresence, ShareView, UsesView};
use scheduler::eviction::Uses;
use store::{Arrival, Condition, DepartureCause, EvictionReason, Provenance, Why};

/// Returns whether and why a model is here.
pub(super) fn presence(why: Option<Why>) -> ModelPresence {
    match why {
        None => ModelPresence::Never,
        Some(Why::Here(facts)) => ModelPresence::Here {
            since: facts.since.to_rfc3339(),
            damaged: facts.condition == Condition::Damaged,
            bytes: facts.bytes().bytes(),
            frees: facts.frees().bytes(),
            leases: facts.leases as u64,
            pinned_since: facts.pin.map(|pin| pin.since.to_rfc3339()),
            uses: facts.uses.as_ref().map(uses),
            arrival: facts.provenance.as_ref().map(arrival),
            verified_at: facts.verified_at.to_rfc3339(),
        },
        Some(Why::Gone(left)) => ModelPresence::Gone {
            at: left.at.to_rfc3339(),
            cause: match left.cause {
                DepartureCause::Removed => DepartureView::Removed,
                DepartureCause::Evicted { reason, score } => DepartureView::Evicted {
                    room_for: match reason {
                        EvictionReason::RoomFor(key) => Some(key.to_string()),
                        EvictionReason::AboveMark => None,
                    },
                    score,
                },
            },
            since: left.since.to_rfc3339(),
            bytes: left.bytes.bytes(),
            freed: left.freed.bytes(),
            uses: left.uses.as_ref().map(uses),
            arrival: left.provenance.as_ref().map(arrival),
        },
    }
}

fn uses(uses: &Uses) -> UsesView {
    UsesView { count: uses.count(), last_at: uses.last_at().to_rfc3339() }
}

fn arrival(provenance: &Provenance) -> ArrivalView {
    let folder = |from: &String| vec![ShareView { source: from.clone(), bytes: provenance.bytes.bytes() }];
    let (way, from) = match &provenance.arrival {
        Arrival::Fetched { sources, .. } => {
            let shares = sources
                .iter()
                .map(|share| ShareView { source: share.source.clone(), bytes: share.bytes.bytes() });
            (ArrivalWay::Fetched, shares.collect())
        }
        Arrival::Imported { from } => (ArrivalWay::Imported, folder(from)),
        Arrival::Linked { from } => (ArrivalWay::Linked, folder(from)),
    };
    ArrivalView {
        way,
        from,
        bytes: provenance.bytes.bytes(),
        took: provenance.millis,
        bytes_per_second: provenance.rate_bytes_per_second(),
        at: provenance.arrived_at.to_rfc3339(),
    }
}
