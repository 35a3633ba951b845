//! A driver whose workers are entries in a table, for tests of whatever stands above a driver.
//!
//! The first word of a command says how its worker behaves ([`Program`]); a test may also end a worker or let it
//! write. Relays are real listening sockets on loopback, since callers accept on them. Time is the given clock's.

use std::{
    collections::BTreeMap,
    io,
    net::TcpListener,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::{Clock, TaskScope, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use types::{Isolation, WorkerId};

use crate::{
    Adopted, BoxFuture, Driver, DriverError, DriverEvent, Egress, ExitReason, LogLine, LogStream, ProcessIds,
    Relay, RelaySharing, ResolvedStart, Started, driver::EVENTS_MAX,
};

/// Lines kept for each worker, as the process driver's size limit keeps about as many.
const LINES_MAX: usize = 10_000;
/// SIGTERM's number, by which a worker that does not handle it ends.
const SIGTERM: i32 = 15;

/// How a simulated worker behaves, by the words of its command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Program {
    /// `sim-exit CODE`: ends at once.
    Exit(i32),
    /// `sim-signal NUMBER`: ends at once by that signal.
    Signal(i32),
    /// `sim-oom`: ends at once for want of memory.
    OutOfMemory,
    /// `sim-stubborn`: writes `ready`, runs, and does not heed a stop.
    Stubborn,
    /// `sim-say LINE…`: writes each word as a line and runs until it is stopped.
    Say(Vec<String>),
    /// `sim-missing`: can't be started.
    Missing,
    /// Anything else: runs until it is stopped.
    Run,
}

impl Program {
    fn parse(words: &[String]) -> Self {
        let number = || words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        match words.first().map(String::as_str) {
            Some("sim-exit") => Self::Exit(number()),
            Some("sim-signal") => Self::Signal(number()),
            Some("sim-oom") => Self::OutOfMemory,
            Some("sim-stubborn") => Self::Stubborn,
            Some("sim-say") => Self::Say(words[1..].to_vec()),
            Some("sim-missing") => Self::Missing,
            Some(_) | None => Self::Run,
        }
    }
}

/// One simulated worker.
#[derive(Debug)]
struct SimWorker {
    program: Program,
    started_at: Timestamp,
    listener: TcpListener,
    sharing: RelaySharing,
    ended: Option<(ExitReason, Timestamp)>,
    lines: Vec<LogLine>,
    number: u32,
}

impl SimWorker {
    fn relay(&self) -> io::Result<Relay> {
        let listener = self.listener.try_clone()?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Relay { listener, url, sharing: self.sharing })
    }
}

/// The workers of a simulated host. They outlive a driver, as processes outlive an agent.
#[derive(Debug, Default)]
struct World {
    workers: BTreeMap<WorkerId, SimWorker>,
    shared: Option<TcpListener>,
    refuse_next: Option<DriverError>,
    numbers: u32,
}

/// A driver whose workers are entries in a table.
#[derive(Debug)]
pub struct SimDriver {
    world: Arc<Mutex<World>>,
    clock: Clock,
    events: mpsc::Sender<DriverEvent>,
    receiver: Mutex<Option<mpsc::Receiver<DriverEvent>>>,
    tasks: Mutex<TaskScope>,
}

impl SimDriver {
    /// Makes a driver for a host without workers.
    pub fn new(clock: Clock) -> Self {
        Self::over(Arc::default(), clock)
    }

    /// Makes the driver of a new agent on the same host: its workers are there to be adopted.
    pub fn restarted(&self) -> Self {
        Self::over(Arc::clone(&self.world), self.clock.clone())
    }

    fn over(world: Arc<Mutex<World>>, clock: Clock) -> Self {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let tasks = Mutex::new(TaskScope::new(&CancellationToken::new()));
        Self { world, clock, events, receiver: Mutex::new(Some(receiver)), tasks }
    }

    /// Makes the next start fail with this error.
    pub fn refuse_next(&self, error: DriverError) {
        lock(&self.world).refuse_next = Some(error);
    }

    /// Ends a worker, as if by itself.
    ///
    /// # Panics
    /// When more ends than a channel holds have not been taken.
    pub fn exit(&self, worker: &WorkerId, status: ExitReason) {
        end(&self.world, &self.events, worker, status, self.clock.now());
    }

    /// Lets a worker write a line.
    pub fn say(&self, worker: &WorkerId, text: &str) {
        if let Some(worker) = lock(&self.world).workers.get_mut(worker) {
            say(worker, text, self.clock.now());
        }
    }

    fn begin(&self, start: &ResolvedStart) -> Result<(Started, Program), DriverError> {
        let mut world = lock(&self.world);
        if let Some(error) = world.refuse_next.take() {
            return Err(error);
        }
        if world.workers.contains_key(&start.worker) {
            return Err(DriverError::AlreadyStarted { worker: start.worker.clone() });
        }
        let program = Program::parse(start.command.words());
        if program == Program::Missing {
            let program = start.command.words()[0].clone();
            return Err(DriverError::ProgramNotFound { program, path: "/usr/bin".to_owned() });
        }
        if let Some(path) = start.folder.as_ref().filter(|path| !path.is_dir()) {
            return Err(DriverError::FolderNotFound { path: path.clone() });
        }
        let failed = |source| DriverError::SandboxFailed { stage: "listen on loopback".to_owned(), source };
        let (listener, sharing) = match start.egress {
            Egress::None => (listen().map_err(failed)?, RelaySharing::Own),
            Egress::Shared => {
                if world.shared.is_none() {
                    world.shared = Some(listen().map_err(failed)?);
                }
                let shared =
                    world.shared.as_ref().expect("it was made in the line above when it was missing");
                (shared.try_clone().map_err(failed)?, RelaySharing::Shared)
            }
        };
        world.numbers += 1;
        let at = self.clock.now();
        let worker = SimWorker {
            program: program.clone(),
            started_at: at,
            listener,
            sharing,
            ended: None,
            lines: Vec::new(),
            number: world.numbers,
        };
        let relay = worker.relay().map_err(failed)?;
        let processes = ProcessIds { shim: worker.number, init: worker.number };
        world.workers.insert(start.worker.clone(), worker);
        Ok((Started { relay, processes, at, notes: Vec::new() }, program))
    }

