//! One connection: HTTP/1.1 over a stream, held to its pace.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::Request;
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    Peer, Stopping,
    pace::{Limits, Overdue, Pace},
};

/// What a connection is served with.
pub(super) struct Connection {
    pub(super) router: Router,
    pub(super) limits: Limits,
    /// Ends the connection after the request in flight.
    pub(super) stop: CancellationToken,
    /// Ends it now.
    pub(super) cut: CancellationToken,
}

/// The pace, shared by the stream, the answers and the loop. Its lock is held for single calls and never contended:
/// all three live in one task.
#[derive(Clone)]
struct SharedPace(Arc<Mutex<Pace>>);

impl SharedPace {
    fn get(&self) -> MutexGuard<'_, Pace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a connection ended.
enum End {
    ByItself(Result<(), hyper::Error>),
    Overdue(Overdue),
    Cut,
}

/// Serves one connection until it ends.
pub(super) async fn serve_connection<S>(stream: S, peer: Peer, connection: Connection)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Connection { router, limits, stop, cut } = connection;
    let pace = SharedPace(Arc::new(Mutex::new(Pace::new(Instant::now()))));
    let stopping = Stopping(stop.clone());
    let service = service_fn(|request: Request<Incoming>| {
        pace.get().request();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(stopping.clone());
        let answer = router.clone().oneshot(request);
        let pace = pace.clone();
        async move {
            let response = answer.await?;
            Ok::<_, Infallible>(response.map(|body| PacedBody { body, pace }))
        }
    });
    let mut protocol = http1::Builder::new();
    protocol.header_read_timeout(None).max_header_size(limits.head_bytes).max_headers(limits.headers);
    let stream = TokioIo::new(PacedStream { stream, pace: pace.clone() });
    let end = drive(protocol.serve_connection(stream, service), &pace, &limits, &stop, &cut).await;
    match end {
        End::ByItself(Ok(())) => {}
        // Clients go away whenever they like; a head that can't be parsed has been answered already.
        End::ByItself(Err(error)) => tracing::debug!(?peer, %error, "a connection ended early"),
        End::Overdue(Overdue::Idle) => {}
        End::Overdue(why) => tracing::debug!(?peer, ?why, "cut a connection that was too slow"),
        End::Cut => tracing::debug!(?peer, "cut a connection after the grace"),
    }
}

/// Polls the connection, and with it the limits: only its own polls change the pace, so looking at the pace after
/// each of them misses nothing.
async fn drive<S, H>(
    connection: http1::Connection<TokioIo<PacedStream<S>>, H>,
    pace: &SharedPace,
    limits: &Limits,
    stop: &CancellationToken,
    cut: &CancellationToken,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: hyper::service::HttpService<Incoming, ResBody = PacedBody, Error = Infallible>,
{
    let mut connection = pin!(connection);
    let mut timer = pin!(tokio::time::sleep_until(Instant::now()));
    let mut stopped = pin!(stop.cancelled());
    let mut cut = pin!(cut.cancelled());
    let mut stopping = false;
    std::future::poll_fn(|context| {
        if cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(End::Cut);
        }
        if !stopping && stopped.as_mut().poll(context).is_ready() {
            stopping = true;
            // The protocol waits for the first request of a connection even then.
            if pace.get().is_fresh() {
                return Poll::Ready(End::ByItself(Ok(())));
            }
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(result) = connection.as_mut().poll(context) {
            return Poll::Ready(End::ByItself(result));
        }
        let Some((at, why)) = pace.get().deadline(limits) else { return Poll::Pending };
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(context).map(|()| End::Overdue(why))
    })
    .await
}

/// An answer's body that tells the pace when it has been handed over.
struct PacedBody {
    body: Body,
    pace: SharedPace,
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for PacedBody {
    fn drop(&mut self) {
        self.pace.get().answered(Instant::now());
    }
}

/// A stream that tells the pace what comes and goes.
struct PacedStream<S> {
    stream: S,
    pace: SharedPace,
}

impl<S> PacedStream<S> {
    fn note_write(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(_)) => self.pace.get().sent(Instant::now()),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.pace.get().blocked(Instant::now()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.pace.get().received(Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_write(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_write(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
