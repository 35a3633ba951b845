//! The course that a worker takes to its end, and what its end is called. Pure.
//!
//! ```text
//! running ──ask──▶ asked ──force──▶ forced
//!    │ └──────────force───────────────┤
//!    └──────────── over ◀─────────────┘   (the first process is gone; from every state)
//! ```

use crate::{ExitReason, protocol::CommandEnd};

/// Where a worker is on its course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody wants its end.
    Running,
    /// The command was asked to end; a timer says until when.
    Asked,
    /// Everything was ended by force.
    Forced,
    /// Its first process is gone; what it wrote may still be in the pipes.
    Over,
}

/// What has to be done about a change of the course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it was a repeat, or it comes too late.
    None,
    /// Ask the command to end, and set the timer.
    AskCommand,
    /// End everything.
    EndAll,
}

/// The course of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Course {
    stage: Stage,
    was_forced: bool,
    command: Option<CommandEnd>,
}

impl Course {
    /// Begins with a command that runs.
    pub(super) const fn new() -> Self {
        Self { stage: Stage::Running, was_forced: false, command: None }
    }

    /// Returns where it is.
    pub(super) const fn stage(self) -> Stage {
        self.stage
    }

    /// Returns whether the command's own end is known.
    pub(super) const fn knows_command(self) -> bool {
        self.command.is_some()
    }

    /// Somebody wants the worker to end in peace.
    #[must_use]
    pub(super) const fn ask(self) -> (Self, Effect) {
        match self.stage {
            Stage::Running => (Self { stage: Stage::Asked, ..self }, Effect::AskCommand),
            Stage::Asked | Stage::Forced | Stage::Over => (self, Effect::None),
        }
    }

    /// Somebody wants the worker to end now, or the grace is over.
    #[must_use]
    pub(super) const fn force(self) -> (Self, Effect) {
        match self.stage {
            Stage::Running | Stage::Asked => {
                (Self { stage: Stage::Forced, was_forced: true, ..self }, Effect::EndAll)
            }
            Stage::Forced | Stage::Over => (self, Effect::None),
        }
    }

    /// The first process says how the command ended. Only the first word counts.
    #[must_use]
    pub(super) const fn command_ended(self, end: CommandEnd) -> Self {
        match self.command {
            None => Self { command: Some(end), ..self },
            Some(_) => self,
        }
    }

    /// The first process is gone, and everything with it.
    #[must_use]
    pub(super) const fn over(self) -> Self {
        Self { stage: Stage::Over, ..self }
    }

    /// Returns what the end is called. A command that had ended by itself before it was ended by force keeps its
    /// own end; one that returned 0 did not fail for want of memory, whatever happened to its children.
    pub(super) const fn status(self, out_of_memory: bool) -> ExitReason {
        match self.command {
            None | Some(CommandEnd::Signal(libc::SIGKILL)) if self.was_forced => ExitReason::Killed,
            Some(CommandEnd::Code(0)) => ExitReason::Code(0),
            None | Some(CommandEnd::Code(_) | CommandEnd::Signal(_)) if out_of_memory => {
                ExitReason::OutOfMemory
            }
            Some(CommandEnd::Code(code)) => ExitReason::Code(code),
            Some(CommandEnd::Signal(signal)) => ExitReason::Signal(signal),
            // The first process went without a word, and only this signal can do that to it.
            None => ExitReason::Signal(libc::SIGKILL),
        }
    }
}

#[cfg(test)]
mod tests;
