//! From a parsed command line to an exit code.

use types::Fault;

use crate::{
    args::{ClientCommand, GlobalArgs},
    client::Client,
    commands::{completion, endpoint, host, job, model, usage, worker},
    failure::{Exit, Failure},
    screen::Screen,
    surroundings::Surroundings,
};

/// Carries out a command and tells the user how it went. `program` is the whole grammar, for the manual and the
/// completion scripts.
pub async fn run(
    command: ClientCommand,
    globals: &GlobalArgs,
    surroundings: &Surroundings,
    screen: &mut Screen,
    program: clap::Command,
) -> Exit {
    match carry_out(command, globals, surroundings, screen, program).await {
        Ok(()) => Exit::Success,
        Err(failure) => {
            if let Failure::Fault(fault) = &failure {
                screen.fault(fault);
            }
            failure.exit()
        }
    }
}

async fn carry_out(
    command: ClientCommand,
    globals: &GlobalArgs,
    surroundings: &Surroundings,
    screen: &mut Screen,
    program: clap::Command,
) -> Result<(), Failure> {
    let connect = || -> Result<Client, Fault> { Client::new(surroundings.connection(globals)?) };
    match command {
        ClientCommand::Endpoint(command) => endpoint::run(command, &connect()?, surroundings, screen).await,
        ClientCommand::Run(arguments) => job::send(arguments, &connect()?, surroundings, screen).await,
        ClientCommand::Job(command) => job::run(command, &connect()?, screen).await,
        ClientCommand::Model(command) => model::run(command, &connect()?, surroundings, screen).await,
        ClientCommand::Worker(command) => worker::run(command, &connect()?, screen).await,
        ClientCommand::Usage(arguments) => usage::run(arguments, &connect()?, screen).await,
        ClientCommand::Host(command) => host::run(command, &connect()?, screen).await,
        ClientCommand::Completion { shell } => completion::script(shell, program, screen),
        ClientCommand::Man { dir } => completion::manual(dir.as_deref(), program, screen),
    }
}
