//! A host whose cache is small: what comes makes room, what is used stays, what rots is brought again.

use std::{path::Path, sync::Arc, time::Duration};

use agent::{AgentLimits, ScrubPace};
use api::{Desired, DesiredModel, ModelState, WorkerIntent};
use base::{ByteSize, Clock, Entropy, RealDisk, TaskScope};
use hub::{Hub, HubOptions};
use hub_server::{HubServer, HubServerOptions};
use store::{DepartureCause, EvictionReason, ScrubPeriods, Store, StoreOptions, Why};
use tokio_util::sync::CancellationToken;
use types::{ErrorCode, ModelKey};

use crate::{
    bench::{Bench, CACHE_BYTES_MAX, desired, patient, with_models, with_view, worker},
    drivers::WatchedDriver,
    server::Commits,
};

/// A hub with models of so many megabytes.
struct Site {
    _folder: tempfile::TempDir,
    _scope: TaskScope,
    models: Vec<DesiredModel>,
}

impl Site {
    async fn start(megabytes: &[(&str, u64)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, megabytes) in megabytes {
            write_repo(&folder.path().join("acme").join(name), name, *megabytes);
        }
        let options =
            HubServerOptions { grace: Duration::ZERO, ..HubServerOptions::new(folder.path().to_owned()) };
        let server = HubServer::new(options, Clock::System, Entropy::seeded(2)).await.unwrap();
        let endpoint: url::Url = server.handle().endpoint().parse().unwrap();
        let mut scope = TaskScope::new(&CancellationToken::new());
        let token = scope.token();
        scope.spawn("hub", async move { server.run(token).await.unwrap() });
        let hub = Hub::new(HubOptions::new("site".parse().unwrap(), endpoint.clone())).unwrap();
        let mut models = Vec::new();
        for (name, _) in megabytes {
            let reference = format!("acme/{name}").parse().unwrap();
            let resolved = hub.resolve_model(&reference, None).await.unwrap();
            models.push(DesiredModel {
                manifest: resolved.manifest,
                hub_endpoint: endpoint.clone(),
                hub_trusted: true,
                tenant: "tn_default".parse().unwrap(),
                token: None,
            });
        }
        Self { _folder: folder, _scope: scope, models }
    }

    fn key(&self, place: usize) -> ModelKey {
        self.models[place].manifest.key().clone()
    }

    fn pick(&self, places: &[usize]) -> Vec<DesiredModel> {
        places.iter().map(|place| self.models[*place].clone()).collect()
    }
}

fn write_repo(folder: &Path, name: &str, megabytes: u64) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.json"), format!("{{\"name\":\"{name}\"}}")).unwrap();
    let entropy = Entropy::seeded(name.len() as u64);
    let weights: Vec<u8> = (0..megabytes * 125_000).flat_map(|_| entropy.bytes::<8>()).collect();
    std::fs::write(folder.join("model.safetensors"), weights).unwrap();
}

fn limits() -> AgentLimits {
    AgentLimits { disk_free_min: Some(ByteSize(0)), ..patient() }
}

async fn wait_ready(bench: &Bench, key: &ModelKey) {
    let is_ready = |state: &ModelState| matches!(state, ModelState::Ready { .. });
    bench
        .server
        .observe(&format!("{key} is ready"), |seen| {
            seen.models.iter().any(|model| model.key == *key && is_ready(&model.state))
        })
        .await;
}

/// Returns what blobs take on the host's disk.
fn disk_bytes(bench: &Bench) -> u64 {
    let fans = std::fs::read_dir(bench.folder.path().join("store/blobs")).unwrap();
    let blobs = fans.flat_map(|fan| std::fs::read_dir(fan.unwrap().path()).unwrap());
    blobs.map(|blob| blob.unwrap().metadata().unwrap().len()).sum()
}

