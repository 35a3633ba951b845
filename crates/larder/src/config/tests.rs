//! Where each setting comes from, and what is refused.

use super::*;

fn file(text: &str) -> ConfigFile {
    ConfigFile::parse(text).unwrap()
}

#[test]
fn options_go_before_the_file_and_the_file_before_the_defaults() {
    let defaults = file("").server(&ListenArgs::default()).unwrap();
    assert_eq!(defaults.listen.to_string(), "127.0.0.1:8380");
    assert_eq!(defaults.hubs[0].name, HubName::hugging_face());

    let config = file(
        "[server]\nlisten = \"127.0.0.1:1\"\n[agent]\negress = false\ncache_bytes_max = \"2 TB\"\nfetch_rate_max = \"5 MB\"",
    );
    assert_eq!(config.server(&ListenArgs::default()).unwrap().listen.port(), 1);
    let given = ListenArgs { listen: Some(([127, 0, 0, 1], 2).into()), ..ListenArgs::default() };
    assert_eq!(config.server(&given).unwrap().listen.port(), 2);
    let agent = config.agent(WorkerArgs::default());
    assert_eq!((agent.egress, agent.cache_bytes_max), (false, Some(ByteSize(2_000_000_000_000))));
    assert_eq!(agent.fetch_rate_max, Some(ByteSize(5_000_000)));
    let floor = file("[agent]\ndisk_free_min = \"50 GB\"");
    assert_eq!(floor.agent(WorkerArgs::default()).disk_free_min, Some(ByteSize(50_000_000_000)));
    let given = WorkerArgs { disk_free_min: Some(ByteSize(0)), ..WorkerArgs::default() };
    assert_eq!(floor.agent(given).disk_free_min, Some(ByteSize(0)));
    assert!(file("").agent(WorkerArgs::default()).egress);
    let passes = |text: &str, arguments| file(text).agent(arguments).edge_pass_through;
    let no_egress = WorkerArgs { no_egress: true, ..WorkerArgs::default() };
    assert!(passes("", WorkerArgs::default()) && !passes("", no_egress));
    assert!(!passes("[agent]\nedge_pass_through = false", WorkerArgs::default()));
    assert!(passes("[agent]\nedge_pass_through = true", no_egress));
    assert!(passes("", WorkerArgs { edge_pass_through: true, ..no_egress }));
    let none = WorkerArgs { isolation: Some(IsolationWish::None), ..WorkerArgs::default() };
    assert_eq!(config.agent(none).isolation, IsolationWish::None);
}

#[test]
fn a_hub_given_by_address_comes_first() {
    let given =
        |address: &str| ListenArgs { hub_endpoint: Some(address.parse().unwrap()), ..ListenArgs::default() };
    let config = file(
        "[[hubs]]\nname = \"a\"\nendpoint = \"http://a\"\n[[hubs]]\nname = \"b\"\nendpoint = \"http://b\"",
    );
    let names = |address| -> Vec<String> {
        config.server(&given(address)).unwrap().hubs.iter().map(|hub| hub.name.to_string()).collect()
    };
    assert_eq!(names("http://b"), ["b", "a"]);
    assert_eq!(names("http://127.0.0.1:8060"), ["127.0.0.1:8060", "a", "b"]);
    assert_eq!(names("https://huggingface.co"), ["huggingface", "a", "b"]);
}

#[test]
fn what_is_wrong_is_refused() {
    for wrong in [
        "[server]\nlisten_on = 1",
        "[sever]",
        "[agent]\ncache_bytes_max = \"much\"",
        "[[hubs]]\nname = \"A\"",
    ] {
        assert!(ConfigFile::parse(wrong).is_err(), "{wrong:?} was taken");
    }
    let open = ListenArgs { listen: Some(([0, 0, 0, 0], 80).into()), ..ListenArgs::default() };
    let fault = file("").server(&open).unwrap_err();
    assert_eq!(fault.code, ErrorCode::ListenFailed);
    assert!(file("").server(&ListenArgs { insecure_http: true, ..open }).is_ok());
}

#[test]
fn sources_beside_a_hub_are_asked_mirrors_first_then_folders_then_buckets() {
    let config = file(
        r#"
        [[hubs]]
        name = "huggingface"
        endpoint = "https://huggingface.co"
        folders = ["https://files.lan/models/"]
        mirrors = ["https://m1.lan", { address = "https://m2.lan", send_token = true }]
        [[hubs.buckets]]
        endpoint = "http://minio.lan:9000"
        bucket = "models"
        access_key = "larder"
        secret_key = "hidden"
        "#,
    );
    let sources = config.agent(WorkerArgs::default()).sources;
    let mirror = |address: &str, token| SideSource::Mirror { address: address.parse().unwrap(), token };
    let bucket = FolderPlace::Bucket {
        endpoint: "http://minio.lan:9000".parse().unwrap(),
        region: "us-east-1".to_owned(),
        bucket: "models".to_owned(),
        prefix: String::new(),
        keys: Some(hub::BucketKeys {
            access_key: "larder".to_owned(),
            secret_key: "hidden".to_owned().into(),
        }),
    };
    let expected = [
        mirror("https://m1.lan", agent::MirrorToken::Withheld),
        mirror("https://m2.lan", agent::MirrorToken::Sent),
        SideSource::Folder(FolderPlace::Http { address: "https://files.lan/models/".to_owned() }),
        SideSource::Folder(bucket),
    ];
    let named: Vec<(HubName, SideSource)> =
        expected.into_iter().map(|source| (HubName::hugging_face(), source)).collect();
    assert_eq!(sources, named);
    assert!(!format!("{config:?}").contains("hidden"));
    for wrong in [
        "mirrors = [{ address = \"https://m\", token = true }]",
        "[[hubs.buckets]]\nendpoint = \"http://m\"\nbucket = \"b\"\naccess_key = \"alone\"",
        "[[hubs.buckets]]\nendpoint = \"http://m\"",
        "mirror = []",
    ] {
        let text = format!("[[hubs]]\nname = \"a\"\nendpoint = \"http://a\"\n{wrong}");
        assert!(ConfigFile::parse(&text).is_err(), "{wrong:?} was taken");
    }
}
