//! The transitions of a job.

use base::Timestamp;
use types::{Attempt, ErrorCode, Fault, JobStatus, WorkerId};

use super::{Acceptance, AttemptEnd, AttemptRecord, Job, JobEffect, JobEvent, JobState, Listing, ResultKind};
use crate::{
    policy::{ACCEPTANCE_TIMEOUT, ATTEMPT_HISTORY_MAX, PINGS_MISSED_MAX},
    step::Step,
};

type JobStep = Step<Job, JobEffect>;

const OVER: JobStep = Step::Ignored("the job is over");
const NOT_THEIRS: JobStep = Step::Ignored("the job is not with this worker");

impl Job {
    /// Returns the state after an event, with what must be done because of it.
    pub fn step(&self, event: &JobEvent, now: Timestamp) -> JobStep {
        match event {
            JobEvent::Assigned(worker) => self.assigned(worker, now),
            JobEvent::Pinged(worker, listing) => self.pinged(worker, *listing, now),
            JobEvent::Progress(worker) | JobEvent::Chunk(worker) => self.heard_from(worker, now),
            JobEvent::Done(worker, kind) => self.done(worker, *kind, now),
            JobEvent::Returned(worker) => self.returned(worker),
            JobEvent::NotAccepted => self.not_accepted(now),
            JobEvent::WorkerGone(worker, fault) => self.worker_gone(worker, fault, now),
            JobEvent::CancelRequested => match &self.state {
                JobState::InQueue { .. } | JobState::InProgress { .. } => {
                    self.end_early(JobStatus::Cancelled, None, now)
                }
                JobState::Ended { .. } => OVER,
            },
            JobEvent::Purged => match &self.state {
                JobState::InQueue { .. } => self.end_early(JobStatus::Cancelled, None, now),
                JobState::InProgress { .. } => Step::Ignored("a purge leaves jobs in progress alone"),
                JobState::Ended { .. } => OVER,
            },
            JobEvent::ExecutionTimeout => self.ran_too_long(now),
            JobEvent::TtlExpired => self.expired(now),
            JobEvent::RetryRequested => self.retry(now),
        }
    }

    fn assigned(&self, worker: &WorkerId, now: Timestamp) -> JobStep {
        match &self.state {
            JobState::InQueue { since } => {
                let mut next = self.clone();
                next.attempts_made = self.attempts_made.saturating_add(1);
                next.state = JobState::InProgress {
                    worker: worker.clone(),
                    given_at: now,
                    queued_since: *since,
                    acceptance: Acceptance::Awaited,
                };
                if next.attempts.len() == ATTEMPT_HISTORY_MAX {
                    next.attempts.remove(0);
                }
                next.attempts.push(AttemptRecord {
                    attempt: Attempt(next.attempts_made),
                    worker: worker.clone(),
                    queued_since: *since,
                    given_at: now,
                    accepted_at: None,
                    ended: None,
                });
                Step::Next(next, vec![JobEffect::Dequeue])
            }
            JobState::InProgress { .. } => Step::Denied("the job is with a worker"),
            JobState::Ended { .. } => Step::Denied("the job is over"),
        }
    }

    fn pinged(&self, from: &WorkerId, listing: Listing, now: Timestamp) -> JobStep {
        match (&self.state, listing) {
            (JobState::InProgress { worker, .. }, _) if worker != from => NOT_THEIRS,
            (JobState::InProgress { .. }, Listing::Listed) => self.heard_from(from, now),
            (JobState::InProgress { acceptance: Acceptance::Awaited, .. }, Listing::Missing) => {
                Step::Ignored("the job is not accepted yet")
            }
            (
                JobState::InProgress { acceptance: Acceptance::Given { at, pings_missed }, .. },
                Listing::Missing,
            ) => {
                let pings_missed = pings_missed + 1;
                if pings_missed >= PINGS_MISSED_MAX {
                    let text =
                        format!("the worker dropped the job: {pings_missed} pings without it and no result");
                    let hint = "look for the job's id in the worker's log";
                    return self.lose(Fault::new(ErrorCode::ResultLost, text).with_hint(hint), now);
                }
                Step::Next(self.accepting(Acceptance::Given { at: *at, pings_missed }), Vec::new())
            }
            (JobState::InQueue { .. }, _) => NOT_THEIRS,
            (JobState::Ended { .. }, _) => OVER,
        }
    }

