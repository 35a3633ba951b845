//! `larder run` and `larder job …`: send a job, wait for it, and show what it waits for.

use std::{io::Read as _, time::Duration};

use api::{Acknowledged, JobView};
use base::Clock;
use types::{ErrorCode, Fault, JobStatus};

use super::endpoint::wait_words;
use crate::{
    args::{JobCommand, OutputFormat, RunArgs, Seconds, WaitArgs},
    client::{Client, job_body},
    failure::Failure,
    progress::Progress,
    screen::Screen,
    surroundings::Surroundings,
    words,
};

/// Between two looks at a job: what a person does not notice.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The largest input that is read: the most that `/run` takes.
const INPUT_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Sends a job and, unless told otherwise, waits for its output.
pub(crate) async fn send(
    arguments: RunArgs,
    client: &Client,
    surroundings: &Surroundings,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let text = read_input(&arguments.input, surroundings)?;
    let sent = client.submit(&arguments.endpoint, &job_body(&text)?).await?;
    if !arguments.detached {
        return wait(&arguments.endpoint, sent.id.as_str(), arguments.timeout, client, screen).await;
    }
    match screen.format() {
        OutputFormat::Json => screen.json(&sent),
        OutputFormat::Table => {
            screen.line(sent.id.as_str())?;
            screen.note(format!("Wait for it: larder job wait {} {}", arguments.endpoint, sent.id));
            Ok(())
        }
    }
}

/// Carries out a command about jobs.
pub(crate) async fn run(command: JobCommand, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match command {
        JobCommand::Show(job) => {
            let view = client.job(&job.endpoint, &job.job).await?;
            show(&view, screen)
        }
        JobCommand::Wait(WaitArgs { job, timeout }) => {
            wait(&job.endpoint, &job.job, timeout, client, screen).await
        }
        JobCommand::Cancel(job) => {
            let answer = client.cancel(&job.endpoint, &job.job).await?;
            acknowledged(&answer, screen)
        }
        JobCommand::Retry(job) => {
            let answer = client.retry(&job.endpoint, &job.job).await?;
            acknowledged(&answer, screen)
        }
    }
}

fn acknowledged(answer: &Acknowledged, screen: &mut Screen) -> Result<(), Failure> {
    match screen.format() {
        OutputFormat::Json => screen.json(answer),
        OutputFormat::Table => screen.line(format!("{} {}", answer.id, answer.status)),
    }
}

/// Returns the text itself, a file's, or that of the standard input.
fn read_input(given: &str, surroundings: &Surroundings) -> Result<String, Fault> {
    let (source, what): (Box<dyn std::io::Read>, String) = if given == "-" {
        (Box::new(std::io::stdin()), "the standard input".to_owned())
    } else if let Some(path) = given.strip_prefix('@') {
        let path = surroundings.folder.join(path);
        let opened = std::fs::File::open(&path);
        let file = opened.map_err(|error| unreadable(&path.display().to_string(), &error))?;
        (Box::new(file), path.display().to_string())
    } else {
        return Ok(given.to_owned());
    };
    let mut text = String::new();
    source.take(INPUT_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| unreadable(&what, &error))?;
    if text.len() as u64 > INPUT_BYTES_MAX {
        return Err(Fault::new(
            ErrorCode::BodyTooLarge,
            format!("{what} is larger than {INPUT_BYTES_MAX} bytes"),
        )
        .with_hint("put large inputs where the worker can fetch them, and send the address"));
    }
    Ok(text)
}

fn unreadable(what: &str, error: &std::io::Error) -> Fault {
    Fault::new(ErrorCode::FieldInvalid, format!("{what} can't be read: {error}"))
}

/// Waits until a job has ended and writes its output.
async fn wait(
    endpoint: &str,
    job: &str,
    timeout: Option<Seconds>,
    client: &Client,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let clock = screen.clock().clone();
    let view = tokio::select! {
        // Cancel-safe: the job goes on, and asking about it changes nothing.
        view = wait_for_job(client, endpoint, job, screen) => view?,
        // Cancel-safe: a signal stays delivered.
        () = interrupted() => {
            return Err(Fault::new(ErrorCode::Timeout, format!("stopped waiting; job {job} goes on"))
                .with_hint(format!(
                    "wait again with `larder job wait {endpoint} {job}`, or end it with `larder job cancel \
                     {endpoint} {job}`"
                ))
                .into());
        }
        // Cancel-safe: it only waits.
        () = sleep(&clock, timeout) => {
            return Err(Fault::new(ErrorCode::Timeout, format!("job {job} has not ended"))
                .with_hint(format!("it goes on; wait again with `larder job wait {endpoint} {job}`"))
                .into());
        }
    };
    ended(&view, screen)
}

/// Waits for Ctrl-C. Where the system gives no signals, it ends the process as it always does.
pub(super) async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits for as long as somebody wants to wait, or for ever.
pub(super) async fn sleep(clock: &Clock, timeout: Option<Seconds>) {
    match timeout {
        Some(timeout) => clock.sleep(timeout.0).await,
        None => std::future::pending().await,
    }
}

