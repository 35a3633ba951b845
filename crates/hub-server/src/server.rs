//! The service: options, both listeners, and the handle that others hold.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, routing::any};
use base::{ByteSize, Clock, Entropy, TaskScope};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use types::{ErrorCode, Fault, RepoName};
use web::{ListenAddress, ListenError, Listener, ServeError, ServeOptions};

use crate::{
    access::{AccessRules, AccessRulesError, RepoAccess},
    cdn,
    faults::{FaultBook, Faults},
    folder::Folder,
    hub::{self, Hub, Settings},
    identity::HashProgress,
    link::LinkSigner,
    quota::{QuotaBook, Quotas},
    record::{RequestLog, RequestRecord},
    shelf::{Shelf, ShelfError, blocking},
};

/// Connections served at once on each origin. Each holds at most 1.5 MB of a file, so this is 1.5 GB at worst.
const CONNECTIONS_MAX: usize = 1024;

/// How a folder is served.
#[derive(Clone, Debug)]
pub struct HubServerOptions {
    /// The folder: repositories stand in it as `org/name` (branch main) and `org/name@branch`.
    pub folder: PathBuf,
    /// Where the Hub listens. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where the bytes of large files are served: another origin, so that no token is sent there.
    pub cdn_listen: SocketAddr,
    /// How clients reach the Hub, where a proxy stands before it; by default as they name it.
    pub public_url: Option<String>,
    /// How clients reach the origin of the bytes, where a proxy stands before it.
    pub cdn_url: Option<String>,
    /// Who may read what.
    pub access: AccessRules,
    /// Entries on one page of a listing.
    pub page_entries_max: usize,
    /// How long a signed link is good.
    pub link_lifetime: Duration,
    /// Bytes per second on each connection.
    pub rate_max: Option<ByteSize>,
    /// Requests per caller.
    pub quotas: Quotas,
    /// For so long the folder is taken to be as it was last seen.
    pub rescan_after: Duration,
    /// How long requests in flight have to end after a stop.
    pub grace: Duration,
    /// What goes wrong on purpose, for tests and drills.
    pub faults: Faults,
}

impl HubServerOptions {
    /// Makes the default for a folder: everything public, on free ports of loopback.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            folder: folder.into(),
            listen: loopback,
            cdn_listen: loopback,
            public_url: None,
            cdn_url: None,
            access: AccessRules::default(),
            // As the public Hub.
            page_entries_max: 1000,
            link_lifetime: Duration::from_secs(3600),
            rate_max: None,
            quotas: Quotas::default(),
            // A folder that is copied into is seen to grow; a burst of requests for one model looks once.
            rescan_after: Duration::from_secs(1),
            grace: Duration::from_secs(5),
            faults: Faults::default(),
        }
    }
}

/// The folder could not be served.
#[derive(Debug, thiserror::Error)]
pub enum HubServerError {
    /// The folder can't be read.
    #[error("can't serve the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The access rules can't be used.
    #[error(transparent)]
    Access(#[from] AccessRulesError),
    /// An address can't be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A listener broke.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl HubServerError {
    /// Returns the error as a user sees it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Folder { .. } => Fault::from_error(ErrorCode::FolderUnreadable, self)
                .with_hint("name a folder that holds repositories as org/name"),
            Self::Access(error) => error.fault(),
            Self::Listen(error) => error.fault(),
            Self::Serve(error) => error.fault(),
        }
    }
}

/// A repository, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoSummary {
    /// Its name.
    pub name: RepoName,
    /// Its branches.
    pub branches: Vec<types::Revision>,
    /// Who may read it.
    pub access: RepoAccess,
}

/// Serves a folder in the Hugging Face Hub protocol, on two origins.
#[derive(Debug)]
pub struct HubServer {
    hub: Arc<Hub>,
    listener: Listener,
    cdn_listener: Listener,
    grace: Duration,
    entropy: Entropy,
}

/// Tells what a [`HubServer`] does, and orders faults. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HubHandle(Arc<Hub>);

