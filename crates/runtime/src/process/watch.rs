//! The task that hears one worker's shim, from its start or adoption to its end.

use std::sync::Arc;

use tokio::{net::UnixStream, process::Child};
use types::WorkerId;

use super::{
    Entry, Shared, blocking,
    connection::{self, Connection},
    lock,
};
use crate::{
    DriverEvent, ExitReason,
    protocol::{Ended, Reply},
    records::RunFolder,
    shim::cgroup,
};

/// Hears a shim until its worker has ended, and makes an event of that. `child` is the shim where it is ours.
pub(super) async fn watch(
    shared: Arc<Shared>,
    worker: WorkerId,
    mut heard: UnixStream,
    child: Option<Child>,
    first: Option<DriverEvent>,
) {
    if let Some(event) = first {
        tell(&shared, event).await;
    }
    let folder = shared.folder(&worker);
    let ended = loop {
        match connection::hear(&mut heard).await {
            Ok(Reply::Ended(ended)) => break ended,
            // An answer to somebody's greeting; nothing new.
            Ok(Reply::Running(_) | Reply::Refused(_)) => {}
            Err(_) => match call_again(&shared, &worker, &folder).await {
                Some(line) => heard = line,
                None => break record_of(&shared, &worker, &folder).await,
            },
        }
    };
    if let Some(mut child) = child
        && let Err(error) = child.wait().await
    {
        tracing::warn!(%error, %worker, "the shim could not be waited for");
    }
    lock(&shared.workers).insert(worker.clone(), Entry::Ended);
    tell(&shared, DriverEvent::Exited { worker, status: ended.status, at: ended.at }).await;
}

/// Passes an event on. Whoever dropped the receiver does not want to know.
pub(super) async fn tell(shared: &Shared, event: DriverEvent) {
    let _ = shared.events.send(event).await;
}

/// Connects to a shim that hung up, if it still runs.
async fn call_again(shared: &Shared, worker: &WorkerId, folder: &RunFolder) -> Option<UnixStream> {
    let folder = folder.clone();
    let found = blocking(move || connection::find(&folder)).await.ok()?;
    let (connection, heard) = Connection::keep(found.socket, found.pidfd).ok()?;
    lock(&shared.workers).insert(worker.clone(), Entry::Running { slot: found.running.slot, connection });
    Some(heard)
}

/// Returns how a worker ended whose shim does not answer. One that left no word is lost, and what remains of it is
/// taken away.
pub(super) async fn record_of(shared: &Shared, worker: &WorkerId, folder: &RunFolder) -> Ended {
    if let Some(ended) = folder.read_ended() {
        return ended;
    }
    if let Some(Entry::Running { connection, .. }) = lock(&shared.workers).get(worker)
        && let Err(error) = connection.end_shim()
    {
        tracing::error!(%error, %worker, "a shim that does not answer could not be ended");
    }
    let ended = Ended { status: ExitReason::Lost, at: shared.clock.now() };
    let folder = folder.clone();
    let recorded = blocking(move || {
        cgroup::remove(&folder.read_running().map(|running| running.control_groups).unwrap_or_default());
        folder.close_ear();
        folder.write_ended(&ended)
    });
    if let Err(error) = recorded.await {
        tracing::warn!(%error, %worker, "the end of a lost worker could not be recorded");
    }
    ended
}