fn store_of(bench: &Bench) -> Store {
    let options = || StoreOptions::at(bench.folder.path().join("store"));
    let deadline = std::time::Instant::now() + crate::server::DEADLINE;
    loop {
        match Store::open(Arc::new(RealDisk), Clock::System, options()) {
            Ok(store) => return store,
            // The last tasks of the agent let go of it soon.
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wanting(site: &Site, generation: u64, workers: &[usize], models: &[usize]) -> Desired {
    let workers = workers.iter().map(|place| {
        let name = &site.models[*place].manifest.key().repo.name;
        let order = worker(&format!("wk_{place}"), WorkerIntent::Run, &["run"]);
        with_view(order, &site.key(*place), name.as_str())
    });
    with_models(desired(generation, workers.collect()), site.pick(models))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_makes_room_and_what_is_used_stays() {
    let site = Site::start(&[("a", 3), ("bb", 3), ("ccc", 3), ("dddd", 6)]).await;
    let driver = Arc::new(WatchedDriver::new());
    let mut bench = Bench::new(driver, limits(), Commits::AtOnce).await;
    let [first, used, third, large] = [0, 1, 2, 3].map(|place| site.key(place));
    bench.server.desire(wanting(&site, 1, &[1], &[0, 1]));
    wait_ready(&bench, &first).await;
    wait_ready(&bench, &used).await;
    bench.alive("wk_1").await;
    let two = disk_bytes(&bench);
    assert!(two > 6_000_000);

    // The third goes in for the first, which nobody wants any more.
    bench.server.desire(wanting(&site, 2, &[1], &[1, 2]));
    wait_ready(&bench, &third).await;
    bench
        .server
        .observe("the first is gone", |seen| seen.models.iter().all(|model| model.key != first))
        .await;
    let three = disk_bytes(&bench);
    assert!(three < two + 1000 && three <= CACHE_BYTES_MAX.bytes(), "{two}, then {three} bytes");

    // With the worker's model on the shelf there is no room for the large one, and nothing goes in vain. That it is no
    // longer desired changes nothing: a worker sees it.
    bench.server.desire(wanting(&site, 3, &[1], &[3]));
    let no_room = |state: &ModelState| matches!(state, ModelState::Failed { fault, .. } if fault.code == ErrorCode::CacheFull);
    let seen = bench
        .server
        .observe("no room", |seen| {
            seen.models.iter().any(|model| model.key == large && no_room(&model.state))
        })
        .await;
    let state = seen.models.into_iter().find(|model| model.key == large).unwrap().state;
    let ModelState::Failed { fault, .. } = state else { panic!("{state:?}") };
    assert!(fault.message.contains("are in use (acme/bb)"), "{fault}");
    assert_eq!(disk_bytes(&bench), three);

    // When the worker has gone, the large one comes by itself.
    bench.server.desire(wanting(&site, 4, &[], &[3]));
    wait_ready(&bench, &large).await;
    assert!(disk_bytes(&bench) <= CACHE_BYTES_MAX.bytes());
    bench.stop().await;

    let store = store_of(&bench);
    let Some(Why::Gone(gone)) = store.why(&first) else { panic!("{:?}", store.why(&first)) };
    let DepartureCause::Evicted { reason, score } = &gone.cause else { panic!("{gone:?}") };
    assert_eq!(*reason, EvictionReason::RoomFor(third));
    assert!(score.contains("to fetch again"), "{score}");
    assert!(gone.freed >= ByteSize(3_000_000));
    assert_eq!(gone.provenance.unwrap().bytes, site.models[0].manifest.bytes());
    let Some(Why::Gone(gone)) = store.why(&used) else { panic!("{:?}", store.why(&used)) };
    // Its arrival, and one start.
    assert_eq!(gone.uses.unwrap().count(), 2);
    let Some(Why::Here(here)) = store.why(&large) else { panic!("it is here") };
    let store::Arrival::Fetched { sources, .. } = here.provenance.unwrap().arrival else {
        panic!("it was fetched")
    };
    assert_eq!(sources.iter().map(|source| source.bytes).sum::<ByteSize>(), site.models[3].manifest.bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rots_is_found_and_brought_again_although_nobody_asks() {
    let site = Site::start(&[("a", 1)]).await;
    let key = site.key(0);
    let driver = Arc::new(WatchedDriver::new());
    let pace = ScrubPace {
        bytes_per_second: u64::MAX,
        periods: ScrubPeriods { ordinary: Duration::from_millis(200), linked: Duration::from_millis(200) },
    };
    let mut bench = Bench::new(driver.clone(), limits(), Commits::AtOnce).await;
    bench.server.desire(wanting(&site, 1, &[], &[0]));
    wait_ready(&bench, &key).await;
    bench.stop().await;

    let weights =
        site.models[0].manifest.files().iter().max_by_key(|file| file.size).unwrap().digest.to_string();
    let blob = bench.folder.path().join("store/blobs").join(&weights[..2]).join(&weights);
    let whole = std::fs::read(&blob).unwrap();
    let mut rotten = whole.clone();
    rotten[500_000] ^= 1;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, &rotten).unwrap();

    let driver = Arc::new(driver.restarted());
    bench.reopen(driver, AgentLimits { scrub: pace, ..limits() }, Commits::AtOnce).await;
    bench.server.desire(wanting(&site, 2, &[], &[]));
    let deadline = std::time::Instant::now() + crate::server::DEADLINE;
    while std::fs::read(&blob).is_ok_and(|bytes| bytes == rotten) || !blob.exists() {
        assert!(std::time::Instant::now() < deadline, "it is not repaired");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    wait_ready(&bench, &key).await;
    assert_eq!(std::fs::read(&blob).unwrap(), whole);
    bench.stop().await;
    let store = store_of(&bench);
    assert!(store.verify(&key).unwrap().is_sound());
    assert_eq!(store.disk_usage().unwrap().quarantined, ByteSize(0));
}
