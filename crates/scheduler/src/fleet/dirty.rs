//! What has to be planned again, and when.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use types::{EndpointId, HostId};

/// Hosts and endpoints that changed since they were last planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Hosts.
    pub hosts: BTreeSet<HostId>,
    /// Endpoints.
    pub endpoints: BTreeSet<EndpointId>,
}

impl Dirty {
    /// Returns whether there is nothing to plan.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.endpoints.is_empty()
    }
}

/// Something that is planned again when its time has come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A host: retries of fetches, the end of patience with one that is away.
    Host(HostId),
    /// An endpoint: timeouts of its workers, its scaler's delay, its pause after crashes.
    Endpoint(EndpointId),
}

/// When each subject has to be planned again although nothing changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    by_time: BTreeSet<(Timestamp, Subject)>,
    by_subject: BTreeMap<Subject, Timestamp>,
}

impl Alarms {
    /// Sets, moves or removes the alarm of a subject.
    pub fn set(&mut self, subject: &Subject, at: Option<Timestamp>) {
        if let Some(earlier) = self.by_subject.remove(subject) {
            self.by_time.remove(&(earlier, subject.clone()));
        }
        if let Some(at) = at {
            self.by_subject.insert(subject.clone(), at);
            self.by_time.insert((at, subject.clone()));
        }
    }

    /// Returns when the first alarm goes off.
    pub fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out the alarms that have gone off.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Subject> {
        let mut due = Vec::new();
        while let Some((at, subject)) = self.by_time.first().cloned()
            && at <= now
        {
            self.set(&subject, None);
            due.push(subject);
        }
        due
    }
}
