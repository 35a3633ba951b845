//! The program that the tests of this crate start: as a shim, or as a worker.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("shim") => runtime::shim::main(),
        other => {
            eprintln!("no part is called {other:?}");
            ExitCode::from(64)
        }
    }
}
