//! Reading: everything at the start, single jobs and windows of the ledger afterwards.

use base::{Redacted, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use types::{JobId, Manifest, SecretRef, TenantId};

use crate::{
    ChunkRow, DatabaseError, EndpointRow, FolderRow, GrantRow, HostRow, IntervalRow, JobPayload, JobRow,
    KeyRow, OutputRow, PullRow, ReleaseRow, SecretRow, TenantRow, WorkerRow,
    seal::{Sealed, Sealer},
    write::{meta, secret_place},
};

/// Everything that the owner keeps in memory. Payloads, outputs, chunks and the ledger stay behind.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Grows when a database is begun or restored.
    pub incarnation: u64,
    /// Owners.
    pub tenants: Vec<TenantRow>,
    /// Access keys.
    pub keys: Vec<KeyRow>,
    /// Secrets, opened.
    pub secrets: Vec<SecretRow>,
    /// Manifests of resolved models.
    pub manifests: Vec<Manifest>,
    /// Endpoints.
    pub endpoints: Vec<EndpointRow>,
    /// Releases.
    pub releases: Vec<ReleaseRow>,
    /// Jobs that are not forgotten.
    pub jobs: Vec<JobRow>,
    /// Workers that are not forgotten.
    pub workers: Vec<WorkerRow>,
    /// Pulls.
    pub pulls: Vec<PullRow>,
    /// Grants.
    pub grants: Vec<GrantRow>,
    /// Released folders.
    pub folders: Vec<FolderRow>,
    /// Hosts.
    pub hosts: Vec<HostRow>,
}

/// Reads what the owner keeps, as of one moment.
pub(crate) fn load(connection: &mut Connection, sealer: &Sealer) -> Result<Loaded, DatabaseError> {
    let transaction = connection.transaction()?;
    Ok(Loaded {
        incarnation: meta(&transaction, "incarnation")?,
        tenants: records(&transaction, "tenants")?,
        keys: records(&transaction, "keys")?,
        secrets: secrets(&transaction, sealer)?,
        manifests: records(&transaction, "manifests")?,
        endpoints: records(&transaction, "endpoints")?,
        releases: records(&transaction, "releases")?,
        jobs: records(&transaction, "jobs")?,
        workers: records(&transaction, "workers")?,
        pulls: records(&transaction, "pulls")?,
        grants: records(&transaction, "grants")?,
        folders: records(&transaction, "folders")?,
        hosts: records(&transaction, "hosts")?,
    })
}

/// Reads what a job brought.
pub(crate) fn payload(
    connection: &Connection,
    sealer: &Sealer,
    tenant: &TenantId,
    job: &JobId,
) -> Result<Option<JobPayload>, DatabaseError> {
    let sql = "SELECT input, webhook, key_id, nonce, s3_sealed FROM payloads WHERE tenant = ?1 AND job = ?2";
    let found = connection
        .prepare_cached(sql)?
        .query_row([tenant.as_str(), job.as_str()], |row| {
            let sealed = match (row.get(2)?, row.get(3)?, row.get(4)?) {
                (Some(key_id), Some(nonce), Some(bytes)) => Some(Sealed { key_id, nonce, bytes }),
                _ => None,
            };
            Ok((row.get::<_, String>(0)?, row.get(1)?, sealed))
        })
        .optional()?;
    let Some((input, webhook, sealed)) = found else { return Ok(None) };
    let s3_config = match sealed {
        None => None,
        Some(sealed) => Some(
            sealer
                .open_sealed(&secret_place(tenant, job.as_str()), &sealed)
                .ok_or_else(|| DatabaseError::Sealed { secret: format!("s3Config of {job}") })?,
        ),
    };
    Ok(Some(JobPayload { input: raw("payloads", input)?, webhook, s3_config }))
}

/// Reads what a job ended with.
pub(crate) fn output(
    connection: &Connection,
    tenant: &TenantId,
    job: &JobId,
) -> Result<Option<OutputRow>, DatabaseError> {
    let found: Option<(Option<String>, Option<String>)> = connection
        .prepare_cached("SELECT output, error FROM outputs WHERE tenant = ?1 AND job = ?2")?
        .query_row([tenant.as_str(), job.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((output, error)) = found else { return Ok(None) };
    let output = output.map(|text| raw("outputs", text)).transpose()?;
    Ok(Some(OutputRow { tenant: tenant.clone(), job: job.clone(), output, error }))
}

/// Reads the chunks of a job from a position on, in order, no more than `bytes_max` beyond the first.
pub(crate) fn chunks(
    connection: &Connection,
    tenant: &TenantId,
    job: &JobId,
    from: u32,
    bytes_max: usize,
) -> Result<Vec<ChunkRow>, DatabaseError> {
    let sql = "SELECT position, output FROM chunks WHERE tenant = ?1 AND job = ?2 AND position >= ?3 ORDER BY position";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![tenant.as_str(), job.as_str(), from])?;
    let (mut chunks, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (index, text): (u32, String) = (row.get(0)?, row.get(1)?);
        bytes += text.len();
        if bytes > bytes_max && !chunks.is_empty() {
            break;
        }
        chunks.push(ChunkRow {
            tenant: tenant.clone(),
            job: job.clone(),
            index,
            output: raw("chunks", text)?,
        });
    }
    Ok(chunks)
}

/// Reads the stretches of time that overlap a window, in the order in which they were written.
pub(crate) fn intervals(
    connection: &Connection,
    tenant: &TenantId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<IntervalRow>, DatabaseError> {
    let sql = "SELECT record FROM ledger WHERE tenant = ?1 AND finish >= ?2 AND begin <= ?3 ORDER BY number";
    parsed(connection, "ledger", sql, &[&tenant.as_str(), &from.as_micros(), &to.as_micros()])
}

fn records<T: DeserializeOwned>(
    connection: &Connection,
    table: &'static str,
) -> Result<Vec<T>, DatabaseError> {
    parsed(connection, table, &format!("SELECT record FROM {table}"), &[])
}

fn parsed<T: DeserializeOwned>(
    connection: &Connection,
    table: &'static str,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<Vec<T>, DatabaseError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut parsed = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        parsed.push(serde_json::from_str(&text).map_err(|source| DatabaseError::Row { table, source })?);
    }
    Ok(parsed)
}

fn secrets(connection: &Connection, sealer: &Sealer) -> Result<Vec<SecretRow>, DatabaseError> {
    let mut statement =
        connection.prepare_cached("SELECT tenant, secret, key_id, nonce, sealed FROM secrets")?;
    let mut rows = statement.query([])?;
    let mut secrets = Vec::new();
    while let Some(row) = rows.next()? {
        let (tenant, secret): (String, String) = (row.get(0)?, row.get(1)?);
        let refuse = || DatabaseError::Sealed { secret: secret.clone() };
        let (Ok(tenant), Ok(reference)) = (tenant.parse::<TenantId>(), secret.parse::<SecretRef>()) else {
            return Err(refuse());
        };
        let sealed = Sealed { key_id: row.get(2)?, nonce: row.get(3)?, bytes: row.get(4)? };
        let value: Redacted<String> =
            sealer.open_sealed(&secret_place(&tenant, reference.as_str()), &sealed).ok_or_else(refuse)?;
        secrets.push(SecretRow { tenant, secret: reference, value });
    }
    Ok(secrets)
}

fn raw(table: &'static str, text: String) -> Result<Box<RawValue>, DatabaseError> {
    RawValue::from_string(text).map_err(|source| DatabaseError::Row { table, source })
}
