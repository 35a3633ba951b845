//! All there is to know about a model before it is fetched, in one call.

use base::ByteSize;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::Digest as _;
use types::{
    Choice, Commit, Digest, Manifest, ManifestFile, ModelRef, RepoId, RepoPath, Revision, SelectionWish,
};

use crate::{
    Hub, Retry, Visibility,
    client::Token,
    error::{DocumentChanged, ReadError, ResolveModelError, SelectError},
    selection::{Documents, Offer, RepoKind, Selected, Survey, documents_wanted},
};

/// Documents asked for at once: enough that an image pipeline's indexes take two turns, few beside any hub's limit.
const DOCUMENTS_AT_ONCE: usize = 8;

/// A model, resolved to a commit and to files, that the token has been proven to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedModel {
    /// The repository, as the hub spells it.
    pub repo: RepoId,
    /// The commit.
    pub commit: Commit,
    /// Who may read it.
    pub visibility: Visibility,
    /// The files that make up the model.
    pub manifest: Manifest,
    /// The file with which the right to read is proven, now and later.
    pub weight_file: RepoPath,
    /// The size of all files of the manifest.
    pub bytes: ByteSize,
    /// What was chosen, and what the repository holds beyond it.
    pub choice: Choice,
}

/// What a repository has to choose from. Nothing is proven: listings of gated repositories are public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedModel {
    /// The repository, as the hub spells it.
    pub repo: RepoId,
    /// The commit.
    pub commit: Commit,
    /// Who may read it.
    pub visibility: Visibility,
    /// How it is laid out.
    pub kind: RepoKind,
    /// The ways to take it, the default first.
    pub offers: Vec<Offer>,
    /// What the reference and the wish would take, or why they can't.
    pub selected: Result<Selected, SelectError>,
    /// The model that an adapter needs beside itself.
    pub base_model: Option<String>,
    /// Whether Python code comes along, which some loaders run when they are told to trust it.
    pub has_code: bool,
}

/// A repository with its files and the documents that say which of them belong together.
struct Listed {
    repo: RepoId,
    commit: Commit,
    visibility: Visibility,
    listing: Vec<ManifestFile>,
    documents: Documents,
}

impl Hub {
    /// Resolves a model reference to what its default selection holds. See [`Hub::resolve_selection`].
    ///
    /// # Errors
    /// [`ResolveModelError`] by step and condition.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn resolve_model(
        &self,
        reference: &ModelRef,
        token: Token<'_>,
    ) -> Result<ResolvedModel, ResolveModelError> {
        self.resolve_selection(reference, &SelectionWish::default(), token).await
    }

    /// Resolves a model reference, lists its files, chooses among them and proves the right to read them.
    ///
    /// The hub that the reference names is not looked at: whoever calls has chosen this one.
    ///
    /// # Errors
    /// [`ResolveModelError`] by step and condition.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn resolve_selection(
        &self,
        reference: &ModelRef,
        wish: &SelectionWish,
        token: Token<'_>,
    ) -> Result<ResolvedModel, ResolveModelError> {
        let Listed { repo, commit, visibility, listing, documents } = self.listed(reference, token).await?;
        let selected =
            Survey::new(&repo, commit, &listing, &documents)?.select(reference.variant.as_ref(), wish)?;
        let Selected { manifest, weight_file, choice } = selected;
        self.prove_access(&repo.name, commit, &weight_file, token).await?;
        Ok(ResolvedModel { repo, commit, visibility, bytes: manifest.bytes(), manifest, weight_file, choice })
    }

    /// Says what a reference would take, and what else there is to choose from.
    ///
    /// # Errors
    /// [`ResolveModelError`] by step and condition. A selection that is refused is no error here.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn offer(
        &self,
        reference: &ModelRef,
        wish: &SelectionWish,
        token: Token<'_>,
    ) -> Result<OfferedModel, ResolveModelError> {
        let Listed { repo, commit, visibility, listing, documents } = self.listed(reference, token).await?;
        let survey = Survey::new(&repo, commit, &listing, &documents)?;
        let selected = survey.select(reference.variant.as_ref(), wish);
        let (kind, offers) = (survey.kind(), survey.offers());
        let (base_model, has_code) = (survey.base_model().map(str::to_owned), survey.has_code());
        Ok(OfferedModel { repo, commit, visibility, kind, offers, selected, base_model, has_code })
    }

    async fn listed(&self, reference: &ModelRef, token: Token<'_>) -> Result<Listed, ResolveModelError> {
        let revision = reference.revision.clone().unwrap_or_else(Revision::main);
        let resolved = self.resolve(&reference.repo, &revision, token).await?;
        let listing = self.list(&resolved.repo, resolved.commit, token).await?;
        let (repo, commit) = (RepoId { hub: self.name().clone(), name: resolved.repo }, resolved.commit);
        // A list of futures, not a closure in a stream: with that the whole could not be proved to be `Send`.
        let asked: Vec<_> = documents_wanted(&listing)
            .into_iter()
            .map(|file| self.document(&repo, commit, file, token))
            .collect();
        let read = futures::stream::iter(asked).buffer_unordered(DOCUMENTS_AT_ONCE);
        let read: Vec<(RepoPath, Bytes)> = read.try_collect().await?;
        let mut documents = Documents::default();
        for (path, bytes) in read {
            documents.insert(path, bytes);
        }
        Ok(Listed { repo, commit, visibility: resolved.visibility, listing, documents })
    }

    /// Reads a small file whole, with tries, and checks that it is the one that was listed.
    async fn document(
        &self,
        repo: &RepoId,
        commit: Commit,
        file: &ManifestFile,
        token: Token<'_>,
    ) -> Result<(RepoPath, Bytes), ResolveModelError> {
        let options = self.options();
        let mut tries = 1;
        let bytes = loop {
            match self.whole_file(repo, commit, file, token).await {
                Ok(bytes) => break bytes,
                Err(error) if error.retry() == Retry::Soon && tries < options.tries_max => {
                    tracing::debug!(hub = %self.name(), path = %file.path, %error, tries, "reading again");
                    let pause = options.backoff.after_with_jitter(tries, options.entropy.number());
                    options.clock.sleep(pause).await;
                    tries += 1;
                }
                Err(error) => return Err(error.into()),
            }
        };
        if is_digest_of(&file.digest, &bytes) {
            Ok((file.path.clone(), bytes))
        } else {
            Err(DocumentChanged { hub: self.name().clone(), path: file.path.clone() }.into())
        }
    }

    async fn whole_file(
        &self,
        repo: &RepoId,
        commit: Commit,
        file: &ManifestFile,
        token: Token<'_>,
    ) -> Result<Bytes, ReadError> {
        let mut body = self.open_file(&repo.name, commit, file, token).read_range(0, file.size).await?;
        // Grows with what comes: a listing may claim any size.
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}

fn is_digest_of(digest: &Digest, bytes: &[u8]) -> bool {
    match digest {
        Digest::Sha256(wanted) => sha2::Sha256::digest(bytes)[..] == wanted[..],
        Digest::GitSha1(wanted) => {
            let mut hash = sha1::Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
            hash.update(bytes);
            hash.finalize()[..] == wanted[..]
        }
    }
}

#[cfg(test)]
mod tests;
