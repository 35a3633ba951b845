//! `larder`: one program for every role. This file only chooses which.

mod command;
mod config;
mod demo;
mod folders;
mod grammar;
mod isolation;
mod logging;
mod roles;
mod simulate;
mod stop;
mod surroundings;
mod up;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any thread: a shim makes namespaces, and forks.
    if std::env::args_os().nth(1).is_some_and(|word| word == isolation::SHIM_WORD) {
        return runtime::shim::main();
    }
    command::main()
}
