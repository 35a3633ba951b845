//! The three requests, and what is looked at after each.

use std::{fs, time::Duration};

use api::{CreateEndpoint, JobView, ModelBody, UsageView, WorkerView, WorkersBody};
use base::Clock;
use cli::{Client, Progress, Screen};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use types::{EndpointName, ErrorCode, Fault, JobStatus};

use super::{prepare::MODEL, stage::Stage};

/// The example worker.
const HANDLER: &str = include_str!("../../../../examples/text-embed/handler.py");
/// The endpoint's name.
pub(super) const ENDPOINT: &str = "text-embed";
/// Long enough for the third request to meet a warm worker, short enough to wait for its end.
const IDLE_SECONDS: f64 = 3.0;
/// A cold start takes seconds; a machine under load, with Python to compile, takes a minute.
const JOB_TIMEOUT: Duration = Duration::from_secs(180);
/// A worker that is idle for its time ends within its grace.
const WORKER_TIMEOUT: Duration = Duration::from_secs(60);
/// The SDK sleeps for a second after a job before it asks for another (`rp_scale.py` in runpod 1.12).
const REST: Duration = Duration::from_millis(1200);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// As many lines of a worker's log as help.
const LOG_LINES_SHOWN: u32 = 12;

/// What is asked: which of these is nearest to the question.
const TEXTS: [&str; 4] = [
    "Bread rises because yeast makes gas in the dough.",
    "A pantry keeps food at hand, so nobody goes to the market for every meal.",
    "The moon pulls the sea towards it.",
    "Cats sleep for most of the day.",
];
pub(super) const QUERY: &str = "Why is it good to have a larder in the kitchen?";

/// What the example answers.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Nearest {
    /// The text that is nearest to the question.
    pub(super) nearest: String,
    /// How near: 1 is the same.
    pub(super) score: f64,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Act {
    /// How it ended.
    pub(super) job: JobView,
    /// The worker that took it.
    pub(super) worker: WorkerView,
    /// What it answered.
    pub(super) answer: Nearest,
}

/// Everything that is shown in the end.
#[derive(Clone, Debug)]
pub(super) struct Acts {
    /// With nothing anywhere.
    pub(super) first: Act,
    /// With the model on the shelf and no worker.
    pub(super) second: Act,
    /// With a warm worker.
    pub(super) third: Act,
    /// The ledger.
    pub(super) usage: UsageView,
}

/// Makes the endpoint and sends the three requests.
pub(super) async fn play(client: &Client, stage: &Stage, screen: &mut Screen) -> Result<Acts, Fault> {
    create_endpoint(client, stage, screen).await?;
    let first = request(client, screen, "1  nothing anywhere").await?;
    wait_gone(client, screen).await?;
    let second = request(client, screen, "2  the model is on the shelf, no worker runs").await?;
    rest(screen).await;
    let third = request(client, screen, "3  the worker is warm").await?;
    wait_gone(client, screen).await?;
    let usage = client.usage(Some(ENDPOINT)).await?;
    Ok(Acts { first, second, third, usage })
}

async fn create_endpoint(client: &Client, stage: &Stage, screen: &mut Screen) -> Result<(), Fault> {
    let folder = stage.example_folder();
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("handler.py"), HANDLER))
        .map_err(|error| Fault::new(ErrorCode::DiskError, format!("can't write the example: {error}")))?;
    let packed = cli::pack(&folder).map_err(|error| error.fault())?;
    let folder = client.store_folder(packed).await?.digest;
    let name: EndpointName = ENDPOINT.parse().expect("the name is fixed and valid");
    let view = client
        .create_endpoint(&CreateEndpoint {
            name,
            command: Some(vec!["python".to_owned(), "handler.py".to_owned()]),
            image: None,
            folder: Some(folder),
            python: Some(stage.prepared().environment.display().to_string()),
            env: [].into(),
            models: vec![ModelBody { reference: MODEL.to_owned(), ..ModelBody::default() }],
            hub_token: None,
            hub_endpoint: None,
            hub_access: None,
            gpu: None,
            workers: Some(WorkersBody { min: None, max: Some(1), idle_timeout: Some(IDLE_SECONDS) }),
            scaling: None,
            timeout: None,
            job_ttl: None,
            init_timeout: None,
        })
        .await?;
    for model in &view.models {
        screen.note(format!("Endpoint {} needs {} at commit {}", view.name, model.repo, model.commit));
    }
    for warning in &view.warnings {
        screen.warn(warning);
    }
    Ok(())
}

