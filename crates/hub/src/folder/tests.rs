//! Folders and buckets against a stand-in, and how their addresses are spelt.

use types::ErrorCode;

use super::*;
use crate::{
    error::Retry,
    tests::stand_in::{End, Heard, Reply, StandIn, commit, entry, repo},
};

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 31 % 251) as u8).collect()
}

fn folder(place: FolderPlace) -> Folder {
    let mut options = FolderOptions::new(place);
    options.stall_timeout = Duration::from_millis(300);
    Folder::new(options).unwrap()
}

fn http(address: impl Into<String>) -> Folder {
    folder(FolderPlace::Http { address: address.into() })
}

fn bucket(endpoint: &str, prefix: &str, keys: Option<BucketKeys>) -> Folder {
    let (region, bucket) = ("us-east-1".to_owned(), "models".to_owned());
    let endpoint = endpoint.parse().unwrap();
    folder(FolderPlace::Bucket { endpoint, region, bucket, prefix: prefix.to_owned(), keys })
}

fn keys() -> Option<BucketKeys> {
    let secret_key = Redacted::new("very-secret".to_owned());
    Some(BucketKeys { access_key: "AKIA1".to_owned(), secret_key })
}

async fn read(folder: &Folder, path: &str, offset: u64, len: u64) -> Result<Vec<u8>, FolderError> {
    let file = folder.open_file(&repo(), commit(), &entry(path, 1000, true));
    let mut body = file.read_range(offset, len).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[tokio::test]
async fn files_stand_below_an_address_by_repository_and_path() {
    let check = async |below: &str, path: &str, expected: &str| {
        let server = StandIn::start(|heard: &Heard| Reply::bytes(heard, &content(1000))).await;
        let folder = http(format!("{}{below}", server.address()));
        assert_eq!(read(&folder, path, 10, 20).await.unwrap(), content(1000)[10..30]);
        let heard = server.heard().remove(0);
        assert_eq!(heard.target, expected, "{below}");
        assert_eq!((heard.header("authorization"), heard.header("referer")), (None, None));
        assert_eq!((heard.range(), heard.header("accept-encoding")), (Some((10, 30)), Some("identity")));
    };
    check("", "a b/ü?.bin", "/acme/tiny/a%20b/%C3%BC%3F.bin").await;
    check("/models", "m.bin", "/models/acme/tiny/m.bin").await;
    check(
        "/models/{repo}/resolve/{commit}/",
        "m.bin",
        &format!("/models/acme/tiny/resolve/{}/m.bin", "ab".repeat(20)),
    )
    .await;
}

#[tokio::test]
async fn objects_of_a_bucket_are_asked_for_openly_or_signed() {
    let server = StandIn::start(|heard: &Heard| Reply::bytes(heard, &content(1000))).await;
    let check = async |prefix: &str, keys: Option<BucketKeys>, path: &str, signed: bool| {
        let folder = bucket(&server.address(), prefix, keys);
        assert_eq!(read(&folder, "d/m 1.bin", 0, 1000).await.unwrap(), content(1000));
        let heard = server.heard().pop().unwrap();
        assert_eq!((heard.path(), heard.target.contains("X-Amz-Signature=")), (path, signed));
        assert!(!heard.target.contains("very-secret"));
        assert!(!format!("{folder:?}").contains("very-secret"));
    };
    check("", None, "/models/acme/tiny/d/m%201.bin", false).await;
    check("hf/{repo}/at/", None, "/models/hf/acme/tiny/at/d/m%201.bin", false).await;
    check("hf", keys(), "/models/hf/acme/tiny/d/m%201.bin", true).await;
}

#[test]
fn a_signed_address_names_its_key_its_moment_and_its_lifetime() {
    // The keys and the moment of the Amazon S3 reference's example. The signature itself is the library's.
    let secret_key = Redacted::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned());
    let mut options = FolderOptions::new(FolderPlace::Bucket {
        endpoint: "https://s3.example.com".parse().unwrap(),
        region: "us-east-1".to_owned(),
        bucket: "examplebucket".to_owned(),
        prefix: String::new(),
        keys: Some(BucketKeys { access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(), secret_key }),
    });
    // 24 May 2013, 00:00:00 UTC.
    let time = base::ManualTime::starting_at(base::Timestamp::from_millis(1_369_353_600_000));
    options.clock = Clock::Manual(time);
    let folder = Folder::new(options).unwrap();
    let url = folder.open_file(&repo(), commit(), &entry("m.bin", 9, true)).address();
    let query: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(url.path(), "/examplebucket/acme/tiny/m.bin");
    assert_eq!(query["X-Amz-Credential"], "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request");
    assert_eq!((&*query["X-Amz-Date"], &*query["X-Amz-Expires"]), ("20130524T000000Z", "300"));
    assert_eq!(query["X-Amz-Signature"].len(), 64);
}

