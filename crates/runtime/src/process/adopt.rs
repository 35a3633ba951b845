//! Finding the workers of an earlier driver.

use std::{fs, io, sync::Arc};

use types::WorkerId;

use super::{
    Entry, ProcessDriver, blocking,
    connection::{self, Connection, FoundShim},
    lock, watch,
};
use crate::{Adopted, DriverError, DriverEvent, Relay, RelaySharing};

/// Adopts every worker that runs, and makes events of those that ended meanwhile.
pub(super) async fn adopt(driver: &ProcessDriver) -> Result<Vec<Adopted>, DriverError> {
    let path = &driver.shared.options.run_folder;
    let unusable = |source| DriverError::RunFolder { path: path.clone(), source };
    let mut adopted = Vec::new();
    for worker in recorded(path).map_err(unusable)? {
        if lock(&driver.shared.workers).contains_key(&worker) {
            continue;
        }
        let folder = driver.shared.folder(&worker);
        let looked_in = folder.clone();
        match blocking(move || connection::find(&looked_in)).await {
            Ok(found) => {
                adopted
                    .push(take(driver, worker, found).map_err(|source| DriverError::ShimSilent { source })?);
            }
            Err(_) => {
                let ended = watch::record_of(&driver.shared, &worker, &folder).await;
                lock(&driver.shared.workers).insert(worker.clone(), Entry::Ended);
                let event = DriverEvent::Exited { worker, status: ended.status, at: ended.at };
                watch::tell(&driver.shared, event).await;
            }
        }
    }
    Ok(adopted)
}

/// Returns the workers that have a folder, in the order of their ids.
fn recorded(path: &std::path::Path) -> io::Result<Vec<WorkerId>> {
    let mut workers = Vec::new();
    for entry in fs::read_dir(path)? {
        workers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<WorkerId>().ok()));
    }
    workers.sort();
    Ok(workers)
}

fn take(driver: &ProcessDriver, worker: WorkerId, found: FoundShim) -> io::Result<Adopted> {
    let FoundShim { running, relay, socket, pidfd } = found;
    match running.sharing {
        RelaySharing::Shared => {
            let mut shared = lock(&driver.shared.relay);
            if shared.is_none() {
                *shared = Some(relay.try_clone()?);
            }
        }
        RelaySharing::Own => {}
    }
    let (connection, heard) = Connection::keep(socket, pidfd)?;
    lock(&driver.shared.workers).insert(worker.clone(), Entry::Running { slot: running.slot, connection });
    driver.spawn("worker-watch", watch::watch(Arc::clone(&driver.shared), worker.clone(), heard, None, None));
    Ok(Adopted {
        worker,
        relay: Relay { listener: relay, url: running.relay_url, sharing: running.sharing },
        processes: running.processes,
        started_at: running.started_at,
    })
}
