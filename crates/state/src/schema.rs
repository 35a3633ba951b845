//! The tables, and how an older database becomes the present one.
//!
//! Rows are looked up by key and loaded whole at the start, so a table has its key's columns and one JSON record.
//! What SQL itself must compare (time windows of the ledger, order of chunks) has columns of its own.

use rusqlite::Connection;

use crate::DatabaseError;

/// Each step takes the database from the version of its index to the next. Steps are never changed, only added.
const MIGRATIONS: [&str; 1] = [r"
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', 0), ('incarnation', 0);
CREATE TABLE tenants (tenant TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE keys (tenant TEXT, key TEXT, record TEXT NOT NULL, PRIMARY KEY (tenant, key)) WITHOUT ROWID;
CREATE TABLE secrets (
    tenant TEXT, secret TEXT, key_id TEXT NOT NULL, nonce BLOB NOT NULL, sealed BLOB NOT NULL,
    PRIMARY KEY (tenant, secret)
) WITHOUT ROWID;
CREATE TABLE manifests (model TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE endpoints (tenant TEXT, endpoint TEXT, record TEXT NOT NULL, PRIMARY KEY (tenant, endpoint)) WITHOUT ROWID;
CREATE TABLE releases (
    tenant TEXT, endpoint TEXT, release TEXT, record TEXT NOT NULL, PRIMARY KEY (tenant, endpoint, release)
) WITHOUT ROWID;
CREATE TABLE jobs (tenant TEXT, job TEXT, record TEXT NOT NULL, PRIMARY KEY (tenant, job)) WITHOUT ROWID;
CREATE TABLE payloads (
    tenant TEXT NOT NULL, job TEXT NOT NULL, input TEXT NOT NULL, webhook TEXT,
    key_id TEXT, nonce BLOB, s3_sealed BLOB, PRIMARY KEY (tenant, job)
);
CREATE TABLE outputs (
    tenant TEXT NOT NULL, job TEXT NOT NULL, output TEXT, error TEXT, PRIMARY KEY (tenant, job)
);
CREATE TABLE chunks (
    tenant TEXT NOT NULL, job TEXT NOT NULL, position INTEGER NOT NULL, output TEXT NOT NULL,
    PRIMARY KEY (tenant, job, position)
);
CREATE TABLE workers (tenant TEXT, worker TEXT, record TEXT NOT NULL, PRIMARY KEY (tenant, worker)) WITHOUT ROWID;
CREATE TABLE ledger (
    number INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, begin INTEGER NOT NULL, finish INTEGER NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX ledger_by_end ON ledger (tenant, finish);
CREATE TABLE pulls (tenant TEXT, model TEXT, record TEXT NOT NULL, PRIMARY KEY (tenant, model)) WITHOUT ROWID;
CREATE TABLE grants (tenant TEXT, repo TEXT, record TEXT NOT NULL, PRIMARY KEY (tenant, repo)) WITHOUT ROWID;
CREATE TABLE folders (tenant TEXT, digest TEXT, record TEXT NOT NULL, PRIMARY KEY (tenant, digest)) WITHOUT ROWID;
CREATE TABLE hosts (host TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_is_kept BEFORE DELETE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"];

/// The newest schema that this program knows.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Returns the version of a database: zero for a fresh one.
pub(crate) fn version_of(connection: &Connection) -> Result<i64, DatabaseError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Brings a database from `version` to the present schema, each step whole or not at all.
pub(crate) fn migrate(connection: &mut Connection, version: i64) -> Result<(), DatabaseError> {
    for (number, step) in (1..=VERSION).zip(MIGRATIONS).filter(|(number, _)| *number > version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}
