//! What tests share: where prepared things are, and waiting for a value. Never linked into the product.

use std::{
    future::Future,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Returns the path in an environment variable, or `None` with a line that says what is skipped.
///
/// # Panics
/// When `LARDER_TEST_STRICT` is set and the variable is not: in CI a skipped test is a failed one.
pub fn prepared(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        skip(&format!("{variable} is not set (`cargo xtask ci --setup-only` prepares it)"));
    }
    path
}

/// Returns the Python of the tests' environment, if one was prepared. See [`prepared`].
pub fn python() -> Option<PathBuf> {
    prepared("LARDER_TEST_VENV").map(|venv| venv.join("bin/python"))
}

/// Says that a test is skipped.
///
/// # Panics
/// When `LARDER_TEST_STRICT` is set.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("LARDER_TEST_STRICT").is_none(), "a test would be skipped: {reason}");
    eprintln!("skipped: {reason}");
}

/// Returns how many cases a property test runs: its own number, times `LARDER_TEST_FACTOR` when that is set.
///
/// # Panics
/// When the factor is no number above zero.
pub fn cases(own: u32) -> u32 {
    let factor = std::env::var("LARDER_TEST_FACTOR").map_or(1.0, |text| {
        text.parse::<f64>()
            .ok()
            .filter(|factor| *factor > 0.0)
            .expect("LARDER_TEST_FACTOR is a number above zero")
    });
    (f64::from(own) * factor).ceil() as u32
}

/// Asks until there is an answer.
///
/// # Panics
/// When there is none within `deadline`; the message names `what` was waited for.
pub async fn wait_for<T, F: Future<Output = Option<T>>>(
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < deadline, "{what} did not come within {deadline:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