#[tokio::test]
async fn each_fault_has_its_own_condition() {
    let check = async |reply: Reply, code: ErrorCode, retry: Retry| {
        let shown = format!("{reply:?}");
        let server = StandIn::start(move |_: &Heard| reply.clone()).await;
        let error = read(&bucket(&server.address(), "", keys()), "m.bin", 100, 100).await.unwrap_err();
        assert_eq!((error.fault().code, error.retry()), (code, retry), "{shown}: {error}");
        let told = format!("{error:?} {:?}", error.fault());
        assert!(!told.contains("X-Amz") && !told.contains("secret"), "{told}");
    };
    let part =
        || Reply::status(206).header("content-range", "bytes 100-199/1000").body(&content(1000)[100..200]);
    let (soon, never) = (Retry::Soon, Retry::Never);
    check(part().end(End::CloseAfter(50)), ErrorCode::HubConnectionLost, soon).await;
    check(part().end(End::ResetAfter(50)), ErrorCode::HubConnectionLost, soon).await;
    check(part().end(End::StallAfter(50)), ErrorCode::HubStalled, soon).await;
    check(part().body(content(50)), ErrorCode::HubConnectionLost, soon).await;
    check(part().body(content(150)), ErrorCode::HubAnswerInvalid, never).await;
    check(part().header("content-encoding", "gzip"), ErrorCode::HubAnswerInvalid, never).await;
    check(Reply::status(206).body(content(100)), ErrorCode::HubAnswerInvalid, never).await;
    let other = Reply::status(206).header("content-range", "bytes 0-99/1000").body(content(100));
    check(other, ErrorCode::HubAnswerInvalid, never).await;
    let longer = Reply::status(206).header("content-range", "bytes 100-199/2000").body(content(100));
    check(longer, ErrorCode::ContentMismatch, never).await;
    check(Reply::status(416), ErrorCode::ContentMismatch, never).await;
    check(Reply::status(200).body(content(1000)), ErrorCode::HubAnswerInvalid, Retry::Whole).await;
    check(Reply::status(204), ErrorCode::HubAnswerInvalid, never).await;
    check(Reply::status(404), ErrorCode::FileNotFound, never).await;
    check(Reply::status(403).body("<Error/>"), ErrorCode::HubRefused, never).await;
    check(Reply::status(500).body(content(100)), ErrorCode::HubServerError, soon).await;
    let told = Retry::After(Duration::from_secs(7));
    check(Reply::status(503).header("retry-after", "7"), ErrorCode::HubServerError, told).await;
    check(Reply::status(429).header("retry-after", "7"), ErrorCode::HubRateLimited, told).await;
    check(Reply::redirect(302, "ftp://x/secret"), ErrorCode::HubAnswerInvalid, never).await;
    check(Reply::redirect(302, "/again"), ErrorCode::HubAnswerInvalid, never).await;
    check(Reply::status(302), ErrorCode::HubAnswerInvalid, never).await;
}

#[tokio::test]
async fn a_folder_that_is_down_is_told_at_once() {
    let address = StandIn::start(|_: &Heard| Reply::status(500)).await.address();
    let error = read(&http(address), "m.bin", 0, 9).await.unwrap_err();
    assert_eq!((error.fault().code, error.retry()), (ErrorCode::HubUnreachable, Retry::Soon));
}

#[test]
fn names_show_where_and_no_secrets() {
    assert_eq!(http("https://files.test/models/{repo}/x").name(), "folder https://files.test/models");
    assert_eq!(bucket("https://s3.test", "p", keys()).name(), "bucket models at s3.test:443");
    for wrong in
        ["files.test", "ftp://files.test", "https://user:secret@files.test", "https://files.test/?secret=1"]
    {
        let error =
            Folder::new(FolderOptions::new(FolderPlace::Http { address: wrong.to_owned() })).unwrap_err();
        assert_eq!(error.fault().code, ErrorCode::FieldInvalid);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
