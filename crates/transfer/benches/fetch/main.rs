//! How fast one model comes from a hub on this machine, verified, published and synced, beside what others take.
//!
//! ```text
//! bench ──spawns──▶ hub                    serves the made-up models, in one process per shape of link
//!       └─spawns──▶ one process per run    ours, the limit, or another's program; each from an empty folder
//! ```
//! Every run is a process of its own, so that time, CPU and memory mean the same for all. Runs are interleaved, round
//! by round, and ratios are taken of medians: machines differ, and so does one machine over a day.
//!
//! The limit is the plain pipeline: blocking sockets into reserved files, SHA-256, one sync per file; no journal, no
//! retries, nothing compared. Its better way of writing (buffered or direct) counts.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on stops")]

mod http;
mod ours;
mod peers;
mod plain;
mod role;
mod shape;

use std::{collections::BTreeMap, env, fs, path::Path, time::Duration};

use self::{
    peers::Peer,
    role::{Hub, Run},
    shape::{Link, Shape},
};

/// Runs of each program in each shape, unless `LARDER_BENCH_ROUNDS` says otherwise.
const ROUNDS: usize = 3;
/// The capped link gives a connection this part of what the limit reaches on the open one.
const CAP_SHARE: f64 = 1.0 / 8.0;

fn main() {
    if let Some(role) = role::asked() {
        return role.play();
    }
    let rounds = env::var("LARDER_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let wanted = env::var("LARDER_BENCH_SHAPES").unwrap_or_default();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.split(',').any(|one| one == name);
    let folder = tempfile::tempdir_in(bench_folder()).expect("the target folder can be written");
    let mut peers = Peer::all();
    if let Ok(only) = env::var("LARDER_BENCH_PEERS") {
        peers.retain(|peer| only.split(',').any(|one| one == peer.name()));
    }
    let mut open_rate = None;
    for shape in Shape::ALL {
        if !is_wanted(shape.name) {
            continue;
        }
        let models = folder.path().join("models");
        shape.write(&models);
        let hub = Hub::start(&models, shape.cap(open_rate.unwrap_or(1e9)));
        hub.wait_until_ready(shape);
        let results = measure(shape, &hub, &peers, rounds, folder.path());
        let limit = report(shape, &results);
        if shape.link == Link::Open && shape.files == 1 {
            open_rate = Some(limit);
        }
        drop(hub);
        fs::remove_dir_all(&models).unwrap();
    }
    for peer in Peer::absent() {
        println!("not measured: {peer}");
    }
}

fn measure(
    shape: &'static Shape,
    hub: &Hub,
    peers: &[Peer],
    rounds: usize,
    folder: &Path,
) -> BTreeMap<String, Vec<Run>> {
    let mut results: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    for round in 0..rounds {
        for peer in peers {
            if round > 0 && peer.is_slow_at(shape) {
                continue;
            }
            let into = folder.join("into");
            fs::create_dir_all(&into).unwrap();
            // What others left dirty is not to be written during this run.
            rustix::fs::sync();
            if let Some(run) = peer.run(shape, hub, &into) {
                eprintln!("  {} {}: {run}", shape.name, peer.name());
                results.entry(peer.name().to_owned()).or_default().push(run);
            }
            fs::remove_dir_all(&into).unwrap();
        }
    }
    results
}

/// Prints the table of a shape; returns the limit's rate in bytes a second.
fn report(shape: &Shape, results: &BTreeMap<String, Vec<Run>>) -> f64 {
    println!("\n### {}\n", shape.title());
    println!("| who | time | rate | CPU | peak memory |\n|---|---|---|---|---|");
    for peer in Peer::all() {
        let Some(runs) = results.get(peer.name()) else { continue };
        let time = median(runs, |run| run.wall.as_secs_f64());
        let rate = if shape.is_small() {
            format!("{:.0} files/s", shape.files as f64 / time)
        } else {
            format!("{:.2} GB/s", shape.bytes() as f64 / time / 1e9)
        };
        let (cpu, memory) =
            (median(runs, |run| run.cpu.as_secs_f64()), median(runs, |run| run.memory_bytes as f64));
        println!("| {} | {time:.2} s | {rate} | {cpu:.2} s | {:.0} MB |", peer.title(), memory / 1e6);
    }
    let time_of = |name: &str| results.get(name).map(|runs| median(runs, |run| run.wall.as_secs_f64()));
    let limit = [Peer::PlainBuffered, Peer::PlainDirect]
        .iter()
        .filter_map(|peer| time_of(peer.name()))
        .fold(f64::INFINITY, f64::min);
    if let Some(ours) = time_of(Peer::Ours.name()) {
        let others = Peer::all()
            .into_iter()
            .filter(|peer| !matches!(peer, Peer::Ours | Peer::PlainBuffered | Peer::PlainDirect));
        let ratios: Vec<String> = others
            .filter_map(|peer| Some(format!("{:.1} x {}", time_of(peer.name())? / ours, peer.name())))
            .collect();
        println!("\nlarder: {:.2} of the limit; {}", limit / ours, ratios.join(", "));
    }
    shape.bytes() as f64 / limit
}

fn median(runs: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn bench_folder() -> std::path::PathBuf {
    let folder = env::var_os("LARDER_BENCH_FOLDER")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned(), Into::into);
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = |time: Duration| time.as_secs_f64();
        let (wall, cpu, memory) = (seconds(self.wall), seconds(self.cpu), self.memory_bytes as f64 / 1e6);
        write!(f, "{wall:.2} s, {cpu:.2} CPU s, {memory:.0} MB")
    }
}
