//! Framing of the link: whole messages over any byte stream, each at most [`FRAME_BYTES_MAX`] long.

use std::{io, marker::PhantomData};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// The largest message: a result of 20 MB (Runpod's limit for `/runsync`), escaped twice over in the worst case
/// that is not an attack, and room for the rest.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The link failed. It is then closed, and dialled anew by the agent.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection broke, or a frame was too long.
    #[error("the link broke")]
    Io(#[from] io::Error),
    /// A frame was no message of this protocol.
    #[error("the link carried a message that is not understood")]
    Message(#[from] serde_json::Error),
}

/// The receiving half of a link.
#[derive(Debug)]
pub struct LinkReader<S, T> {
    frames: FramedRead<ReadHalf<S>, LengthDelimitedCodec>,
    message: PhantomData<fn() -> T>,
}

/// The sending half of a link.
#[derive(Debug)]
pub struct LinkWriter<S, T> {
    frames: FramedWrite<WriteHalf<S>, LengthDelimitedCodec>,
    message: PhantomData<fn(T)>,
}

/// Makes the two halves of a link over a connection: `In` is what the other end says, `Out` what this one says.
pub fn split<S: AsyncRead + AsyncWrite, In, Out>(connection: S) -> (LinkReader<S, In>, LinkWriter<S, Out>) {
    let (read, write) = tokio::io::split(connection);
    let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec();
    (
        LinkReader { frames: FramedRead::new(read, codec.clone()), message: PhantomData },
        LinkWriter { frames: FramedWrite::new(write, codec), message: PhantomData },
    )
}

impl<S: AsyncRead, T: DeserializeOwned> LinkReader<S, T> {
    /// Returns the next message, or `None` when the other end closed the link.
    ///
    /// # Errors
    /// [`LinkError`] when the connection broke or a frame is no message.
    ///
    /// # Cancel safety
    /// A message that has not been returned is returned by the next call.
    pub async fn receive(&mut self) -> Result<Option<T>, LinkError> {
        match self.frames.next().await {
            None => Ok(None),
            Some(frame) => Ok(Some(serde_json::from_slice(&frame?)?)),
        }
    }
}

impl<S: AsyncWrite, T: Serialize> LinkWriter<S, T> {
    /// Queues a message without waiting for the connection to take it; [`LinkWriter::flush`] sends.
    ///
    /// # Errors
    /// [`LinkError`] when the connection broke.
    ///
    /// # Cancel safety
    /// Dropping the future may lose the message: the link must then be closed.
    pub async fn feed(&mut self, message: &T) -> Result<(), LinkError> {
        let frame = Bytes::from(serde_json::to_vec(message)?);
        self.frames.feed(frame).await?;
        Ok(())
    }

    /// Sends what was queued.
    ///
    /// # Errors
    /// [`LinkError`] when the connection broke.
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        SinkExt::<Bytes>::flush(&mut self.frames).await?;
        Ok(())
    }

    /// Queues a message and sends it.
    ///
    /// # Errors
    /// [`LinkError`] when the connection broke.
    pub async fn send(&mut self, message: &T) -> Result<(), LinkError> {
        self.feed(message).await?;
        self.flush().await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::{AgentMessage, JobEvent, JobEventKind, ServerMessage};

    #[tokio::test]
    async fn messages_cross_with_their_json_to_the_letter() {
        let (here, there) = tokio::io::duplex(64);
        let (_, mut writer) = split::<_, ServerMessage, AgentMessage>(here);
        let (mut reader, _other) = split::<_, AgentMessage, ServerMessage>(there);
        let text = r#"{"b": 1.10, "a":[ ]}"#;
        let event = JobEvent {
            number: 7,
            worker: "wk_1".parse().unwrap(),
            job: "sync-1".parse().unwrap(),
            attempt: None,
            at: base::Timestamp::EPOCH,
            kind: JobEventKind::Progress(RawValue::from_string(text.to_owned()).unwrap()),
        };
        let send = async { writer.send(&AgentMessage::Job(event)).await.unwrap() };
        let (_, received) = tokio::join!(send, reader.receive());
        let Some(AgentMessage::Job(JobEvent { kind: JobEventKind::Progress(raw), .. })) = received.unwrap()
        else {
            panic!("another message came");
        };
        assert_eq!(raw.get(), text);
        drop(writer);
    }
}
