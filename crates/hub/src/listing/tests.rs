//! Listings against a stand-in: pages, limits, and hubs that lie.

use base::ByteSize;
use proptest::prelude::*;
use types::ErrorCode;

use super::*;
use crate::tests::stand_in::{Heard, Reply, StandIn, commit, repo, token};

const SHA256: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const SHA1: &str = "0202020202020202020202020202020202020202";

fn small(path: &str) -> String {
    format!(r#"{{"type":"file","path":{path:?},"size":5,"oid":"{SHA1}"}}"#)
}

fn large(path: &str, size: u64) -> String {
    format!(
        r#"{{"type":"file","path":{path:?},"size":{size},"oid":"{SHA1}","xetHash":"{SHA256}",
            "lfs":{{"oid":"{SHA256}","size":{size},"pointerSize":134}}}}"#
    )
}

async fn list(stand_in: &StandIn) -> Result<Vec<ManifestFile>, ListError> {
    stand_in.hub().list(&repo(), commit(), Some(&token())).await
}

#[tokio::test]
async fn pages_are_joined_and_sorted() {
    let path = "/api/models/acme/tiny/tree/abababababababababababababababababababab";
    let stand_in = StandIn::start(move |heard: &Heard| {
        let (page, next) = match heard.target.strip_prefix(path).unwrap() {
            "?recursive=true&expand=false" => (
                format!("[{},{}]", small("b.json"), r#"{"type":"directory","path":"d","size":0,"oid":""}"#),
                Some(2),
            ),
            "?page=2" => (format!("[{}]", large("d/a.bin", 9_000_000_000)), Some(3)),
            "?page=3" => (format!("[{}]", small("a.json")), None),
            other => panic!("asked for {other}"),
        };
        let reply = Reply::json(&page);
        match next {
            // As the public hub does, the next page is named by its whole address.
            Some(page) => {
                let host = heard.header("host").unwrap();
                reply.header("link", format!(r#"<http://{host}{path}?page={page}>; rel="next""#))
            }
            None => reply,
        }
    })
    .await;
    let files = list(&stand_in).await.unwrap();
    let shown: Vec<String> = files.iter().map(|f| format!("{} {} {}", f.path, f.size, f.digest)).collect();
    assert_eq!(
        shown,
        [format!("a.json 5 {SHA1}"), format!("b.json 5 {SHA1}"), format!("d/a.bin 9000000000 {SHA256}")]
    );
    assert_eq!(stand_in.heard().len(), 3);
}

#[tokio::test]
async fn a_page_at_another_origin_is_not_asked_for() {
    let other = StandIn::start(|_: &Heard| Reply::json("[]")).await;
    let link = format!(r#"<{}/page?secret=1>; rel="next""#, other.address());
    let stand_in = StandIn::start(move |_: &Heard| Reply::json("[]").header("link", link.clone())).await;
    let error = list(&stand_in).await.unwrap_err();
    assert!(matches!(error, ListError::PageElsewhere(_)), "{error}");
    assert!(!error.to_string().contains("secret"));
    assert!(other.heard().is_empty());
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_not_followed() {
    let other = StandIn::start(|_: &Heard| Reply::json("[]")).await;
    let target = other.address();
    let stand_in = StandIn::start(move |_: &Heard| Reply::redirect(302, target.clone())).await;
    assert_eq!(list(&stand_in).await.unwrap_err().fault().code, ErrorCode::HubAnswerInvalid);
    assert!(other.heard().is_empty());
}

#[tokio::test]
async fn lies_are_refused_with_the_name_of_the_file() {
    let check = async |page: String, code: ErrorCode, part: &str| {
        let answer = page.clone();
        let stand_in = StandIn::start(move |_: &Heard| Reply::json(&answer)).await;
        let fault = list(&stand_in).await.unwrap_err().fault();
        assert_eq!(fault.code, code, "{page}: {}", fault.message);
        assert!(fault.message.contains(part), "{page}: {}", fault.message);
    };
    let invalid = ErrorCode::HubAnswerInvalid;
    for path in ["../x", "/etc/passwd", "a/../../x", "a\\b", "", ".git/config", "a//b", "C:/x"] {
        check(format!("[{},{}]", small("a.json"), small(path)), ErrorCode::PathRefused, &format!("{path:?}"))
            .await;
    }
    let folder = format!(r#"[{{"type":"directory","path":"../d","oid":"{SHA1}"}}]"#);
    check(folder, ErrorCode::PathRefused, "../d").await;
    check(format!("[{},{}]", small("a.json"), small("a.json")), invalid, "lists a.json twice").await;
    check(format!("[{}]", small("a.json").replace(SHA1, "../../x")), invalid, "a.json").await;
    check(format!("[{}]", small("a.json").replace(SHA1, SHA256)), invalid, "a.json").await;
    check(format!("[{}]", large("a.bin", 1).replace(SHA256, SHA1)), invalid, "a.bin").await;
    check(format!("[{}]", large("a.bin", 1).replace("01", "0A")), invalid, "a.bin").await;
    check(format!("[{}]", small("a.json").replace("\"file\"", "\"device\"")), invalid, "as a device").await;
    check(format!("[{}]", small("a.json").replace(":5", ":-5")), invalid, "JSON").await;
    check("{}".to_owned(), invalid, "JSON").await;
}

#[tokio::test]
async fn a_listing_without_end_ends_at_a_limit() {
    let check = async |set: fn(&mut HubLimits), part: &str| {
        let stand_in = StandIn::start(|heard: &Heard| {
            let page: u32 = heard.target.rsplit('=').next().unwrap().parse().unwrap_or(0) + 1;
            Reply::json(&format!("[{}]", small(&format!("{page}.json"))))
                .header("link", format!(r#"<?page={page}>; rel="next""#))
        })
        .await;
        let mut options = stand_in.options();
        set(&mut options.limits);
        let error = Hub::new(options).unwrap().list(&repo(), commit(), None).await.unwrap_err();
        assert!(matches!(error, ListError::TooLarge(_)), "{error}");
        assert!(error.to_string().ends_with(part), "{error}");
    };
    check(|limits| limits.listing_pages_max = 4, "the limit of 4 pages").await;
    check(|limits| limits.listing_entries_max = 4, "the limit of 4 entries").await;
    check(|limits| limits.listing_bytes_max = ByteSize(400), "the limit of 400 B").await;
}

#[tokio::test]
async fn a_hundred_thousand_files_are_listed_page_by_page_and_one_more_is_refused() {
    const PAGE: usize = 1000;
    let gather = |files: usize| {
        let (hub, repo, limits) = ("test".parse().unwrap(), repo(), HubLimits::default());
        let mut gathering = Gathering::new(&hub, &repo, limits);
        for page in 0..files.div_ceil(PAGE) {
            let names = page * PAGE..files.min((page + 1) * PAGE);
            let entries: Vec<String> = names.map(|name| small(&format!("d/{name:06}.json"))).collect();
            let text = format!("[{}]", entries.join(","));
            let entries: Vec<TreeEntry> = serde_json::from_str(&text).unwrap();
            gathering.take_page(&entries, text.len() as u64)?;
        }
        Ok::<_, ListError>(gathering.into_files().len())
    };
    assert_eq!(gather(100_000).unwrap(), 100_000);
    let error = gather(100_001).unwrap_err();
    assert!(matches!(error, ListError::TooLarge(_)), "{error}");
}

#[tokio::test]
async fn names_at_the_edges_are_taken_or_refused_whole() {
    let gather = |names: &[&str]| {
        let (hub, repo, limits) = ("test".parse().unwrap(), repo(), HubLimits::default());
        let entry = |name: &&str| small("NAME").replace("\"NAME\"", &serde_json::to_string(name).unwrap());
        let entries: Vec<String> = names.iter().map(entry).collect();
        let entries: Vec<TreeEntry> = serde_json::from_str(&format!("[{}]", entries.join(","))).unwrap();
        let mut gathering = Gathering::new(&hub, &repo, limits);
        gathering.take_page(&entries, 1).map(|()| gathering.into_files().len())
    };
    // Linux tells letter cases apart, and so do we: both are files.
    assert_eq!(gather(&["Model.bin", "model.bin", "MODEL.BIN"]).unwrap(), 3);
    assert_eq!(gather(&[&"x".repeat(255), &format!("d/{}", "y".repeat(255))]).unwrap(), 2);
    assert_eq!(gather(&["e\u{301}.bin", "\u{e9}.bin", "模型.bin"]).unwrap(), 3);
    for refused in
        [&*"x".repeat(256), &"d/".repeat(600), "a/./b", "a/..", "..", "/", "a\u{0}b", "a\nb", "//a"]
    {
        let error = gather(&["good.json", refused]).unwrap_err();
        assert!(matches!(error, ListError::PathRefused(_)), "{refused:?}: {error}");
    }
}

/// Changes a page of a listing as a careless or hostile hub might: bytes of the text, or parts of its structure.
fn mutated_page() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("-1".to_owned()),
        Just("1e99".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("\"../../x\"".to_owned()),
        Just("\"/etc/passwd\"".to_owned()),
        Just("\"\\u0000\"".to_owned()),
        "\"[ -!#-\\[\\]-~]{0,80}\"",
    ];
    let field = prop_oneof![Just("type"), Just("path"), Just("size"), Just("oid"), Just("lfs"), Just("more")];
    let changes = prop::collection::vec((field, value), 0..4);
    let bytes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (changes, bytes, any::<bool>()).prop_map(|(changes, bytes, nested)| {
        let mut entry: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&large("a/b.bin", 7)).unwrap();
        for (field, value) in changes {
            let value = serde_json::from_str(&value).unwrap_or(serde_json::Value::Null);
            match (nested, entry.get_mut("lfs")) {
                (true, Some(serde_json::Value::Object(lfs))) => drop(lfs.insert(field.to_owned(), value)),
                _ => drop(entry.insert(field.to_owned(), value)),
            }
        }
        let mut text = serde_json::to_vec(&vec![entry.clone(), entry]).unwrap();
        for (at, byte) in bytes {
            let at = at.index(text.len());
            text[at] = byte;
        }
        text
    })
}

fn gather_bytes(bytes: &[u8]) -> Result<Vec<ManifestFile>, String> {
    let (hub, repo, limits) = ("test".parse().unwrap(), repo(), HubLimits::default());
    let entries: Vec<TreeEntry> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut gathering = Gathering::new(&hub, &repo, limits);
    gathering.take_page(&entries, bytes.len() as u64).map_err(|error| error.fault().message)?;
    Ok(gathering.into_files())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(testkit::cases(1000)))]

    #[test]
    fn any_listing_is_taken_whole_or_refused(page in mutated_page()) {
        if let Ok(files) = gather_bytes(&page) {
            for file in &files {
                let path = file.path.as_str();
                prop_assert!(!path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
            prop_assert!(files.windows(2).all(|pair| pair[0].path < pair[1].path), "no path twice");
        }
    }

    #[test]
    fn any_bytes_are_survived_as_a_listing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = gather_bytes(&bytes);
    }
}
