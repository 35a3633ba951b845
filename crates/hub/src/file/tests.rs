//! Reading ranges from a stand-in hub and a stand-in storage server.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use types::ErrorCode;

use super::*;
use crate::{
    TokenHolder,
    error::{HubError, Retry},
    tests::stand_in::{End, Heard, Reply, StandIn, commit, entry, repo, token},
};

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 31 % 251) as u8).collect()
}

fn open(stand_in: &StandIn, size: u64) -> FileSource {
    stand_in.hub().open_file(&repo(), commit(), &entry("model.bin", size, true), Some(&token()))
}

async fn read(source: &FileSource, offset: u64, len: u64) -> Result<Vec<u8>, ReadError> {
    let mut body = source.read_range(offset, len).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A hub that redirects every question to a path of a storage server.
async fn hub_before(storage: &StandIn) -> StandIn {
    let address = storage.address();
    let links = AtomicUsize::new(0);
    StandIn::start(move |_: &Heard| {
        let link = links.fetch_add(1, Ordering::Relaxed);
        Reply::redirect(302, format!("{address}/cdn/{link}?signature=secret"))
            .header("x-linked-size", "1000")
            .header("x-linked-etag", format!("\"{}\"", "07".repeat(32)))
            .header("x-repo-commit", commit().to_string())
    })
    .await
}

#[tokio::test]
async fn large_files_come_from_storage_and_the_token_stays_home() {
    let storage = StandIn::start(|heard: &Heard| Reply::bytes(heard, &content(1000))).await;
    let hub = hub_before(&storage).await;
    let source = open(&hub, 1000);
    for (offset, len) in [(0, 10), (10, 500), (999, 1), (0, 1000), (1000, 0)] {
        let expected = &content(1000)[offset..offset + len];
        assert_eq!(read(&source, offset as u64, len as u64).await.unwrap(), expected);
    }
    assert_eq!(hub.heard().len(), 1, "the link is asked for once");
    assert_eq!(hub.heard()[0].header("authorization"), Some("Bearer hf_secret"));
    assert_eq!(storage.heard().len(), 4);
    for heard in storage.heard() {
        assert_eq!((heard.header("authorization"), heard.header("referer")), (None, None), "{heard:?}");
        assert!(heard.range().is_some(), "a range is always sent");
        assert_eq!(heard.header("accept-encoding"), Some("identity"));
    }
}

#[tokio::test]
async fn small_files_come_from_the_hub_itself() {
    let stand_in = StandIn::start(|heard: &Heard| match heard.path() {
        "/cache/model.bin" => {
            Reply::bytes(heard, &content(100)).header("etag", format!("\"{}\"", "07".repeat(32)))
        }
        _ => Reply::redirect(307, "/cache/model.bin?etag=x"),
    })
    .await;
    let source = open(&stand_in, 100);
    assert_eq!(read(&source, 0, 100).await.unwrap(), content(100));
    assert_eq!(read(&source, 40, 5).await.unwrap(), content(100)[40..45]);
    assert!(stand_in.heard().iter().all(|heard| heard.header("authorization").is_some()));
}

#[tokio::test]
async fn a_whole_file_may_come_without_a_range() {
    let stand_in = StandIn::start(|_: &Heard| Reply::status(200).body(content(100))).await;
    let source = open(&stand_in, 100);
    assert_eq!(read(&source, 0, 100).await.unwrap(), content(100));
    let error = read(&source, 0, 50).await.unwrap_err();
    assert!(matches!(error, ReadError::RangesUnsupported(_)), "{error}");
}

#[tokio::test]
async fn an_expired_link_is_renewed_once_at_the_same_offset() {
    let storage = StandIn::start(|heard: &Heard| match heard.path() {
        "/cdn/1" => Reply::bytes(heard, &content(1000)),
        _ => Reply::status(403).body("<Error>expired</Error>"),
    })
    .await;
    let hub = hub_before(&storage).await;
    let source = open(&hub, 1000);
    assert_eq!(read(&source, 500, 100).await.unwrap(), content(1000)[500..600]);
    assert_eq!(hub.heard().len(), 2);
    let ranges: Vec<_> = storage.heard().iter().map(Heard::range).collect();
    assert_eq!(ranges, [Some((500, 600)), Some((500, 600))]);
}

#[tokio::test]
async fn a_link_that_is_refused_afresh_is_an_error_and_never_bytes() {
    let storage = StandIn::start(|_: &Heard| Reply::status(403).body("<Error>expired</Error>")).await;
    let hub = hub_before(&storage).await;
    let error = read(&open(&hub, 1000), 0, 10).await.unwrap_err();
    assert_eq!(error.fault().code, ErrorCode::HubRefused);
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    assert_eq!((hub.heard().len(), storage.heard().len()), (2, 2));
}

#[tokio::test]
async fn readers_at_once_ask_for_one_link() {
    let storage = StandIn::start(|heard: &Heard| Reply::bytes(heard, &content(1000))).await;
    let hub = hub_before(&storage).await;
    let source = open(&hub, 1000);
    let reads = (0..8).map(|index| read(&source, index * 100, 100));
    for result in futures::future::join_all(reads).await {
        assert_eq!(result.unwrap().len(), 100);
    }
    assert_eq!(hub.heard().len(), 1);
}

#[tokio::test]
async fn each_fault_has_its_own_condition() {
    let check = async |reply: Reply, code: ErrorCode, retry: Retry| {
        let shown = format!("{reply:?}");
        let storage = StandIn::start(move |_: &Heard| reply.clone()).await;
        let hub = hub_before(&storage).await;
        let error = read(&open(&hub, 1000), 100, 100).await.unwrap_err();
        assert_eq!((error.fault().code, error.retry()), (code, retry), "{shown}: {error}");
        assert!(!format!("{error:?} {:?}", error.fault()).contains("secret"), "{error:?}");
    };
    let part =
        || Reply::status(206).header("content-range", "bytes 100-199/1000").body(&content(1000)[100..200]);
    let (soon, never) = (Retry::Soon, Retry::Never);
    check(part().end(End::CloseAfter(50)), ErrorCode::HubConnectionLost, soon).await;
    check(part().end(End::ResetAfter(50)), ErrorCode::HubConnectionLost, soon).await;
    check(part().end(End::StallAfter(50)), ErrorCode::HubStalled, soon).await;
    check(part().body(content(50)), ErrorCode::HubConnectionLost, soon).await;
    check(part().body(content(150)), ErrorCode::HubAnswerInvalid, never).await;
    check(Reply::status(206).body(content(100)), ErrorCode::HubAnswerInvalid, never).await;
    check(part().header("content-encoding", "gzip"), ErrorCode::HubAnswerInvalid, never).await;
    let other = Reply::status(206).header("content-range", "bytes 0-99/1000").body(content(100));
    check(other, ErrorCode::HubAnswerInvalid, never).await;
    let longer = Reply::status(206).header("content-range", "bytes 100-199/2000").body(content(100));
    check(longer, ErrorCode::ContentMismatch, never).await;
    check(Reply::status(416), ErrorCode::ContentMismatch, never).await;
    check(Reply::status(200).body(content(1000)), ErrorCode::HubAnswerInvalid, Retry::Whole).await;
    check(Reply::status(204), ErrorCode::HubAnswerInvalid, never).await;
    let error_page = Reply::status(500).body(content(100));
    check(error_page, ErrorCode::HubServerError, soon).await;
    let told = Retry::After(Duration::from_secs(7));
    check(Reply::status(503).header("retry-after", "7"), ErrorCode::HubServerError, told).await;
    check(Reply::status(408), ErrorCode::HubServerError, soon).await;
    check(Reply::status(429).header("retry-after", "7"), ErrorCode::HubRateLimited, told).await;
    let window = Reply::status(429).header("ratelimit", r#""resolvers";r=0;t=6"#);
    check(window, ErrorCode::HubRateLimited, told).await;
}

#[tokio::test]
async fn a_file_that_is_not_as_listed_is_noticed_before_its_bytes() {
    let check = async |name: &str, value: String, part: &str| {
        let (name, value) = (name.to_owned(), value.clone());
        let hub = StandIn::start(move |_: &Heard| {
            Reply::redirect(302, "http://127.0.0.1:1/").header(&name, value.clone())
        })
        .await;
        let error = read(&open(&hub, 1000), 0, 10).await.unwrap_err();
        assert!(matches!(error, ReadError::Changed(_)), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    };
    check("x-linked-size", "999".to_owned(), "it holds 999 bytes, not 1000").await;
    check("x-linked-etag", format!("\"{}\"", "08".repeat(32)), "its digest is 0808").await;
    check("x-repo-commit", "cd".repeat(20), "it is of commit cdcdcdcd").await;
}

#[tokio::test]
async fn refusals_of_the_hub_itself_are_told_as_such() {
    let stand_in = StandIn::start(|_: &Heard| Reply::status(403).header("x-error-code", "GatedRepo")).await;
    let error = read(&open(&stand_in, 1000), 0, 10).await.unwrap_err();
    assert!(matches!(error, ReadError::Hub(HubError::RepoGatedNotGranted(_))), "{error:?}");
}

#[tokio::test]
async fn storage_may_redirect_further_but_not_without_end() {
    let hops = Mutex::new(0);
    let storage = StandIn::start(move |heard: &Heard| {
        let mut hops = hops.lock().unwrap();
        *hops += 1;
        if *hops <= 2 {
            Reply::redirect(302, format!("/next/{hops}"))
        } else {
            Reply::bytes(heard, &content(1000))
        }
    })
    .await;
    let hub = hub_before(&storage).await;
    assert_eq!(read(&open(&hub, 1000), 0, 10).await.unwrap(), content(10));
    let circle = StandIn::start(|_: &Heard| Reply::redirect(302, "/again")).await;
    let hub = hub_before(&circle).await;
    assert_eq!(read(&open(&hub, 1000), 0, 10).await.unwrap_err().fault().code, ErrorCode::HubAnswerInvalid);
}

#[tokio::test]
async fn a_token_that_is_replaced_goes_on_where_the_old_one_was_refused() {
    let stand_in = StandIn::start(|heard: &Heard| match heard.header("authorization") {
        Some("Bearer hf_new") => Reply::bytes(heard, &content(1000)),
        Some(_) => {
            Reply::status(401).header("x-error-message", "Invalid credentials in Authorization header")
        }
        None => panic!("asked without a token"),
    })
    .await;
    let hub = |wait: Duration| {
        let mut options = stand_in.options();
        options.token_wait = wait;
        Hub::new(options).unwrap()
    };
    let holder = TokenHolder::new(Some(token()));
    let open = |wait| hub(wait).open_file(&repo(), commit(), &entry("model.bin", 1000, true), holder.token());
    // In vain, within the time that is allowed for it.
    let error = read(&open(Duration::from_millis(50)), 0, 10).await.unwrap_err();
    assert_eq!(error.fault().code, ErrorCode::HubTokenWrong);
    // The new one comes while the old one is refused.
    let source = open(Duration::from_secs(60));
    let asked = stand_in.heard().len();
    let (bytes, ()) = tokio::join!(read(&source, 500, 100), async {
        while stand_in.heard().len() == asked {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        holder.replace(Some(base::Redacted::new("hf_new".to_owned())));
    });
    assert_eq!(bytes.unwrap(), content(1000)[500..600]);
    // From now on it is the only one, and what nobody can replace is not waited for.
    assert_eq!(read(&source, 0, 10).await.unwrap(), content(10));
    holder.replace(Some(token()));
    drop(holder);
    assert_eq!(read(&source, 0, 10).await.unwrap_err().fault().code, ErrorCode::HubTokenWrong);
}

#[tokio::test]
async fn a_used_up_window_is_not_overdrawn_by_anyone_with_the_same_token() {
    let stand_in = StandIn::start(|heard: &Heard| {
        Reply::bytes(heard, &content(1000)).header("ratelimit", r#""resolvers";r=0;t=217"#)
    })
    .await;
    let hub = stand_in.hub();
    let open = |token| hub.open_file(&repo(), commit(), &entry("model.bin", 1000, true), token);
    let (own, other) = (token(), base::Redacted::new("hf_other".to_owned()));
    assert_eq!(read(&open(Some(&own)), 0, 10).await.unwrap(), content(10));
    for source in
        [open(Some(&own)), hub.clone().open_file(&repo(), commit(), &entry("b", 1000, true), Some(&own))]
    {
        let error = read(&source, 0, 10).await.unwrap_err();
        assert_eq!(error.fault().code, ErrorCode::HubRateLimited);
        let Retry::After(wait) = error.retry() else { panic!("{error:?}") };
        assert!(wait > Duration::from_secs(200) && wait <= Duration::from_secs(218), "{wait:?}");
    }
    assert_eq!(stand_in.heard().len(), 1, "nobody asked in vain");
    assert_eq!(read(&open(Some(&other)), 0, 10).await.unwrap(), content(10));
}
