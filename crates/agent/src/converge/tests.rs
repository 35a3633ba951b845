//! Every situation of models and workers, and what is done about it.

use std::fmt::Write as _;

use api::{DesiredModel, ViewOrder};
use expect_test::{Expect, expect};
use types::{Commit, Manifest, ManifestFile, RepoId, SelectionKey};

use super::*;

const FOLDER: Digest = Digest::Sha256([7; 32]);

fn key(name: &str) -> ModelKey {
    let repo = RepoId { hub: "main".parse().unwrap(), name: format!("acme/{name}").parse().unwrap() };
    ModelKey { repo, commit: Commit::from_bytes([1; 20]), selection: SelectionKey::from_bytes([0; 32]) }
}

fn model(name: &str, token: Option<&str>) -> DesiredModel {
    let file = ManifestFile { path: "x".parse().unwrap(), size: 1, digest: Digest::GitSha1([0; 20]) };
    DesiredModel {
        manifest: Manifest::new(key(name), vec![file], BTreeSet::new()).unwrap(),
        hub_endpoint: "http://127.0.0.1:1".parse().unwrap(),
        hub_trusted: true,
        tenant: "tn_default".parse().unwrap(),
        token: token.map(|token| token.parse().unwrap()),
    }
}

fn worker(id: &str, intent: WorkerIntent, models: &[&str], folder: Option<Digest>) -> DesiredWorker {
    let views = models.iter().map(|name| ViewOrder {
        reference: format!("acme/{name}").parse().unwrap(),
        key: key(name),
        refs: BTreeSet::new(),
    });
    DesiredWorker {
        worker: id.parse().unwrap(),
        tenant: "tn_default".parse().unwrap(),
        endpoint: "ep_1".parse().unwrap(),
        endpoint_name: "embed".parse().unwrap(),
        release: "rel_1".parse().unwrap(),
        intent,
        launch: Launch::Command { command: vec!["run".to_owned()].try_into().unwrap(), folder, python: None },
        env: None,
        views: views.collect(),
        hub_access: types::HubAccess::Offline,
        hub: None,
        gpus: Vec::new(),
        limits: types::WorkerLimits::default(),
    }
}

#[derive(Default)]
struct Here<'a> {
    models: &'a [(&'a str, ModelStanding)],
    folders: &'a [FolderStanding],
    workers: &'a [(&'a str, WorkerStanding)],
    secrets: &'a [&'a str],
}

fn check(models: Vec<DesiredModel>, workers: Vec<DesiredWorker>, here: &Here<'_>, expected: &Expect) {
    let desired = Desired { models, workers, ..Desired::default() };
    let present = Present {
        models: &here.models.iter().map(|(name, standing)| (key(name), *standing)).collect(),
        folders: &here.folders.iter().map(|standing| (FOLDER, *standing)).collect(),
        workers: &here.workers.iter().map(|(id, standing)| (id.parse().unwrap(), *standing)).collect(),
        secrets: &here.secrets.iter().map(|secret| secret.parse().unwrap()).collect(),
    };
    let mut shown = String::new();
    for action in decide(&desired, present, Timestamp::from_millis(1000), 2) {
        match action {
            Action::Fetch(key) => writeln!(shown, "fetch {}", key.repo.name),
            Action::GiveUp(key) => writeln!(shown, "give up {}", key.repo.name),
            Action::AskForFolder(_) => writeln!(shown, "ask for folder"),
            Action::Hold(worker, why) => writeln!(shown, "hold {worker}: {why}"),
            Action::Start(worker) => writeln!(shown, "start {worker}"),
            Action::Drain(worker) => writeln!(shown, "drain {worker}"),
            Action::Stop(worker) => writeln!(shown, "stop {worker}"),
            Action::Withdraw(worker) => writeln!(shown, "withdraw {worker}"),
            Action::Forget(worker) => writeln!(shown, "forget {worker}"),
        }
        .unwrap();
    }
    expected.assert_eq(&shown);
}

