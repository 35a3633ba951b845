//! Where the bytes of models come from beside their hub, as the operator says: mirrors, folders, buckets.
//!
//! Their clients live as long as the agent, so that connections and pauses are shared by all fetches.

use std::{collections::BTreeMap, sync::Arc};

use hub::{Folder, FolderOptions, FolderPlace, Hub, HubOptions, LiveToken};
use transfer::{FolderSource, HubSource, Source, SourceList};
use types::{ErrorCode, Fault, HubName, ModelKey};
use url::Url;

/// A source beside a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SideSource {
    /// Another address that answers the hub's protocol for the same repositories.
    Mirror {
        /// Where it answers.
        address: Url,
        /// Whether it is told tokens of the hub.
        token: MirrorToken,
    },
    /// Files over plain HTTP, or in a bucket.
    Folder(FolderPlace),
}

/// Whether a mirror is told the token that a model is fetched with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MirrorToken {
    /// Never: it serves what is public, or decides by itself.
    #[default]
    Withheld,
    /// Yes: the operator trusts it as much as the hub.
    Sent,
}

/// The sources beside each hub, in the order in which they are asked, before the hub. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SideSources(Arc<BTreeMap<HubName, Vec<Side>>>);

#[derive(Debug)]
enum Side {
    Mirror { mirror: Hub, token: MirrorToken },
    Folder(Folder),
}

impl SideSources {
    /// Makes their clients. Connects to nothing yet.
    ///
    /// # Errors
    /// A fault that names the address that can't be used.
    pub fn new(configured: impl IntoIterator<Item = (HubName, SideSource)>) -> Result<Self, Fault> {
        let mut sources: BTreeMap<HubName, Vec<Side>> = BTreeMap::new();
        for (hub, source) in configured {
            let side = match source {
                SideSource::Mirror { address, token } => Side::Mirror { mirror: client(address)?, token },
                SideSource::Folder(place) => {
                    let folder = Folder::new(FolderOptions::new(place));
                    Side::Folder(folder.map_err(|error| error.fault())?)
                }
            };
            sources.entry(hub).or_default().push(side);
        }
        Ok(Self(Arc::new(sources)))
    }

    /// Returns all sources of a model: those beside its hub, then the hub.
    pub(crate) fn of(&self, key: &ModelKey, hub: Hub, token: LiveToken) -> SourceList {
        let (name, repo, commit) = (&key.repo.hub, &key.repo.name, key.commit);
        let sides = self.0.get(name).map_or(&[][..], Vec::as_slice);
        let first = sides.iter().map(|side| -> Arc<dyn Source> {
            match side {
                Side::Mirror { mirror, token: told } => {
                    let token = match told {
                        MirrorToken::Withheld => LiveToken::none(),
                        MirrorToken::Sent => token.clone(),
                    };
                    Arc::new(HubSource::mirror(mirror.clone(), name, repo.clone(), commit, token))
                }
                Side::Folder(folder) => Arc::new(FolderSource::new(folder.clone(), repo.clone(), commit)),
            }
        });
        let first: Vec<_> = first.collect();
        SourceList::new(first, Arc::new(HubSource::new(hub, repo.clone(), commit, token)))
    }
}

/// Makes the client of a mirror, named by its host.
fn client(address: Url) -> Result<Hub, Fault> {
    let host = address.host_str().unwrap_or_default();
    let name = address.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let name = name.parse().map_err(|error: types::ModelRefError| {
        Fault::from_error(ErrorCode::FieldInvalid, &error)
            .with_hint("give a mirror's address as https://host")
    })?;
    Hub::new(HubOptions::new(name, address)).map_err(|error| error.fault())
}

#[cfg(test)]
mod tests {
    use types::{Commit, RepoId, SelectionKey};

    use super::*;

    fn names(sources: &SideSources, hub: &str) -> Vec<String> {
        let repo = RepoId { hub: hub.parse().unwrap(), name: "acme/tiny".parse().unwrap() };
        let (commit, selection) = (Commit::from_bytes([1; 20]), SelectionKey::from_bytes([2; 32]));
        let key = ModelKey { repo: repo.clone(), commit, selection };
        let hub = Hub::new(HubOptions::new(repo.hub, "https://hub.test".parse().unwrap())).unwrap();
        sources.of(&key, hub, LiveToken::none()).names()
    }

    #[test]
    fn sources_beside_a_hub_come_first_and_only_there() {
        let mirror = |address: &str| SideSource::Mirror {
            address: address.parse().unwrap(),
            token: MirrorToken::Withheld,
        };
        let folder = SideSource::Folder(FolderPlace::Http { address: "https://files.test/m/".to_owned() });
        let hub: HubName = "huggingface".parse().unwrap();
        let configured = [(hub.clone(), mirror("http://127.0.0.1:8061")), (hub.clone(), folder)];
        let sources = SideSources::new(configured).unwrap();
        let expected =
            ["mirror 127.0.0.1:8061 of hub huggingface", "folder https://files.test/m", "hub huggingface"];
        assert_eq!(names(&sources, "huggingface"), expected);
        assert_eq!(names(&sources, "other"), ["hub other"]);
        let wrong = SideSources::new([(hub, mirror("https://user:secret@m.test"))]).unwrap_err();
        assert_eq!(wrong.code, ErrorCode::FieldInvalid);
        assert!(!wrong.message.contains("secret"), "{}", wrong.message);
    }
}
