//! A server that does what its test says, on the other end of the agent's link.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agent::{Connect, Connecting, Connection};
use api::{
    AgentMessage, Assignment, Desired, Hello, JobEvent, JobEventKind, JobStop, LinkReader, LinkWriter,
    Observed, PROTOCOL, ServerMessage, TakeOffer, Welcome, split,
};
use serde_json::value::RawValue;
use tokio::{
    io::DuplexStream,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use types::{Attempt, Epoch, JobId, WorkerId};

/// Far above what anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Dial {
    away: AtomicBool,
    dialled: mpsc::UnboundedSender<DuplexStream>,
}

impl Connect for Dial {
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            if self.away.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (here, there) = tokio::io::duplex(64 * 1024);
            self.dialled.send(there).map_err(io::Error::other)?;
            Ok(Box::new(here) as Box<dyn Connection>)
        })
    }
}

/// Whether the server commits what it hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    AtOnce,
    Never,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) dial: Arc<Dial>,
    incoming: mpsc::UnboundedReceiver<DuplexStream>,
    link: Option<Link>,
    pub(crate) acknowledged: u64,
    pub(crate) hello: Option<Hello>,
}

#[derive(Debug)]
struct Link {
    say: mpsc::UnboundedSender<ServerMessage>,
    inbox: Arc<Mutex<VecDeque<AgentMessage>>>,
    grew: watch::Receiver<u64>,
    observed: watch::Receiver<Option<Observed>>,
    pump: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        let (dialled, incoming) = mpsc::unbounded_channel();
        let dial = Arc::new(Dial { away: AtomicBool::new(false), dialled });
        Self { dial, incoming, link: None, acknowledged: 0, hello: None }
    }

    /// Cuts the link and answers no dialling until [`Server::come_back`].
    pub(crate) fn go_away(&mut self) {
        self.dial.away.store(true, Ordering::SeqCst);
        self.link = None;
        while self.incoming.try_recv().is_ok() {}
    }

    /// Welcomes the agent, which dials.
    pub(crate) async fn come_back(&mut self, commits: Commits) {
        self.dial.away.store(false, Ordering::SeqCst);
        let stream = tokio::time::timeout(DEADLINE, self.incoming.recv()).await.unwrap().unwrap();
        let (mut reader, mut writer): (LinkReader<_, AgentMessage>, LinkWriter<_, ServerMessage>) =
            split(stream);
        let Some(AgentMessage::Hello(hello)) = reader.receive().await.unwrap() else {
            panic!("no hello came")
        };
        self.hello = Some(hello);
        let welcome = Welcome {
            protocol: PROTOCOL,
            epoch: Epoch(1),
            heartbeat_millis: 100,
            acknowledged: self.acknowledged,
        };
        writer.send(&ServerMessage::Welcome(welcome)).await.unwrap();
        let (say, mut said) = mpsc::unbounded_channel();
        let inbox = Arc::new(Mutex::new(VecDeque::new()));
        let (grow, grew) = watch::channel(0);
        let (observe, observed) = watch::channel(None);
        let filled = inbox.clone();
        let pump = tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = reader.receive() => match message {
                        Ok(Some(AgentMessage::Observed(what_is))) => drop(observe.send(Some(what_is))),
                        Ok(Some(message)) => {
                            let number = match &message { AgentMessage::Job(event) => event.number, _ => 0 };
                            filled.lock().unwrap().push_back(message);
                            grow.send_modify(|count| *count += 1);
                            if commits == Commits::AtOnce && number > 0 {
                                let _ = writer.send(&ServerMessage::Acknowledged(number)).await;
                            }
                        }
                        Ok(None) | Err(_) => return,
                    },
                    Some(message) = said.recv() => { let _ = writer.send(&message).await; }
                }
            }
        });
        self.link = Some(Link { say, inbox, grew, observed, pump });
    }

    fn link(&self) -> &Link {
        self.link.as_ref().expect("the test has let the server come back")
    }

    pub(crate) fn say(&self, message: ServerMessage) {
        self.link().say.send(message).unwrap();
    }

    pub(crate) fn desire(&self, desired: Desired) {
        self.say(ServerMessage::Desired(Box::new(desired)));
    }

    /// Waits for a message that `pick` takes, and removes it and all before it.
    pub(crate) async fn hear<T>(&self, what: &str, mut pick: impl FnMut(&AgentMessage) -> Option<T>) -> T {
        let link = self.link();
        let mut grew = link.grew.clone();
        let found = async {
            loop {
                grew.borrow_and_update();
                {
                    let mut inbox = link.inbox.lock().unwrap();
                    while let Some(message) = inbox.pop_front() {
                        if let Some(picked) = pick(&message) {
                            return picked;
                        }
                    }
                }
                grew.changed().await.unwrap_or_else(|_| panic!("the link ended before {what}"));
            }
        };
        tokio::time::timeout(DEADLINE, found).await.unwrap_or_else(|_| panic!("did not hear {what}"))
    }

    /// Waits for the next event of a job.
    pub(crate) async fn event(&self, job: &str) -> JobEvent {
        let job: JobId = job.parse().unwrap();
        self.hear(&format!("an event of {job}"), |message| match message {
            AgentMessage::Job(event) if event.job == job => Some(event.clone()),
            _ => None,
        })
        .await
    }

    /// Waits for the result of a job, as text.
    pub(crate) async fn result(&self, job: &str) -> String {
        loop {
            let event = self.event(job).await;
            if matches!(event.kind, JobEventKind::Done { .. }) {
                return show(&event);
            }
        }
    }

    /// Waits until a worker asks for that many jobs.
    pub(crate) async fn offer(&self, worker: &WorkerId, slots: u32) {
        let wanted = TakeOffer { worker: worker.clone(), slots };
        self.hear(&format!("{wanted:?}"), |message| match message {
            AgentMessage::Take(offer) => (*offer == wanted).then_some(()),
            _ => None,
        })
        .await;
    }

    /// Waits until a report is as `is` says.
    pub(crate) async fn observe(&self, what: &str, mut is: impl FnMut(&Observed) -> bool) -> Observed {
        let mut observed = self.link().observed.clone();
        let found = observed.wait_for(|observed| observed.as_ref().is_some_and(&mut is));
        let found = tokio::time::timeout(DEADLINE, found).await.map(|found| found.unwrap().clone());
        match found {
            Ok(observed) => observed.unwrap(),
            Err(_) => panic!("not observed: {what}; the last report is {:#?}", self.link().observed.borrow()),
        }
    }

    pub(crate) fn assign(&self, worker: &WorkerId, jobs: &[(&str, &str)]) {
        let assignments = jobs.iter().map(|(job, body)| Assignment {
            worker: worker.clone(),
            job: job.parse().unwrap(),
            attempt: Attempt::FIRST,
            epoch: Epoch(1),
            body: RawValue::from_string((*body).to_owned()).unwrap(),
        });
        self.say(ServerMessage::Assign(assignments.collect()));
    }

    pub(crate) fn stop(&self, worker: &WorkerId, jobs: &[&str]) {
        let jobs = jobs.iter().map(|job| job.parse().unwrap()).collect();
        self.say(ServerMessage::Stop(JobStop { worker: worker.clone(), jobs }));
    }
}

/// An event as a line.
pub(crate) fn show(event: &JobEvent) -> String {
    let attempt = event.attempt.map_or("-".to_owned(), |attempt| attempt.to_string());
    let kind = match &event.kind {
        JobEventKind::Accepted => "accepted".to_owned(),
        JobEventKind::Returned => "returned".to_owned(),
        JobEventKind::NotAccepted => "not accepted".to_owned(),
        JobEventKind::Vanished => "vanished".to_owned(),
        JobEventKind::Progress(update) => format!("progress {update}"),
        JobEventKind::Chunk { index, output } => format!("chunk {index} {output}"),
        JobEventKind::Done { outcome, stop_worker, streamed } => format!(
            "done output={} error={}{}{}",
            outcome.output.as_ref().map_or("-", |output| output.get()),
            outcome.error.as_deref().unwrap_or("-"),
            if *stop_worker { " stop" } else { "" },
            if *streamed { " streamed" } else { "" },
        ),
    };
    format!("{} attempt {attempt}: {kind}", event.job)
}
