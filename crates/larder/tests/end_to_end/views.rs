//! What a worker finds: its models where stock readers look, at the commit of its endpoint.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::system::{Prepared, System};

fn write_model(folder: &Path, text: &str) {
    fs::create_dir_all(folder.join("nested")).unwrap();
    fs::write(folder.join("config.json"), format!("{{\"text\": \"{text}\"}}")).unwrap();
    fs::write(folder.join("model.safetensors"), text.repeat(5000)).unwrap();
    fs::write(folder.join("nested/notes.txt"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_endpoints_on_two_commits_each_see_their_own() {
    let Some(prepared) = Prepared::find() else { return };
    let models = tempfile::tempdir().unwrap();
    write_model(&models.path().join("Acme/Tiny"), "one");
    write_model(&models.path().join("Acme/Tiny@next"), "two");
    let system = System::start_with_hub(prepared, models.path(), &[]).await;

    let mut commits = Vec::new();
    for (name, model, text) in [("first", "Acme/Tiny", "one"), ("second", "acme/tiny@next", "two")] {
        let created = system.create_endpoint(name, "view.py", &["--model", model]);
        let commit = created["models"][0]["commit"].as_str().unwrap().to_owned();
        let (_, view) =
            system.request("POST", &format!("/v2/{name}/runsync"), Some(json!({"input": {}}))).await;
        let output = &view["output"];
        assert_eq!(output["main"], commit, "{view}\n{}", system.logs());
        assert_eq!(output["snapshot"], commit, "{view}");
        assert_eq!(output["spellings"], json!(["models--Acme--Tiny", "models--acme--tiny"]), "{view}");
        assert_eq!(output["warnings"], json!([]), "{view}");
        assert_eq!(output["repos"], json!(["Acme/Tiny", "acme/tiny"]), "{view}");
        assert_eq!(output["files"].as_object().unwrap().len(), 3, "{view}");
        let local = models.path().join(if name == "first" { "Acme/Tiny" } else { "Acme/Tiny@next" });
        assert_eq!(fs::read_to_string(local.join("nested/notes.txt")).unwrap(), text);
        assert_environment(&output["environment"], &commit);
        assert_eq!(output["models"][0]["commit"], commit, "{view}");
        commits.push(commit);
    }
    assert_ne!(commits[0], commits[1]);
}

fn assert_environment(environment: &Value, commit: &str) {
    assert_eq!(environment["HF_HUB_CACHE"], "/runpod-volume/huggingface-cache/hub");
    let edge = environment["HF_ENDPOINT"].as_str().unwrap();
    assert!(edge.starts_with("http://127.0.0.1:") && edge.contains("/hub/wk_"), "{edge}");
    assert!(environment.get("HF_HUB_OFFLINE").is_none(), "libraries ask the edge");
    assert_eq!(environment["MODEL_REVISION"], commit);
    assert_eq!(environment["RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"], "true", "no worker here may dial out");
    assert!(environment.get("HF_TOKEN").is_none(), "a hub token never reaches a worker");
}
