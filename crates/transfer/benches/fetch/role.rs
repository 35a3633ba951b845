//! The processes of a run: each measures itself (or the program that it runs) and tells by one line on its output.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base::{ByteSize, Clock, Entropy};
use hub_server::{HubServer, HubServerOptions, Quotas};
use nix::sys::resource::{UsageWho, getrusage};
use tokio_util::sync::CancellationToken;

use crate::{http, ours, plain, shape::MODEL, shape::Shape};

const ROLE: &str = "LARDER_BENCH_ROLE";

/// What a process of the benchmark does. It travels as words in one variable.
pub(crate) enum Role {
    /// Serves the folder, each connection at most so fast, until its input ends.
    Hub { models: PathBuf, cap: Option<u64> },
    /// Fetches with the engine.
    Ours { endpoint: String, into: PathBuf },
    /// Fetches with the plain pipeline.
    Plain { endpoint: String, into: PathBuf, shape: &'static Shape, write: plain::Write },
    /// Runs commands at once.
    Others { commands: Vec<String> },
}

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// The largest process's, where there are several.
    pub(crate) memory_bytes: u64,
}

/// Returns the role that this process was started for, if any.
pub(crate) fn asked() -> Option<Role> {
    let words = env::var(ROLE).ok()?;
    let mut words = words.split('\u{1f}').map(str::to_owned);
    let kind = words.next()?;
    let mut word = || words.next().expect("a role has all its words");
    Some(match kind.as_str() {
        "hub" => Role::Hub { models: word().into(), cap: word().parse().ok() },
        "ours" => Role::Ours { endpoint: word(), into: word().into() },
        "plain" => Role::Plain {
            endpoint: word(),
            into: word().into(),
            shape: shape_named(&word()),
            write: if word() == "direct" { plain::Write::Direct } else { plain::Write::Buffered },
        },
        _ => Role::Others { commands: words.collect() },
    })
}

fn shape_named(name: &str) -> &'static Shape {
    Shape::ALL.iter().find(|shape| shape.name == name).expect("a role names a shape")
}

impl Role {
    fn words(&self) -> String {
        let text = |path: &Path| path.to_str().expect("the target folder is UTF-8").to_owned();
        let words = match self {
            Self::Hub { models, cap } => {
                vec!["hub".to_owned(), text(models), cap.map(|cap| cap.to_string()).unwrap_or_default()]
            }
            Self::Ours { endpoint, into } => vec!["ours".to_owned(), endpoint.clone(), text(into)],
            Self::Plain { endpoint, into, shape, write } => {
                let write = match write {
                    plain::Write::Direct => "direct",
                    plain::Write::Buffered => "buffered",
                };
                vec![
                    "plain".to_owned(),
                    endpoint.clone(),
                    text(into),
                    shape.name.to_owned(),
                    write.to_owned(),
                ]
            }
            Self::Others { commands } => [vec!["others".to_owned()], commands.clone()].concat(),
        };
        words.join("\u{1f}")
    }

    /// Starts this role in a process of its own.
    fn start(&self) -> Child {
        Command::new(env::current_exe().unwrap())
            .env(ROLE, self.words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started")
    }

    /// Plays this role in a process of its own. `None` when it failed.
    pub(crate) fn run(&self) -> Option<Run> {
        let begun = Instant::now();
        let mut child = self.start();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let is_well = child.wait().unwrap().success();
        let wall = begun.elapsed();
        let mut figures = line.split_whitespace().map(|text| text.parse::<u64>().unwrap());
        let (cpu, memory) = (figures.next()?, figures.next()?);
        is_well.then(|| Run { wall, cpu: Duration::from_micros(cpu), memory_bytes: memory })
    }

    /// Plays this role in this process.
    pub(crate) fn play(self) {
        let whose = match self {
            Self::Hub { models, cap } => return serve(models, cap),
            Self::Ours { endpoint, into } => {
                ours::fetch(&endpoint, &into);
                UsageWho::RUSAGE_SELF
            }
            Self::Plain { endpoint, into, shape, write } => {
                plain::fetch(&endpoint, &into, shape, write);
                UsageWho::RUSAGE_SELF
            }
            Self::Others { commands } => {
                let children: Vec<Child> = commands
                    .iter()
                    .map(|command| {
                        Command::new("sh")
                            .args(["-c", &format!("exec {command}")])
                            .stdin(Stdio::null())
                            .stdout(Stdio::null())
                            .stderr(Stdio::null())
                            .spawn()
                            .unwrap()
                    })
                    .collect();
                for mut child in children {
                    assert!(child.wait().unwrap().success(), "a program failed");
                }
                UsageWho::RUSAGE_CHILDREN
            }
        };
        let usage = getrusage(whose).unwrap();
        let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
        let cpu = micros(usage.user_time()) + micros(usage.system_time());
        println!("{cpu} {}", usage.max_rss() * 1024);
    }
}

/// A hub in a process of its own; ended when dropped.
pub(crate) struct Hub {
    child: Child,
    pub(crate) endpoint: String,
}

impl Hub {
    pub(crate) fn start(models: &Path, cap: Option<u64>) -> Self {
        let mut child = Role::Hub { models: models.to_owned(), cap }.start();
        let mut endpoint = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut endpoint).unwrap();
        Self { child, endpoint: endpoint.trim().to_owned() }
    }

    /// Waits until every file is hashed and in the page cache, so that no run pays for it.
    pub(crate) fn wait_until_ready(&self, shape: &Shape) {
        let mut connection = http::Connection::to(&self.endpoint);
        let length = connection.get(&format!("/api/models/{MODEL}/tree/main?recursive=true"), None);
        assert!(length.is_ok(), "the hub lists {}", shape.name);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn serve(models: PathBuf, cap: Option<u64>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options = HubServerOptions {
            rate_max: cap.map(ByteSize),
            // A day's runs from one address are no abuse here.
            quotas: Quotas { api: u32::MAX, resolvers: u32::MAX, ..Quotas::default() },
            ..HubServerOptions::new(models)
        };
        let server = HubServer::new(options, Clock::System, Entropy::System).await.unwrap();
        println!("{}", server.handle().endpoint());
        let token = CancellationToken::new();
        let end = token.clone();
        let input = tokio::task::spawn_blocking(move || {
            let _ = std::io::stdin().read_line(&mut String::new());
            end.cancel();
        });
        server.run(token).await.unwrap();
        input.await.unwrap();
    });
}
