//! Workers that need more than a shell can do.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Command, ExitCode},
    time::Duration,
};

/// Takes memory until it is ended, but never more than 256 MiB: a missing limit must not hurt the machine.
pub(crate) fn eat_memory() -> ExitCode {
    let mut eaten = Vec::new();
    for _ in 0..64 {
        eaten.push(vec![1_u8; 4 * 1024 * 1024]);
    }
    println!("ate {} blocks", eaten.len());
    ExitCode::SUCCESS
}

/// Has children, each in a session of its own, which have children; all ignore SIGTERM. Says `ready` when all run.
pub(crate) fn raise_family(words: &[String]) -> ExitCode {
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    let generations: u32 = words.first().and_then(|word| word.parse().ok()).unwrap_or(0);
    if generations > 0 {
        let program = std::env::current_exe().expect("the program knows itself");
        let child = Command::new(program).arg("family").arg((generations - 1).to_string()).spawn();
        // It never ends by itself, and its end is what the test is about.
        std::mem::forget(child.expect("a child can be started"));
    }
    // SAFETY: a new session concerns only this process.
    unsafe { libc::setsid() };
    println!("ready");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Tries to reach a public address, but only in a network in which that can't succeed.
pub(crate) fn reach_out() -> ExitCode {
    let devices = std::fs::read_to_string("/proc/net/dev").expect("the worker has a /proc");
    let names: Vec<_> =
        devices.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
    println!("devices {}", names.join(","));
    if names != ["lo"] {
        return ExitCode::FAILURE;
    }
    let address = SocketAddr::from((Ipv4Addr::new(8, 8, 8, 8), 53));
    match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
        Ok(_) => println!("connected"),
        Err(error) => println!("refused {}", error.raw_os_error().unwrap_or(0)),
    }
    ExitCode::SUCCESS
}

/// Says a word to the relay named by `RELAY` and writes down the answer; then does so again for every line that
/// the relay sends.
pub(crate) fn call_relay() -> ExitCode {
    let url = std::env::var("RELAY").expect("the start names the relay");
    let address = url.trim_start_matches("http://").split('/').next().expect("a URL has a host").to_owned();
    println!("calling");
    let mut relay = TcpStream::connect(address).expect("a connect to the relay is never refused");
    relay.write_all(b"hello").expect("the relay takes a word");
    let mut answer = String::new();
    relay.read_to_string(&mut answer).expect("the relay answers");
    println!("answer {answer}");
    ExitCode::SUCCESS
}

/// Starts processes until that is refused, at most 1000, and says how many there were.
pub(crate) fn fork_until_refused() -> ExitCode {
    let mut children = Vec::new();
    while children.len() < 1000
        && let Ok(child) = Command::new("/bin/sleep").arg("1000").spawn()
    {
        children.push(child);
    }
    println!("started {}", children.len());
    for mut child in children {
        child.kill().and_then(|()| child.wait()).expect("a child can be ended");
    }
    ExitCode::SUCCESS
}