    /// Anything that a worker says about a job proves that it took it on.
    fn heard_from(&self, from: &WorkerId, now: Timestamp) -> JobStep {
        match &self.state {
            JobState::InProgress { worker, .. } if worker != from => NOT_THEIRS,
            JobState::InProgress { acceptance: Acceptance::Awaited, .. } => {
                let mut next = self.accepting(Acceptance::Given { at: now, pings_missed: 0 });
                if let Some(last) = next.attempts.last_mut() {
                    last.accepted_at = Some(now);
                }
                Step::Next(next, Vec::new())
            }
            JobState::InProgress { acceptance: Acceptance::Given { pings_missed: 0, .. }, .. } => {
                Step::Ignored("nothing changed")
            }
            JobState::InProgress { acceptance: Acceptance::Given { at, .. }, .. } => {
                Step::Next(self.accepting(Acceptance::Given { at: *at, pings_missed: 0 }), Vec::new())
            }
            JobState::InQueue { .. } => NOT_THEIRS,
            JobState::Ended { .. } => OVER,
        }
    }

    /// The first final result wins, also one of an attempt that was given up in the meantime.
    fn done(&self, from: &WorkerId, kind: ResultKind, now: Timestamp) -> JobStep {
        let Some(at) = self.attempts.iter().rposition(|record| record.worker == *from) else {
            return Step::Denied("the job was never given to this worker");
        };
        let status = match kind {
            ResultKind::Output => JobStatus::Completed,
            ResultKind::Error => JobStatus::Failed,
        };
        let first = match &self.state {
            JobState::Ended { .. } => return OVER,
            JobState::InQueue { .. } => JobEffect::Dequeue,
            JobState::InProgress { worker, .. } if worker == from => JobEffect::WorkerDone(worker.clone()),
            JobState::InProgress { worker, .. } => JobEffect::StopSignal(worker.clone()),
        };
        let mut next = self.clone();
        next.attempts[at].ended = Some((now, AttemptEnd::Result));
        Step::Next(
            next.ended(status, None, AttemptEnd::Overtaken, now),
            vec![first, JobEffect::Ended(status)],
        )
    }

    /// A hand-over that did not happen is no attempt: the job waits on as if it had never been taken out.
    fn returned(&self, from: &WorkerId) -> JobStep {
        match &self.state {
            JobState::InProgress { worker, queued_since, acceptance: Acceptance::Awaited, .. }
                if worker == from =>
            {
                let mut next = self.clone();
                next.attempts.pop();
                next.attempts_made = self.attempts_made.saturating_sub(1);
                next.state = JobState::InQueue { since: *queued_since };
                Step::Next(next, vec![JobEffect::WorkerDropped(from.clone()), JobEffect::Enqueue])
            }
            JobState::InProgress { .. } | JobState::InQueue { .. } => NOT_THEIRS,
            JobState::Ended { .. } => OVER,
        }
    }

    fn not_accepted(&self, now: Timestamp) -> JobStep {
        match &self.state {
            JobState::InProgress { acceptance: Acceptance::Awaited, given_at, .. } => {
                let waited = now.since(*given_at);
                if waited < ACCEPTANCE_TIMEOUT {
                    return Step::Denied("the worker still has time to accept");
                }
                let text = format!("the worker did not take the job on within {} s", waited.as_secs());
                let hint = "a worker that refuses an input says so in its log";
                self.lose(Fault::new(ErrorCode::JobNotAccepted, text).with_hint(hint), now)
            }
            JobState::InProgress { .. } => Step::Ignored("the job is accepted"),
            JobState::InQueue { .. } => Step::Ignored("the job is with no worker"),
            JobState::Ended { .. } => OVER,
        }
    }

    fn worker_gone(&self, gone: &WorkerId, fault: &Fault, now: Timestamp) -> JobStep {
        match &self.state {
            JobState::InProgress { worker, .. } if worker == gone => {
                let mut reason = fault.clone();
                reason.code = ErrorCode::WorkerLost;
                reason.message = format!("the worker ended while it had the job: {}", fault.message);
                self.lose(reason, now)
            }
            JobState::InProgress { .. } | JobState::InQueue { .. } => NOT_THEIRS,
            JobState::Ended { .. } => OVER,
        }
    }

