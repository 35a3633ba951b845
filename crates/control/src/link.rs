//! The link with one agent: frames in become events, frames out come from a bounded queue.
//!
//! Runs inside the task that serves the connection, and spawns nothing. Parts of folders and payloads of jobs are read
//! here, so that the owner never waits for them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use api::{
    AgentMessage, Assignment, FolderPart, Hello, LinkError, LinkReader, LinkWriter, PROTOCOL, ServerMessage,
};
use base::Timestamp;
use base64::{Engine, prelude::BASE64_STANDARD};
use state::{JobPayload, State};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use types::{Attempt, Digest, Epoch, ErrorCode, Fault, HostId, JobId, TenantId, WorkerId};

use crate::{body::job_body, event::Event, folders, handle::Shared};

/// How often an agent reports at least. Six missed ones are the bound after which the planner gives a host up.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);
/// Frames that may wait for one agent: a full host of workers taking at once, many times over.
const OUTGOING_MAX: usize = 1024;
/// Folders that one agent may ask for at once: one for each worker that it starts.
const FOLDERS_MAX: usize = 64;
/// Bytes of one part of a folder: small against the frame limit, so that assignments pass between parts.
const PART_BYTES: usize = 512 * 1024;
/// An agent says hello as soon as it is connected.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// What goes out to an agent.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A frame.
    Message(ServerMessage),
    /// A job for a worker. Its payload is read first when it is not in memory.
    Assign(Handover),
}

/// A hand-over of a job, decided and committed.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) tenant: TenantId,
    pub(crate) worker: WorkerId,
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
    pub(crate) epoch: Epoch,
    pub(crate) payload: Option<Arc<JobPayload>>,
}

/// The queue of one link. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LinkSender {
    queue: mpsc::Sender<Outgoing>,
    end: CancellationToken,
}

impl LinkSender {
    /// Queues something. A link whose queue is full is too slow to be of use: it ends, the agent dials anew, and is
    /// told the present.
    pub(crate) fn offer(&self, outgoing: Outgoing) {
        match self.queue.try_send(outgoing) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!("an agent does not take what it is sent; its link is given up");
                self.end.cancel();
            }
        }
    }

    /// Ends the link.
    pub(crate) fn end(&self) {
        self.end.cancel();
    }
}

/// Serves one agent until its link ends.
pub(crate) async fn serve<S>(shared: &Shared, stream: S) -> Result<(), LinkError>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reader, mut writer) = api::split::<_, AgentMessage, ServerMessage>(stream);
    let Some(hello) = greeting(shared, &mut reader, &mut writer).await? else { return Ok(()) };
    let host = hello.host.clone();
    let link = shared.next_link();
    let (queue, outgoing) = mpsc::channel(OUTGOING_MAX);
    let (folder_wanted, folders_wanted) = mpsc::channel(FOLDERS_MAX);
    let end = CancellationToken::new();
    let sender = LinkSender { queue: queue.clone(), end: end.clone() };
    if shared.events.send(Event::Hello { link, hello, sender }).await.is_err() {
        return Ok(());
    }
    let heard = Heard { shared, host: &host, link, folder_wanted };
    let ended = tokio::select! {
        // All of these end with the link; whatever a dropped one held is told anew on the next link.
        ended = heard.listen(&mut reader) => ended,
        ended = speak(&shared.state, outgoing, &mut writer) => ended,
        () = send_folders(shared.folders(), folders_wanted, queue) => Ok(()),
        () = end.cancelled() => Ok(()),
    };
    // The owner may be gone already, and then knows no links.
    drop(shared.events.send(Event::Gone { host, link }).await);
    ended
}

