//! Bodies that make and change endpoints.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, time::Duration};

use api::{CreateEndpoint, GpuBody, ModelBody, Problem, ScalingBody, UpdateEndpoint, WorkersBody};
use base::Redacted;
use types::{
    CommandLine, Digest, EndpointName, ErrorCode, Fault, GpuNeed, HubAccess, HubName, Launch, ModelRef,
    Pattern, Scaler, Scaling, SelectionWish,
};
use url::Url;

use super::{
    EXECUTION_TIMEOUT, FieldErrors, TTL,
    model::{WishFields, selection_wish},
};
use crate::HubConfig;

/// Models of one endpoint: each is a mount of every worker.
const MODELS_MAX: usize = 16;
/// The kernel's limit for one environment text is 128 KiB (MAX_ARG_STRLEN); all of them together stay well below the
/// space for a new process.
const ENV_BYTES_MAX: usize = 128 * 1024;
/// Hardware with more GPUs in one machine is not sold.
const GPUS_MAX: u32 = 16;
/// Runpod's limit of GPU types.
const GPU_POOLS_MAX: usize = 3;
/// Far above what one fleet of this version runs.
const WORKERS_MAX: u32 = 1000;
/// Runpod's range.
const IDLE_TIMEOUT: RangeInclusive<f64> = 1.0..=3600.0;
/// Runpod's least, and the longest TTL, after which no job waits.
const QUEUE_DELAY: RangeInclusive<f64> = 0.5..=604_800.0;
/// From the shortest start that a process can make to a day of loading.
const INIT_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// Which hub an endpoint's models come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubChoice {
    pub(crate) name: HubName,
    pub(crate) endpoint: Url,
    pub(crate) trusted: bool,
}

/// One model as asked for, with its hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelDraft {
    pub(crate) reference: ModelRef,
    pub(crate) hub: HubChoice,
    pub(crate) wish: SelectionWish,
}

/// What a release would fix, before its models are resolved.
#[derive(Clone, Debug)]
pub(crate) struct SpecDraft {
    pub(crate) launch: Launch,
    pub(crate) env: BTreeMap<String, Redacted<String>>,
    pub(crate) models: Vec<ModelDraft>,
    pub(crate) hub_token: Option<Redacted<String>>,
    pub(crate) hub_endpoint: Option<Url>,
    pub(crate) hub_access: HubAccess,
    pub(crate) gpu: GpuNeed,
}

/// What applies at once: only what is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScalingChange {
    workers: Option<WorkersBody>,
    scaling: Option<ScalingBody>,
    timeout: Option<u64>,
    job_ttl: Option<u64>,
    init_timeout: Option<u64>,
}

/// Checks a new endpoint.
pub(crate) fn create_draft(
    body: CreateEndpoint,
    hubs: &[HubConfig],
) -> Result<(EndpointName, SpecDraft, Scaling), Problem> {
    let mut errors = FieldErrors::default();
    let change = ScalingChange {
        workers: body.workers,
        scaling: body.scaling,
        timeout: body.timeout,
        job_ttl: body.job_ttl,
        init_timeout: body.init_timeout,
    };
    let scaling = change.apply(&Scaling::default(), &mut errors);
    let launch = launch(body.command, body.image, body.folder, body.python, &mut errors);
    check_env(&body.env, &mut errors);
    check_hub_endpoint(body.hub_endpoint.as_ref(), &mut errors);
    let models = models(&body.models, body.hub_endpoint.as_ref(), hubs, &mut errors);
    let gpu = gpu(body.gpu.unwrap_or_default(), &mut errors);
    let hub_access = body.hub_access.unwrap_or(default_access(&body.models));
    errors.check_as(code_of(&body.models))?;
    let launch =
        launch.ok_or_else(|| Problem::from(Fault::new(ErrorCode::Internal, "a launch passed unchecked")))?;
    let spec = SpecDraft {
        launch,
        env: body.env,
        models,
        hub_token: body.hub_token,
        hub_endpoint: body.hub_endpoint,
        hub_access,
        gpu,
    };
    Ok((body.name, spec, scaling))
}

