//! The object that a worker gets for a job.

use serde_json::value::RawValue;
use state::JobPayload;
use types::JobId;

/// Makes the object: `id`, `input` always, `webhook` and `s3Config` when the caller sent them. Texts are kept to the
/// letter. A null input becomes an empty object, because older SDKs refuse null.
pub(crate) fn job_body(job: &JobId, payload: &JobPayload) -> Box<RawValue> {
    let input = match payload.input.get().trim() {
        "null" => "{}",
        text => text,
    };
    let mut text = format!(r#"{{"id":{},"input":{input}"#, quoted(job.as_str()));
    if let Some(webhook) = &payload.webhook {
        text.push_str(&format!(r#","webhook":{}"#, quoted(webhook)));
    }
    if let Some(s3_config) = &payload.s3_config {
        text.push_str(&format!(r#","s3Config":{}"#, s3_config.expose()));
    }
    text.push('}');
    RawValue::from_string(text).expect("it is put together from JSON texts")
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use base::Redacted;

    use super::*;

    #[test]
    fn workers_always_get_an_input() {
        let check = |input: &str, webhook: Option<&str>, s3_config: Option<&str>, expected: &str| {
            let payload = JobPayload {
                input: RawValue::from_string(input.to_owned()).unwrap(),
                webhook: webhook.map(str::to_owned),
                s3_config: s3_config.map(|text| Redacted::new(text.to_owned())),
            };
            assert_eq!(job_body(&"j-u1".parse().unwrap(), &payload).get(), expected);
        };
        check("null", None, None, r#"{"id":"j-u1","input":{}}"#);
        check(r#"{"a": 1.10}"#, None, None, r#"{"id":"j-u1","input":{"a": 1.10}}"#);
        check(
            "[]",
            Some("http://x/\"y"),
            Some(r#"{"bucketName":"b"}"#),
            r#"{"id":"j-u1","input":[],"webhook":"http://x/\"y","s3Config":{"bucketName":"b"}}"#,
        );
    }
}
