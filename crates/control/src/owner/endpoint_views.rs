//! Endpoints as clients see them.

use api::{EndpointList, EndpointView, GpuBody, Problem, ReleaseView, RequestUrls, ScalingBody, WorkersBody};
use types::{Isolation, Launch, Scaler, TenantId};

use super::Owner;
use crate::picture::{EndpointEntry, ReleaseEntry};

impl Owner {
    /// Returns a tenant's endpoints, by name.
    pub(crate) fn endpoint_list(&self, tenant: &TenantId) -> EndpointList {
        let mine = self.names.iter().filter(|((owner, _), _)| owner == tenant);
        let entries = mine.filter_map(|(_, id)| self.endpoints.get(id));
        EndpointList { endpoints: entries.map(|entry| self.view_of(entry)).collect() }
    }

    /// Returns one endpoint.
    pub(crate) fn endpoint_view(&self, tenant: &TenantId, endpoint: &str) -> Result<EndpointView, Problem> {
        let id = self.endpoint_of(tenant, endpoint)?;
        Ok(self.view_of(self.endpoints.get(&id).expect("its id was just found")))
    }

    fn view_of(&self, entry: &EndpointEntry) -> EndpointView {
        let (row, release) = (&entry.row, entry.release());
        let (command, image, folder, python) = match &release.row.launch {
            Launch::Command { command, folder, python } => (
                Some(command.words().to_vec()),
                None,
                folder.map(|digest| digest.to_string()),
                python.as_ref().map(|path| path.to_string_lossy().into_owned()),
            ),
            Launch::Image { image } => (None, Some(image.clone()), None, None),
        };
        let scaling = &row.scaling;
        let demand_waits = self.fleet.endpoint(&row.endpoint).is_some_and(|facts| facts.demand.queued > 0);
        let starts = self.reports.get(&row.endpoint).is_some_and(|report| !report.waits.is_empty());
        EndpointView {
            id: row.endpoint.clone(),
            name: row.name.clone(),
            kind: "QUEUE".to_owned(),
            request_urls: self.urls_of(row.endpoint.as_str()),
            release: ReleaseView {
                id: release.row.release.clone(),
                version: release.row.version,
                created_at: release.row.created_at.to_rfc3339(),
            },
            env_names: release.env.keys().cloned().collect(),
            models: release
                .row
                .models
                .iter()
                .map(|model| self.model_view(&row.tenant, &model.reference, &model.key))
                .collect(),
            hub_access: release.row.hub_access,
            hub_endpoint: release.row.hub_endpoint.clone(),
            command,
            image,
            folder,
            python,
            gpu: GpuBody { pools: release.row.gpu.kinds.clone(), count: release.row.gpu.count },
            workers: WorkersBody {
                min: Some(scaling.workers_min),
                max: Some(scaling.workers_max),
                idle_timeout: Some(scaling.idle_timeout.as_secs_f64()),
            },
            scaling: match scaling.scaler {
                Scaler::QueueDelay { queue_delay } => {
                    ScalingBody::QueueDelay { queue_delay: queue_delay.as_secs_f64() }
                }
                Scaler::RequestCount { request_count } => ScalingBody::RequestCount { request_count },
            },
            timeout: millis(scaling.execution_timeout),
            job_ttl: millis(scaling.job_ttl),
            init_timeout: millis(scaling.init_timeout),
            worker_counts: self.worker_counters(&row.endpoint),
            waiting: if demand_waits || starts { self.wait_view(&row.endpoint) } else { None },
            warnings: self.warnings_of(release),
            created_at: row.created_at.to_rfc3339(),
        }
    }

    fn urls_of(&self, endpoint: &str) -> RequestUrls {
        let url = |operation: &str| format!("{}/v2/{endpoint}/{operation}", self.options.public_url);
        RequestUrls {
            run: url("run"),
            run_sync: url("runsync"),
            status: url("status/"),
            cancel: url("cancel/"),
            health: url("health"),
        }
    }

    fn warnings_of(&self, release: &ReleaseEntry) -> Vec<String> {
        let mut warnings = Vec::new();
        let named = release.env.get("MODEL_NAME");
        if let Some(name) = named.filter(|_| release.row.models.is_empty()) {
            let shown: String = name.expose().chars().take(100).collect();
            warnings.push(format!(
                "MODEL_NAME is set and the endpoint has no model: workers will fetch {shown} themselves, in billed \
                 time; --model {shown} has it fetched before they start"
            ));
        }
        if self.hosts.values().any(|host| host.capacity.isolation == Isolation::None) {
            warnings.push(
                "workers run without isolation: they see the host, and models only through HF_HUB_CACHE"
                    .to_owned(),
            );
        }
        warnings
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
