//! Keys: whose they are, and the first one.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use base::{Entropy, Redacted, Timestamp};
use data_encoding::BASE32_NOPAD;
use state::{KeyHash, KeyRow, KeyScope, Loaded, Mutation, State, TenantRow};
use types::{Epoch, KeyId, TenantId};

use crate::{Caller, OpenControlError, handle::Shared};

/// Random bytes of a key: 200 bits, 40 characters, so that guessing is out of the question.
const KEY_BYTES: usize = 25;

/// Known keys by their hashes, shared with the handle so that a request need not pass through the owner for it.
///
/// The lookup's time tells of the hash only, and that is keyed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys(Arc<RwLock<HashMap<KeyHash, Caller>>>);

impl Keys {
    /// Returns whose key has this hash.
    pub(crate) fn find(&self, hash: &KeyHash) -> Option<Caller> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    /// Replaces all keys.
    pub(super) fn replace(&self, rows: &[KeyRow]) {
        let callers = rows.iter().map(|row| {
            let (tenant, key) = (row.tenant.clone(), row.key.clone());
            (row.hash, Caller { tenant, key, scopes: row.scopes.clone() })
        });
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = callers.collect();
    }
}

/// Makes the first tenant and its admin key. The file is written first: a key that nobody can read would lock
/// everybody out, and a file whose key is not known yet is written over by the next start.
pub(super) async fn begin_tenancy(
    shared: &Shared,
    entropy: &Entropy,
    epoch: Epoch,
    now: Timestamp,
) -> Result<Loaded, OpenControlError> {
    let text = Redacted::new(format!(
        "lk_{}",
        BASE32_NOPAD.encode(&entropy.bytes::<KEY_BYTES>()).to_ascii_lowercase()
    ));
    let path = shared.options.data_folder.join("admin.key");
    let (disk, file, line) = (Arc::clone(&shared.options.disk), path.clone(), format!("{}\n", text.expose()));
    let written = tokio::task::spawn_blocking(move || {
        if let Some(folder) = file.parent() {
            disk.make_folder(folder)?;
        }
        base::write_privately(&disk, &file, line.as_bytes())
    });
    written
        .await
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(|source| OpenControlError::AdminKey { path, source })?;
    let tenant = TenantId::default_tenant();
    let key = KeyRow {
        tenant: tenant.clone(),
        key: KeyId::generate(entropy),
        hash: shared.state.hash_key(&text),
        scopes: BTreeSet::from([KeyScope::Admin]),
        label: "made by the first start".to_owned(),
        created_at: now,
    };
    let batch = vec![Mutation::PutTenant(TenantRow { tenant, created_at: now }), Mutation::PutKey(key)];
    commit(&shared.state, epoch, batch).await?;
    Ok(shared.state.load().await?)
}

async fn commit(state: &State, epoch: Epoch, batch: Vec<Mutation>) -> Result<(), OpenControlError> {
    Ok(state.commit(epoch, batch).await?)
}
