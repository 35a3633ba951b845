//! Workers that are not kept apart, on request: everything works, and every listing says so.

use std::path::Path;

use serde_json::{Value, json};

use crate::system::{Prepared, Setting, System};

const MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

#[tokio::test(flavor = "multi_thread")]
async fn without_isolation_models_come_by_the_environment_and_every_listing_warns() {
    let Some(prepared) = Prepared::find() else { return };
    let setting =
        Setting { up_arguments: Some(&["--no-egress", "--isolation", "none"]), ..Setting::default() };
    let system = System::start_with(prepared, setting).await;
    let created = system.create_endpoint("open", "view.py", &["--model", MODEL]);
    assert!(warns(&created), "{created}");
    let input = json!({"input": {"hub": "environment"}});
    let (_, job) = system.request("POST", "/v2/open/runsync", Some(input)).await;
    let output = &job["output"];
    let commit = &created["models"][0]["commit"];
    assert_eq!((&output["main"], &output["snapshot"]), (commit, commit), "{job}\n{}", system.logs());
    assert_eq!(output["warnings"], json!([]), "{job}");
    assert_eq!(output["spellings"][0], "models--sentence-transformers--all-MiniLM-L6-v2", "{job}");
    let cache = output["environment"]["HF_HUB_CACHE"].as_str().unwrap();
    assert!(Path::new(cache).starts_with(system.data_folder()), "not by the contract's path: {cache}");

    let (_, endpoints) = system.request("GET", "/api/v2/serverless", None).await;
    assert!(warns(&endpoints["endpoints"][0]), "{endpoints}");
    for (listing, words) in [
        ("endpoint", "warning: open: workers run without isolation"),
        ("worker", "isolation: NONE"),
        ("host", "workers run without isolation and see the whole host"),
    ] {
        let output = system.try_larder(&[listing, "list"]);
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(words), "{listing} list: {text}");
    }
}

fn warns(endpoint: &Value) -> bool {
    let mut warnings = endpoint["warnings"].as_array().unwrap().iter();
    warnings.any(|warning| warning.as_str().unwrap().contains("without isolation"))
}
