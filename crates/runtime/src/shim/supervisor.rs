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
    course::{Course, Effect, Stage},
    log::{Log, Pipe},
    process::Child,
};
use crate::{
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
    course: Course,
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
        let mut supervisor = Self { parts, ear, agents: Vec::new(), timer, course: Course::new() };
        supervisor.tell_running(&agent)?;
        supervisor.agents.push(Some(agent));
        Ok(supervisor)
    }

    /// Attends to the worker until it has ended and everybody knows.
    pub(super) fn run(mut self) -> io::Result<()> {
        while self.course.stage() != Stage::Over || self.parts.pipes.iter().any(|pipe| pipe.end().is_some()) {
            for ready in self.wait()? {
                match ready {
                    Ready::Ear => self.hear(),
                    Ready::Agent(index) => self.answer(index)?,
                    Ready::InitSocket => self.take_progress(),
                    Ready::InitEnded => self.first_process_ended()?,
                    Ready::Pipe(index) => {
                        self.parts.pipes[index].drain(&mut self.parts.log, Clock::System.now());
                    }
                    Ready::Timer if self.course.stage() == Stage::Over => return self.finish(),
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
        if self.course.stage() != Stage::Over {
            sources.push((Ready::InitEnded, self.parts.init.pidfd().as_fd()));
            if !self.course.knows_command() {
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
        let end = match read_frame::<Progress>(&self.parts.init_socket) {
            Ok((Progress::Ended(end), _)) => end,
            Ok((Progress::Relay { .. } | Progress::Executed { .. }, _)) => return,
            // It closes this socket by its own end, which comes next.
            Ok((Progress::Refused(_), _)) | Err(_) => CommandEnd::Signal(libc::SIGKILL),
        };
        self.course = self.course.command_ended(end);
    }

    fn ask(&mut self, grace: Duration) -> io::Result<()> {
        let (course, effect) = self.course.ask();
        self.course = course;
        match effect {
            Effect::None | Effect::EndAll => Ok(()),
            Effect::AskCommand => {
                // A first process that is gone has taken the command with it.
                let _ = write_frame(&self.parts.init_socket, &InitRequest::Terminate, &[]);
                self.set_timer(grace)
            }
        }
    }

    fn force(&mut self) -> io::Result<()> {
        self.drain_timer();
        let (course, effect) = self.course.force();
        self.course = course;
        match (effect, self.parts.enclosure) {
            (Effect::None | Effect::AskCommand, _) => Ok(()),
            (Effect::EndAll, Enclosure::Sandbox(_)) => self.parts.init.kill(),
            // Without a namespace only the subreaper knows whom to end; one that is gone has ended them.
            (Effect::EndAll, Enclosure::Plain) => {
                write_frame(&self.parts.init_socket, &InitRequest::Sweep, &[]).or(Ok(()))
            }
        }
    }

    fn first_process_ended(&mut self) -> io::Result<()> {
        if !self.course.knows_command() && rustix::io::ioctl_fionread(&self.parts.init_socket)? > 0 {
            self.take_progress();
        }
        self.parts.init.wait()?;
        self.course = self.course.over();
        self.set_timer(DRAIN_TIME)
    }

    /// Records how the worker ended, takes away what it had, and tells the agents.
    fn finish(&mut self) -> io::Result<()> {
        let now = Clock::System.now();
        for pipe in &mut self.parts.pipes {
            pipe.drain(&mut self.parts.log, now);
        }
        let ended = Ended { status: self.course.status(self.parts.groups.ran_out_of_memory()), at: now };
        cgroup::remove(&self.parts.groups.paths());
        self.parts.folder.write_ended(&ended)?;
        self.parts.folder.close_ear();
        for agent in self.agents.iter().flatten() {
            // An agent that is gone reads the record.
            let _ = write_frame(agent, &Reply::Ended(ended), &[]);
        }
        Ok(())
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