#[test]
fn models_are_fetched_within_the_limit_and_given_up_when_unwanted() {
    use ModelStanding::{Failed, Fetching, Ready};
    let all = || ["a", "b", "c", "d"].map(|name| model(name, None)).into();
    check(
        all(),
        Vec::new(),
        &Here::default(),
        &expect![[r"
        fetch acme/a
        fetch acme/b
    "]],
    );
    let models: &[_] = &[("a", Ready), ("b", Fetching), ("z", Fetching), ("y", Ready)];
    check(
        all(),
        Vec::new(),
        &Here { models, ..Here::default() },
        &expect![[r"
        give up acme/z
        fetch acme/c
    "]],
    );
    let models: &[_] = &[
        ("a", Failed { retry_at: Timestamp::from_millis(1001) }),
        ("b", Failed { retry_at: Timestamp::from_millis(1000) }),
    ];
    check(
        all(),
        Vec::new(),
        &Here { models, ..Here::default() },
        &expect![[r"
        fetch acme/b
        fetch acme/c
    "]],
    );
    let gated = || vec![model("a", Some("sec_1"))];
    check(gated(), Vec::new(), &Here::default(), &expect![[""]]);
    check(
        gated(),
        Vec::new(),
        &Here { secrets: &["sec_1"], ..Here::default() },
        &expect![[r"
        fetch acme/a
    "]],
    );
}

#[test]
fn what_a_start_waits_for_is_fetched_before_what_was_only_asked_for() {
    use ModelStanding::Fetching;
    let all = || ["a", "b", "c", "d"].map(|name| model(name, None)).into();
    let held = || vec![worker("wk_1", WorkerIntent::Hold, &["d"], None)];
    check(
        all(),
        held(),
        &Here::default(),
        &expect![[r"
        fetch acme/d
        fetch acme/a
        hold wk_1: waits for acme/d
    "]],
    );
    let models: &[_] = &[("a", Fetching), ("b", Fetching)];
    check(
        all(),
        held(),
        &Here { models, ..Here::default() },
        &expect![[r"
        fetch acme/d
        hold wk_1: waits for acme/d
    "]],
    );
}

#[test]
fn a_start_waits_for_all_that_it_needs() {
    use WorkerIntent::{Hold, Run};
    let ready: &[_] = &[("a", ModelStanding::Ready), ("b", ModelStanding::Ready)];
    let two = |intent| {
        vec![worker("wk_1", intent, &["a", "b"], Some(FOLDER)), worker("wk_2", intent, &[], Some(FOLDER))]
    };
    check(
        Vec::new(),
        two(Run),
        &Here::default(),
        &expect![[r"
        ask for folder
        hold wk_1: waits for acme/a, acme/b
        hold wk_2: waits for its released folder
    "]],
    );
    let coming = Here { models: ready, folders: &[FolderStanding::Coming], ..Here::default() };
    check(
        Vec::new(),
        two(Run),
        &coming,
        &expect![[r"
        hold wk_1: waits for its released folder
        hold wk_2: waits for its released folder
    "]],
    );
    let here = Here { models: ready, folders: &[FolderStanding::Settled], ..Here::default() };
    check(
        Vec::new(),
        two(Run),
        &here,
        &expect![[r"
        start wk_1
        start wk_2
    "]],
    );
    check(
        Vec::new(),
        two(Hold),
        &here,
        &expect![[r"
        hold wk_1: everything is here; the start is held
        hold wk_2: everything is here; the start is held
    "]],
    );
    let secret =
        || vec![DesiredWorker { env: Some("sec_1".parse().unwrap()), ..worker("wk_1", Run, &[], None) }];
    check(
        Vec::new(),
        secret(),
        &Here::default(),
        &expect![[r"
        hold wk_1: waits for its environment
    "]],
    );
    check(
        Vec::new(),
        secret(),
        &Here { secrets: &["sec_1"], ..Here::default() },
        &expect![[r"
        start wk_1
    "]],
    );
}

#[test]
fn every_intent_meets_every_standing() {
    use WorkerStanding::{Alive, Draining, Held, Over, Starting, Stopping};
    let standings: &[(&str, WorkerStanding)] = &[
        ("wk_1held", Held),
        ("wk_2starting", Starting),
        ("wk_3alive", Alive),
        ("wk_4busy", Draining { live_jobs: 1 }),
        ("wk_5drained", Draining { live_jobs: 0 }),
        ("wk_6stopping", Stopping),
        ("wk_7over", Over),
    ];
    let here = Here { workers: standings, ..Here::default() };
    let all = |intent| standings.iter().map(|(id, _)| worker(id, intent, &[], None)).collect();
    check(
        Vec::new(),
        all(WorkerIntent::Run),
        &here,
        &expect![[r"
        start wk_1held
    "]],
    );
    check(
        Vec::new(),
        all(WorkerIntent::Drain),
        &here,
        &expect![[r"
        withdraw wk_1held
        drain wk_3alive
        stop wk_5drained
    "]],
    );
    check(
        Vec::new(),
        all(WorkerIntent::Stop),
        &here,
        &expect![[r"
        withdraw wk_1held
        stop wk_3alive
        stop wk_4busy
        stop wk_5drained
    "]],
    );
    check(
        Vec::new(),
        Vec::new(),
        &here,
        &expect![[r"
        forget wk_1held
        stop wk_3alive
        stop wk_4busy
        stop wk_5drained
        forget wk_7over
    "]],
    );
}
