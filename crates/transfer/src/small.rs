//! Brings small files: several at once into memory, then published together with one round of syncs.

use std::{collections::BTreeSet, sync::Arc, sync::atomic::Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use types::{Digest, ManifestFile, RepoPath};

use crate::{
    ContentRefused, FetchError,
    fetch::{Fetch, Wanted, blocking},
    reading::read,
};

/// Brings small files, except those that another fetch brings meanwhile.
pub(crate) async fn bring(fetch: &Arc<Fetch>, wanted: Vec<Wanted>) -> Result<(), FetchError> {
    let mut left = wanted;
    while !left.is_empty() {
        fetch.check()?;
        let digests = left.iter().map(|wanted| wanted.file.digest);
        let (boarded, mut released) = fetch.shared.flight.board(digests, &fetch.supplier);
        let (ours, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|wanted| boarded.has(&wanted.file.digest));
        for batch in batches(fetch, still_missing(fetch, ours).await) {
            bring_batch(fetch, batch).await?;
        }
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

/// Brings one batch; files whose bytes were wrong are fetched once more.
async fn bring_batch(fetch: &Arc<Fetch>, batch: Vec<Wanted>) -> Result<(), FetchError> {
    let bytes = batch.iter().map(|wanted| wanted.file.size).sum();
    let _room = fetch.memory(bytes).await?;
    let wrong = read_and_publish(fetch, &batch).await?;
    let reused: u64 = batch.iter().map(|wanted| wanted.bytes() - wanted.file.size).sum();
    fetch.bytes_reused.fetch_add(reused, Ordering::Relaxed);
    if wrong.is_empty() {
        return Ok(());
    }
    let again: Vec<Wanted> =
        batch.into_iter().filter(|wanted| wrong.iter().any(|wrong| wrong.path == wanted.file.path)).collect();
    tracing::warn!(source = fetch.source.name(), first = %wrong[0], count = wrong.len(), "wrong bytes were thrown away");
    fetch.extents_refetched.fetch_add(again.len() as u64, Ordering::Relaxed);
    match read_and_publish(fetch, &again).await?.into_iter().next() {
        None => Ok(()),
        Some(mismatch) => Err(ContentRefused { name: fetch.source.name(), source: mismatch }.into()),
    }
}

/// Reads files and publishes those whose bytes are right; returns the others.
async fn read_and_publish(
    fetch: &Arc<Fetch>,
    batch: &[Wanted],
) -> Result<Vec<store::ContentMismatch>, FetchError> {
    let files: Vec<_> = stream::iter(batch.to_vec())
        .map(|wanted| read_whole(fetch.clone(), wanted.file))
        .buffer_unordered(fetch.shared.options.connections_max.max(1))
        .try_collect()
        .await?;
    fetch.check()?;
    let (store, supplier) = (fetch.shared.store.clone(), fetch.supplier.clone());
    let _verifying = fetch.tracker.verifying();
    let published = blocking(move || store.publish_small(files, &supplier)).await?;
    let wrong: BTreeSet<&RepoPath> = published.mismatches.iter().map(|mismatch| &mismatch.path).collect();
    for wanted in batch {
        if wrong.contains(&wanted.file.path) {
            fetch.tracker.lost(wanted.file.size);
        } else {
            fetch.tracker.found(wanted.bytes() - wanted.file.size);
            fetch.tracker.files_done(wanted.copies);
        }
    }
    Ok(published.mismatches)
}

async fn read_whole(fetch: Arc<Fetch>, file: ManifestFile) -> Result<(ManifestFile, Bytes), FetchError> {
    let mut bytes = Vec::with_capacity(usize::try_from(file.size).expect("a small file fits in memory"));
    if file.size > 0 {
        let source = fetch.source.open(&file);
        read(&fetch, &file, &*source, 0..file.size, &mut bytes).await?;
    }
    Ok((file, bytes.into()))
}
