//! From the command line to a role: parses, starts the runtime, and turns what a role says into an exit code.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use cli::{Exit, Failure, Screen, Surroundings};
use tokio::runtime::Runtime;
use types::{ErrorCode, Fault};

use crate::{
    demo,
    grammar::{Command, HubCommand, Program},
    roles, simulate, surroundings, up,
};

/// Runs what the command line asks for.
pub(crate) fn main() -> ExitCode {
    let program = Program::parse();
    let mut screen = Screen::of_process(program.globals.output);
    let exit = match prepare() {
        Ok((runtime, surroundings)) => runtime.block_on(carry_out(program, &surroundings, &mut screen)),
        Err(fault) => {
            screen.fault(&fault);
            Exit::Failure
        }
    };
    ExitCode::from(exit as u8)
}

fn prepare() -> Result<(Runtime, Surroundings), Fault> {
    let internal =
        |what: &str, error: std::io::Error| Fault::new(ErrorCode::Internal, format!("{what}: {error}"));
    let surroundings =
        surroundings::read().map_err(|error| internal("the current folder can't be found", error))?;
    let runtime = Runtime::new().map_err(|error| internal("the runtime can't start", error))?;
    Ok((runtime, surroundings))
}

async fn carry_out(program: Program, surroundings: &Surroundings, screen: &mut Screen) -> Exit {
    let Program { globals, command } = program;
    let ended: Result<(), Failure> = match command {
        Command::Client(command) => {
            return cli::run(command, &globals, surroundings, screen, Program::command()).await;
        }
        Command::Up(arguments) => up::run(arguments, &globals, surroundings, screen).await,
        Command::Demo(arguments) => demo::run(arguments, surroundings, screen).await,
        Command::Server(arguments) => roles::server::run(arguments, &globals, surroundings).await,
        Command::Agent(arguments) => roles::agent::run(arguments, &globals, surroundings).await,
        Command::Hub(HubCommand::Serve(arguments)) => {
            roles::hub::serve(arguments, surroundings, screen).await
        }
        Command::Simulate(command) => simulate::run(&command, surroundings, screen),
    };
    match ended {
        Ok(()) => Exit::Success,
        Err(failure) => {
            if let Failure::Fault(fault) = &failure {
                screen.fault(fault);
            }
            failure.exit()
        }
    }
}
