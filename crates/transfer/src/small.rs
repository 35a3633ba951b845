//! Brings small files: several at once into memory, then published together with one round of syncs.

use std::{collections::BTreeSet, sync::Arc, sync::atomic::Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use types::{Digest, ManifestFile, RepoPath};

use crate::{
    ContentRefused, FetchError,
    fetch::{Fetch, Wanted, blocking},
    reading::{Reading, read},
    seat::Seat,
    source::{AfterWrong, OpenFile},
};

/// Batches under way: one is read while another is published.
const BATCHES_AT_ONCE: usize = 2;
/// A small file is read anew this often when a source that gives no ranges breaks off amid it.
const RESTARTS_MAX: u32 = 9;

/// Brings small files, except those that another fetch brings meanwhile.
pub(crate) async fn bring(fetch: &Arc<Fetch>, wanted: Vec<Wanted>) -> Result<(), FetchError> {
    let mut left = wanted;
    while !left.is_empty() {
        fetch.check()?;
        let digests = left.iter().map(|wanted| wanted.file.digest);
        let (boarded, mut released) = fetch.shared.flight.board(digests, &fetch.supplier);
        let (ours, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|wanted| boarded.has(&wanted.file.digest));
        // The next batch is read while one is published.
        stream::iter(batches(fetch, still_missing(fetch, ours).await))
            .map(|batch| bring_batch(fetch, batch))
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_collect::<()>()
            .await?;
        drop(boarded);
        left = others;
        if !left.is_empty() {
            // The count was marked as seen before the look, so a release since then is not missed.
            let _ = fetch.unless_cancelled(released.changed()).await?;
        }
    }
    Ok(())
}

/// Returns those of the files that are still missing: another fetch may have brought some since they were listed.
async fn still_missing(fetch: &Arc<Fetch>, wanted: Vec<Wanted>) -> Vec<Wanted> {
    if wanted.is_empty() {
        return wanted;
    }
    let (store, manifest, supplier) =
        (fetch.shared.store.clone(), fetch.manifest.clone(), fetch.supplier.clone());
    let missing = blocking(move || store.missing(&manifest, &supplier)).await;
    let missing: BTreeSet<Digest> = missing.files.into_iter().map(|file| file.digest).collect();
    let (missing, here): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|wanted| missing.contains(&wanted.file.digest));
    for wanted in here {
        fetch.tracker.found(wanted.bytes());
        fetch.tracker.files_done(wanted.copies);
        fetch.bytes_reused.fetch_add(wanted.bytes(), Ordering::Relaxed);
    }
    missing
}

/// Cuts a list of files into batches within the limits.
fn batches(fetch: &Fetch, wanted: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    let options = &fetch.shared.options;
    let mut batches: Vec<Vec<Wanted>> = Vec::new();
    let mut bytes = 0;
    for one in wanted {
        bytes += one.file.size;
        match batches.last_mut() {
            Some(batch)
                if bytes <= options.batch_bytes_max.bytes() && batch.len() < options.batch_files_max =>
            {
                batch.push(one);
            }
            Some(_) | None => {
                bytes = one.file.size;
                batches.push(vec![one]);
            }
        }
    }
    batches
}

/// Brings one batch; files whose bytes were wrong are fetched again, as long as a source is left for them.
async fn bring_batch(fetch: &Arc<Fetch>, batch: Vec<Wanted>) -> Result<(), FetchError> {
    let bytes = batch.iter().map(|wanted| wanted.file.size).sum();
    let _room = fetch.unless_cancelled(fetch.shared.memory.room(bytes)).await?;
    let reused: u64 = batch.iter().map(|wanted| wanted.bytes() - wanted.file.size).sum();
    let open = |wanted: Wanted| (fetch.sources.open(&wanted.file), wanted);
    let mut left: Vec<(Arc<OpenFile>, Wanted)> = batch.into_iter().map(open).collect();
    loop {
        let wrong = read_and_publish(fetch, &left).await?;
        if wrong.is_empty() {
            break;
        }
        left.retain(|(_, wanted)| wrong.iter().any(|wrong| wrong.path == wanted.file.path));
        for (file, mismatch) in left.iter().map(|(file, _)| file).zip(wrong_in_order(&left, wrong)) {
            match file.blame() {
                AfterWrong::Again => {}
                // An empty file comes from nobody: its digest is wrong whoever is asked.
                AfterWrong::Unblamed => {
                    let name = fetch.sources.name(fetch.sources.len() - 1).to_owned();
                    return Err(ContentRefused { name, source: mismatch }.into());
                }
                AfterWrong::Nobody(name) => return Err(ContentRefused { name, source: mismatch }.into()),
            }
        }
        fetch.extents_refetched.fetch_add(left.len() as u64, Ordering::Relaxed);
    }
    fetch.bytes_reused.fetch_add(reused, Ordering::Relaxed);
    Ok(())
}

/// Returns what was wrong with each of the files, in their order.
fn wrong_in_order(
    left: &[(Arc<OpenFile>, Wanted)],
    mut wrong: Vec<store::ContentMismatch>,
) -> Vec<store::ContentMismatch> {
    let place = |path: &RepoPath| left.iter().position(|(_, wanted)| wanted.file.path == *path);
    wrong.sort_by_key(|mismatch| place(&mismatch.path));
    wrong
}

/// Reads files and publishes those whose bytes are right; returns the others.
async fn read_and_publish(
    fetch: &Arc<Fetch>,
    batch: &[(Arc<OpenFile>, Wanted)],
) -> Result<Vec<store::ContentMismatch>, FetchError> {
    let opened: Vec<Arc<OpenFile>> = batch.iter().map(|(file, _)| file.clone()).collect();
    let files: Vec<_> = stream::iter(opened)
        .map(|file| read_whole(fetch.clone(), file))
        .buffer_unordered(fetch.shared.options.connections_max.max(1))
        .try_collect()
        .await?;
    fetch.check()?;
    let (store, supplier) = (fetch.shared.store.clone(), fetch.supplier.clone());
    let _verifying = fetch.tracker.verifying();
    let published = blocking(move || store.publish_small(files, &supplier)).await?;
    let wrong: BTreeSet<&RepoPath> = published.mismatches.iter().map(|mismatch| &mismatch.path).collect();
    for (_, wanted) in batch {
        if wrong.contains(&wanted.file.path) {
            fetch.tracker.lost(wanted.file.size);
        } else {
            fetch.tracker.found(wanted.bytes() - wanted.file.size);
            fetch.tracker.files_done(wanted.copies);
        }
    }
    Ok(published.mismatches)
}

async fn read_whole(fetch: Arc<Fetch>, open: Arc<OpenFile>) -> Result<(ManifestFile, Bytes), FetchError> {
    let file = open.file.clone();
    let mut bytes = Vec::with_capacity(usize::try_from(file.size).expect("a small file fits in memory"));
    let mut restarts = 0;
    // Small files count as one among the files of the fetch.
    let mut seat = Seat::new(&fetch, 0);
    if file.size == 0 {
        return Ok((file, Bytes::new()));
    }
    loop {
        match read(&open, 0..file.size, &mut bytes, &mut seat).await? {
            Reading::Done => break,
            Reading::WholeOnly if restarts == RESTARTS_MAX => return Err(open.broke_off().into()),
            Reading::WholeOnly => {
                restarts += 1;
                fetch.tracker.lost(bytes.len() as u64);
                bytes.clear();
            }
        }
    }
    Ok((file, bytes.into()))
}