/// Takes the first frame; refuses what is no agent of this protocol.
async fn greeting<S: AsyncRead + AsyncWrite>(
    shared: &Shared,
    reader: &mut LinkReader<S, AgentMessage>,
    writer: &mut LinkWriter<S, ServerMessage>,
) -> Result<Option<Hello>, LinkError> {
    let first = tokio::select! {
        // A frame that was not returned is lost with the link, which ends here.
        first = reader.receive() => first?,
        // Nothing is lost: it only waits.
        () = shared.clock.sleep(HELLO_TIMEOUT) => None,
    };
    let fault = match first {
        None => return Ok(None),
        Some(AgentMessage::Hello(hello)) if hello.protocol == PROTOCOL => return Ok(Some(hello)),
        Some(AgentMessage::Hello(hello)) => {
            let text = format!("the agent speaks protocol {}, this server {PROTOCOL}", hello.protocol);
            Fault::new(ErrorCode::Unavailable, text).with_hint("run the same version of larder on every host")
        }
        Some(
            AgentMessage::Observed(_)
            | AgentMessage::Take(_)
            | AgentMessage::TakeEnded(_)
            | AgentMessage::Job(_)
            | AgentMessage::Answer { .. }
            | AgentMessage::Working { .. }
            | AgentMessage::FolderWanted(_),
        ) => Fault::new(ErrorCode::Unavailable, "the agent did not say hello first"),
    };
    writer.send(&ServerMessage::Refused(fault)).await?;
    Ok(None)
}

struct Heard<'a> {
    shared: &'a Shared,
    host: &'a HostId,
    link: u64,
    folder_wanted: mpsc::Sender<Digest>,
}

impl Heard<'_> {
    async fn listen<S: AsyncRead>(&self, reader: &mut LinkReader<S, AgentMessage>) -> Result<(), LinkError> {
        loop {
            let silent_until: Timestamp = self.shared.clock.now() + self.shared.options.link_silence_max;
            let message = tokio::select! {
                // `receive` loses no frame when it is dropped, and it is dropped only with the link.
                message = reader.receive() => message?,
                // Nothing is lost: it only waits.
                () = self.shared.clock.sleep_until(silent_until) => {
                    tracing::warn!(host = %self.host, "the agent is silent; its link is given up");
                    return Ok(());
                }
            };
            match message {
                None => return Ok(()),
                Some(AgentMessage::FolderWanted(digest)) => {
                    if self.folder_wanted.try_send(digest).is_err() {
                        tracing::warn!(host = %self.host, "the agent asks for too many folders at once");
                        return Ok(());
                    }
                }
                Some(message) => {
                    let event = Event::Said { host: self.host.clone(), link: self.link, message };
                    if self.shared.events.send(event).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Writes what is queued, flushing when the queue is empty.
async fn speak<S: AsyncWrite>(
    state: &State,
    mut outgoing: mpsc::Receiver<Outgoing>,
    writer: &mut LinkWriter<S, ServerMessage>,
) -> Result<(), LinkError> {
    while let Some(first) = outgoing.recv().await {
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Outgoing::Message(message) => writer.feed(&message).await?,
                Outgoing::Assign(handover) => {
                    if let Some(assignment) = assignment(state, handover).await {
                        writer.feed(&ServerMessage::Assign(vec![assignment])).await?;
                    }
                }
            }
            next = outgoing.try_recv().ok();
        }
        writer.flush().await?;
    }
    Ok(())
}

async fn assignment(state: &State, handover: Handover) -> Option<Assignment> {
    let Handover { tenant, worker, job, attempt, epoch, payload } = handover;
    let payload = match payload {
        Some(payload) => payload,
        None => match state.payload(&tenant, &job).await {
            Ok(Some(payload)) => Arc::new(payload),
            Ok(None) => return None,
            Err(error) => {
                // The hand-over is not accepted in time then, and the job goes to another attempt.
                tracing::error!(%job, %error, "a job's payload can't be read");
                return None;
            }
        },
    };
    let body = job_body(&job, &payload);
    Some(Assignment { worker, job, attempt, epoch, body })
}

/// Sends folders, one after the other, part by part.
async fn send_folders(folder: PathBuf, mut wanted: mpsc::Receiver<Digest>, queue: mpsc::Sender<Outgoing>) {
    while let Some(digest) = wanted.recv().await {
        let bytes = folders::read(&folder, &digest).await.unwrap_or_default();
        let total = bytes.len() as u64;
        let mut offset = 0;
        loop {
            let end = bytes.len().min(offset + PART_BYTES);
            let part = BASE64_STANDARD.encode(&bytes[offset..end]);
            let part = FolderPart { digest, offset: offset as u64, bytes: part, total };
            if queue.send(Outgoing::Message(ServerMessage::Folder(part))).await.is_err() {
                return;
            }
            offset = end;
            if offset >= bytes.len() {
                break;
            }
        }
    }
}