/// Waits until a job has ended, showing what it waits for.
///
/// # Errors
/// What the server says.
///
/// # Cancel safety
/// Dropping the future changes nothing: the job goes on.
pub async fn wait_for_job(
    client: &Client,
    endpoint: &str,
    job: &str,
    screen: &mut Screen,
) -> Result<JobView, Fault> {
    let clock = screen.clock().clone();
    let mut progress = Progress::new();
    let mut told = String::new();
    loop {
        let view = client.job(endpoint, job).await?;
        if view.status.is_terminal() {
            return Ok(view);
        }
        tell_failed_start(&view, screen, &mut progress, &mut told);
        show_wait(&view, screen, &mut progress);
        clock.sleep(LOOK_AGAIN).await;
    }
}

/// Warns of a start that failed, once for each reason, with what to do: a bar has room for neither.
fn tell_failed_start(view: &JobView, screen: &mut Screen, progress: &mut Progress, told: &mut String) {
    let Some(fault) = view.waiting.as_ref().and_then(|waiting| waiting.fault.as_ref()) else { return };
    if *told == fault.message {
        return;
    }
    fault.message.clone_into(told);
    progress.clear();
    screen.warn(format!("a start failed, and is tried again: {} ({})", fault.message, fault.code));
    if let Some(hint) = &fault.hint {
        screen.hint(hint);
    }
}

fn show_wait(view: &JobView, screen: &mut Screen, progress: &mut Progress) {
    match (&view.waiting, view.status) {
        (Some(waiting), _) => match &waiting.fetch {
            Some(fetch) => progress.fetch(screen, "fetching the model", fetch),
            // Up to the failure that some reasons quote: it was told above.
            None if waiting.fault.is_some() => {
                progress.step(screen, waiting.reason.split(": ").next().unwrap_or_default());
            }
            None => progress.step(screen, &waiting.reason),
        },
        (None, JobStatus::InQueue) => progress.step(screen, "in the queue"),
        (None, _) => {
            let worker = view.worker_id.as_deref().unwrap_or("a worker");
            progress.step(screen, &format!("running on {worker}"));
        }
    }
}

/// Writes the output of an ended job, to the letter in either format, and to people how its time was spent.
fn ended(view: &JobView, screen: &mut Screen) -> Result<(), Failure> {
    if let Some(output) = &view.output {
        screen.line(output.get())?;
    }
    if screen.format() == OutputFormat::Table {
        screen.note(summary(view));
    }
    outcome(view).map_err(Failure::from)
}

fn outcome(view: &JobView) -> Result<(), Fault> {
    let error = view.error.as_deref().unwrap_or("the job ended without a word");
    match view.status {
        JobStatus::Completed | JobStatus::InQueue | JobStatus::InProgress => Ok(()),
        JobStatus::Failed => Err(failure(error)),
        JobStatus::Cancelled => {
            Err(Fault::new(ErrorCode::JobCancelled, format!("job {} was cancelled", view.id)))
        }
        JobStatus::TimedOut => Err(Fault::new(ErrorCode::ExecutionTimeout, error)),
    }
}

/// Reads the error that a Python handler raised: JSON in a text, with the traceback in it.
fn failure(error: &str) -> Fault {
    let Ok(serde_json::Value::Object(raised)) = serde_json::from_str(error) else {
        return Fault::new(ErrorCode::JobFailed, error);
    };
    let text = |key: &str| raised.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().trim();
    let kind = text("error_type").trim_start_matches("<class '").trim_end_matches("'>");
    let message = format!("the handler raised {kind}: {}", text("error_message"));
    let fault = Fault::new(ErrorCode::JobFailed, message);
    match text("error_traceback") {
        "" => fault,
        traceback => fault.with_hint(format!("the handler's traceback:\n{traceback}")),
    }
}

fn summary(view: &JobView) -> String {
    let time = |millis: Option<i64>| words::millis(u64::try_from(millis.unwrap_or(0)).unwrap_or(0));
    let worker = match view.worker_id.as_deref() {
        None | Some("") => "no worker".to_owned(),
        Some(worker) => worker.to_owned(),
    };
    let retries = view.retries.map_or_else(String::new, |count| format!(", attempt {}", count + 1));
    format!(
        "{}: {} in the queue, {} running on {worker}{retries}",
        view.status,
        time(view.delay_time),
        time(view.execution_time)
    )
}

fn show(view: &JobView, screen: &mut Screen) -> Result<(), Failure> {
    if screen.format() == OutputFormat::Json {
        return screen.json(view);
    }
    screen.line(format!("{} {}", view.id, summary(view)))?;
    if let Some(waiting) = &view.waiting {
        screen.line(format!("  waiting  {}", wait_words(waiting)))?;
        if let Some(hint) = waiting.fault.as_ref().and_then(|fault| fault.hint.as_ref()) {
            screen.line(format!("  hint     {hint}"))?;
        }
    }
    for attempt in &view.attempts {
        let why = match &attempt.fault {
            Some(fault) => format!(": {} ({})", fault.message, fault.code),
            None => String::new(),
        };
        let ended = attempt.ended_at.as_deref().unwrap_or("now");
        screen.line(format!(
            "  attempt  {} on {} from {} to {ended}{why}",
            attempt.attempt, attempt.worker_id, attempt.given_at
        ))?;
    }
    if let Some(error) = &view.error {
        screen.line(format!("  error    {error}"))?;
    }
    if let Some(output) = &view.output {
        screen.line(format!("  output   {}", output.get()))?;
    }
    Ok(())
}