/// Checks a change of an endpoint. Returns the changed spec, or none when nothing of it is given.
pub(crate) fn update_draft(
    body: UpdateEndpoint,
    present: SpecDraft,
    scaling: &Scaling,
    hubs: &[HubConfig],
) -> Result<(Option<SpecDraft>, Scaling), Problem> {
    let mut errors = FieldErrors::default();
    let change = ScalingChange {
        workers: body.workers,
        scaling: body.scaling,
        timeout: body.timeout,
        job_ttl: body.job_ttl,
        init_timeout: body.init_timeout,
    };
    let scaling = change.apply(scaling, &mut errors);
    let launch_given =
        body.command.is_some() || body.image.is_some() || body.folder.is_some() || body.python.is_some();
    let models_given = body.models.is_some() || body.hub_endpoint.is_some() || body.hub_token.is_some();
    let other_given = body.env.is_some() || body.hub_access.is_some() || body.gpu.is_some();
    let mut spec = present;
    if launch_given {
        let merged =
            merged_launch(&spec.launch, body.command, body.image, body.folder, body.python, &mut errors);
        spec.launch = merged.unwrap_or(spec.launch);
    }
    if let Some(env) = body.env {
        check_env(&env, &mut errors);
        spec.env = env;
    }
    check_hub_endpoint(body.hub_endpoint.as_ref(), &mut errors);
    spec.hub_endpoint = body.hub_endpoint.or(spec.hub_endpoint);
    spec.hub_token = body.hub_token.or(spec.hub_token);
    let asked = body.models.unwrap_or_else(|| spec.models.iter().map(as_asked).collect());
    if models_given {
        spec.models = models(&asked, spec.hub_endpoint.as_ref(), hubs, &mut errors);
    }
    spec.hub_access = body.hub_access.unwrap_or(spec.hub_access);
    if let Some(body) = body.gpu {
        spec.gpu = gpu(body, &mut errors);
    }
    errors.check_as(code_of(&asked))?;
    Ok(((launch_given || models_given || other_given).then_some(spec), scaling))
}

/// Returns a model as it was asked for.
fn as_asked(model: &ModelDraft) -> ModelBody {
    let texts = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect();
    ModelBody {
        reference: model.reference.to_string(),
        include: texts(&model.wish.include),
        exclude: texts(&model.wish.exclude),
        weights: Some(model.wish.weights),
    }
}

/// Chooses the hub of a reference: the endpoint's own address, the one that it names, or the default one. A link names a
/// hub by its host; that of a configured hub means this one, whatever its name.
pub(super) fn hub_choice(
    reference: &ModelRef,
    own: Option<&Url>,
    hubs: &[HubConfig],
) -> Result<HubChoice, String> {
    let configured = |hub: &HubConfig| HubChoice {
        name: hub.name.clone(),
        endpoint: hub.endpoint.clone(),
        trusted: hub.trusted,
    };
    if let Some(own) = own {
        if let Some(hub) = hubs.iter().find(|hub| same_place(&hub.endpoint, own)) {
            return Ok(configured(hub));
        }
        let name = own.host_str().and_then(|host| {
            own.port_or_known_default().and_then(|port| format!("{host}:{port}").to_lowercase().parse().ok())
        });
        let name: HubName = name.ok_or("the hub's address has no host that can name it")?;
        return Ok(HubChoice { name, endpoint: own.clone(), trusted: false });
    }
    match &reference.hub {
        None => hubs.first().map(configured).ok_or_else(|| "no hub is configured".to_owned()),
        Some(name) => {
            let by_name = hubs.iter().find(|hub| hub.name == *name);
            let by_host = || hubs.iter().find(|hub| is_at(&hub.endpoint, name));
            by_name.or_else(by_host).map(configured).ok_or_else(|| {
                let known: Vec<_> = hubs.iter().map(|hub| format!("{} ({})", hub.name, hub.endpoint)).collect();
                format!(
                    "no hub {name} is configured; known are: {}; give the address of another with --hub-endpoint",
                    known.join(", ")
                )
            })
        }
    }
}

/// Whether a hub answers at the host that a name is, with its port unless that is the usual one.
fn is_at(endpoint: &Url, name: &HubName) -> bool {
    let Some(host) = endpoint.host_str() else { return false };
    let with_port = endpoint.port_or_known_default().map(|port| format!("{host}:{port}"));
    let as_written = endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    name.as_str() == as_written || with_port.as_deref() == Some(name.as_str())
}

