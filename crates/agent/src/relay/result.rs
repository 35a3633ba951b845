//! What a worker posts, parsed: a progress update, a chunk, or a final result. Pure.
//!
//! The body is JSON whatever its content type says. What can't be parsed is a failed result, not a refused request:
//! a worker drops a result that is refused, and the caller would wait for nothing.

use serde::Deserialize;
use serde_json::value::RawValue;
use types::Outcome;

/// What was posted for a job.
#[derive(Debug)]
pub(crate) enum Posted {
    /// A progress update.
    Progress(Box<RawValue>),
    /// The final result.
    Final {
        /// How the worker says it ended.
        outcome: Outcome,
        /// Whether the worker asks to be replaced.
        stop_worker: bool,
    },
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "stopPod")]
    stop_pod: Option<&'a RawValue>,
}

/// Takes `null` as a value that is there: a handler may return it.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(deserializer).map(Some)
}

/// Parses what was posted as a result.
pub(crate) fn parse_result(bytes: &[u8]) -> Posted {
    let body = match parse(bytes) {
        Ok(body) => body,
        Err(error) => return failed(&error),
    };
    if body.status.is_some_and(|status| status.get() == "\"IN_PROGRESS\"") {
        return Posted::Progress(body.output.map_or_else(null, ToOwned::to_owned));
    }
    Posted::Final {
        outcome: Outcome { output: body.output.map(ToOwned::to_owned), error: body.error.map(error_text) },
        stop_worker: body.stop_pod.is_some_and(|value| value.get() == "true"),
    }
}

/// Parses what was posted as a chunk; `None` when it is no JSON object.
pub(crate) fn parse_chunk(bytes: &[u8]) -> Option<Box<RawValue>> {
    let body = parse(bytes).ok()?;
    Some(body.output.map_or_else(null, ToOwned::to_owned))
}

fn parse(bytes: &[u8]) -> Result<Body<'_>, serde_json::Error> {
    // A list would be taken as the fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(serde::de::Error::custom("a list stands where an object is needed"));
    }
    serde_json::from_slice(bytes)
}

/// Makes the result of a body that was longer than allowed.
pub(crate) fn too_large(limit: base::ByteSize) -> Posted {
    final_error(format!("the worker's result is larger than {limit}, which is the limit"))
}

fn failed(error: &serde_json::Error) -> Posted {
    final_error(format!("the worker sent a result that is not JSON: {error}"))
}

fn final_error(error: String) -> Posted {
    Posted::Final { outcome: Outcome { output: None, error: Some(error) }, stop_worker: false }
}

/// The error as text: what is a JSON string is taken out of its quotes, anything else is kept to the letter.
fn error_text(error: &RawValue) -> String {
    serde_json::from_str::<String>(error.get()).unwrap_or_else(|_| error.get().to_owned())
}

fn null() -> Box<RawValue> {
    RawValue::from_string("null".to_owned()).expect("null is JSON")
}

#[cfg(test)]
mod tests;
