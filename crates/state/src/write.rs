//! Applying mutations inside a transaction.

use rusqlite::{Connection, OptionalExtension, ToSql, params};
use serde::Serialize;
use types::{ModelKey, TenantId};

use crate::{DatabaseError, JobPayload, JobRow, Mutation, SecretRow, seal::Sealer};

/// Returns a number of the `meta` table.
pub(crate) fn meta(connection: &Connection, name: &str) -> Result<u64, DatabaseError> {
    let value: Option<i64> = connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(u64::try_from(value.unwrap_or(0)).unwrap_or(0))
}

/// Sets a number of the `meta` table.
pub(crate) fn set_meta(connection: &Connection, name: &str, value: u64) -> Result<(), DatabaseError> {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    execute(connection, "INSERT OR REPLACE INTO meta VALUES (?1, ?2)", params![name, value])
}

/// The text by which a model stands in the database.
pub(crate) fn model_text(key: &ModelKey) -> String {
    format!("{}@{}:{}", key.repo, key.commit, key.selection)
}

/// The place of a secret, to which its sealing is bound.
pub(crate) fn secret_place(tenant: &TenantId, name: &str) -> String {
    format!("{tenant}/{name}")
}

/// Applies one mutation.
pub(crate) fn apply(
    connection: &Connection,
    sealer: &Sealer,
    mutation: &Mutation,
) -> Result<(), DatabaseError> {
    let put = Put { connection };
    match mutation {
        Mutation::PutTenant(row) => put.one("tenants", row.tenant.as_str(), row),
        Mutation::PutKey(row) => put.two("keys", row.tenant.as_str(), row.key.as_str(), row),
        Mutation::RemoveKey(tenant, key) => put.remove("keys", "key", tenant, key.as_str()),
        Mutation::PutSecret(row) => put_secret(connection, sealer, row),
        Mutation::RemoveSecret(tenant, secret) => put.remove("secrets", "secret", tenant, secret.as_str()),
        Mutation::PutManifest(manifest) => put.one("manifests", &model_text(manifest.key()), manifest),
        Mutation::PutEndpoint(row) => put.two("endpoints", row.tenant.as_str(), row.endpoint.as_str(), row),
        Mutation::RemoveEndpoint(tenant, endpoint) => {
            put.remove("releases", "endpoint", tenant, endpoint.as_str())?;
            put.remove("endpoints", "endpoint", tenant, endpoint.as_str())
        }
        Mutation::PutRelease(row) => {
            let key = params![
                row.tenant.as_str(),
                row.endpoint.as_str(),
                row.release.as_str(),
                json("releases", row)?
            ];
            execute(connection, "INSERT OR REPLACE INTO releases VALUES (?1, ?2, ?3, ?4)", key)
        }
        Mutation::RemoveRelease(tenant, endpoint, release) => {
            let sql = "DELETE FROM releases WHERE tenant = ?1 AND endpoint = ?2 AND release = ?3";
            execute(connection, sql, params![tenant.as_str(), endpoint.as_str(), release.as_str()])
        }
        Mutation::AddJob(row, payload) => {
            put_payload(connection, sealer, row, payload)?;
            put.two("jobs", row.tenant.as_str(), row.job.as_str(), row)
        }
        Mutation::PutJob(row) => put.two("jobs", row.tenant.as_str(), row.job.as_str(), row),
        Mutation::RemoveJob(tenant, job) => ["jobs", "payloads", "outputs", "chunks"]
            .iter()
            .try_for_each(|table| put.remove(table, "job", tenant, job.as_str())),
        Mutation::PutOutput(row) => {
            let output = row.output.as_ref().map(|raw| raw.get());
            let values = params![row.tenant.as_str(), row.job.as_str(), output, row.error];
            execute(connection, "INSERT OR REPLACE INTO outputs VALUES (?1, ?2, ?3, ?4)", values)
        }
        Mutation::ClearOutput(tenant, job) => {
            ["outputs", "chunks"].iter().try_for_each(|table| put.remove(table, "job", tenant, job.as_str()))
        }
        Mutation::PutChunk(row) => {
            let values = params![row.tenant.as_str(), row.job.as_str(), row.index, row.output.get()];
            execute(connection, "INSERT OR REPLACE INTO chunks VALUES (?1, ?2, ?3, ?4)", values)
        }
        Mutation::PutWorker(row) => put.two("workers", row.tenant.as_str(), row.worker.as_str(), row),
        Mutation::RemoveWorker(tenant, worker) => put.remove("workers", "worker", tenant, worker.as_str()),
        Mutation::AddInterval(row) => {
            let values =
                params![row.tenant.as_str(), row.from.as_micros(), row.to.as_micros(), json("ledger", row)?];
            let sql = "INSERT INTO ledger (tenant, begin, finish, record) VALUES (?1, ?2, ?3, ?4)";
            execute(connection, sql, values)
        }
        Mutation::PutPull(row) => put.two("pulls", row.tenant.as_str(), &model_text(&row.key), row),
        Mutation::RemovePull(tenant, key) => put.remove("pulls", "model", tenant, &model_text(key)),
        Mutation::PutGrant(row) => put.two("grants", row.tenant.as_str(), &row.repo.to_string(), row),
        Mutation::PutFolder(row) => put.two("folders", row.tenant.as_str(), &row.digest, row),
        Mutation::RemoveFolder(tenant, digest) => put.remove("folders", "digest", tenant, digest),
        Mutation::PutHost(row) => put.one("hosts", row.host.as_str(), row),
    }
}

