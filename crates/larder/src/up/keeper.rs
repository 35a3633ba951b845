//! Keeps one role running: starts it, finds it again, restarts it with growing pauses, ends it with grace.

use std::{ffi::OsString, io, path::PathBuf, time::Duration};

use base::{Backoff, Clock, Timestamp};
use runtime::children::{
    AdoptedChild, Child, ChildGroup, ChildLife, ChildOutput, ChildSignal, ChildSpec, ProcessIdentity,
};
use tokio_util::sync::CancellationToken;
use types::{ErrorCode, Fault};

use super::record::ChildRecord;
use crate::{logging, stop::StopSignals};

/// A child that dies at once is started again soon, one that goes on dying every half minute.
const RESTART: Backoff = Backoff { first: Duration::from_millis(250), longest: Duration::from_secs(30) };
/// A child that ran so long had started well: its next failure counts as the first.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// How long a server that is replaced has to end by itself.
const REPLACE_GRACE: Duration = Duration::from_secs(15);
/// After a second request to end, a child has so long until it is killed.
const HASTE: Duration = Duration::from_secs(3);
/// As many lines of a log as help and still fit a screen.
const LOG_LINES_SHOWN: usize = 8;

/// What a keeper keeps.
#[derive(Debug)]
pub(super) struct KeeperOptions {
    /// The role's name.
    pub(super) name: &'static str,
    /// The program.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) arguments: Vec<OsString>,
    /// Where its record stands.
    pub(super) record: PathBuf,
    /// Its log.
    pub(super) log: PathBuf,
}

/// One role and its process. Dropping it ends nothing.
#[derive(Debug)]
pub(super) struct Keeper {
    options: KeeperOptions,
    clock: Clock,
    process: Option<Process>,
    started_at: Timestamp,
    failures: u32,
}

#[derive(Debug)]
enum Process {
    Started(Box<Child>),
    Adopted(AdoptedChild),
}

impl Process {
    /// Waits until it has ended, and says how where that can be known.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn ended(&mut self) -> String {
        match self {
            Self::Started(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            Self::Adopted(child) => match child.ended().await {
                Ok(()) => "an unknown status".to_owned(),
                Err(error) => error.to_string(),
            },
        }
    }

    fn signal(&self, signal: ChildSignal) {
        let sent = match self {
            Self::Started(child) => child.signal(signal).map_err(|error| error.to_string()),
            Self::Adopted(child) => child.signal(signal).map_err(|error| error.to_string()),
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "a child can't be told to end");
        }
    }
}

impl Keeper {
    pub(super) fn new(options: KeeperOptions, clock: Clock) -> Self {
        let started_at = clock.now();
        Self { options, clock, process: None, started_at, failures: 0 }
    }

    /// Ends the process that an earlier `up` left, when there is one, and starts a new one.
    pub(super) async fn replace(&mut self) -> Result<(), Fault> {
        if let Some((old, _)) = self.left_behind()? {
            let mut old = Process::Adopted(old);
            old.signal(ChildSignal::Terminate);
            if tokio::time::timeout(REPLACE_GRACE, old.ended()).await.is_err() {
                old.signal(ChildSignal::Kill);
                old.ended().await;
            }
        }
        self.start()
    }

    /// Adopts the process that an earlier `up` left, when it does what a new one would; starts one otherwise.
    pub(super) async fn adopt_or_start(&mut self) -> Result<(), Fault> {
        match self.left_behind()? {
            Some((old, record))
                if record.is_like(&ChildRecord::new(old.identity(), &self.options.arguments)) =>
            {
                tracing::debug!(name = self.options.name, "adopted");
                self.process = Some(Process::Adopted(old));
                self.started_at = self.clock.now();
                Ok(())
            }
            // Killed, not ended: its workers run on, and the next one takes them over.
            Some((old, _)) => {
                let mut old = Process::Adopted(old);
                old.signal(ChildSignal::Kill);
                old.ended().await;
                self.start()
            }
            None => self.start(),
        }
    }