impl HubServer {
    /// Opens the folder and binds both addresses. From now on connections wait to be served.
    ///
    /// # Errors
    /// [`HubServerError`] by condition.
    pub async fn new(
        options: HubServerOptions,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self, HubServerError> {
        let path = options.folder.clone();
        let (folder, catalogue) = blocking(move || {
            let folder = Folder::open(&path)?;
            let catalogue = folder.catalogue()?;
            Ok((folder, catalogue))
        })
        .await
        .map_err(|source| HubServerError::Folder { path: options.folder.clone(), source })?;
        for name in options.access.unmatched(&catalogue.keys().collect::<Vec<_>>()) {
            tracing::warn!(repo = %name, "the access rules name a repository that is not in the folder");
        }
        let (listener, address) = bind(options.listen).await?;
        let (cdn_listener, cdn_address) = bind(options.cdn_listen).await?;
        let hub = Hub {
            shelf: Shelf::new(Arc::new(folder), clock.clone(), options.rescan_after),
            access: options.access,
            signer: LinkSigner::new(&entropy),
            quotas: QuotaBook::new(options.quotas),
            faults: FaultBook::new(options.faults),
            requests: RequestLog::default(),
            clock,
            settings: Settings {
                folder: options.folder,
                page_entries_max: options.page_entries_max.max(1),
                link_lifetime: options.link_lifetime,
                rate_max: options.rate_max,
                public_url: options.public_url,
                cdn_url: options.cdn_url,
                address,
                cdn_address,
            },
        };
        Ok(Self { hub: Arc::new(hub), listener, cdn_listener, grace: options.grace, entropy })
    }

    /// Returns the handle.
    pub fn handle(&self) -> HubHandle {
        HubHandle(Arc::clone(&self.hub))
    }

    /// Serves until the token is cancelled, and hashes the folder meanwhile.
    ///
    /// # Errors
    /// [`HubServerError::Serve`] when a listener breaks.
    pub async fn run(self, token: CancellationToken) -> Result<(), HubServerError> {
        let Self { hub, listener, cdn_listener, grace, entropy } = self;
        let stop = token.child_token();
        let mut tasks = TaskScope::new(&stop);
        let (warming, ended) = (Arc::clone(&hub), tasks.token());
        tasks.spawn("hash the folder", async move {
            tokio::select! {
                // Cancel-safe: a token stays cancelled.
                () = ended.cancelled() => {}
                // Cancel-safe: files hashed so far stay known.
                warmed = warming.shelf.warm_up() => {
                    if let Err(error) = warmed {
                        tracing::warn!(%error, "could not hash the folder; requests will");
                    }
                }
            }
        });
        let observe = |router: Router| web::observed(router, hub.clock.clone(), entropy.clone());
        let own = observe(Router::new().fallback(any(hub::handle)).with_state(Arc::clone(&hub)));
        let bytes = observe(Router::new().fallback(any(cdn::handle)).with_state(Arc::clone(&hub)));
        let options =
            |name| ServeOptions { name, grace, connections_max: CONNECTIONS_MAX, ..Default::default() };
        let one_ends_both = |served: Result<(), ServeError>| {
            stop.cancel();
            served
        };
        let (own, bytes) = tokio::join!(
            async { one_ends_both(web::serve(listener, own, options("hub"), stop.clone()).await) },
            async {
                one_ends_both(web::serve(cdn_listener, bytes, options("hub bytes"), stop.clone()).await)
            },
        );
        if let Err(error) = tasks.shutdown().await {
            tracing::error!(%error, "hashing the folder ended in a panic");
        }
        own.and(bytes).map_err(HubServerError::from)
    }
}

impl HubHandle {
    /// Returns the address of the Hub.
    pub fn address(&self) -> SocketAddr {
        self.0.settings.address
    }

    /// Returns the address of the origin of the bytes.
    pub fn cdn_address(&self) -> SocketAddr {
        self.0.settings.cdn_address
    }

    /// Returns what clients on this machine set `HF_ENDPOINT` to.
    pub fn endpoint(&self) -> String {
        let mut address = self.address();
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{address}")
    }

    /// Returns how far the hashing of the folder has come; it can be waited on.
    pub fn progress(&self) -> watch::Receiver<HashProgress> {
        self.0.shelf.identities().progress()
    }

    /// Lists the repositories, sorted by name.
    ///
    /// # Errors
    /// [`HubServerError::Folder`].
    pub async fn repos(&self) -> Result<Vec<RepoSummary>, HubServerError> {
        let catalogue = self.0.shelf.catalogue().await.map_err(|error: ShelfError| {
            HubServerError::Folder { path: self.0.settings.folder.clone(), source: io::Error::other(error) }
        })?;
        let summary = catalogue.iter().map(|(name, branches)| RepoSummary {
            name: name.clone(),
            branches: branches.keys().cloned().collect(),
            access: self.0.access.access_of(name),
        });
        Ok(summary.collect())
    }

    /// Replaces the faults, for requests from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.faults.set(faults);
    }

    /// Returns the latest requests, oldest first.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.0.requests.list()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.0.requests.clear();
    }
}

async fn bind(address: SocketAddr) -> Result<(Listener, SocketAddr), ListenError> {
    let listener = Listener::bind(&ListenAddress::Tcp(address)).await?;
    let bound = match listener.address() {
        ListenAddress::Tcp(bound) => bound,
        ListenAddress::Unix(_) => unreachable!("an address and port was bound"),
    };
    Ok((listener, bound))
}