/// The statements that most tables share. Table and column names come from this file only.
struct Put<'a> {
    connection: &'a Connection,
}

impl Put<'_> {
    fn one(&self, table: &'static str, key: &str, row: &impl Serialize) -> Result<(), DatabaseError> {
        let sql = format!("INSERT OR REPLACE INTO {table} VALUES (?1, ?2)");
        execute(self.connection, &sql, params![key, json(table, row)?])
    }

    fn two(
        &self,
        table: &'static str,
        tenant: &str,
        key: &str,
        row: &impl Serialize,
    ) -> Result<(), DatabaseError> {
        let sql = format!("INSERT OR REPLACE INTO {table} VALUES (?1, ?2, ?3)");
        execute(self.connection, &sql, params![tenant, key, json(table, row)?])
    }

    fn remove(&self, table: &str, column: &str, tenant: &TenantId, key: &str) -> Result<(), DatabaseError> {
        let sql = format!("DELETE FROM {table} WHERE tenant = ?1 AND {column} = ?2");
        execute(self.connection, &sql, params![tenant.as_str(), key])
    }
}

fn put_secret(connection: &Connection, sealer: &Sealer, row: &SecretRow) -> Result<(), DatabaseError> {
    let sealed = sealer.seal(&secret_place(&row.tenant, row.secret.as_str()), &row.value);
    let values = params![
        row.tenant.as_str(),
        row.secret.as_str(),
        sealed.key_id,
        sealed.nonce.as_slice(),
        sealed.bytes
    ];
    execute(connection, "INSERT OR REPLACE INTO secrets VALUES (?1, ?2, ?3, ?4, ?5)", values)
}

fn put_payload(
    connection: &Connection,
    sealer: &Sealer,
    row: &JobRow,
    payload: &JobPayload,
) -> Result<(), DatabaseError> {
    let sealed = payload
        .s3_config
        .as_ref()
        .map(|value| sealer.seal(&secret_place(&row.tenant, row.job.as_str()), value));
    let values = params![
        row.tenant.as_str(),
        row.job.as_str(),
        payload.input.get(),
        payload.webhook,
        sealed.as_ref().map(|sealed| &sealed.key_id),
        sealed.as_ref().map(|sealed| sealed.nonce.as_slice()),
        sealed.as_ref().map(|sealed| &sealed.bytes),
    ];
    execute(connection, "INSERT OR REPLACE INTO payloads VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", values)
}

fn execute(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<(), DatabaseError> {
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn json(table: &'static str, row: &impl Serialize) -> Result<String, DatabaseError> {
    serde_json::to_string(row).map_err(|source| DatabaseError::Row { table, source })
}
