//! What sources do wrong, a row for each: in the end the right bytes are here, or an error with its code and no
//! model.
//!
//! Rows of the hub's protocol run against the real hub server and its drills; rows of the wire against a server that
//! writes answers byte by byte.

use std::{sync::Arc, time::Duration};

use base::{ByteSize, Redacted};
use hub::{Folder, FolderOptions, FolderPlace};
use hub_server::{BodyFault, Failure, Faults, Harm, Hit, ListingLie, Origin, Quotas};
use transfer::{FetchState, FolderSource, Source, SourceList, SourceUse};
use types::{ErrorCode, Fault, Manifest};

use crate::{
    site::{Ended, Site, WEIGHTS_BYTES},
    soon,
    wire::{Heard, Wire, Wrong},
};

/// How a row ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With the right bytes.
    Right,
    /// With an error of this code, and no model.
    Fails(ErrorCode),
}

fn none() -> Faults {
    Faults::default()
}

fn failure(hit: Hit, count: u32, status: u16) -> Faults {
    Faults { failures: vec![Failure { hit, skip: 0, count, status, retry_after: None }], ..none() }
}

fn harm(harm: Harm, count: u32) -> Faults {
    let path_ends_with = "model.safetensors".to_owned();
    Faults { bodies: vec![BodyFault { path_ends_with, count, harm }], ..none() }
}

fn assert_end(row: &str, site: &Site, repo: &str, ended: &Result<Ended, Fault>, expected: End) {
    match (ended, expected) {
        (Ok(ended), End::Right) => site.assert_same(repo, &ended.manifest),
        (Err(fault), End::Fails(code)) => {
            assert_eq!(fault.code, code, "{row}: {fault:?}");
            assert!(site.shows_nothing(), "{row}: a model is shown");
        }
        (Ok(_), End::Fails(_)) | (Err(_), End::Right) => panic!("{row}: {ended:?}, not {expected:?}"),
    }
}

/// A row of the hub's protocol.
async fn hub_row(row: &str, reference: &str, faults: Faults, expected: End) {
    let site = Site::start(|options| {
        options.faults = faults;
        options.page_entries_max = 2;
    })
    .await;
    let ended = soon(site.pull(reference, None)).await;
    assert_end(row, &site, reference, &ended, expected);
}

/// A source that serves the site's own folder, with what is wrong as planned.
async fn wire(
    site: &Site,
    plan: impl Fn(&Heard) -> Wrong + Send + Sync + 'static,
) -> (Wire, Arc<dyn Source>) {
    let wire = Wire::start(site.repos(), plan).await;
    let source = folder(&wire.address());
    (wire, source)
}

fn folder(address: &str) -> Arc<dyn Source> {
    let mut options = FolderOptions::new(FolderPlace::Http { address: address.to_owned() });
    options.stall_timeout = Duration::from_millis(400);
    let commit = types::Commit::from_bytes([0; 20]);
    Arc::new(FolderSource::new(Folder::new(options).unwrap(), "acme/tiny".parse().unwrap(), commit))
}

/// Fetches from sources, and says how it ended.
async fn fetch(site: &Site, manifest: &Arc<Manifest>, sources: SourceList) -> Result<Ended, Fault> {
    let report = soon(site.fetch(manifest, sources).join()).await.map_err(|error| error.fault())?;
    Ok(Ended { report, manifest: manifest.clone() })
}

/// A row of the wire, with that source alone.
async fn wire_row(row: &str, plan: impl Fn(&Heard) -> Wrong + Send + Sync + 'static, expected: End) {
    let site = Site::start(|_| {}).await;
    let (manifest, _hub) = site.resolve("acme/tiny", None).await.unwrap();
    let (_wire, source) = wire(&site, plan).await;
    let ended = fetch(&site, &manifest, SourceList::one(source)).await;
    assert_end(row, &site, "acme/tiny", &ended, expected);
}

