//! The command as people see it.

use std::{
    fs,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use base::{Clock, ManualTime, Timestamp};
use clap::Parser as _;
use cli::{Failure, OutputFormat, Screen, Surroundings};
use expect_test::{Expect, expect};

use crate::grammar::{Command, Program};

/// A stream that remembers.
#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Vec<u8>>>);

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn check(words: &str, format: OutputFormat, trace: &str, expected: &Expect) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("starts.txt"), trace).unwrap();
    let program =
        Program::try_parse_from(["larder", "simulate", "eviction"].into_iter().chain(words.split(' ')))
            .unwrap();
    let Command::Simulate(command) = program.command else { panic!("another command") };
    let surroundings = Surroundings {
        home: None,
        data_home: None,
        cache_home: None,
        hub_token: None,
        folder: folder.path().to_owned(),
    };
    let stream = Stream::default();
    let clock = Clock::Manual(ManualTime::starting_at(Timestamp::EPOCH));
    let mut screen = Screen::plain(stream.clone(), stream.clone(), format, clock);
    if let Err(Failure::Fault(fault)) = super::super::run(&command, &surroundings, &mut screen) {
        screen.fault(&fault);
    }
    let printed = String::from_utf8(stream.0.lock().unwrap().clone()).unwrap();
    expected.assert_eq(&printed.replace(&folder.path().display().to_string(), "FOLDER"));
}

const STARTS: &str = "# seconds model bytes\n0 org/a 4000000000\n60 org/b:Q4 4000000000\n90 org/a 4000000000\n\
                      200000 org/c 2000000000\n200100 org/a 4000000000\n";

#[test]
fn a_trace_is_compared_by_policy_and_disk() {
    check(
        "--trace starts.txt --policy larder,clairvoyant --disk 8GB --disk 1GB",
        OutputFormat::Table,
        STARTS,
        &expect![[r#"
            5 starts on 3 models of 10.0 GB; a day's starts need 7.0 GB
              DISK  POLICY       BYTES HERE  STARTS HERE  FETCHED  WAITED  EVICTED  TOO LARGE
            8.0 GB  larder           44.4 %       40.0 %  10.0 GB    53 s        1          0
            8.0 GB  clairvoyant      44.4 %       40.0 %  10.0 GB    53 s        1          0
            1.0 GB  larder            0.0 %        0.0 %      0 B    0 ms        0          5
            1.0 GB  clairvoyant       0.0 %        0.0 %      0 B    0 ms        0          5
            popularity knows how often each model will be wanted, clairvoyant when: no policy in service can
        "#]],
    );
    check(
        "--trace starts.txt --policy larder --disk 20GB",
        OutputFormat::Json,
        STARTS,
        &expect![[r#"
        {
          "requests": 5,
          "models": 3,
          "bytes": 10000000000,
          "working_set": 7000000000,
          "runs": [
            {
              "disk": 20000000000,
              "policy": "larder",
              "byte_hit_ratio": 0.4444444444444444,
              "hit_ratio": 0.4,
              "hits": 2,
              "bytes_requested": 18000000000,
              "bytes_hit": 8000000000,
              "bytes_fetched": 10000000000,
              "waited_millis": 53000,
              "evictions": 0,
              "refused": 0
            }
          ]
        }
    "#]],
    );
}

#[test]
fn a_wrong_trace_is_explained() {
    check(
        "--trace starts.txt",
        OutputFormat::Table,
        "now org/a 5\n",
        &expect![[r#"
        error: FOLDER/starts.txt is no trace: line 1: "now" is no time: write seconds, from the trace's beginning or of the Unix epoch (field-invalid)
        hint: a line is the second of a start, the model's name and its bytes, such as: 86400 org/name:Q4 4920000000
    "#]],
    );
    check(
        "--trace other.txt",
        OutputFormat::Table,
        "",
        &expect![[r#"
        error: the trace FOLDER/other.txt can't be read: No such file or directory (os error 2) (field-invalid)
        hint: name a file of UTF-8 text that this user may read
    "#]],
    );
}
