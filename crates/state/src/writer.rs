//! The writer: one thread that owns the only connection that writes.
//!
//! It takes whatever has gathered in its queue while the last transaction was being synced, applies it in one
//! transaction, and answers everybody afterwards (group commit). Each batch is a savepoint: a refused one takes
//! nothing with it but itself.

use std::thread;

use rusqlite::{Connection, TransactionBehavior, ffi};
use tokio::sync::{mpsc, oneshot};
use types::Epoch;

use crate::{
    CommitError, DatabaseError, Mutation,
    seal::Sealer,
    write::{apply, meta, set_meta},
};

/// Batches in one transaction at most: far more than can gather during one sync, small enough to bound memory.
const GROUP_MAX: usize = 256;
/// Batches that may wait: above it `commit` itself waits.
pub(crate) const QUEUE_MAX: usize = 1024;

/// What the writer is asked.
pub(crate) enum Request {
    /// To apply a batch.
    Commit { epoch: Epoch, mutations: Vec<Mutation>, answer: oneshot::Sender<Result<(), CommitError>> },
    /// To begin the next epoch.
    BeginEpoch { answer: oneshot::Sender<Result<Epoch, DatabaseError>> },
}

/// An answer that is given once the transaction has ended.
enum Pending {
    Commit(oneshot::Sender<Result<(), CommitError>>, Result<(), CommitError>),
    Epoch(oneshot::Sender<Result<Epoch, DatabaseError>>, Result<Epoch, DatabaseError>),
}

/// Starts the thread. It ends when every sender is gone and the queue is empty.
pub(crate) fn start(
    connection: Connection,
    sealer: Sealer,
    requests: mpsc::Receiver<Request>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("state-writer".to_owned()).spawn(move || run(connection, &sealer, requests))
}

fn run(mut connection: Connection, sealer: &Sealer, mut requests: mpsc::Receiver<Request>) {
    let mut group = Vec::new();
    while requests.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        for pending in transact(&mut connection, sealer, group.drain(..)) {
            // A caller that no longer waits has lost nothing: its batch stands or does not, as it may ask.
            match pending {
                Pending::Commit(answer, result) => drop(answer.send(result)),
                Pending::Epoch(answer, result) => drop(answer.send(result)),
            }
        }
    }
}

fn transact(
    connection: &mut Connection,
    sealer: &Sealer,
    group: impl Iterator<Item = Request>,
) -> Vec<Pending> {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => return group.map(|request| refuse(request, &error)).collect(),
    };
    let pending: Vec<Pending> = group
        .map(|request| match request {
            Request::Commit { epoch, mutations, answer } => Pending::Commit(
                answer,
                savepoint(&transaction, || batch(&transaction, sealer, epoch, &mutations)),
            ),
            Request::BeginEpoch { answer } => Pending::Epoch(answer, next_epoch(&transaction)),
        })
        .collect();
    // A full disk ends the whole transaction, not only the statement: then nothing before or after it was written.
    let ended = if transaction.is_autocommit() {
        Err(engine_error(ffi::SQLITE_ABORT_ROLLBACK))
    } else {
        transaction.commit()
    };
    match ended {
        Ok(()) => pending,
        Err(error) => pending.into_iter().map(|pending| fail(pending, &error)).collect(),
    }
}

fn savepoint(
    connection: &Connection,
    work: impl FnOnce() -> Result<(), CommitError>,
) -> Result<(), CommitError> {
    let control = |sql| connection.execute_batch(sql).map_err(DatabaseError::Engine);
    if connection.is_autocommit() {
        // A batch before this one met a full disk, which ended the transaction: this one must not stand alone.
        return Err(DatabaseError::Engine(engine_error(ffi::SQLITE_ABORT_ROLLBACK)).into());
    }
    control("SAVEPOINT batch")?;
    match work() {
        Ok(()) => Ok(control("RELEASE batch")?),
        Err(error) => {
            if !connection.is_autocommit() {
                control("ROLLBACK TO batch; RELEASE batch")?;
            }
            Err(error)
        }
    }
}

fn batch(
    connection: &Connection,
    sealer: &Sealer,
    yours: Epoch,
    mutations: &[Mutation],
) -> Result<(), CommitError> {
    let present = Epoch(meta(connection, "epoch")?);
    if present != yours {
        return Err(CommitError::Superseded { yours, present });
    }
    Ok(mutations.iter().try_for_each(|mutation| apply(connection, sealer, mutation))?)
}

fn next_epoch(connection: &Connection) -> Result<Epoch, DatabaseError> {
    let epoch = meta(connection, "epoch")? + 1;
    set_meta(connection, "epoch", epoch)?;
    Ok(Epoch(epoch))
}

fn refuse(request: Request, error: &rusqlite::Error) -> Pending {
    match request {
        Request::Commit { answer, .. } => {
            Pending::Commit(answer, Err(DatabaseError::Engine(copy_of(error)).into()))
        }
        Request::BeginEpoch { answer } => Pending::Epoch(answer, Err(DatabaseError::Engine(copy_of(error)))),
    }
}

fn fail(pending: Pending, error: &rusqlite::Error) -> Pending {
    match pending {
        Pending::Commit(answer, Ok(())) => {
            Pending::Commit(answer, Err(DatabaseError::Engine(copy_of(error)).into()))
        }
        Pending::Epoch(answer, Ok(_)) => Pending::Epoch(answer, Err(DatabaseError::Engine(copy_of(error)))),
        failed @ (Pending::Commit(_, Err(_)) | Pending::Epoch(_, Err(_))) => failed,
    }
}

/// The engine's errors cannot be cloned, and one failed sync is the error of everybody in its group.
fn copy_of(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(code, text) => rusqlite::Error::SqliteFailure(*code, text.clone()),
        other => rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ERROR), Some(other.to_string())),
    }
}

fn engine_error(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}
