//! Frames go through a socket whole, with their files, and nothing larger than the limit does.

use std::{
    io::Write as _,
    os::{fd::AsFd as _, unix::net::UnixStream},
};

use super::{FRAME_BYTES_MAX, InitRequest, Progress, Request, read_frame, write_frame};

#[test]
fn frames_arrive_in_order_with_their_files() {
    let (left, right) = UnixStream::pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    write_frame(&left, &Request::Stop { grace_millis: 250 }, &[]).unwrap();
    write_frame(&left, &Progress::Relay { url: "http://127.0.0.1:1".to_owned() }, &[file.as_fd()]).unwrap();
    write_frame(&left, &InitRequest::Begin, &[]).unwrap();
    drop(left);

    let (first, files) = read_frame::<Request>(&right).unwrap();
    assert_eq!((first, files.len()), (Request::Stop { grace_millis: 250 }, 0));
    let (second, files) = read_frame::<Progress>(&right).unwrap();
    assert!(matches!(second, Progress::Relay { url } if url.ends_with(":1")));
    assert_eq!(files.len(), 1);
    assert_eq!(read_frame::<InitRequest>(&right).unwrap().0, InitRequest::Begin);
    assert_eq!(read_frame::<InitRequest>(&right).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_no_frame_is_an_error() {
    let check = |bytes: &[u8]| {
        let (mut left, right) = UnixStream::pair().unwrap();
        left.write_all(bytes).unwrap();
        drop(left);
        read_frame::<Request>(&right).unwrap_err();
    };
    check(b"");
    check(&[1, 0]);
    check(&[2, 0, 0, 0, b'{']);
    check(&[2, 0, 0, 0, b'{', b'}']);
    check(&u32::MAX.to_le_bytes());
    let (left, _right) = UnixStream::pair().unwrap();
    write_frame(&left, &"x".repeat(FRAME_BYTES_MAX), &[]).unwrap_err();
}