/// Whether two addresses are one hub: the slash at the end does not matter.
fn same_place(one: &Url, other: &Url) -> bool {
    one.as_str().trim_end_matches('/') == other.as_str().trim_end_matches('/')
}

impl ScalingChange {
    fn apply(&self, present: &Scaling, errors: &mut FieldErrors) -> Scaling {
        let mut scaling = present.clone();
        if let Some(workers) = &self.workers {
            scaling.workers_max = workers.max.unwrap_or(scaling.workers_max);
            scaling.workers_min = workers.min.unwrap_or(scaling.workers_min);
            if scaling.workers_max > WORKERS_MAX {
                errors.add("workers.max", format!("must be 0 to {WORKERS_MAX}"));
            }
            if scaling.workers_min > scaling.workers_max {
                errors.add(
                    "workers.min",
                    format!("must not be above workers.max, which is {}", scaling.workers_max),
                );
            }
            if let Some(seconds) = workers.idle_timeout {
                if IDLE_TIMEOUT.contains(&seconds) {
                    scaling.idle_timeout = Duration::from_secs_f64(seconds);
                } else {
                    errors.add("workers.idleTimeout", "must be 1 to 3600 seconds");
                }
            }
        }
        match self.scaling {
            None => {}
            Some(ScalingBody::QueueDelay { queue_delay }) if QUEUE_DELAY.contains(&queue_delay) => {
                scaling.scaler = Scaler::QueueDelay { queue_delay: Duration::from_secs_f64(queue_delay) };
            }
            Some(ScalingBody::QueueDelay { .. }) => {
                errors.add("scaling.queueDelay", "must be 0.5 to 604800 seconds");
            }
            Some(ScalingBody::RequestCount { request_count: 0 }) => {
                errors.add("scaling.requestCount", "must be 1 or more");
            }
            Some(ScalingBody::RequestCount { request_count }) => {
                scaling.scaler = Scaler::RequestCount { request_count };
            }
        }
        if let Some(timeout) = errors.duration("timeout", self.timeout, &EXECUTION_TIMEOUT) {
            scaling.execution_timeout = timeout;
        }
        if let Some(ttl) = errors.duration("jobTtl", self.job_ttl, &TTL) {
            scaling.job_ttl = ttl;
        }
        if let Some(timeout) = errors.duration("initTimeout", self.init_timeout, &INIT_TIMEOUT) {
            scaling.init_timeout = timeout;
        }
        scaling
    }
}

fn launch(
    command: Option<Vec<String>>,
    image: Option<String>,
    folder: Option<String>,
    python: Option<String>,
    errors: &mut FieldErrors,
) -> Option<Launch> {
    match (command, image) {
        (Some(words), None) => {
            let command = CommandLine::try_from(words).map_err(|reason| errors.add("command", reason)).ok();
            let folder = folder.and_then(|text| folder_digest(&text, errors));
            let python = python.and_then(|text| python_path(text, errors));
            Some(Launch::Command { command: command?, folder, python })
        }
        (None, Some(_)) => {
            errors.add("image", "no host of this version can run an image; give a command");
            None
        }
        (Some(_), Some(_)) => {
            errors.add("image", "give either a command or an image, not both");
            None
        }
        (None, None) => {
            errors.add("command", "give a command, as a list of the program and its arguments");
            None
        }
    }
}

/// Puts what is given over what is there.
fn merged_launch(
    present: &Launch,
    command: Option<Vec<String>>,
    image: Option<String>,
    folder: Option<String>,
    python: Option<String>,
    errors: &mut FieldErrors,
) -> Option<Launch> {
    match present {
        Launch::Command { command: words, folder: old_folder, python: old_python } if image.is_none() => {
            let command = command.unwrap_or_else(|| words.words().to_vec());
            let folder = folder.or_else(|| old_folder.map(|digest| digest.to_string()));
            let python =
                python.or_else(|| old_python.as_ref().map(|path| path.to_string_lossy().into_owned()));
            launch(Some(command), None, folder, python, errors)
        }
        Launch::Command { .. } | Launch::Image { .. } => launch(command, image, folder, python, errors),
    }
}

