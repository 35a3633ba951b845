//! `larder simulate`: what a policy would have done, without a host, a hub or a byte.
//!
//! The decisions are those of the service (`scheduler`), the virtual time is `sim`'s; here are only the words.

mod eviction;
mod grammar;

use cli::{Failure, Screen, Surroundings};

pub(crate) use grammar::SimulateCommand;

/// Simulates, and shows what came of it. Blocks while it computes.
pub(crate) fn run(
    command: &SimulateCommand,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    match command {
        SimulateCommand::Eviction(arguments) => eviction::run(arguments, surroundings, screen),
    }
}
