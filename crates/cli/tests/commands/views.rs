//! What the canned server says.

use serde_json::{Value, json};

pub(crate) fn problem(code: &str, status: u16, detail: &str, hint: Option<&str>) -> Value {
    json!({"type": format!("/docs/errors/{code}"), "title": "", "status": status, "detail": detail, "code": code,
        "hint": hint})
}

pub(crate) fn model(status: &Value) -> Value {
    json!({
        "reference": "sentence-transformers/all-MiniLM-L6-v2", "hub": "huggingface",
        "repo": "sentence-transformers/all-MiniLM-L6-v2", "commit": "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        "selection": "0".repeat(64), "bytes": 90_900_000_u64, "files": 12, "status": status,
        "hosts": ["host_1"], "endpoints": ["text-embed"],
    })
}

/// Returns a stream of events as a server sends it, with a sign of life between them.
pub(crate) fn stream(events: &[(&str, Value)]) -> Value {
    let told = events.iter().map(|(name, data)| format!(": still here\n\nevent: {name}\ndata: {data}\n\n"));
    Value::String(told.collect())
}

/// Returns an event of a model's stream.
pub(crate) fn status(status: &Value, end: Option<&str>) -> (&'static str, Value) {
    ("status", json!({"model": model(status), "end": end}))
}

pub(crate) fn endpoint() -> Value {
    json!({
        "id": "ep_1", "name": "text-embed", "type": "QUEUE",
        "requestUrls": {
            "run": "http://127.0.0.1:8380/v2/ep_1/run", "runSync": "http://127.0.0.1:8380/v2/ep_1/runsync",
            "status": "http://127.0.0.1:8380/v2/ep_1/status", "cancel": "http://127.0.0.1:8380/v2/ep_1/cancel",
            "health": "http://127.0.0.1:8380/v2/ep_1/health",
        },
        "release": {"id": "rel_1", "version": 1, "createdAt": "2023-11-11T22:10:20.000Z"},
        "envNames": ["A"], "models": [model(&json!({"state": "absent"}))], "hubAccess": "offline",
        "command": ["python", "my handler.py"], "folder": "0123456789abcdef".repeat(4),
        "gpu": {"pools": [], "count": 0}, "workers": {"min": 0, "max": 3, "idleTimeout": 5.0},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4.0}, "timeout": 600_000, "jobTtl": 86_400_000,
        "initTimeout": 420_000, "workerCounts": {
            "idle": 1, "initializing": 0, "ready": 1, "running": 0, "throttled": 0, "unhealthy": 0,
        },
        "createdAt": "2023-11-11T22:10:20.000Z",
    })
}

pub(crate) fn job(status: &str, more: Value) -> Value {
    let mut job = json!({"id": "j-u1", "status": status});
    let (Some(fields), Value::Object(more)) = (job.as_object_mut(), more) else {
        panic!("a job is an object")
    };
    fields.extend(more);
    job
}

pub(crate) fn fetching(bytes: u64) -> Value {
    json!({"reason": "the model is fetched", "workerId": "wk_1", "fetch": {
        "filesTotal": 12, "filesDone": 3, "bytesTotal": 90_900_000_u64, "bytesDone": bytes,
        "bytesPerSecond": 98_000_000, "eta": 460,
    }})
}

pub(crate) fn worker(phase: &str) -> Value {
    json!({
        "id": "wk_1", "endpointId": "ep_1", "endpointName": "text-embed", "version": 1, "hostId": "host_1",
        "phase": phase, "isolation": "privileged", "timeline": [
            {"mark": "queued", "at": "2023-11-11T22:10:20.000Z", "after": 0},
            {"mark": "placed", "at": "2023-11-11T22:10:20.003Z", "after": 3},
            {"mark": "fetched", "at": "2023-11-11T22:10:21.200Z", "after": 1200},
            {"mark": "first_take", "at": "2023-11-11T22:10:23.400Z", "after": 3400},
        ],
        "phases": {"initializing": 1197, "starting": 2200, "idle": 5003}, "jobs": ["j-u1"],
        "createdAt": "2023-11-11T22:10:20.000Z",
        "fault": (phase == "stopped").then(|| json!({"code": "handler-exited", "message": "it ended with code 1",
            "hint": "see its log"})),
    })
}
