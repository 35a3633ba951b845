//! Lines are cut where they end or grow too long, and a log stays within its size.

use base::Timestamp;
use proptest::prelude::proptest;

use super::{LINE_BYTES_MAX, Log, Pipe};
use crate::{
    LogStream,
    records::{RunFolder, read_lines},
};

fn check(chunks: &[&[u8]], expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(folder.path().to_owned());
    let mut log = Log::create(&folder).unwrap();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let mut pipe = Pipe::new(read, LogStream::Error);
    for chunk in chunks {
        pipe.take(chunk, &mut log, Timestamp::from_millis(7));
    }
    drop(write);
    pipe.drain(&mut log, Timestamp::from_millis(8));
    assert!(pipe.end().is_none());
    let lines: Vec<_> = read_lines(&folder, usize::MAX).unwrap().into_iter().map(|line| line.text).collect();
    assert_eq!(lines, expected);
}

#[test]
fn output_is_cut_into_lines() {
    check(&[], &[]);
    check(&[b"one\ntwo\r\n", b"thr", b"ee\n\nlast"], &["one", "two", "three", "", "last"]);
    check(&[b"\xff\xfe\n"], &["\u{fffd}\u{fffd}"]);
    let long = "x".repeat(LINE_BYTES_MAX);
    check(&[format!("{long}\nnext\n").as_bytes()], &[&long, "next"]);
    check(&[format!("{long}y\n").as_bytes()], &[&long, "y"]);
}

#[test]
fn a_log_keeps_its_last_lines_within_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(folder.path().to_owned());
    let mut log = Log::create(&folder).unwrap();
    log.file_bytes_max = 1000;
    for number in 0..200 {
        log.add(Timestamp::from_millis(number), LogStream::Output, format!("line {number}").as_bytes());
    }
    let bytes = [folder.log(), folder.older_log()].map(|path| std::fs::metadata(path).unwrap().len());
    assert!(bytes.iter().sum::<u64>() < 2100, "{bytes:?}");
    let lines = read_lines(&folder, 30).unwrap();
    assert_eq!(lines.len(), 30);
    assert_eq!(lines.last().map(|line| line.text.as_str()), Some("line 199"));
    assert_eq!(lines[0].at, Timestamp::from_millis(170));
}

proptest! {
    /// However output is cut on its way through a pipe, the same lines come out.
    #[test]
    fn lines_do_not_depend_on_how_they_arrive(
        text in "[ab\n]{0,80}",
        cuts in proptest::collection::vec(1_usize..20, 0..20),
    ) {
        let mut chunks = Vec::new();
        let mut rest = text.as_bytes();
        for cut in cuts {
            let (chunk, later) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk);
            rest = later;
        }
        chunks.push(rest);
        let expected: Vec<_> = text.lines().collect();
        check(&chunks, &expected);
    }
}
