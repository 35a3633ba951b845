//! The shim's life beside a running worker, outside of its namespaces: it hears agents, keeps the log, ends the
//! worker when told to, and records how it ended.
//!
//! One thread, one `poll`, no timer but the one that a stop's grace needs.

use std::{
    io,
    net::TcpListener,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    time::Duration,
};

use base::Clock;
use rustix::{
    event::{PollFd, PollFlags, poll},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

use super::{
    cgroup::{self, ControlGroups},
    log::{Log, Pipe},
    process::Child,
};
use crate::{
    ExitReason,
    protocol::{
        CommandEnd, Enclosure, Ended, InitRequest, Progress, Reply, Request, Running, read_frame, write_frame,
    },
    records::RunFolder,
};

/// Agents connected at once: one, and another while an agent is being replaced; a third is a mistake.
const AGENTS_MAX: usize = 4;
/// How long the shim waits for the rest of a frame. Both ends are on one machine.
const AGENT_PATIENCE: Duration = Duration::from_secs(1);
/// How long the pipes of an ended worker are read for: without a namespace a process that got away may hold one.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Why the worker is ending, if it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It is not.
    No,
    /// The command was asked to; the timer says until when.
    Asked,
    /// Everything was ended by force.
    Forced,
    /// Its first process is gone; what it wrote is still being read.
    Over,
}

/// What the supervisor is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) folder: RunFolder,
    pub(super) enclosure: Enclosure,
    pub(super) running: Running,
    pub(super) relay: TcpListener,
    pub(super) init: Child,
    pub(super) init_socket: UnixStream,
    pub(super) groups: ControlGroups,
    pub(super) log: Log,
    pub(super) pipes: [Pipe; 2],
}

/// The shim beside a running worker.
#[derive(Debug)]
pub(super) struct Supervisor {
    parts: Parts,
    ear: UnixListener,
    /// None where one has hung up, until the turn is over.
    agents: Vec<Option<UnixStream>>,
    timer: OwnedFd,
    ending: Ending,
    forced: bool,
    command: Option<CommandEnd>,
}

/// What became ready.
#[derive(Clone, Copy, Debug)]
enum Ready {
    Ear,
    Agent(usize),
    InitSocket,
    InitEnded,
    Pipe(usize),
    Timer,
}

impl Supervisor {
    /// Records the worker, opens the shim's ear and tells the agent that the worker runs.
    pub(super) fn begin(parts: Parts, agent: UnixStream) -> io::Result<Self> {
        parts.folder.write_running(&parts.running)?;
        let ear = parts.folder.listen()?;
        ear.set_nonblocking(true)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        be_patient(&agent)?;
        let mut supervisor =
            Self { parts, ear, agents: Vec::new(), timer, ending: Ending::No, forced: false, command: None };
        supervisor.tell_running(&agent)?;
        supervisor.agents.push(Some(agent));
        Ok(supervisor)
    }

    /// Attends to the worker until it has ended and everybody knows.
    pub(super) fn run(mut self) -> io::Result<()> {
        while self.ending != Ending::Over || self.parts.pipes.iter().any(|pipe| pipe.end().is_some()) {
            for ready in self.wait()? {
                match ready {
                    Ready::Ear => self.hear(),
                    Ready::Agent(index) => self.answer(index)?,
                    Ready::InitSocket => self.take_progress(),
                    Ready::InitEnded => self.first_process_ended()?,
                    Ready::Pipe(index) => {
                        self.parts.pipes[index].drain(&mut self.parts.log, Clock::System.now())
                    }
                    Ready::Timer if self.ending == Ending::Over => return self.finish(),
                    Ready::Timer => self.force()?,
                }
            }
            self.agents.retain(Option::is_some);
        }
        self.finish()
    }

