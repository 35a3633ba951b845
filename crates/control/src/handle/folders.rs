//! Released folders: keeping and showing them.

use std::sync::Arc;

use api::{FolderView, Problem};
use bytes::Bytes;
use state::{FolderRow, KeyScope, Mutation};
use types::{Digest, ErrorCode, Fault};

use super::Handle;
use crate::{Caller, folders, owner::problem, validate::FieldErrors};

impl Handle {
    /// Keeps a folder's archive, named by its SHA-256 in hex.
    ///
    /// # Errors
    /// `field-invalid` when the bytes are others; `folder-too-large`.
    pub async fn put_folder(
        &self,
        caller: &Caller,
        digest: &str,
        bytes: Bytes,
    ) -> Result<FolderView, Problem> {
        caller.needs(KeyScope::Admin)?;
        let limit = self.shared.options.folder_bytes_max;
        let len = bytes.len() as u64;
        if len > limit.bytes() {
            let fault = Fault::new(
                ErrorCode::FolderTooLarge,
                format!("the archive has {len} bytes, the limit is {limit}"),
            )
            .with_hint("leave out what is not code with an ignore file; weights belong into --model");
            return Err(fault.into());
        }
        let found = folders::digest_of(&bytes);
        if digest.parse::<Digest>().ok() != Some(found) {
            let mut errors = FieldErrors::default();
            errors.add("digest", format!("the archive's SHA-256 is {found}"));
            errors.check()?;
        }
        folders::write(Arc::clone(&self.shared.options.disk), &self.shared.folders(), &found, bytes).await?;
        let (tenant, created_at) = (caller.tenant.clone(), self.shared.clock.now());
        let digest = found.to_string();
        self.call(move |owner| {
            let row = FolderRow { tenant: tenant.clone(), digest: digest.clone(), bytes: len, created_at };
            owner.write(Mutation::PutFolder(row.clone()));
            owner.folders.insert((tenant, digest.clone()), row);
            Ok(FolderView { digest, bytes: len })
        })
        .await
    }

    /// Returns a folder's archive that the caller has put.
    ///
    /// # Errors
    /// `folder-not-found`.
    pub async fn folder(&self, caller: &Caller, digest: &str) -> Result<FolderView, Problem> {
        caller.needs(KeyScope::Read)?;
        let (tenant, digest) = (caller.tenant.clone(), digest.to_owned());
        self.call(move |owner| {
            let found = owner.folders.get(&(tenant, digest.clone()));
            found.map(|row| FolderView { digest: row.digest.clone(), bytes: row.bytes }).ok_or_else(|| {
                let shown: String = digest.chars().take(80).collect();
                problem(ErrorCode::FolderNotFound, format!("no folder {shown:?} was uploaded"))
            })
        })
        .await
    }
}
