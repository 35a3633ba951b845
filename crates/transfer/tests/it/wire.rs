//! A file server that can break any part of an answer: it writes the very bytes of HTTP/1.1, one request a
//! connection. It serves the files of a folder as `/acme/tiny/PATH`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What is done to one answer.
#[derive(Clone, Debug)]
pub(crate) enum Wrong {
    Nothing,
    /// The connection closes after so many bytes of the body.
    Close(usize),
    /// The connection is reset after so many bytes of the body.
    Reset(usize),
    /// Nothing more comes after so many bytes of the body.
    Silence(usize),
    /// One byte every so often comes after so many bytes of the body.
    Drip(usize, Duration),
    /// Another status with these headers, and a body that looks like an error page.
    Status(u16, Vec<(&'static str, String)>),
    /// A bit of the middle byte is wrong.
    Flip,
    /// The whole file, whatever was asked for.
    IgnoreRange,
    /// The same, and the connection closes after so many bytes of the body.
    IgnoreRangeAndClose(usize),
    /// `Content-Length` says so much less or more than comes.
    LengthOff(i64),
    /// In chunks, without a length.
    Chunked,
    /// Said to be compressed.
    Gzip,
    /// The part that begins one byte later.
    OtherPart,
    /// A part of a file that is one byte longer.
    OtherSize,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) path: String,
    /// The bytes asked for, end exclusive.
    pub(crate) range: (usize, usize),
    pub(crate) headers: BTreeMap<String, String>,
    /// How many requests came before.
    pub(crate) before: usize,
}

/// A running server; it ends when dropped.
pub(crate) struct Wire {
    port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: JoinHandle<()>,
}

type Files = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;
type Plan = Arc<dyn Fn(&Heard) -> Wrong + Send + Sync>;

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    /// Serves the files below a folder on disk.
    pub(crate) async fn start(
        folder: std::path::PathBuf,
        plan: impl Fn(&Heard) -> Wrong + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let files: Files = Arc::new(move |path| std::fs::read(folder.join(path.strip_prefix('/')?)).ok());
        let (plan, log): (Plan, _) = (Arc::new(plan), heard.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, files.clone(), plan.clone(), log.clone()));
            }
        });
        Self { port, heard, task }
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(mut stream: TcpStream, files: Files, plan: Plan, log: Arc<Mutex<Vec<Heard>>>) {
    let Some(mut heard) = read_head(&mut stream).await else { return };
    let wrong = {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        heard.before = log.len();
        log.push(heard.clone());
        plan(&heard)
    };
    // Whoever gave up on the answer has closed the connection; that is no concern of the server's.
    let _ = answer(&mut stream, files(&heard.path), &heard, &wrong).await;
}

async fn read_head(stream: &mut TcpStream) -> Option<Heard> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(head).unwrap();
    let mut lines = text.trim_end().split("\r\n");
    let target = lines.next().unwrap().split(' ').nth(1).unwrap();
    let path = target.split('?').next().unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let (first, last) = headers["range"].strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let range = (first.parse().unwrap(), last.parse::<usize>().unwrap() + 1);
    Some(Heard { path, range, headers, before: 0 })
}

async fn answer(
    stream: &mut TcpStream,
    file: Option<Vec<u8>>,
    heard: &Heard,
    wrong: &Wrong,
) -> std::io::Result<()> {
    let Some(file) = file else { return plain(stream, 404, &[], b"not here").await };
    if let Wrong::Status(status, headers) = wrong {
        return plain(stream, *status, headers, b"<html>an error page</html>").await;
    }
    let ignores = matches!(wrong, Wrong::IgnoreRange | Wrong::IgnoreRangeAndClose(_));
    let (first, end) = if ignores { (0, file.len()) } else { heard.range };
    let mut body = file[first..end].to_vec();
    let told_first = if matches!(wrong, Wrong::OtherPart) { first + 1 } else { first };
    let told_size = if matches!(wrong, Wrong::OtherSize) { file.len() + 1 } else { file.len() };
    let mut head = if ignores {
        "HTTP/1.1 200 OK\r\n".to_owned()
    } else {
        format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {told_first}-{}/{told_size}\r\n",
            end - 1
        )
    };
    head.push_str("connection: close\r\n");
    match wrong {
        Wrong::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
        Wrong::LengthOff(by) => {
            head.push_str(&format!("content-length: {}\r\n", body.len() as i64 + by));
        }
        _ => head.push_str(&format!("content-length: {}\r\n", body.len())),
    }
    if matches!(wrong, Wrong::Gzip) {
        head.push_str("content-encoding: gzip\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    let cut = |bytes: usize| bytes.min(body.len());
    match *wrong {
        Wrong::Close(bytes) | Wrong::IgnoreRangeAndClose(bytes) => {
            stream.write_all(&body[..cut(bytes)]).await?;
        }
        Wrong::Reset(bytes) => {
            stream.write_all(&body[..cut(bytes)]).await?;
            stream.flush().await?;
            return stream.set_zero_linger();
        }
        Wrong::Silence(bytes) => {
            stream.write_all(&body[..cut(bytes)]).await?;
            // Until the other side gives up and closes.
            let _ = stream.read_u8().await;
        }
        Wrong::Drip(bytes, pace) => {
            stream.write_all(&body[..cut(bytes)]).await?;
            for byte in &body[cut(bytes)..] {
                tokio::time::sleep(pace).await;
                stream.write_all(&[*byte]).await?;
            }
        }
        Wrong::Chunked => {
            for chunk in body.chunks(10_000) {
                stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
                stream.write_all(chunk).await?;
                stream.write_all(b"\r\n").await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
        }
        Wrong::Flip => {
            let middle = body.len() / 2;
            body[middle] ^= 1;
            stream.write_all(&body).await?;
        }
        Wrong::Nothing
        | Wrong::Status(..)
        | Wrong::IgnoreRange
        | Wrong::LengthOff(_)
        | Wrong::Gzip
        | Wrong::OtherPart
        | Wrong::OtherSize => stream.write_all(&body).await?,
    }
    stream.shutdown().await
}

async fn plain(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut head =
        format!("HTTP/1.1 {status} Text\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.shutdown().await
}
