//! Eviction: our policy beside its rivals and the bounds, and what a decision costs.
//!
//! Prints the tables of docs/benchmarks.md. The first is pure computation: the same on every machine. Ends with an
//! error when a part of the goal is missed.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use base::{ByteSize, Timestamp};
use scheduler::eviction::{EvictionPolicy, Experience, Shelf, Shelved, Standing, Used, Uses, choose};
use sim::eviction::{
    Contest, ContestRow, DISK_SHARES, PolicyName, Scale, Workload, contest, mean_byte_hit_ratio,
    missed_on_the_mean,
};

fn main() -> ExitCode {
    let set = Contest {
        workloads: Workload::ALL.to_vec(),
        scale: Scale::default(),
        disk_shares: DISK_SHARES.to_vec(),
        seeds: (1..=10).collect(),
    };
    println!("Byte-hit ratios, mean of the seeds {:?}; the parts are the worst of the seeds.\n", set.seeds);
    println!(
        "| workload | disk, working sets | larder | LRU | LFU | GDSF | GDSF by cost | popularity (bound) | clairvoyant | of the best rival | of the bound | waited, of LRU's |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let begun = Instant::now();
    let mut rows = Vec::new();
    contest(&set, |row| rows.push(row));
    let mut missed = Vec::new();
    for workload in &set.workloads {
        for share in &set.disk_shares {
            let same = |row: &&ContestRow| row.workload == *workload && row.disk_share == *share;
            let seeds: Vec<&ContestRow> = rows.iter().filter(same).collect();
            print_line(&seeds);
            let goals = seeds.iter().flat_map(|row| row.missed()).chain(missed_on_the_mean(&seeds));
            missed.extend(goals.map(|goal| format!("{goal:?} on {workload} with a disk of {share}")));
        }
    }
    println!("\n{} runs in {:.0} s", rows.len() * PolicyName::ALL.len(), begun.elapsed().as_secs_f64());
    summarise(&rows);
    time_decisions();
    println!("goals missed: {}", missed.len());
    for goal in &missed {
        println!("missed: {goal}");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_line(seeds: &[&ContestRow]) {
    let worst =
        |part: &dyn Fn(&ContestRow) -> f64| seeds.iter().map(|row| part(row)).fold(f64::MAX, f64::min);
    let first = seeds[0];
    print!("| {} | {:.1} |", first.workload, first.disk_share);
    for policy in PolicyName::ALL {
        print!(" {:.3} |", mean_byte_hit_ratio(seeds, policy));
    }
    let waited = |policy| seeds.iter().map(|row| row.outcomes[&policy].waited.as_secs_f64()).sum::<f64>();
    println!(
        " {:.3} | {:.3} | {:.2} |",
        worst(&|row| row.part_of(row.best_rival())),
        worst(&|row| row.part_of(row.byte_hit_ratio(PolicyName::Popularity))),
        waited(PolicyName::Larder) / waited(PolicyName::Lru)
    );
}

fn summarise(rows: &[ContestRow]) {
    let zipf = || rows.iter().filter(|row| row.workload.is_zipf());
    let least = |parts: &mut dyn Iterator<Item = f64>| parts.fold(f64::MAX, f64::min);
    let bound = least(&mut zipf().map(|row| row.part_of(row.byte_hit_ratio(PolicyName::Popularity))));
    let foreseen = least(&mut zipf().map(|row| row.part_of(row.byte_hit_ratio(PolicyName::Clairvoyant))));
    let known =
        least(&mut zipf().map(|row| {
            row.byte_hit_ratio(PolicyName::Popularity) / row.byte_hit_ratio(PolicyName::Clairvoyant)
        }));
    let rival = least(&mut rows.iter().map(|row| row.part_of(row.best_rival())));
    println!("Zipf traces: at least {bound:.3} of the greedy offline bound");
    println!("Zipf traces: at least {foreseen:.3} of the clairvoyant, of which the bound reaches {known:.3}");
    println!("all traces: at least {rival:.3} of the best rival");
}

/// Measures one choice and one lesson with as many models as a host could hold.
fn time_decisions() {
    const MODELS: u64 = 10_000;
    let now = Timestamp::from_millis(1_000_000_000_000);
    let mut shelf = Shelf::new();
    let shared = shelf.blob(ByteSize(1_000));
    let mut experience = Experience::default();
    for key in 0..MODELS {
        let bytes = ByteSize(1_000_000_000 + key * 7_919 % 9_000_000_000);
        let at = now - Duration::from_secs(key * 104_729 % 10_000_000);
        let blobs = vec![shared, shelf.blob(bytes)];
        let uses = Uses::first(at);
        let standing = Standing::Free;
        let model =
            Shelved { key, blobs, standing, uses, refetch_rate_bytes: 200_000_000, copies_elsewhere: 0 };
        shelf.model(model);
        experience.record(&key, used(bytes), ByteSize(u64::MAX), at);
    }
    let policy = EvictionPolicy::default();
    let choice = fastest(|round| {
        let needed = ByteSize(140_000_000_000 + round);
        let plan = choose(&shelf, needed, now, &policy);
        assert!(plan.freed >= needed, "ten thousand models hold more than one needs");
    });
    // Every imagined shelf is full, so each has to choose.
    let capacity = ByteSize(54_000_000_000_000);
    let lesson =
        fastest(|round| experience.record(&(MODELS + round), used(ByteSize(140_000_000_000)), capacity, now));
    println!(
        "{MODELS} models on the shelf: a choice takes {:.1} ms, learning from a miss {:.1} ms",
        choice.as_secs_f64() * 1e3,
        lesson.as_secs_f64() * 1e3
    );
}

/// Returns how long the fastest of a few rounds takes: the others say more of what else the machine does.
fn fastest(mut round: impl FnMut(u64)) -> Duration {
    let rounds = (0..20).map(|number| {
        let begun = Instant::now();
        round(number);
        begun.elapsed()
    });
    rounds.min().unwrap_or_default()
}

fn used(bytes: ByteSize) -> Used {
    Used { bytes, fetch_time: Duration::from_millis(1000 + bytes.bytes() / 200_000) }
}
