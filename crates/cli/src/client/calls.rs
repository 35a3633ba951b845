//! One method for each route.

use std::fmt::Write as _;

use api::{
    Acknowledged, CreateEndpoint, EndpointList, EndpointView, FolderView, HealthView, HostList, HostView,
    JobView, LogList, UpdateEndpoint, UsageView, WorkerList, WorkerView,
};
use reqwest::Method;
use serde::Serialize;
use serde_json::value::RawValue;
use types::{ErrorCode, Fault};

use super::Client;
use crate::folder::PackedFolder;

/// Where the management routes stand.
const MANAGEMENT: [&str; 2] = ["api", "v2"];

#[derive(Serialize)]
struct Nothing {}

impl Client {
    /// Makes an endpoint.
    ///
    /// # Errors
    /// What the server says, or that it is away: so for every method here.
    pub async fn create_endpoint(&self, body: &CreateEndpoint) -> Result<EndpointView, Fault> {
        self.send(Method::POST, &managed(&["serverless"]), body).await
    }

    /// Returns every endpoint.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn endpoints(&self) -> Result<EndpointList, Fault> {
        self.get(&managed(&["serverless"]), &[]).await
    }

    /// Returns one endpoint.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn endpoint(&self, endpoint: &str) -> Result<EndpointView, Fault> {
        self.get(&managed(&["serverless", endpoint]), &[]).await
    }

    /// Changes an endpoint.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn update_endpoint(
        &self,
        endpoint: &str,
        body: &UpdateEndpoint,
    ) -> Result<EndpointView, Fault> {
        self.send(Method::PATCH, &managed(&["serverless", endpoint]), body).await
    }

    /// Removes an endpoint.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn delete_endpoint(&self, endpoint: &str) -> Result<(), Fault> {
        self.body(self.request(Method::DELETE, &managed(&["serverless", endpoint]), &[])).await.map(drop)
    }

    /// Sends a job and returns at once. `body` is the whole job body, with its `input`.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn submit(&self, endpoint: &str, body: &RawValue) -> Result<Acknowledged, Fault> {
        self.send(Method::POST, &["v2", endpoint, "run"], &body).await
    }

    /// Returns a job, with what it waits for and its attempts.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn job(&self, endpoint: &str, job: &str) -> Result<JobView, Fault> {
        self.get(&managed(&["jobs", endpoint, job]), &[]).await
    }

    /// Ends a job.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn cancel(&self, endpoint: &str, job: &str) -> Result<Acknowledged, Fault> {
        self.send(Method::POST, &["v2", endpoint, "cancel", job], &Nothing {}).await
    }

    /// Tries an ended job again.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn retry(&self, endpoint: &str, job: &str) -> Result<Acknowledged, Fault> {
        self.send(Method::POST, &["v2", endpoint, "retry", job], &Nothing {}).await
    }

    /// Returns the counters of an endpoint.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn health(&self, endpoint: &str) -> Result<HealthView, Fault> {
        self.get(&["v2", endpoint, "health"], &[]).await
    }

    /// Returns every worker.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn workers(&self) -> Result<WorkerList, Fault> {
        self.get(&managed(&["workers"]), &[]).await
    }

    /// Returns the workers of one endpoint.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn endpoint_workers(&self, endpoint: &str) -> Result<WorkerList, Fault> {
        self.get(&managed(&["serverless", endpoint, "workers"]), &[]).await
    }

    /// Returns one worker.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn worker(&self, worker: &str) -> Result<WorkerView, Fault> {
        self.get(&managed(&["workers", worker]), &[]).await
    }

    /// Returns the last lines that a worker wrote.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn logs(&self, worker: &str, tail: u32) -> Result<LogList, Fault> {
        self.get(&managed(&["workers", worker, "logs"]), &[("tail", &tail.to_string())]).await
    }

    /// Returns what endpoints used.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn usage(&self, endpoint: Option<&str>) -> Result<UsageView, Fault> {
        let query: Vec<(&str, &str)> = endpoint.iter().map(|name| ("endpoint", *name)).collect();
        self.get(&managed(&["usage"]), &query).await
    }

    /// Returns every host.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn hosts(&self) -> Result<HostList, Fault> {
        self.get(&managed(&["hosts"]), &[]).await
    }

    /// Returns one host.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn host(&self, host: &str) -> Result<HostView, Fault> {
        self.get(&managed(&["hosts", host]), &[]).await
    }

    /// Stores a folder, when the server lacks it.
    ///
    /// # Errors
    /// See [`Client::create_endpoint`].
    pub async fn store_folder(&self, folder: PackedFolder) -> Result<FolderView, Fault> {
        let path = managed(&["folders", &folder.digest]);
        match self.get(&path, &[]).await {
            Err(fault) if matches!(fault.code, ErrorCode::FolderNotFound | ErrorCode::RouteNotFound) => {
                let request = self.request(Method::PUT, &path, &[]);
                self.answer(request.header("content-type", "application/x-tar").body(folder.archive)).await
            }
            other => other,
        }
    }

    /// Returns whether the server takes requests.
    pub async fn is_ready(&self) -> bool {
        self.body(self.request(Method::GET, &["readyz"], &[])).await.is_ok()
    }
}

/// Puts the segments of a management route behind those that all of them share.
pub(super) fn managed<'a>(segments: &[&'a str]) -> Vec<&'a str> {
    MANAGEMENT.iter().chain(segments).copied().collect()
}

/// Returns the body of a job: the text itself when it is one already, or an object with it as `input`.
///
/// # Errors
/// A fault when the text is no JSON.
pub(crate) fn job_body(text: &str) -> Result<Box<RawValue>, Fault> {
    let value: &RawValue = serde_json::from_str(text).map_err(|error| {
        Fault::new(ErrorCode::BodyNotJson, format!("the input is not JSON: {error}"))
            .with_hint("quote it for the shell: larder run NAME '{\"text\": \"hello\"}'")
    })?;
    let is_body = matches!(
        serde_json::from_str(text),
        Ok(serde_json::Value::Object(fields))
            if fields.contains_key("input")
                && fields.keys().all(|key| matches!(key.as_str(), "input" | "webhook" | "policy" | "s3Config"))
    );
    let mut body = String::new();
    if is_body {
        body.push_str(value.get());
    } else {
        write!(body, "{{\"input\":{}}}", value.get()).expect("a string takes every text");
    }
    Ok(RawValue::from_string(body).expect("JSON inside an object is JSON"))
}
