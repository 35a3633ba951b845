//! Verification in the background: one blob at a time, at a pace that nobody feels.

use std::{sync::atomic::Ordering, time::Duration};

use store::{ScrubStep, ScrubTarget};
use tokio_util::sync::CancellationToken;
use types::Digest;

use super::Keeper;

/// Blobs that are looked up at once: a lookup goes through the whole index.
const BATCH: usize = 256;
/// How often is looked whether blobs are due when none was. Periods are days.
const LOOK_PERIOD: Duration = Duration::from_secs(600);
/// What was verified is written this often: what a crash may repeat.
const FLUSH_PERIOD: Duration = Duration::from_secs(600);

/// Verifies what is due, until cancelled. What it finds damaged is taken away, and fetched again by the host.
pub(crate) async fn scrub(keeper: Keeper, token: CancellationToken) {
    // Dropping the work in the middle loses at most one blob's reading.
    token.run_until_cancelled(verify(&keeper)).await;
}

async fn verify(keeper: &Keeper) {
    let clock = keeper.0.clock.clone();
    let look_period = LOOK_PERIOD.min(keeper.0.pace.periods.ordinary);
    let mut flushed_at = clock.now();
    loop {
        let (store, periods) = (keeper.0.store.clone(), keeper.0.pace.periods);
        let due = blocking(move || store.scrub_due(&periods, BATCH)).await;
        if due.is_empty() {
            let now = u64::try_from(clock.now().as_micros()).unwrap_or(0);
            keeper.0.counts.scrub_completed_at.store(now, Ordering::Relaxed);
            clock.sleep(look_period).await;
            continue;
        }
        for target in due {
            verify_one(keeper, target).await;
            if clock.now().since(flushed_at) >= FLUSH_PERIOD {
                flushed_at = clock.now();
                let store = keeper.0.store.clone();
                if let Err(error) = blocking(move || store.flush()).await {
                    tracing::warn!(reason = %error.fault(), "what was verified could not be written");
                }
            }
        }
    }
}

/// Reads one blob, slowly, and takes it away when it is wrong.
async fn verify_one(keeper: &Keeper, target: ScrubTarget) {
    let (store, clock) = (&keeper.0.store, &keeper.0.clock);
    let begun = {
        let store = store.clone();
        blocking(move || store.scrub(&target.digest)).await
    };
    let mut scrubbing = match begun {
        Ok(scrubbing) => scrubbing,
        // Removed since, or lost: the second look tells.
        Err(_) => return suspect(keeper, target.digest).await,
    };
    loop {
        let step;
        (scrubbing, step) = blocking(move || {
            let step = scrubbing.step();
            (scrubbing, step)
        })
        .await;
        match step {
            ScrubStep::Read(bytes) => {
                let rate = keeper.0.pace.bytes_per_second.max(1);
                clock.sleep(Duration::from_micros(bytes.saturating_mul(1_000_000) / rate)).await;
            }
            ScrubStep::Sound => return,
            ScrubStep::Suspect => return suspect(keeper, target.digest).await,
        }
    }
}

async fn suspect(keeper: &Keeper, digest: Digest) {
    let store = keeper.0.store.clone();
    match blocking(move || store.quarantine(&[digest])).await {
        Ok(outcome) if outcome.blobs.is_empty() => {}
        Ok(outcome) => {
            let models: Vec<String> = outcome.models.iter().map(ToString::to_string).collect();
            tracing::warn!(blob = %digest, ?models, "a scrub found a file damaged; it is fetched again");
        }
        Err(error) => {
            tracing::warn!(blob = %digest, reason = %error.fault(), "a damaged file could not be moved aside");
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is being shut down, and this task with it.
        Err(_) => std::future::pending().await,
    }
}