/// Does something wrong to the first answers about the weights, and to no other.
fn first(count: usize, wrong: Wrong) -> impl Fn(&Heard) -> Wrong + Send + Sync + 'static {
    let answered = std::sync::atomic::AtomicUsize::new(0);
    move |heard| {
        let is_weights = heard.path.ends_with("model.safetensors");
        if is_weights && answered.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < count {
            wrong.clone()
        } else {
            Wrong::Nothing
        }
    }
}

fn always(wrong: Wrong) -> impl Fn(&Heard) -> Wrong + Send + Sync + 'static {
    first(usize::MAX, wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break() {
    use Wrong::{Close, Drip, Reset, Silence};
    let right = End::Right;
    wire_row("closed at once, then well", first(3, Close(0)), right).await;
    wire_row("closed after 50 kB, always", always(Close(50_000)), right).await;
    wire_row("reset after 50 kB, at times", first(6, Reset(50_000)), right).await;
    wire_row("silence after 50 kB, at times", first(2, Silence(50_000)), right).await;
    wire_row("a drip after 50 kB, at times", first(1, Drip(50_000, Duration::from_millis(50))), right).await;
    wire_row("closed at once, always", always(Close(0)), End::Fails(ErrorCode::HubConnectionLost)).await;
    wire_row("silence, always", always(Silence(0)), End::Fails(ErrorCode::HubStalled)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_pauses() {
    let status = |status: u16| Wrong::Status(status, Vec::new());
    let told =
        |status: u16, name: &'static str, value: &str| Wrong::Status(status, vec![(name, value.to_owned())]);
    let right = End::Right;
    wire_row("500 at times", first(3, status(500)), right).await;
    wire_row("408 at times", first(3, status(408)), right).await;
    wire_row("503 with a pause", first(1, told(503, "retry-after", "1")), right).await;
    wire_row("429 with a pause in seconds", first(1, told(429, "retry-after", "1")), right).await;
    wire_row("429 with a used-up window", first(1, told(429, "ratelimit", r#""files";r=0;t=0"#)), right)
        .await;
    let past = "Wed, 21 Oct 2015 07:28:00 GMT";
    wire_row("429 until a moment that is past", first(1, told(429, "retry-after", past)), right).await;
    wire_row("500 always", always(status(500)), End::Fails(ErrorCode::HubServerError)).await;
    wire_row("403 always", always(status(403)), End::Fails(ErrorCode::HubRefused)).await;
    wire_row("404 always", always(status(404)), End::Fails(ErrorCode::FileNotFound)).await;
    wire_row("an error page as a success", always(status(200)), End::Fails(ErrorCode::ContentMismatch)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_what_they_should_be() {
    let (right, invalid) = (End::Right, End::Fails(ErrorCode::HubAnswerInvalid));
    wire_row("no length, in chunks", always(Wrong::Chunked), right).await;
    wire_row("a wrong bit, once", first(1, Wrong::Flip), right).await;
    wire_row("a wrong bit, always", always(Wrong::Flip), End::Fails(ErrorCode::ContentMismatch)).await;
    wire_row(
        "the length says less than comes, always",
        always(Wrong::LengthOff(-1000)),
        End::Fails(ErrorCode::HubConnectionLost),
    )
    .await;
    wire_row("the length says more than comes, always", always(Wrong::LengthOff(1000)), right).await;
    wire_row("said to be compressed", always(Wrong::Gzip), invalid).await;
    wire_row("another part", always(Wrong::OtherPart), invalid).await;
    wire_row("a longer file", always(Wrong::OtherSize), End::Fails(ErrorCode::ContentMismatch)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_ranges_is_read_in_order_and_resumed() {
    let site = Site::start(|_| {}).await;
    let (manifest, hub) = site.resolve("acme/tiny", None).await.unwrap();
    // Some extents are here already, from a fetch that was stopped.
    let begun = site.fetch(&manifest, SourceList::one(hub));
    let mut progress = begun.progress();
    soon(progress.wait_for(|shown| shown.bytes_done.0 > 200_000)).await.unwrap();
    drop(begun);
    // The first two connections break, each farther on.
    let (wire, source) = wire(&site, |heard| match heard.before {
        before if before < 30 && heard.path.ends_with("model.safetensors") => {
            Wrong::IgnoreRangeAndClose(400_000 + 50_000 * before)
        }
        _ => Wrong::IgnoreRange,
    })
    .await;
    let ended = fetch(&site, &manifest, SourceList::one(source)).await.unwrap();
    site.assert_same("acme/tiny", &ended.manifest);
    assert!(ended.report.bytes_reused.0 > 0);
    let weights = |heard: &&Heard| heard.path.ends_with("model.safetensors");
    let heard = wire.heard();
    assert!(heard.iter().filter(weights).any(|heard| heard.range == (0, WEIGHTS_BYTES as usize)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_never_gets_to_the_end_without_ranges_is_given_up() {
    let plan = always(Wrong::IgnoreRangeAndClose(400_000));
    wire_row("whole file, always broken", plan, End::Fails(ErrorCode::HubConnectionLost)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_hub_is_told_to_other_origins() {
    let site = Site::start(|_| {}).await;
    let token = Redacted::new("hf_right".to_owned());
    let (manifest, hub) = site.resolve("acme/secret", Some(&token)).await.unwrap();
    let (wire, source) = wire(&site, always(Wrong::Status(404, Vec::new()))).await;
    // The folder is asked for `acme/tiny`, whose small files are others: all of it is thrown away or refused.
    let ended = fetch(&site, &manifest, SourceList::new([source], hub)).await.unwrap();
    site.assert_same("acme/secret", &ended.manifest);
    for heard in wire.heard() {
        assert!(!heard.headers.contains_key("authorization"), "{heard:?}");
        assert!(!heard.headers.contains_key("referer"), "{heard:?}");
    }
    for request in site.hub.requests() {
        assert_eq!(request.authorized, request.origin == Origin::Hub, "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_source_goes_on_where_one_fails_and_the_blame_is_told() {
    let check =
        async |row: &str, plan: Box<dyn Fn(&Heard) -> Wrong + Send + Sync>, expected: fn(&SourceUse)| {
            let site = Site::start(|_| {}).await;
            let (manifest, hub) = site.resolve("acme/tiny", None).await.unwrap();
            let (_wire, source) = wire(&site, plan).await;
            let ended = fetch(&site, &manifest, SourceList::new([source], hub)).await;
            assert_end(row, &site, "acme/tiny", &ended, End::Right);
            let [mirror, hub] = &ended.unwrap().report.sources[..] else {
                panic!("{row}: two sources are told of")
            };
            assert!(
                mirror.name.starts_with("folder http://127.0.0.1:") && hub.name == "hub site",
                "{mirror:?} {hub:?}"
            );
            expected(mirror);
            assert_eq!((hub.bytes_wrong, hub.errors), (ByteSize(0), 0), "{row}");
        };
    check("all is well", Box::new(|_: &Heard| Wrong::Nothing), |mirror| {
        assert_eq!((mirror.errors, mirror.bytes_wrong), (0, ByteSize(0)));
        assert!(mirror.bytes.0 >= WEIGHTS_BYTES && mirror.rate_bytes_per_second > 0, "{mirror:?}");
    })
    .await;
    check("wrong bits", Box::new(always(Wrong::Flip)), |mirror| {
        assert!(mirror.bytes_wrong.0 >= WEIGHTS_BYTES, "{mirror:?}");
    })
    .await;
    check("nothing there", Box::new(|_: &Heard| Wrong::Status(404, Vec::new())), |mirror| {
        assert!(mirror.errors > 0 && mirror.bytes == ByteSize(0), "{mirror:?}");
    })
    .await;
    check("breaks off", Box::new(always(Wrong::Reset(0))), |mirror| assert!(mirror.errors > 0)).await;
    check("answers 500", Box::new(always(Wrong::Status(500, Vec::new()))), |mirror| {
        assert!(mirror.errors > 0);
    })
    .await;
    check(
        "asks for a long pause",
        Box::new(always(Wrong::Status(429, vec![("retry-after", "600".to_owned())]))),
        |mirror| {
            assert_eq!(mirror.errors, 0, "a pause is no failure");
        },
    )
    .await;
    check("gives no ranges", Box::new(always(Wrong::IgnoreRange)), |mirror| assert_eq!(mirror.errors, 0))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_down_is_missed_by_nobody() {
    let site = Site::start(|_| {}).await;
    let (manifest, hub) = site.resolve("acme/tiny", None).await.unwrap();
    let address = wire(&site, |_| Wrong::Nothing).await.0.address();
    let ended = fetch(&site, &manifest, SourceList::new([folder(&address)], hub)).await.unwrap();
    site.assert_same("acme/tiny", &ended.manifest);
    let [down, hub] = &ended.report.sources[..] else { panic!("two sources are told of") };
    assert!(down.errors > 0 && hub.bytes == ended.report.bytes_fetched, "{down:?} {hub:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_down_is_replaced_by_who_has_the_files() {
    let mut site = Site::start(|_| {}).await;
    let (manifest, hub) = site.resolve("acme/tiny", None).await.unwrap();
    soon(site.stop_hub()).await;
    let ended = fetch(&site, &manifest, SourceList::one(hub.clone())).await;
    assert_end("the hub alone", &site, "acme/tiny", &ended, End::Fails(ErrorCode::HubUnreachable));
    let (_wire, source) = wire(&site, |_| Wrong::Nothing).await;
    let ended = fetch(&site, &manifest, SourceList::new([source], hub)).await;
    assert_end("a folder first", &site, "acme/tiny", &ended, End::Right);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_moves_under_a_fetch_is_an_error_or_right() {
    let site = Site::start(|options| options.rescan_after = Duration::ZERO).await;
    let (manifest, hub) = site.resolve("acme/tiny", None).await.unwrap();
    std::fs::write(site.repos().join("acme/tiny/vocab.txt"), "another commit").unwrap();
    let ended = fetch(&site, &manifest, SourceList::one(hub)).await;
    assert_end("moved", &site, "acme/tiny", &ended, End::Fails(ErrorCode::FileNotFound));
    // Asked again, it is the new commit as a whole.
    let again = soon(site.pull("acme/tiny", None)).await;
    assert_end("resolved again", &site, "acme/tiny", &again, End::Right);
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_rows_that_pass() {
    let right = End::Right;
    let api = failure(Hit::Api, 2, 502);
    hub_row("502 about the repository, twice", "acme/tiny", api, right).await;
    hub_row("500 for bytes, three times", "acme/tiny", failure(Hit::Bytes, 3, 500), right).await;
    let pause = Failure { retry_after: Some(Duration::from_secs(1)), ..Failure::nth(Hit::Bytes, 2, 429) };
    hub_row("429 with a pause", "acme/tiny", Faults { failures: vec![pause], ..none() }, right).await;
    hub_row("truncated", "acme/tiny", harm(Harm::TruncateAfter(50_000), 12), right).await;
    hub_row("a wrong bit, once", "acme/tiny", harm(Harm::FlipByteAt(1000), 1), right).await;
    let delay = Some(Duration::from_millis(20));
    hub_row("slow to answer", "acme/tiny", Faults { answer_delay: delay, ..none() }, right).await;
    hub_row("no ranges", "acme/tiny", Faults { ignore_ranges: true, ..none() }, right).await;
    let whole_file_bytes_max = Some(ByteSize(1000));
    hub_row("ranges only", "acme/tiny", Faults { whole_file_bytes_max, ..none() }, right).await;
    // Each range takes longer than the life of a link, so every stream renews its own.
    let (link_lifetime, rate_max) = (Some(Duration::from_secs(1)), Some(ByteSize(WEIGHTS_BYTES / 6)));
    hub_row("links of a second", "acme/tiny", Faults { link_lifetime, rate_max, ..none() }, right).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_expire_are_renewed_at_the_same_offset_and_are_no_failure() {
    let site = Site::start(|options| {
        options.faults.link_lifetime = Some(Duration::from_secs(1));
        options.rate_max = Some(ByteSize(WEIGHTS_BYTES / 40));
    })
    .await;
    let ended = soon(site.pull("acme/tiny", None)).await.unwrap();
    site.assert_same("acme/tiny", &ended.manifest);
    assert_eq!(ended.report.bytes_fetched, ended.manifest.bytes(), "no byte came twice");
    assert_eq!(ended.report.sources[0].errors, 0, "{:?}", ended.report.sources);
    let refused = site.hub.requests().iter().filter(|request| request.status == 403).count();
    assert!(refused > 0, "the links did expire");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_window_is_waited_for_and_never_overdrawn() {
    let site = Site::start(|options| {
        options.quotas = Quotas { api: 1000, resolvers: 4, window: Duration::from_secs(1) };
    })
    .await;
    let ended = soon(site.pull("acme/tiny", None)).await.unwrap();
    site.assert_same("acme/tiny", &ended.manifest);
    assert_eq!(ended.report.sources[0].errors, 0, "a pause is no failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_rows_that_last() {
    let lie = |lie| Faults { listing: vec![lie], ..none() };
    let path = || "model.safetensors".to_owned();
    let tiny = async |row: &str, faults: Faults, code: ErrorCode| {
        hub_row(row, "acme/tiny", faults, End::Fails(code)).await;
    };
    let refused = async |reference: &str, code: ErrorCode| {
        hub_row(reference, reference, none(), End::Fails(code)).await;
    };
    refused("acme/unknown", ErrorCode::RepoNotFoundOrPrivate).await;
    refused("acme/secret", ErrorCode::RepoNotFoundOrPrivate).await;
    refused("acme/gated", ErrorCode::RepoGatedNoToken).await;
    refused("acme/gone", ErrorCode::RepoDisabled).await;
    refused("acme/tiny@nowhere", ErrorCode::RevisionNotFound).await;
    refused("acme/tiny:Q4_K_M", ErrorCode::VariantNotFound).await;
    tiny("500 for bytes, always", failure(Hit::Bytes, u32::MAX, 500), ErrorCode::HubServerError).await;
    tiny("403 for bytes, always", failure(Hit::Bytes, u32::MAX, 403), ErrorCode::HubRefused).await;
    let flip = harm(Harm::FlipByteAt(1000), u32::MAX);
    tiny("a wrong bit, always", flip, ErrorCode::ContentMismatch).await;
    let next_page_origin = Some("http://127.0.0.1:1".to_owned());
    let elsewhere = Faults { next_page_origin, ..none() };
    tiny("a listing that goes on elsewhere", elsewhere, ErrorCode::HubAnswerInvalid).await;
    let shown = "../../../../tmp/escaped".to_owned();
    tiny("a path that leaves", lie(ListingLie::Path { path: path(), shown }), ErrorCode::PathRefused).await;
    let digest = "../../etc/passwd".to_owned();
    let no_digest = lie(ListingLie::Digest { path: path(), digest });
    tiny("a digest that is none", no_digest, ErrorCode::HubAnswerInvalid).await;
    let digest = "ab".repeat(32);
    let other = lie(ListingLie::Digest { path: path(), digest });
    tiny("another digest", other, ErrorCode::ContentMismatch).await;
    let size = WEIGHTS_BYTES + 1;
    tiny("another size", lie(ListingLie::Size { path: path(), size }), ErrorCode::ContentMismatch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_goes_down_fails_the_fetch_and_its_return_completes_it() {
    let mut site = Site::start(|options| options.rate_max = Some(ByteSize(WEIGHTS_BYTES / 8))).await;
    let handle = site.begin("acme/tiny", None).await.unwrap();
    let mut progress = handle.progress();
    soon(progress.wait_for(|shown| shown.state == FetchState::Fetching && shown.bytes_done.0 > 300_000))
        .await
        .unwrap();
    let manifest = handle.manifest.clone();
    soon(site.stop_hub()).await;
    let fault = soon(handle.join()).await.unwrap_err().fault();
    assert_eq!(fault.code, ErrorCode::HubUnreachable, "{fault:?}");
    assert!(site.missing(&manifest) < manifest.bytes(), "what was brought is kept");
    site.start_hub(|_| {}).await;
    let ended = soon(site.pull("acme/tiny", None)).await.unwrap();
    assert!(ended.report.bytes_reused.0 > 0);
    site.assert_same("acme/tiny", &ended.manifest);
}
