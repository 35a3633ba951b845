//! Who is measured: the engine, the limit, and the programs that people use today.

use std::{env, fs, path::Path, path::PathBuf, process::Command};

use crate::{
    http::{Connection, Redirected},
    plain,
    role::{Hub, Role, Run},
    shape::{Link, MODEL, Shape},
};

/// A program that fetches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Ours,
    PlainBuffered,
    PlainDirect,
    /// `hf download`, at this path.
    Hf(PathBuf),
    /// hf-hub, as a program that takes a repository and a folder.
    HfHub(PathBuf),
    Aria2,
    Curl,
}

impl Peer {
    /// Returns everyone who is here.
    pub(crate) fn all() -> Vec<Self> {
        let mut peers = vec![Self::Ours, Self::PlainBuffered, Self::PlainDirect];
        peers.extend(hf().map(Self::Hf));
        peers.extend(hf_hub().map(Self::HfHub));
        peers.extend(is_installed("aria2c").then_some(Self::Aria2));
        peers.extend(is_installed("curl").then_some(Self::Curl));
        peers
    }

    /// Names those who are not.
    pub(crate) fn absent() -> Vec<&'static str> {
        let mut absent = Vec::new();
        absent.extend(hf().is_none().then_some("hf download (LARDER_TEST_VENV is not set)"));
        absent.extend(hf_hub().is_none().then_some("hf-hub (LARDER_BENCH_HF_HUB names no program)"));
        absent.extend((!is_installed("aria2c")).then_some("aria2c (not installed)"));
        absent.extend((!is_installed("curl")).then_some("curl (not installed)"));
        absent
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Ours => "larder",
            Self::PlainBuffered => "plain-buffered",
            Self::PlainDirect => "plain-direct",
            Self::Hf(_) => "hf",
            Self::HfHub(_) => "hf-hub",
            Self::Aria2 => "aria2c",
            Self::Curl => "curl",
        }
    }

    pub(crate) const fn title(&self) -> &'static str {
        match self {
            Self::Ours => "**larder**: verified, journalled, synced, published",
            Self::PlainBuffered => "plain pipeline, buffered writes: hashed, synced",
            Self::PlainDirect => "plain pipeline, direct writes: hashed, synced",
            Self::Hf(_) => "`hf download`, 8 workers: not verified, not synced",
            Self::HfHub(_) => "`hf-hub`: not verified, not synced",
            Self::Aria2 => "`aria2c -j4 -x4 -s4`: not verified, not synced",
            Self::Curl => "4 x `curl`: not verified, not synced",
        }
    }

    /// Some need minutes for a shape; one run of them has to do.
    pub(crate) fn is_slow_at(&self, shape: &Shape) -> bool {
        match self {
            Self::Hf(_) | Self::HfHub(_) => shape.is_small() || shape.link == Link::Capped,
            Self::Ours | Self::PlainBuffered | Self::PlainDirect | Self::Aria2 | Self::Curl => false,
        }
    }

    /// Fetches the shape into an empty folder.
    pub(crate) fn run(&self, shape: &'static Shape, hub: &Hub, into: &Path) -> Option<Run> {
        let endpoint = hub.endpoint.clone();
        let plain = |write| Role::Plain { endpoint: endpoint.clone(), into: into.to_owned(), shape, write };
        let role = match self {
            Self::Ours => Role::Ours { endpoint, into: into.to_owned() },
            Self::PlainBuffered => plain(plain::Write::Buffered),
            Self::PlainDirect => plain(plain::Write::Direct),
            Self::Hf(program) => Role::Others { commands: vec![hf_command(program, &endpoint, into)] },
            Self::HfHub(program) => Role::Others {
                commands: vec![format!(
                    "env HF_ENDPOINT={endpoint} HF_HOME={} {} {MODEL}",
                    shown(into),
                    shown(program)
                )],
            },
            Self::Aria2 => Role::Others { commands: vec![aria2_command(shape, &endpoint, into)] },
            Self::Curl => Role::Others { commands: curl_commands(shape, &endpoint, into) },
        };
        role.run()
    }
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("paths of the benchmark are UTF-8")
}

fn hf() -> Option<PathBuf> {
    let program = PathBuf::from(env::var_os("LARDER_TEST_VENV")?).join("bin/hf");
    program.exists().then_some(program)
}

fn hf_hub() -> Option<PathBuf> {
    env::var_os("LARDER_BENCH_HF_HUB").map(PathBuf::from)
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn hf_command(program: &Path, endpoint: &str, into: &Path) -> String {
    format!(
        "env HF_ENDPOINT={endpoint} HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_UPDATE_CHECK=1 HF_HUB_DISABLE_XET=1 \
         HF_HOME={} {} download {MODEL}",
        shown(into),
        shown(program)
    )
}

fn address(endpoint: &str, shape: &Shape, number: usize) -> String {
    format!("{endpoint}/{MODEL}/resolve/main/{}", shape.file(number))
}

fn aria2_command(shape: &Shape, endpoint: &str, into: &Path) -> String {
    let list = into.join("list");
    let addresses: Vec<String> = (0..shape.files)
        .map(|number| format!("{}\n out={number}\n", address(endpoint, shape, number)))
        .collect();
    fs::write(&list, addresses.concat()).unwrap();
    format!(
        "aria2c --quiet --no-conf -j4 -x4 -s4 -k1M --file-allocation=falloc --dir={} --input-file={}",
        shown(into),
        shown(&list)
    )
}

/// Four at once: a quarter of the files each, or of the one file.
fn curl_commands(shape: &Shape, endpoint: &str, into: &Path) -> Vec<String> {
    const AT_ONCE: usize = 4;
    let into_shown = shown(into);
    if shape.files == 1 {
        // The link is asked for once: a range of the redirect would be refused.
        let (_, path) = crate::http::parted(&address(endpoint, shape, 0));
        let Err(Redirected(link)) = Connection::to(endpoint).get(&path, Some((0, 1))) else {
            panic!("large files are elsewhere")
        };
        let share = shape.file_bytes.div_ceil(AT_ONCE);
        return (0..AT_ONCE)
            .map(|part| {
                let (first, end) = (part * share, ((part + 1) * share).min(shape.file_bytes));
                format!(
                    "curl --silent --fail --range {first}-{} --output {into_shown}/{part} '{link}'",
                    end - 1
                )
            })
            .collect();
    }
    (0..AT_ONCE)
        .map(|part| {
            let list = into.join(format!("list-{part}"));
            let lines: Vec<String> = (part..shape.files)
                .step_by(AT_ONCE)
                .map(|number| {
                    format!("url = {}\noutput = {into_shown}/{number}\n", address(endpoint, shape, number))
                })
                .collect();
            fs::write(&list, lines.concat()).unwrap();
            format!("curl --silent --fail --location --config {}", shown(&list))
        })
        .collect()
}