    fn wait(&self) -> io::Result<Vec<Ready>> {
        let mut sources: Vec<(Ready, BorrowedFd<'_>)> =
            vec![(Ready::Ear, self.ear.as_fd()), (Ready::Timer, self.timer.as_fd())];
        let agents = self.agents.iter().enumerate();
        sources
            .extend(agents.filter_map(|(index, agent)| Some((Ready::Agent(index), agent.as_ref()?.as_fd()))));
        for (index, pipe) in self.parts.pipes.iter().enumerate() {
            sources.extend(pipe.end().map(|end| (Ready::Pipe(index), end.as_fd())));
        }
        if self.ending != Ending::Over {
            sources.push((Ready::InitEnded, self.parts.init.pidfd().as_fd()));
            if self.command.is_none() {
                sources.push((Ready::InitSocket, self.parts.init_socket.as_fd()));
            }
        }
        let mut files: Vec<PollFd<'_>> =
            sources.iter().map(|(_, fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        rustix::io::retry_on_intr(|| poll(&mut files, None))?;
        let ready = files.iter().zip(&sources).filter(|(file, _)| !file.revents().is_empty());
        Ok(ready.map(|(_, (ready, _))| *ready).collect())
    }

    /// Lets another agent in.
    fn hear(&mut self) {
        let Ok((agent, _)) = self.ear.accept() else { return };
        if self.agents.len() < AGENTS_MAX
            && agent.set_nonblocking(false).and_then(|()| be_patient(&agent)).is_ok()
        {
            self.agents.push(Some(agent));
        }
    }

    fn answer(&mut self, index: usize) -> io::Result<()> {
        let Some(agent) = &self.agents[index] else { return Ok(()) };
        match read_frame::<Request>(agent) {
            Ok((Request::Hello, _)) => {
                if self.tell_running(agent).is_err() {
                    self.agents[index] = None;
                }
                Ok(())
            }
            Ok((Request::Stop { grace_millis }, _)) => self.ask(Duration::from_millis(grace_millis)),
            Ok((Request::Kill, _)) => self.force(),
            // It went away, or says what we do not understand; it can connect again.
            Err(_) => {
                self.agents[index] = None;
                Ok(())
            }
        }
    }

    fn tell_running(&self, agent: &UnixStream) -> io::Result<()> {
        write_frame(agent, &Reply::Running(self.parts.running.clone()), &[self.parts.relay.as_fd()])
    }

    fn take_progress(&mut self) {
        match read_frame::<Progress>(&self.parts.init_socket) {
            Ok((Progress::Ended(end), _)) => self.command = Some(end),
            Ok((Progress::Relay { .. } | Progress::Executed { .. }, _)) => {}
            // The end of the first process itself is what counts; it closes this socket a moment before.
            Ok((Progress::Refused(_), _)) | Err(_) => {
                self.command = self.command.or(Some(CommandEnd::Signal(libc::SIGKILL)))
            }
        }
    }

    /// Asks the command to end, once.
    fn ask(&mut self, grace: Duration) -> io::Result<()> {
        if self.ending != Ending::No {
            return Ok(());
        }
        self.ending = Ending::Asked;
        // A first process that is gone has taken the command with it.
        let _ = write_frame(&self.parts.init_socket, &InitRequest::Terminate, &[]);
        self.set_timer(grace)
    }

    fn force(&mut self) -> io::Result<()> {
        self.drain_timer();
        if matches!(self.ending, Ending::Forced | Ending::Over) {
            return Ok(());
        }
        self.ending = Ending::Forced;
        self.forced = true;
        match self.parts.enclosure {
            Enclosure::Sandbox(_) => self.parts.init.kill(),
            // Without a namespace only the subreaper knows whom to end.
            Enclosure::Plain => write_frame(&self.parts.init_socket, &InitRequest::Sweep, &[]).or(Ok(())),
        }
    }

    fn first_process_ended(&mut self) -> io::Result<()> {
        if self.command.is_none() {
            let pending = rustix::io::ioctl_fionread(&self.parts.init_socket)?;
            if pending > 0 {
                self.take_progress();
            }
        }
        self.parts.init.wait()?;
        self.ending = Ending::Over;
        self.set_timer(DRAIN_TIME)
    }

    /// Records how the worker ended, takes away what it had, and tells the agents.
    fn finish(&mut self) -> io::Result<()> {
        let now = Clock::System.now();
        for pipe in &mut self.parts.pipes {
            pipe.drain(&mut self.parts.log, now);
        }
        let ended = Ended { status: self.status(), at: now };
        cgroup::remove(&self.parts.groups.paths());
        self.parts.folder.write_ended(&ended)?;
        self.parts.folder.close_ear();
        for agent in self.agents.iter().flatten() {
            // An agent that is gone reads the record.
            let _ = write_frame(agent, &Reply::Ended(ended), &[]);
        }
        Ok(())
    }

    fn status(&self) -> ExitReason {
        let by_force = Some(CommandEnd::Signal(libc::SIGKILL));
        match self.command {
            end if self.forced && (end.is_none() || end == by_force) => ExitReason::Killed,
            Some(CommandEnd::Code(0)) => ExitReason::Code(0),
            _ if self.parts.groups.ran_out_of_memory() => ExitReason::OutOfMemory,
            Some(CommandEnd::Code(code)) => ExitReason::Code(code),
            Some(CommandEnd::Signal(signal)) => ExitReason::Signal(signal),
            None => ExitReason::Signal(libc::SIGKILL),
        }
    }

    fn set_timer(&self, after: Duration) -> io::Result<()> {
        // A timer of zero would be no timer.
        let after = after.max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec::try_from(after).map_err(io::Error::other)?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    fn drain_timer(&self) {
        // It has not fired when the force came from an agent; then there is nothing to read.
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
    }
}

fn be_patient(agent: &UnixStream) -> io::Result<()> {
    agent.set_read_timeout(Some(AGENT_PATIENCE))?;
    agent.set_write_timeout(Some(AGENT_PATIENCE))
}