    fn ran_too_long(&self, now: Timestamp) -> JobStep {
        match &self.state {
            JobState::InProgress { acceptance: Acceptance::Given { at, .. }, .. } => {
                if now.since(*at) < self.limits.execution_timeout {
                    return Step::Denied("the job still has time to run");
                }
                let limit = self.limits.execution_timeout.as_secs_f64();
                let fault =
                    Fault::new(ErrorCode::ExecutionTimeout, format!("the job ran longer than {limit} s"))
                        .with_hint("raise the execution timeout of the endpoint or of the job");
                self.end_early(JobStatus::TimedOut, Some(fault), now)
            }
            JobState::InProgress { .. } => Step::Denied("the job is not accepted yet"),
            JobState::InQueue { .. } => Step::Ignored("the job is with no worker"),
            JobState::Ended { .. } => OVER,
        }
    }

    fn expired(&self, now: Timestamp) -> JobStep {
        let limit = self.limits.ttl.as_secs_f64();
        if now.since(self.submitted_at) < self.limits.ttl {
            return Step::Denied("the job's time is not over");
        }
        let text = match &self.state {
            JobState::InQueue { .. } => format!("no worker was free for the job within {limit} s"),
            JobState::InProgress { .. } => {
                format!("the job was still running {limit} s after its submission")
            }
            JobState::Ended { .. } => return OVER,
        };
        let fault = Fault::new(ErrorCode::JobExpired, text)
            .with_hint("raise the job's TTL or the endpoint's workers");
        self.end_early(JobStatus::TimedOut, Some(fault), now)
    }

    fn retry(&self, now: Timestamp) -> JobStep {
        match &self.state {
            JobState::Ended { status: JobStatus::Failed | JobStatus::TimedOut, .. } => {
                let mut next = self.clone();
                // A retry is a submission anew: its time to live and its attempts begin again.
                next.submitted_at = now;
                next.attempts_granted = self.attempts_made.saturating_add(self.limits.attempts_max);
                next.state = JobState::InQueue { since: now };
                Step::Next(next, vec![JobEffect::Enqueue])
            }
            JobState::Ended { .. } => Step::Denied("only a failed or timed out job can be tried again"),
            JobState::InQueue { .. } | JobState::InProgress { .. } => Step::Denied("the job is not over"),
        }
    }

    /// The attempt came to nothing: another one, or the end.
    fn lose(&self, fault: Fault, now: Timestamp) -> JobStep {
        let mut effects = vec![JobEffect::AttemptLost(fault.clone())];
        if let JobState::InProgress { worker, .. } = &self.state {
            effects.push(JobEffect::WorkerDropped(worker.clone()));
        }
        let end = AttemptEnd::Lost { fault: fault.clone() };
        if self.attempts_made >= self.attempts_granted {
            effects.push(JobEffect::Ended(JobStatus::Failed));
            return Step::Next(self.ended(JobStatus::Failed, Some(fault), end, now), effects);
        }
        let mut next = self.clone();
        next.close_attempt(end, now);
        next.state = JobState::InQueue { since: now };
        effects.push(JobEffect::Enqueue);
        Step::Next(next, effects)
    }

    /// The job is over although no result came.
    fn end_early(&self, status: JobStatus, fault: Option<Fault>, now: Timestamp) -> JobStep {
        let mut effects = match &self.state {
            JobState::InQueue { .. } => vec![JobEffect::Dequeue],
            JobState::InProgress { worker, .. } => vec![JobEffect::StopSignal(worker.clone())],
            JobState::Ended { .. } => Vec::new(),
        };
        effects.push(JobEffect::Ended(status));
        Step::Next(self.ended(status, fault, AttemptEnd::Overtaken, now), effects)
    }

    fn ended(&self, status: JobStatus, fault: Option<Fault>, end: AttemptEnd, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.close_attempt(end, now);
        next.state = JobState::Ended { status, at: now, fault };
        next
    }

    fn close_attempt(&mut self, end: AttemptEnd, now: Timestamp) {
        if let Some(last) = self.attempts.last_mut()
            && last.ended.is_none()
        {
            last.ended = Some((now, end));
        }
    }

    fn accepting(&self, acceptance: Acceptance) -> Self {
        let mut next = self.clone();
        match &mut next.state {
            JobState::InProgress { acceptance: present, .. } => *present = acceptance,
            JobState::InQueue { .. } | JobState::Ended { .. } => {}
        }
        next
    }
}
