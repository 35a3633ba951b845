//! What a hub client is told when it is made: which hub, how patient, how much it takes.

use std::time::Duration;

use base::{Backoff, ByteSize, Clock, Entropy};
use types::HubName;
use url::Url;

/// Whether a token may cross a network unencrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TokenOverHttp {
    /// Only to this machine's own loopback addresses.
    #[default]
    LoopbackOnly,
    /// To any address: for hubs on a network that the operator vouches for.
    Anywhere,
}

/// How much of a hub's answer is taken before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubLimits {
    /// The longest single answer. A page of 1,000 entries takes about 0.4 MB; the description of a repository of
    /// 100,000 files about 10 MB.
    pub answer_bytes_max: ByteSize,
    /// Entries of one listing, files and folders together. The hub itself advises below 100,000 files.
    pub listing_entries_max: usize,
    /// Pages of one listing: the entries above at 100 a page.
    pub listing_pages_max: usize,
    /// All pages of one listing together.
    pub listing_bytes_max: ByteSize,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            answer_bytes_max: ByteSize::mib(32),
            listing_entries_max: 100_000,
            listing_pages_max: 1000,
            listing_bytes_max: ByteSize::mib(128),
        }
    }
}

/// Settings of a [`crate::Hub`].
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// The hub's name in repository identities.
    pub name: HubName,
    /// Where it answers, such as `https://huggingface.co`; a path before `/api` is allowed.
    pub endpoint: Url,
    /// The proxy for `https` addresses, if there is one. The environment is not asked.
    pub proxy: Option<Url>,
    /// Whether a token may go to a plain `http` endpoint.
    pub token_over_http: TokenOverHttp,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest silence of a connection, before and amid an answer.
    pub stall_timeout: Duration,
    /// The longest wait for one whole answer about a repository (not for file bytes).
    pub answer_timeout: Duration,
    /// How long reading a file waits for another token after the hub has refused the one that it had.
    pub token_wait: Duration,
    /// How many times a question about a repository is asked when the hub has an error of its own.
    pub tries_max: u32,
    /// The pace of those tries.
    pub backoff: Backoff,
    /// How much of an answer is taken.
    pub limits: HubLimits,
    /// The clock of the waits between tries.
    pub clock: Clock,
    /// The jitter of the waits between tries.
    pub entropy: Entropy,
}

impl HubOptions {
    /// Makes settings with the defaults for everything but the hub itself.
    pub fn new(name: HubName, endpoint: Url) -> Self {
        Self {
            name,
            endpoint,
            proxy: None,
            token_over_http: TokenOverHttp::LoopbackOnly,
            // The value of `huggingface_hub` (HF_HUB_ETAG_TIMEOUT).
            connect_timeout: Duration::from_secs(10),
            // Three times `huggingface_hub`'s 10 s: a busy CDN is slow to its first byte, and a retry costs a range.
            stall_timeout: Duration::from_secs(30),
            // A page of a listing takes the public hub about a second.
            answer_timeout: Duration::from_secs(60),
            // A token is replaced within a second of the word; its owner may need a moment between two commands.
            token_wait: Duration::from_secs(5),
            tries_max: 3,
            backoff: Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(2) },
            limits: HubLimits::default(),
            clock: Clock::System,
            entropy: Entropy::System,
        }
    }
}
