//! Mutations: the only way in which the database changes.

use types::{EndpointId, JobId, KeyId, Manifest, ModelKey, ReleaseId, SecretRef, TenantId, WorkerId};

use crate::{
    ChunkRow, EndpointRow, FolderRow, GrantRow, HostRow, IntervalRow, JobPayload, JobRow, KeyRow, OutputRow,
    PullRow, ReleaseRow, SecretRow, TenantRow, WorkerRow,
};

/// One change. A batch of them is applied whole or not at all. `Put` writes a row over one with the same key.
#[derive(Clone, Debug)]
pub enum Mutation {
    /// Writes a tenant.
    PutTenant(TenantRow),
    /// Writes a key.
    PutKey(KeyRow),
    /// Removes a key.
    RemoveKey(TenantId, KeyId),
    /// Seals and writes a secret.
    PutSecret(SecretRow),
    /// Removes a secret.
    RemoveSecret(TenantId, SecretRef),
    /// Writes a manifest, once for each model key: it is the same for every tenant, and knowing it is no right.
    PutManifest(Manifest),
    /// Writes an endpoint.
    PutEndpoint(EndpointRow),
    /// Removes an endpoint with its releases. Its jobs and its ledger stay.
    RemoveEndpoint(TenantId, EndpointId),
    /// Writes a release.
    PutRelease(ReleaseRow),
    /// Removes a release that is not its endpoint's present one.
    RemoveRelease(TenantId, EndpointId, ReleaseId),
    /// Writes a new job with what it brings.
    AddJob(JobRow, JobPayload),
    /// Writes a job's row.
    PutJob(JobRow),
    /// Removes a job with all that belongs to it.
    RemoveJob(TenantId, JobId),
    /// Writes what a job ended with.
    PutOutput(OutputRow),
    /// Removes a job's output and chunks, because it is tried again.
    ClearOutput(TenantId, JobId),
    /// Writes a chunk of a stream.
    PutChunk(ChunkRow),
    /// Writes a worker.
    PutWorker(WorkerRow),
    /// Removes a worker. Its ledger stays.
    RemoveWorker(TenantId, WorkerId),
    /// Adds a stretch of time to the ledger.
    AddInterval(IntervalRow),
    /// Writes a pull.
    PutPull(PullRow),
    /// Removes a pull.
    RemovePull(TenantId, ModelKey),
    /// Writes a grant.
    PutGrant(GrantRow),
    /// Writes a folder's row. Its file stands already.
    PutFolder(FolderRow),
    /// Removes a folder's row. Its file goes afterwards.
    RemoveFolder(TenantId, String),
    /// Writes a host.
    PutHost(HostRow),
}