    /// Does what the program does when it begins.
    fn play(&self, worker: &WorkerId, program: Program) {
        match program {
            Program::Exit(code) => self.exit(worker, ExitReason::Code(code)),
            Program::Signal(signal) => self.exit(worker, ExitReason::Signal(signal)),
            Program::OutOfMemory => self.exit(worker, ExitReason::OutOfMemory),
            Program::Say(lines) => lines.iter().for_each(|line| self.say(worker, line)),
            Program::Stubborn => self.say(worker, "ready"),
            Program::Missing | Program::Run => {}
        }
    }

    fn ask_to_end(&self, worker: &WorkerId, grace: Duration) -> Result<(), DriverError> {
        let program = {
            let world = lock(&self.world);
            let unknown = || DriverError::UnknownWorker { worker: worker.clone() };
            world.workers.get(worker).ok_or_else(unknown)?.program.clone()
        };
        if program != Program::Stubborn {
            self.exit(worker, ExitReason::Signal(SIGTERM));
            return Ok(());
        }
        let (world, events, clock, worker) =
            (Arc::clone(&self.world), self.events.clone(), self.clock.clone(), worker.clone());
        lock(&self.tasks).spawn("sim-grace", async move {
            clock.sleep(grace).await;
            end(&world, &events, &worker, ExitReason::Killed, clock.now());
        });
        Ok(())
    }
}

impl Driver for SimDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Isolation, DriverError>> {
        Box::pin(async { Ok(Isolation::Unprivileged) })
    }

    fn start(&self, start: ResolvedStart) -> BoxFuture<'_, Result<Started, DriverError>> {
        Box::pin(async move {
            let (started, program) = self.begin(&start)?;
            let event = DriverEvent::ProcessStarted { worker: start.worker.clone(), at: started.at };
            send(&self.events, event);
            self.play(&start.worker, program);
            Ok(started)
        })
    }

    fn stop<'a>(&'a self, worker: &'a WorkerId, grace: Duration) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move { self.ask_to_end(worker, grace) })
    }

    fn kill<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            if !lock(&self.world).workers.contains_key(worker) {
                return Err(DriverError::UnknownWorker { worker: worker.clone() });
            }
            self.exit(worker, ExitReason::Killed);
            Ok(())
        })
    }

    fn adopt(&self) -> BoxFuture<'_, Result<Vec<Adopted>, DriverError>> {
        Box::pin(async move {
            let world = lock(&self.world);
            let mut adopted = Vec::new();
            for (worker, state) in &world.workers {
                match state.ended {
                    Some((status, at)) => {
                        send(&self.events, DriverEvent::Exited { worker: worker.clone(), status, at });
                    }
                    None => adopted.push(Adopted {
                        worker: worker.clone(),
                        relay: state.relay().map_err(|source| DriverError::ShimSilent { source })?,
                        processes: ProcessIds { shim: state.number, init: state.number },
                        started_at: state.started_at,
                    }),
                }
            }
            Ok(adopted)
        })
    }

    fn take_events(&self) -> Option<mpsc::Receiver<DriverEvent>> {
        lock(&self.receiver).take()
    }

    fn logs<'a>(
        &'a self,
        worker: &'a WorkerId,
        lines_max: usize,
    ) -> BoxFuture<'a, Result<Vec<LogLine>, DriverError>> {
        Box::pin(async move {
            let world = lock(&self.world);
            let unknown = || DriverError::UnknownWorker { worker: worker.clone() };
            let lines = &world.workers.get(worker).ok_or_else(unknown)?.lines;
            Ok(lines[lines.len().saturating_sub(lines_max)..].to_vec())
        })
    }

    fn strip<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            // Nothing is left of a simulated worker but its log.
            match lock(&self.world).workers.get(worker) {
                Some(state) if state.ended.is_none() => {
                    Err(DriverError::StillRunning { worker: worker.clone() })
                }
                Some(_) | None => Ok(()),
            }
        })
    }

    fn remove<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            let mut world = lock(&self.world);
            if world.workers.get(worker).is_some_and(|state| state.ended.is_none()) {
                return Err(DriverError::StillRunning { worker: worker.clone() });
            }
            world.workers.remove(worker);
            Ok(())
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn say(worker: &mut SimWorker, text: &str, at: Timestamp) {
    if worker.lines.len() == LINES_MAX {
        worker.lines.remove(0);
    }
    worker.lines.push(LogLine { at, stream: LogStream::Output, text: text.to_owned() });
}

fn end(
    world: &Mutex<World>,
    events: &mpsc::Sender<DriverEvent>,
    worker: &WorkerId,
    status: ExitReason,
    at: Timestamp,
) {
    let mut world = lock(world);
    let Some(state) = world.workers.get_mut(worker).filter(|state| state.ended.is_none()) else { return };
    state.ended = Some((status, at));
    send(events, DriverEvent::Exited { worker: worker.clone(), status, at });
}

fn send(events: &mpsc::Sender<DriverEvent>, event: DriverEvent) {
    match events.try_send(event) {
        // Whoever dropped the receiver does not want to know.
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
        Err(mpsc::error::TrySendError::Full(_)) => {
            panic!("a test left {EVENTS_MAX} simulated events untaken")
        }
    }
}