async fn request(client: &Client, screen: &mut Screen, title: &str) -> Result<Act, Fault> {
    screen.note(title);
    let body = json!({"input": {"texts": TEXTS, "query": QUERY}}).to_string();
    let body: Box<RawValue> = RawValue::from_string(body).expect("what was just written is JSON");
    let sent = client.submit(ENDPOINT, &body).await?;
    let waited =
        tokio::time::timeout(JOB_TIMEOUT, cli::wait_for_job(client, ENDPOINT, sent.id.as_str(), screen));
    let job = match waited.await {
        Ok(job) => job?,
        Err(_) => {
            let view = client.job(ENDPOINT, sent.id.as_str()).await?;
            let why = view.waiting.and_then(|waiting| waiting.fault);
            let message = format!("the request is {} after {} s", view.status, JOB_TIMEOUT.as_secs());
            return Err(why.unwrap_or_else(|| Fault::new(ErrorCode::Timeout, message)));
        }
    };
    let worker = client.worker(job.worker_id.as_deref().unwrap_or_default()).await;
    if job.status != JobStatus::Completed {
        let error = job.error.clone().unwrap_or_default();
        let fault = Fault::new(ErrorCode::JobFailed, format!("the request is {}: {error}", job.status));
        return Err(match worker {
            Ok(worker) => with_worker_log(fault, client, &worker).await,
            Err(_) => fault,
        });
    }
    let output = job.output.as_ref().map_or("null", |output| output.get());
    let answer = serde_json::from_str(output).map_err(|error| {
        Fault::new(ErrorCode::JobFailed, format!("the answer makes no sense: {error}: {output}"))
    })?;
    Ok(Act { worker: worker?, job, answer })
}

async fn with_worker_log(fault: Fault, client: &Client, worker: &WorkerView) -> Fault {
    let logs = client.logs(worker.id.as_str(), LOG_LINES_SHOWN).await;
    let lines: Vec<String> = logs.into_iter().flat_map(|logs| logs.lines).map(|line| line.line).collect();
    if lines.is_empty() {
        fault
    } else {
        fault.with_hint(format!("the worker wrote:\n  {}", lines.join("\n  ")))
    }
}

/// Lets the worker come to rest: warm is a worker that asks for work.
async fn rest(screen: &mut Screen) {
    let mut progress = Progress::new();
    progress.step(screen, "waiting until the worker asks for work again");
    Clock::System.sleep(REST).await;
}

/// Waits until no worker of the endpoint is left.
async fn wait_gone(client: &Client, screen: &mut Screen) -> Result<(), Fault> {
    let text = format!("waiting until the worker, idle for {IDLE_SECONDS} s, has been ended");
    wait_workers(client, screen, &text, |worker| worker.phase.is_over()).await
}

/// Waits until every worker of the endpoint is as wanted.
async fn wait_workers(
    client: &Client,
    screen: &mut Screen,
    text: &str,
    is_wanted: impl Fn(&WorkerView) -> bool,
) -> Result<(), Fault> {
    let clock = Clock::System;
    let deadline = clock.now() + WORKER_TIMEOUT;
    let mut progress = Progress::new();
    progress.step(screen, text);
    loop {
        let list = client.endpoint_workers(ENDPOINT).await?;
        if list.workers.iter().all(&is_wanted) {
            return Ok(());
        }
        if clock.now() >= deadline {
            return Err(Fault::new(ErrorCode::Timeout, format!("{text} took too long")));
        }
        clock.sleep(LOOK_AGAIN).await;
    }
}
