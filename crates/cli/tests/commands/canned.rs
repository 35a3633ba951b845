//! A server that says what it was told to, in order, and writes down what it was asked.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use base::{Clock, ManualTime, Timestamp};
use clap::{CommandFactory as _, Parser};
use cli::{ClientCommand, Exit, GlobalArgs, OutputFormat, Screen, Surroundings};
use expect_test::Expect;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// A route, a status and a body. Several of one route are said in order; the last is said for ever.
pub(crate) type Said<'a> = (&'a str, u16, Value);

#[derive(Parser)]
#[command(name = "larder")]
struct Program {
    #[command(flatten)]
    globals: GlobalArgs,
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(Default)]
struct Script {
    answers: HashMap<String, Vec<(u16, Value)>>,
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Script>>;

pub(crate) async fn check(line: &str, said: &[Said<'_>], expected: Expect) {
    expected.assert_eq(&transcript(line, said, OutputFormat::Table).await);
}

pub(crate) async fn check_json(line: &str, said: &[Said<'_>], expected: Expect) {
    expected.assert_eq(&transcript(line, said, OutputFormat::Json).await);
}

/// Runs a command line and returns what it asked, wrote and ended with.
async fn transcript(line: &str, said: &[Said<'_>], format: OutputFormat) -> String {
    let (line, head) = match line.split_once(" | head -") {
        Some((line, count)) => (line, count.parse().unwrap()),
        None => (line, usize::MAX),
    };
    let script = Shared::default();
    for (route, status, body) in said {
        script.lock().unwrap().answers.entry((*route).to_owned()).or_default().push((*status, body.clone()));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&script));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("handler.py"), "print()").unwrap();
    let surroundings = Surroundings {
        home: Some("/home/user".into()),
        folder: folder.path().to_owned(),
        ..Surroundings::default()
    };
    let mut words = vec!["larder".to_owned()];
    words.extend(shlex::split(line).unwrap());
    let mut program = Program::try_parse_from(words).unwrap();
    program.globals.server.get_or_insert(server.parse().unwrap());
    program.globals.key = Some("secret".to_owned().into());
    program.globals.output = format;

    let (out, err) = (Written::default(), Written::default());
    let (clock, ticking) = moving_clock();
    let mut screen = Screen::plain(out.clone(), err.clone(), format, clock);
    let grammar = Program::command();
    let exit = cli::run(program.command, &program.globals, &surroundings, &mut screen, grammar).await;
    serving.abort();
    ticking.cancel();

    let mut text = String::new();
    // How often a wait looks again depends on the machine: repeated requests are told once.
    let mut asked = script.lock().unwrap().asked.clone();
    asked.dedup();
    for asked in asked {
        text.push_str(&format!("> {asked}\n"));
    }
    for written in out.text().lines().take(head) {
        text.push_str(&format!("{written}\n"));
    }
    for written in err.text().lines() {
        text.push_str(&format!("! {written}\n"));
    }
    if exit != Exit::Success {
        text.push_str(&format!("exit {}\n", exit as i32));
    }
    text.replace(&server, "http://SERVER").replace(&folder.path().display().to_string(), "/FOLDER")
}

/// A clock for which waiting is short: it runs 500 times as fast as the world's.
fn moving_clock() -> (Clock, CancellationToken) {
    let time = ManualTime::starting_at(Timestamp::from_millis(1_700_000_000_000));
    let token = CancellationToken::new();
    let (moved, ended) = (Arc::clone(&time), token.clone());
    tokio::spawn(async move {
        while !ended.is_cancelled() {
            moved.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    (Clock::Manual(time), token)
}

async fn answer(State(script): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    assert_eq!(parts.headers["authorization"], "Bearer secret");
    let route = format!("{} {}", parts.method, parts.uri.path());
    // The digest of a folder is nothing to compare here: a test of its own does.
    let route = match route.split_once("/folders/") {
        Some((before, _)) => format!("{before}/folders/*"),
        None => route,
    };
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut asked = route.clone();
    if let Some(query) = parts.uri.query() {
        asked.push_str(&format!("?{query}"));
    }
    match std::str::from_utf8(&body) {
        Ok("") => {}
        Ok(text) if text.starts_with('{') => asked.push_str(&format!(" {text}")),
        Ok(_) | Err(_) => asked.push_str(&format!(" ({} bytes)", body.len())),
    }
    let mut script = script.lock().unwrap();
    script.asked.push(asked);
    let answers =
        script.answers.get_mut(&route).unwrap_or_else(|| panic!("nobody said what {route} answers"));
    let (status, body) = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
    let body = match body {
        Value::Null => Body::empty(),
        Value::String(text) => Body::from(text),
        other => Body::from(other.to_string()),
    };
    Response::builder().status(status).body(body).unwrap()
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
