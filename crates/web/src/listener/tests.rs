//! Sockets bound, taken, replaced and adopted.

use std::os::{fd::OwnedFd, unix::fs::PermissionsExt};

use super::{ListenAddress, ListenError, Listener};

#[test]
fn addresses_parse_and_print() {
    let check = |text: &str, expected: Option<&str>| {
        let shown = text.parse::<ListenAddress>().ok().map(|address| address.to_string());
        assert_eq!(shown.as_deref(), expected, "{text}");
    };
    check("127.0.0.1:8000", Some("127.0.0.1:8000"));
    check("localhost:80", Some("127.0.0.1:80"));
    check("[::1]:0", Some("[::1]:0"));
    check("unix:/run/larder.sock", Some("unix:/run/larder.sock"));
    for wrong in ["", "unix:", "8000", "127.0.0.1", "example.org:80", "localhost:99999"] {
        check(wrong, None);
    }
}

#[tokio::test]
async fn a_taken_port_is_told_with_what_to_do() {
    let one = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Listener::bind(&one.address()).await.unwrap_err();
    let fault = error.fault();
    assert_eq!(fault.code, types::ErrorCode::ListenFailed);
    assert!(fault.message.starts_with(&format!("can't listen on {}: ", one.address())), "{}", fault.message);
    assert!(fault.hint.unwrap().starts_with("stop the process"));
}

#[tokio::test]
async fn a_socket_file_is_private_and_replaced_only_when_nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sock");
    let address = ListenAddress::Unix(path.clone());
    let one = Listener::bind(&address).await.unwrap();
    assert_eq!(one.address(), address);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = Listener::bind(&address).await.unwrap_err();
    assert!(matches!(error, ListenError::SocketInUse { .. }), "{error}");
    drop(one);
    assert!(path.exists());
    drop(Listener::bind(&address).await.unwrap());

    let somebodys = folder.path().join("notes.txt");
    std::fs::write(&somebodys, "keep").unwrap();
    assert!(Listener::bind(&ListenAddress::Unix(somebodys.clone())).await.is_err());
    assert_eq!(std::fs::read_to_string(&somebodys).unwrap(), "keep");
}

#[tokio::test]
async fn sockets_are_adopted_from_their_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let adopted = Listener::from_descriptor(OwnedFd::from(tcp)).unwrap();
    assert_eq!(adopted.address().to_string(), format!("127.0.0.1:{port}"));

    let path = folder.path().join("y.sock");
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let adopted = Listener::from_descriptor(OwnedFd::from(unix)).unwrap();
    assert_eq!(adopted.address(), ListenAddress::Unix(path));

    let file = std::fs::File::create(folder.path().join("z")).unwrap();
    assert!(matches!(Listener::from_descriptor(OwnedFd::from(file)), Err(ListenError::Adopt(_))));
}
