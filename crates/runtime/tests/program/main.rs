//! The program that the tests of this crate start: as a shim, or as a worker.

mod hostile;
mod kernel;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let rest = words.get(2..).unwrap_or_default();
    match words.get(1).map(String::as_str) {
        Some("shim") => runtime::shim::main(),
        Some("hostile") => hostile::attack(rest),
        Some("hungry") => worker::eat_memory(),
        Some("family") => worker::raise_family(rest),
        Some("outward") => worker::reach_out(),
        Some("caller") => worker::call_relay(),
        Some("fork-bomb") => worker::fork_until_refused(),
        Some(_) | None => {
            eprintln!("no such part: {words:?}");
            ExitCode::from(64)
        }
    }
}
