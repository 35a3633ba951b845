//! Connections over raw sockets: kept, cut, refused, and ended by a stop.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Peer, ServeError, ServeOptions, serve};
use crate::{ListenAddress, Listener};

/// No value is waited on for longer.
const DEADLINE: Duration = Duration::from_secs(20);

struct Served {
    address: SocketAddr,
    token: CancellationToken,
    /// Opens `/slow` once for each notification.
    gate: Arc<Notify>,
    ended: JoinHandle<Result<(), ServeError>>,
}

async fn start(options: ServeOptions) -> Served {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let ListenAddress::Tcp(address) = listener.address() else { panic!("not TCP") };
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let slow = move || {
        let opened = Arc::clone(&opened);
        async move {
            opened.notified().await;
            "slow"
        }
    };
    let router = Router::new()
        .route("/", get(async |peer: Peer| format!("{peer:?}")))
        .route("/slow", get(slow))
        .route("/endless", get(async || vec![0u8; 64 * 1024 * 1024]));
    let token = CancellationToken::new();
    let ended = tokio::spawn(serve(listener, router, options, token.clone()));
    Served { address, token, gate, ended }
}

fn quick() -> ServeOptions {
    ServeOptions {
        idle_timeout: Duration::from_millis(150),
        head_timeout: Duration::from_millis(150),
        send_stall_timeout: Duration::from_millis(150),
        grace: Duration::from_millis(150),
        ..ServeOptions::default()
    }
}

fn patient() -> ServeOptions {
    ServeOptions { grace: DEADLINE, ..ServeOptions::default() }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it takes too long")
}

async fn ask(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
}

/// Reads what comes until the answer's last bytes have come.
async fn read_until(stream: &mut TcpStream, last: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(last) {
        let mut buffer = [0; 4096];
        let read = within(stream.read(&mut buffer)).await.unwrap();
        assert!(read > 0, "the connection ended after {text:?}");
        text.push_str(str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

/// Waits for the other side to end the connection; returns what came before.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match within(stream.read_to_end(&mut bytes)).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
    bytes
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other_and_knows_its_peer() {
    let served = start(patient()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let me = stream.local_addr().unwrap();
    for _ in 0..3 {
        ask(&mut stream, "/").await;
        let answer = read_until(&mut stream, &format!("Tcp({me})")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    served.token.cancel();
    within(served.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_peer_on_a_socket_file_is_known_by_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sock");
    let listener = Listener::bind(&ListenAddress::Unix(path.clone())).await.unwrap();
    let router = Router::new().route("/", get(async |peer: Peer| format!("{peer:?}")));
    let token = CancellationToken::new();
    let ended = tokio::spawn(serve(listener, router, patient(), token.clone()));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    within(stream.read_to_string(&mut text)).await.unwrap();
    assert!(text.contains(&format!("Unix {{ pid: Some({})", std::process::id())), "{text}");
    token.cancel();
    within(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn slow_and_idle_connections_are_cut() {
    let served = start(quick()).await;
    // Nothing is ever asked; a head never becomes complete; a used connection is left idle; an answer is not taken.
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    let mut dripping = TcpStream::connect(served.address).await.unwrap();
    dripping.write_all(b"GET / HTT").await.unwrap();
    let mut used = TcpStream::connect(served.address).await.unwrap();
    ask(&mut used, "/").await;
    let mut deaf = TcpStream::connect(served.address).await.unwrap();
    ask(&mut deaf, "/endless").await;
    assert_eq!(read_to_end(&mut silent).await, b"");
    assert_eq!(read_to_end(&mut dripping).await, b"");
    assert!(read_to_end(&mut used).await.starts_with(b"HTTP/1.1 200 OK"));
    within(deaf.readable()).await.unwrap();
    // A request that merely takes long is not cut.
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    ask(&mut slow, "/slow").await;
    let mut marker = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(read_to_end(&mut marker).await, b"");
    let got = read_to_end(&mut deaf).await;
    assert!(got.len() < 64 * 1024 * 1024, "the answer came whole");
    served.gate.notify_one();
    read_until(&mut slow, "slow").await;
    served.token.cancel();
    within(served.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let ListenAddress::Tcp(address) = listener.address() else { panic!("not TCP") };
    let (begun, mut waiting) = tokio::sync::mpsc::channel(1);
    // The handler's end of the channel is dropped with the handler, and only then.
    let poll = move || {
        let begun = begun.clone();
        async move {
            let (held, end) = tokio::sync::oneshot::channel::<()>();
            begun.send(end).await.unwrap();
            std::future::pending::<()>().await;
            drop(held);
        }
    };
    let token = CancellationToken::new();
    let router = Router::new().route("/poll", get(poll));
    let ended = tokio::spawn(serve(listener, router, patient(), token.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream, "/poll").await;
    let end = within(waiting.recv()).await.unwrap();
    drop(stream);
    within(end).await.unwrap_err();
    token.cancel();
    within(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let served = start(patient()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let path = "x".repeat(40_000);
    ask(&mut stream, &format!("/{path}")).await;
    let answer = String::from_utf8(read_to_end(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    served.token.cancel();
    within(served.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_one_to_end() {
    let served = start(ServeOptions { connections_max: 1, ..patient() }).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    ask(&mut first, "/slow").await;
    let mut second = TcpStream::connect(served.address).await.unwrap();
    ask(&mut second, "/").await;
    let early = tokio::time::timeout(Duration::from_millis(100), second.readable()).await;
    assert!(early.is_err(), "the second connection was served beside the first");
    served.gate.notify_one();
    read_until(&mut first, "slow").await;
    drop(first);
    read_until(&mut second, ")").await;
    served.token.cancel();
    within(served.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_end_and_closes_the_rest() {
    let served = start(patient()).await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    ask(&mut idle, "/").await;
    read_until(&mut idle, ")").await;
    let mut fresh = TcpStream::connect(served.address).await.unwrap();
    let mut busy = TcpStream::connect(served.address).await.unwrap();
    ask(&mut busy, "/slow").await;
    // Served only after the two before it were accepted, since accepting is in order.
    let mut last = TcpStream::connect(served.address).await.unwrap();
    ask(&mut last, "/").await;
    read_until(&mut last, ")").await;
    served.token.cancel();
    assert_eq!(read_to_end(&mut idle).await, b"");
    assert_eq!(read_to_end(&mut fresh).await, b"");
    assert!(!served.ended.is_finished());
    assert!(TcpStream::connect(served.address).await.is_err(), "new connections are still taken");
    served.gate.notify_one();
    let answer = String::from_utf8(read_to_end(&mut busy).await).unwrap();
    assert!(answer.ends_with("slow") && answer.contains("connection: close"), "{answer}");
    within(served.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_that_outlast_the_grace_are_cut() {
    let served = start(ServeOptions { grace: Duration::from_millis(100), ..ServeOptions::default() }).await;
    let mut busy = TcpStream::connect(served.address).await.unwrap();
    ask(&mut busy, "/slow").await;
    let mut last = TcpStream::connect(served.address).await.unwrap();
    ask(&mut last, "/").await;
    read_until(&mut last, ")").await;
    served.token.cancel();
    assert_eq!(read_to_end(&mut busy).await, b"");
    within(served.ended).await.unwrap().unwrap();
}
