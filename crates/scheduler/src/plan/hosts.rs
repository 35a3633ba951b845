//! What a host needs by itself: fetches that are due again, workers that are lost with it, models nobody needs.

use types::{HostId, ModelKey};

use super::{Action, draft::Draft};
use crate::{
    fetch::FetchState,
    fleet::{Desire, Fleet, HostModel, Link, Subject},
};

/// Plans fetches that failed, and gives up the workers of a host that is away for too long.
pub(super) fn plan_host<'a>(draft: &mut Draft<'a>, host: &'a HostId) {
    let fleet: &'a Fleet = draft.fleet();
    let Some(facts) = fleet.host(host) else {
        return;
    };
    draft.alarm(Subject::Host(host.clone()), None);
    match facts.link {
        Link::Connected => {
            for (model, held) in fleet.models_on(host) {
                let HostModel { desire, state: FetchState::Failed { retry_at, .. }, .. } = held else {
                    continue;
                };
                if *desire == Desire::None {
                    continue;
                }
                if *retry_at <= draft.now() {
                    draft.act(Action::RetryFetch { host: host.clone(), model: model.clone() });
                } else {
                    draft.alarm(Subject::Host(host.clone()), Some(*retry_at));
                }
            }
        }
        Link::Away { since } => {
            let lost_at = since + draft.policy().host_lost_after;
            draft.alarm(Subject::Host(host.clone()), Some(lost_at));
            if lost_at > draft.now() {
                return;
            }
            for (worker, facts) in fleet.workers_on(host) {
                if facts.worker.holds_room() {
                    draft.end(worker);
                    draft.act(Action::MarkLost {
                        worker: worker.clone(),
                        host: host.clone(),
                        last_seen: since,
                    });
                }
            }
        }
    }
}

/// Lets go of models that are there for workers, when no worker there needs them any more.
pub(super) fn drop_models<'a>(draft: &mut Draft<'a>, host: &'a HostId) {
    let fleet: &'a Fleet = draft.fleet();
    let Some(view) = draft.view(host) else {
        return;
    };
    let is_needed = |key: &ModelKey| {
        draft.guests(&view).any(|guest| guest.need.models.iter().any(|need| need.key == *key))
    };
    let unneeded: Vec<_> = fleet
        .models_on(host)
        .filter(|(key, held)| held.desire == Desire::ForWorkers && !is_needed(key))
        .map(|(key, _)| key)
        .collect();
    for model in unneeded {
        draft.act(Action::DropModel { host: host.clone(), model: model.clone() });
    }
}
