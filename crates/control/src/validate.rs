//! Bodies of requests become values that cannot be wrong, or a refusal that names every field at fault.

mod endpoint;
mod model;

use std::{ops::RangeInclusive, time::Duration};

use api::{FieldProblem, JobBody, Problem};
use base::Redacted;
use serde_json::value::RawValue;
use state::JobPayload;
use types::{ErrorCode, Fault, JobPolicy};

pub(crate) use endpoint::{HubChoice, ModelDraft, SpecDraft, create_draft, update_draft};
pub(crate) use model::{offer_draft, pull_draft};

use self::endpoint::hub_choice;

/// Runpod's range for the execution timeout.
const EXECUTION_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(7 * 24 * 3600);
/// Runpod's range for the TTL.
const TTL: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(7 * 24 * 3600);
/// Longer addresses than browsers and proxies take.
const WEBHOOK_BYTES_MAX: usize = 2048;

/// Gathers what is wrong with the fields of a body.
#[derive(Debug, Default)]
pub(crate) struct FieldErrors(Vec<FieldProblem>);

impl FieldErrors {
    /// Notes that a field is at fault.
    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldProblem { field: field.into(), message: message.into() });
    }

    /// Refuses when any field is at fault.
    pub(crate) fn check(self) -> Result<(), Problem> {
        self.check_as(ErrorCode::FieldInvalid)
    }

    /// Refuses under a code of its own when any field is at fault.
    pub(crate) fn check_as(self, code: ErrorCode) -> Result<(), Problem> {
        let Some(first) = self.0.first() else { return Ok(()) };
        let mut text = format!("{}: {}", first.field, first.message);
        if self.0.len() > 1 {
            text.push_str(&format!(" (and {} more)", self.0.len() - 1));
        }
        let mut problem =
            Problem::from(Fault::new(code, text).with_hint("correct the fields that are named"));
        problem.errors = self.0;
        Err(problem)
    }

    fn duration(
        &mut self,
        field: &str,
        millis: Option<u64>,
        range: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let duration = Duration::from_millis(millis?);
        if !range.contains(&duration) {
            let (least, most) = (range.start().as_millis(), range.end().as_millis());
            self.add(field, format!("must be {least} to {most} milliseconds"));
        }
        Some(duration)
    }
}

/// A job as asked for.
#[derive(Clone, Debug)]
pub(crate) struct JobDraft {
    pub(crate) payload: JobPayload,
    pub(crate) policy: JobPolicy,
}

/// Checks the body of `/run` and `/runsync`.
pub(crate) fn job_draft(body: JobBody) -> Result<JobDraft, Problem> {
    let mut errors = FieldErrors::default();
    if body.input.is_none() {
        errors.add("input", "is required");
    }
    if let Some(webhook) = &body.webhook {
        let parsed = url::Url::parse(webhook).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        if parsed.is_none() || webhook.len() > WEBHOOK_BYTES_MAX {
            errors.add("webhook", "must be an http or https address of at most 2,048 characters");
        }
    }
    if let Some(s3_config) = &body.s3_config
        && !s3_config.get().trim_start().starts_with('{')
    {
        errors.add("s3Config", "must be an object");
    }
    let policy = JobPolicy {
        execution_timeout: errors.duration(
            "policy.executionTimeout",
            body.policy.execution_timeout,
            &EXECUTION_TIMEOUT,
        ),
        ttl: errors.duration("policy.ttl", body.policy.ttl, &TTL),
        low_priority: body.policy.low_priority,
    };
    errors.check()?;
    let input = body.input.unwrap_or_else(|| RawValue::NULL.to_owned());
    let s3_config = body.s3_config.map(|raw| Redacted::new(raw.get().to_owned()));
    Ok(JobDraft { payload: JobPayload { input, webhook: body.webhook, s3_config }, policy })
}

#[cfg(test)]
mod tests;