    /// Restarts the process whenever it ends, until told to stop. The process goes on then.
    pub(super) async fn keep(&mut self, stop: &CancellationToken) {
        loop {
            let why = match &mut self.process {
                None => "it could not be started".to_owned(),
                Some(process) => tokio::select! {
                    // Cancel-safe: see `ended`.
                    how = process.ended() => how,
                    // Cancel-safe: a token stays cancelled.
                    () = stop.cancelled() => return,
                },
            };
            self.process = None;
            let lasted = self.clock.now().since(self.started_at);
            self.failures = if lasted >= HEALTHY_AFTER { 1 } else { self.failures + 1 };
            let pause = RESTART.after(self.failures);
            let log = self.options.log.display();
            tracing::warn!(role = self.options.name, why, ?pause, %log, "a role ended; it is started again");
            tokio::select! {
                // Cancel-safe: it only waits.
                () = self.clock.sleep(pause) => {}
                // Cancel-safe: a token stays cancelled.
                () = stop.cancelled() => return,
            }
            if let Err(fault) = self.start() {
                tracing::error!(role = self.options.name, %fault, "a role can't be started");
            }
        }
    }

    /// Changes the word behind an option, for when the process is started again.
    pub(super) fn set_option(&mut self, option: &str, value: &str) {
        let words = &mut self.options.arguments;
        if let Some(at) = words.iter().position(|word| word == option)
            && let Some(word) = words.get_mut(at + 1)
        {
            *word = value.into();
        }
    }

    /// Returns whether the process was there before this `up`.
    pub(super) const fn is_adopted(&self) -> bool {
        matches!(self.process, Some(Process::Adopted(_)))
    }

    /// Returns why the process has ended already, when it has.
    pub(super) async fn ended_early(&mut self) -> Option<Fault> {
        let process = self.process.as_mut()?;
        let how = tokio::time::timeout(Duration::ZERO, process.ended()).await.ok()?;
        self.process = None;
        let message = format!("the {} ended with {how} at its start", self.options.name);
        Some(self.with_log(Fault::new(ErrorCode::Unavailable, message)))
    }

    /// Asks the process to end, asks again when the user does, and kills it when its time is over.
    pub(super) async fn end(&mut self, grace: Duration, signals: &mut StopSignals) {
        let Some(mut process) = self.process.take() else { return };
        process.signal(ChildSignal::Terminate);
        let asked_again = tokio::select! {
            // Cancel-safe: see `ended`.
            _ = process.ended() => return self.forget(),
            // Cancel-safe: it only waits.
            () = self.clock.sleep(grace) => false,
            // Cancel-safe: a signal stays delivered.
            () = signals.asked() => true,
        };
        if asked_again {
            process.signal(ChildSignal::Terminate);
            if tokio::time::timeout(HASTE, process.ended()).await.is_ok() {
                return self.forget();
            }
        }
        process.signal(ChildSignal::Kill);
        process.ended().await;
        self.forget();
    }

    /// Adds the end of the role's log to what went wrong.
    pub(super) fn with_log(&self, fault: Fault) -> Fault {
        let path = self.options.log.display();
        let lines = logging::tail(&self.options.log, LOG_LINES_SHOWN);
        let end = match lines.as_slice() {
            [] => format!("the log {path} is empty"),
            lines => format!("the log {path} ends so:\n  {}", lines.join("\n  ")),
        };
        let hint = fault.hint.iter().cloned().chain([end]).collect::<Vec<_>>().join("\n");
        fault.with_hint(hint)
    }

    /// Returns the process of the record, when it lives.
    fn left_behind(&self) -> Result<Option<(AdoptedChild, ChildRecord)>, Fault> {
        let Some((identity, record)) = ChildRecord::read(&self.options.record) else { return Ok(None) };
        let found = AdoptedChild::find(identity).map_err(|error| self.trouble("find the former", &error))?;
        Ok(found.map(|child| (child, record)))
    }

    fn start(&mut self) -> Result<(), Fault> {
        let options = &self.options;
        let log = logging::open(&options.log).map_err(|error| self.trouble("open the log of the", &error))?;
        let spec = ChildSpec {
            output: ChildOutput::File(log),
            group: ChildGroup::Own,
            life: ChildLife::ItsOwn,
            ..ChildSpec::new(&options.program, &options.arguments)
        };
        let child = Child::start(spec).map_err(|error| error.fault())?;
        self.write_record(child.identity()).map_err(|error| self.trouble("record the", &error))?;
        self.process = Some(Process::Started(Box::new(child)));
        self.started_at = self.clock.now();
        Ok(())
    }

    fn write_record(&self, identity: ProcessIdentity) -> io::Result<()> {
        ChildRecord::new(identity, &self.options.arguments).write(&self.options.record, identity.pid)
    }

    fn forget(&self) {
        ChildRecord::remove(&self.options.record);
    }

    fn trouble(&self, attempt: &str, error: &io::Error) -> Fault {
        Fault::new(ErrorCode::DiskError, format!("can't {attempt} {}: {error}", self.options.name))
    }
}

#[cfg(test)]
mod tests;
