//! From the options of `create` and `update` to the bodies of the API.

use std::{collections::BTreeMap, path::PathBuf};

use api::{CreateEndpoint, GpuBody, ModelBody, UpdateEndpoint, WorkersBody};
use base::{ByteSize, Redacted};
use types::{EndpointName, ErrorCode, Fault, ModelRef, ModelRefError};

use crate::{
    args::{GpuWish, Seconds, SelectionArgs, SpecArgs, Variable},
    client::Client,
    folder,
    progress::Progress,
    screen::Screen,
    surroundings::Surroundings,
};

/// Packs and stores the folder that the options mean, and returns its digest. A command without `--dir` means the
/// current folder.
pub(super) async fn store_folder(
    spec: &SpecArgs,
    client: &Client,
    surroundings: &Surroundings,
    screen: &mut Screen,
    progress: &mut Progress,
) -> Result<Option<String>, Fault> {
    let folder = match (&spec.dir, &spec.command, spec.no_dir) {
        (Some(dir), _, _) => surroundings.folder.join(dir),
        (None, Some(_), false) => surroundings.folder.clone(),
        (None, Some(_), true) | (None, None, _) => return Ok(None),
    };
    let folder: PathBuf = folder.components().collect();
    let packed = folder::pack(&folder).map_err(|error| error.fault())?;
    let bytes = ByteSize(packed.archive.len() as u64);
    let files = if packed.files == 1 { "1 file".to_owned() } else { format!("{} files", packed.files) };
    progress.step(screen, &format!("storing {} ({files}, {bytes})", folder.display()));
    Ok(Some(client.store_folder(packed).await?.digest))
}

/// Makes the body that creates an endpoint.
pub(super) fn create(
    name: EndpointName,
    spec: SpecArgs,
    folder: Option<String>,
    surroundings: &Surroundings,
) -> Result<CreateEndpoint, Fault> {
    if spec.command.is_none() && spec.image.is_none() {
        return Err(Fault::new(ErrorCode::FieldInvalid, "an endpoint needs something that its workers run")
            .with_hint("give --command \"python handler.py\", or --image NAME"));
    }
    let UpdateEndpoint {
        command,
        image,
        folder,
        python,
        env,
        models,
        hub_token,
        hub_endpoint,
        hub_access,
        gpu,
        workers,
        scaling,
        timeout,
        job_ttl,
        init_timeout,
    } = update(spec, folder, surroundings)?;
    Ok(CreateEndpoint {
        name,
        command,
        image,
        folder,
        python,
        env: env.unwrap_or_default(),
        models: models.unwrap_or_default(),
        hub_token,
        hub_endpoint,
        hub_access,
        gpu,
        workers,
        scaling,
        timeout,
        job_ttl,
        init_timeout,
    })
}

/// Makes the body that changes an endpoint.
pub(super) fn update(
    spec: SpecArgs,
    folder: Option<String>,
    surroundings: &Surroundings,
) -> Result<UpdateEndpoint, Fault> {
    let hub_token = match (&spec.hf_token, spec.models.is_empty()) {
        (Some(given), _) => Some(given.clone()),
        // The environment's token is sent only where it is of use.
        (None, false) => surroundings.hub_token.clone(),
        (None, true) => None,
    };
    Ok(UpdateEndpoint {
        command: spec.command.as_deref().map(split).transpose()?,
        image: spec.image.clone(),
        folder,
        python: spec.python.map(|venv| python(venv, surroundings)),
        env: variables(spec.variables),
        models: models(&spec.models, &spec.selection)?,
        hub_token,
        hub_endpoint: spec.hub_endpoint,
        hub_access: spec.hub_access.map(|wish| wish.0),
        gpu: gpu(&spec.gpus)?,
        workers: workers(spec.workers_min, spec.workers_max, spec.idle_timeout),
        scaling: spec.scaler,
        timeout: spec.timeout.map(Seconds::as_millis),
        job_ttl: spec.job_ttl.map(Seconds::as_millis),
        init_timeout: spec.init_timeout.map(Seconds::as_millis),
    })
}

fn split(command: &str) -> Result<Vec<String>, Fault> {
    match shlex::split(command) {
        Some(words) if !words.is_empty() => Ok(words),
        Some(_) => Err(Fault::new(ErrorCode::FieldInvalid, "the command is empty")),
        None => Err(Fault::new(
            ErrorCode::FieldInvalid,
            format!("the command ends inside a quotation: {command}"),
        )),
    }
}

/// Makes the path absolute without following links: a virtual environment's own path matters.
fn python(venv: PathBuf, surroundings: &Surroundings) -> String {
    surroundings.folder.join(venv).components().collect::<PathBuf>().display().to_string()
}

fn variables(variables: Vec<Variable>) -> Option<BTreeMap<String, Redacted<String>>> {
    let map: BTreeMap<_, _> = variables.into_iter().map(|variable| (variable.name, variable.value)).collect();
    (!map.is_empty()).then_some(map)
}

/// Checks the references here already, so that a bad one is told without a server.
fn models(references: &[String], selection: &SelectionArgs) -> Result<Option<Vec<ModelBody>>, Fault> {
    if references.is_empty() && !selection.is_empty() {
        let message = "--include, --exclude and --weights say which files of a model, and no model is named";
        return Err(
            Fault::new(ErrorCode::FieldInvalid, message).with_hint("name the models again with --model")
        );
    }
    let bodies: Result<Vec<ModelBody>, Fault> = references
        .iter()
        .map(|reference| {
            parse_model(reference)?;
            Ok(ModelBody {
                reference: reference.trim().to_owned(),
                include: selection.include(),
                exclude: selection.exclude(),
                weights: selection.weights(),
            })
        })
        .collect();
    bodies.map(|bodies| (!bodies.is_empty()).then_some(bodies))
}

/// Parses a model reference.
pub(in crate::commands) fn parse_model(reference: &str) -> Result<ModelRef, Fault> {
    reference.parse().map_err(|error: ModelRefError| {
        Fault::from_error(ErrorCode::ModelRefInvalid, &error).with_hint(ModelRefError::EXPECTED)
    })
}

fn gpu(wishes: &[GpuWish]) -> Result<Option<GpuBody>, Fault> {
    if wishes.is_empty() {
        return Ok(None);
    }
    GpuWish::join(wishes).map(Some).map_err(|message| Fault::new(ErrorCode::FieldInvalid, message))
}

fn workers(min: Option<u32>, max: Option<u32>, idle_timeout: Option<Seconds>) -> Option<WorkersBody> {
    let body = WorkersBody { min, max, idle_timeout: idle_timeout.map(|span| span.0.as_secs_f64()) };
    (body != WorkersBody::default()).then_some(body)
}