fn folder_digest(text: &str, errors: &mut FieldErrors) -> Option<Digest> {
    match text.parse() {
        Ok(digest @ Digest::Sha256(_)) => Some(digest),
        Ok(Digest::GitSha1(_)) | Err(_) => {
            errors.add("folder", "must be the SHA-256 of an uploaded archive, 64 hex digits");
            None
        }
    }
}

fn python_path(text: String, errors: &mut FieldErrors) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    let whole = path.is_absolute()
        && path.components().all(|part| !matches!(part, std::path::Component::ParentDir))
        && !path.as_os_str().as_encoded_bytes().contains(&0);
    if !whole {
        errors.add("python", "must be the absolute path of a virtual environment on the hosts, without ..");
        return None;
    }
    Some(path)
}

fn check_env(env: &BTreeMap<String, Redacted<String>>, errors: &mut FieldErrors) {
    let mut bytes = 0;
    for (name, value) in env {
        bytes += name.len() + value.expose().len() + 2;
        let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let shown: String = name.chars().take(80).collect();
            errors.add(
                format!("env.{shown}"),
                "a name holds letters, digits and underscores, and begins with no digit",
            );
        } else if value.expose().contains('\0') {
            errors.add(format!("env.{name}"), "a value holds no NUL");
        }
    }
    if bytes > ENV_BYTES_MAX {
        errors.add("env", format!("is {bytes} bytes in all, the limit is {ENV_BYTES_MAX}"));
    }
}

fn check_hub_endpoint(endpoint: Option<&Url>, errors: &mut FieldErrors) {
    let Some(url) = endpoint else { return };
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain || url.fragment().is_some() || !url.has_host() {
        errors.add("hubEndpoint", "must be an http or https address without user, query or fragment");
    }
}

fn models(
    bodies: &[ModelBody],
    own: Option<&Url>,
    hubs: &[HubConfig],
    errors: &mut FieldErrors,
) -> Vec<ModelDraft> {
    if bodies.len() > MODELS_MAX {
        errors.add("models", format!("are {}, the limit is {MODELS_MAX}", bodies.len()));
        return Vec::new();
    }
    let mut drafts: Vec<ModelDraft> = Vec::new();
    for (at, body) in bodies.iter().enumerate() {
        let field = format!("models[{at}].reference");
        let reference: ModelRef = match body.reference.parse() {
            Ok(reference) => reference,
            Err(error) => {
                errors.add(field, format!("{error}; expected {}", types::ModelRefError::EXPECTED));
                continue;
            }
        };
        if drafts.iter().any(|draft| draft.reference == reference) {
            errors.add(field, "stands in the list twice");
            continue;
        }
        match hub_choice(&reference, own, hubs) {
            Ok(hub) => {
                let fields = WishFields {
                    prefix: &format!("models[{at}]."),
                    include: &body.include,
                    exclude: &body.exclude,
                    weights: body.weights,
                };
                let wish = selection_wish(&reference, fields, errors);
                drafts.push(ModelDraft { reference, hub, wish });
            }
            Err(reason) => errors.add(field, reason),
        }
    }
    drafts
}

fn gpu(body: GpuBody, errors: &mut FieldErrors) -> GpuNeed {
    if body.count > GPUS_MAX {
        errors.add("gpu.count", format!("must be 0 to {GPUS_MAX}"));
    }
    if body.pools.len() > GPU_POOLS_MAX {
        errors.add("gpu.pools", format!("are {}, the limit is {GPU_POOLS_MAX}", body.pools.len()));
    }
    GpuNeed { kinds: body.pools, count: body.count }
}

/// With models, libraries find them on the shelf and the rest on the hub; without, they do what they do.
fn default_access(models: &[ModelBody]) -> HubAccess {
    if models.is_empty() { HubAccess::Online } else { HubAccess::Edge }
}

/// A body whose only fault is a model reference is refused under that code.
fn code_of(models: &[ModelBody]) -> ErrorCode {
    if models.iter().any(|model| model.reference.parse::<ModelRef>().is_err()) {
        ErrorCode::ModelRefInvalid
    } else {
        ErrorCode::FieldInvalid
    }
}
