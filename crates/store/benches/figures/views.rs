//! Views of one large model for a hundred workers.

use std::{collections::BTreeSet, path::Path};

use store::ViewSpec;

use super::pool::{Large, median, taken, timed};

const WORKERS: usize = 100;

pub(crate) fn run(model: &Large) {
    let root = model.blobs[0].ancestors().nth(3).expect("a blob stands three folders below the root");
    println!("\nviews of a model of {:.1} GB for {WORKERS} workers", model.bytes as f64 / 1e9);
    let one = |_: usize| ViewSpec { key: model.key.clone(), refs: BTreeSet::new() };
    row("of one endpoint: one view, shared", model, root, one);
    let own = |worker: usize| ViewSpec {
        key: model.key.clone(),
        refs: BTreeSet::from([format!("branch-{worker}").parse().unwrap()]),
    };
    row("each of its own endpoint and revision", model, root, own);
}

fn row(name: &str, model: &Large, root: &Path, spec: impl Fn(usize) -> ViewSpec) {
    let before = taken(root);
    let mut times = Vec::with_capacity(WORKERS);
    let mut leases = Vec::with_capacity(WORKERS);
    for worker in 0..WORKERS {
        let (lease, seconds) = timed(|| model.store.view(&spec(worker)).unwrap());
        leases.push(lease);
        times.push(seconds * 1000.0);
    }
    let added = taken(root).saturating_sub(before);
    let ((), dropped) = timed(|| drop(leases));
    let first = times[0];
    println!(
        "  {name:<40} first {first:.2} ms, median {:.3} ms, slowest {:.2} ms; {added} bytes of folders and links added, \
         0 of the model; dropped in {:.0} ms",
        median(&mut times),
        times.last().unwrap(),
        dropped * 1000.0
    );
}
