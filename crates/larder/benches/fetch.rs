//! How fast one model comes from a hub on this machine: verified, published, synced.
//!
//! Three figures in one run, each from a cold store: ours; the limit, which is the plain pipeline (as many connections,
//! preallocated files, SHA-256, sync) without any of what makes it safe; and `hf download`, when the tests' Python
//! environment is prepared. Only ratios mean something: machines differ, and so does one machine over a day.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on stops")]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use base::{Clock, Entropy, RealDisk};
use sha2::{Digest as _, Sha256};
use store::{HubStanding, Store, StoreOptions, Supplier};
use tokio_util::sync::CancellationToken;
use transfer::{FetchRequest, HubSource, SourceList, Transfer, TransferOptions};
use types::{HubName, ModelRef, TenantId};

const FILES: usize = 8;
const FILE_BYTES: usize = 128 * 1024 * 1024;
const ROUNDS: usize = 3;
const MODEL: &str = "bench/model";

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir_in(bench_folder()).expect("the target folder can be written");
    let models = folder.path().join("models");
    write_model(&models.join(MODEL));
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut hub = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["hub", "serve"])
        .arg(&models)
        .args(["--listen", &address])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the hub starts");
    let endpoint = format!("http://{address}");
    wait_until_it_answers(&endpoint).await;

    println!("fetch of {FILES} files of {} MiB, best and median of {ROUNDS} rounds", FILE_BYTES >> 20);
    let mut ours = Vec::new();
    let mut limit = Vec::new();
    let mut peer = Vec::new();
    for round in 0..ROUNDS {
        ours.push(fetch(&endpoint, &folder.path().join(format!("ours-{round}"))).await);
        limit.push(plain_pipeline(&endpoint, &folder.path().join(format!("plain-{round}"))));
        if let Some(took) = hf_download(&endpoint, &folder.path().join(format!("hf-{round}"))) {
            peer.push(took);
        }
    }
    end(&mut hub);
    let ours = report("larder, verified and synced", &mut ours);
    let limit = report("plain pipeline (the limit)", &mut limit);
    println!("ratio to the limit: {:.2}", ours / limit);
    if peer.is_empty() {
        println!("hf download: not measured (LARDER_TEST_VENV is not set)");
    } else {
        let peer = report("hf download, unverified", &mut peer);
        println!("ratio to hf download: {:.1}", ours / peer);
    }
}

/// Prints a row and returns the median rate in GB/s (10^9).
fn report(name: &str, times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    let rate = |took: Duration| (FILES * FILE_BYTES) as f64 / took.as_secs_f64() / 1e9;
    let median = rate(times[times.len() / 2]);
    println!("{name:<30} best {:.2} GB/s  median {median:.2} GB/s", rate(times[0]));
    median
}

fn bench_folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned();
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

/// Writes files that do not compress and of which no two share a byte range.
fn write_model(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), "{}").unwrap();
    for number in 0..FILES {
        let mut file = File::create(folder.join(format!("model-{number}.safetensors"))).unwrap();
        let entropy = Entropy::seeded(number as u64);
        for _ in 0..FILE_BYTES / 4096 {
            file.write_all(&entropy.bytes::<4096>()).unwrap();
        }
    }
}

async fn wait_until_it_answers(endpoint: &str) {
    let address = format!("{endpoint}/api/models/{MODEL}/tree/main?recursive=true");
    let begun = Instant::now();
    while !reqwest::get(&address).await.is_ok_and(|answer| answer.status().is_success()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the hub does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn fetch(endpoint: &str, folder: &Path) -> Duration {
    let begun = Instant::now();
    let store =
        Store::open(Arc::new(RealDisk), Clock::System, StoreOptions::at(folder)).expect("a store opens");
    let hub = bench_hub(endpoint);
    let reference: ModelRef = MODEL.parse().unwrap();
    let model = hub.resolve_model(&reference, None).await.expect("the hub has the model");
    let (transfer, service) =
        Transfer::new(TransferOptions::default(), store, Clock::System, Entropy::System);
    let token = CancellationToken::new();
    let running = tokio::task::spawn(service.run(token.clone()));
    let supplier = Supplier {
        hub: model.repo.hub.clone(),
        tenant: TenantId::default_tenant(),
        standing: HubStanding::Trusted,
    };
    let source = HubSource::new(hub, model.repo.name.clone(), model.commit, None);
    let sources = SourceList::one(Arc::new(source));
    let request = FetchRequest { manifest: Arc::new(model.manifest), sources, supplier };
    transfer.fetch(request).join().await.expect("the fetch ends well");
    let took = begun.elapsed();
    token.cancel();
    running.await.unwrap();
    took
}

fn bench_hub(endpoint: &str) -> hub::Hub {
    let name: HubName = "bench".parse().unwrap();
    hub::Hub::new(hub::HubOptions::new(name, endpoint.parse().unwrap())).expect("a client can be made")
}

/// Eight connections, each one file: read, hash, write into a preallocated file, sync.
fn plain_pipeline(endpoint: &str, folder: &Path) -> Duration {
    fs::create_dir_all(folder).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..FILES {
            scope.spawn(move || {
                let address = format!("{endpoint}/{MODEL}/resolve/main/model-{number}.safetensors");
                let mut answer = Command::new("curl")
                    .args(["--silent", "--fail", "--location", &address])
                    .stdout(Stdio::piped())
                    .spawn()
                    .expect("curl is installed");
                let mut body = answer.stdout.take().expect("the output is piped");
                let file = File::create(folder.join(format!("{number}"))).unwrap();
                nix::fcntl::posix_fallocate(&file, 0, i64::try_from(FILE_BYTES).unwrap()).unwrap();
                let mut hasher = Sha256::new();
                let mut buffer = vec![0; 1024 * 1024];
                let mut offset = 0;
                loop {
                    let read = body.read(&mut buffer).unwrap();
                    if read == 0 {
                        break;
                    }
                    hasher.update(&buffer[..read]);
                    file.write_all_at(&buffer[..read], offset).unwrap();
                    offset += read as u64;
                }
                assert_eq!(offset as usize, FILE_BYTES);
                std::hint::black_box(hasher.finalize());
                file.sync_all().unwrap();
                answer.wait().unwrap();
            });
        }
    });
    begun.elapsed()
}

fn hf_download(endpoint: &str, folder: &Path) -> Option<Duration> {
    let venv = PathBuf::from(std::env::var_os("LARDER_TEST_VENV")?);
    let begun = Instant::now();
    let status = Command::new(venv.join("bin/hf"))
        .args(["download", MODEL])
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env("HF_HUB_DISABLE_UPDATE_CHECK", "1")
        .env("HF_HUB_DISABLE_XET", "1")
        .env("HF_HOME", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .ok()?;
    status.success().then(|| begun.elapsed())
}

fn end(child: &mut Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
    child.wait().unwrap();
}
