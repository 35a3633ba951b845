//! A driver whose workers are plain child processes: for the real SDK, without a sandbox.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use base::Clock;
use runtime::{
    Adopted, BoxFuture, Driver, DriverError, DriverEvent, ExitReason, LogLine, LogStream, ProcessIds, Relay,
    RelaySharing, ResolvedStart, Started,
};
use tokio::sync::mpsc;
use types::{Isolation, WorkerId};

use crate::drivers::environment;

#[derive(Debug)]
pub(crate) struct ChildDriver {
    /// More environment than the agent gives: what the test's own settings must be.
    pub(crate) extra_env: Vec<(String, String)>,
    folder: tempfile::TempDir,
    children: Arc<Mutex<BTreeMap<WorkerId, Child>>>,
    events: mpsc::Sender<DriverEvent>,
    receiver: Mutex<Option<mpsc::Receiver<DriverEvent>>>,
}

impl ChildDriver {
    pub(crate) fn new() -> Self {
        let (events, receiver) = mpsc::channel(16);
        Self {
            extra_env: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
            children: Arc::default(),
            events,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    pub(crate) fn log(&self, worker: &WorkerId) -> String {
        std::fs::read_to_string(self.folder.path().join(worker.as_str())).unwrap_or_default()
    }

    fn signal(&self, worker: &WorkerId, signal: &str) {
        if let Some(child) = self.children.lock().unwrap().get(worker) {
            let pid = child.id().to_string();
            let _ = Command::new("kill").args([signal, &pid]).status();
        }
    }
}

impl Drop for ChildDriver {
    fn drop(&mut self) {
        for child in self.children.lock().unwrap().values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Driver for ChildDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Isolation, DriverError>> {
        Box::pin(async { Ok(Isolation::None) })
    }

    fn start(&self, start: ResolvedStart) -> BoxFuture<'_, Result<Started, DriverError>> {
        Box::pin(async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            listener.set_nonblocking(true).unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let log = std::fs::File::create(self.folder.path().join(start.worker.as_str())).unwrap();
            let words = start.command.words();
            let child = Command::new(&words[0])
                .args(&words[1..])
                .env_clear()
                .envs(environment(&start, &url))
                .envs(self.extra_env.iter().cloned())
                .current_dir(self.folder.path())
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let processes = ProcessIds { shim: child.id(), init: child.id() };
            self.children.lock().unwrap().insert(start.worker.clone(), child);
            let (children, events, worker) = (self.children.clone(), self.events.clone(), start.worker);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let ended =
                        children.lock().unwrap().get_mut(&worker).and_then(|child| child.try_wait().unwrap());
                    if let Some(status) = ended {
                        let status = match (status.code(), status.signal()) {
                            (Some(code), _) => ExitReason::Code(code),
                            (None, signal) => ExitReason::Signal(signal.unwrap_or(0)),
                        };
                        let at = Clock::System.now();
                        let _ = events.send(DriverEvent::Exited { worker, status, at }).await;
                        return;
                    }
                }
            });
            let relay = Relay { listener, url, sharing: RelaySharing::Own };
            Ok(Started { relay, processes, at: Clock::System.now(), notes: Vec::new() })
        })
    }

    fn stop<'a>(&'a self, worker: &'a WorkerId, grace: Duration) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            self.signal(worker, "-TERM");
            tokio::time::sleep(grace).await;
            self.signal(worker, "-KILL");
            Ok(())
        })
    }

    fn kill<'a>(&'a self, worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            self.signal(worker, "-KILL");
            Ok(())
        })
    }

    fn adopt(&self) -> BoxFuture<'_, Result<Vec<Adopted>, DriverError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn take_events(&self) -> Option<mpsc::Receiver<DriverEvent>> {
        self.receiver.lock().unwrap().take()
    }

    fn logs<'a>(
        &'a self,
        worker: &'a WorkerId,
        lines_max: usize,
    ) -> BoxFuture<'a, Result<Vec<LogLine>, DriverError>> {
        Box::pin(async move {
            let text = self.log(worker);
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(lines_max)..];
            let line = |text: &&str| LogLine {
                at: Clock::System.now(),
                stream: LogStream::Output,
                text: (*text).to_owned(),
            };
            Ok(last.iter().map(line).collect())
        })
    }

    fn strip<'a>(&'a self, _worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async { Ok(()) })
    }

    fn remove<'a>(&'a self, _worker: &'a WorkerId) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async { Ok(()) })
    }
}
