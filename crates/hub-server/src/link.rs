//! Links to bytes: signed, so that whoever holds one may read one file for a while, without a token.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::Sha256;
use types::{Digest, RepoPath};

use base::{Entropy, Redacted, Timestamp};

/// What a link leads to, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// What the bytes hash to.
    pub(crate) digest: Digest,
    /// Where they stand in the served folder: folder of the branch, then path.
    pub(crate) place: RepoPath,
    /// Until when the link is good, in whole seconds since the Unix epoch.
    pub(crate) expires: i64,
}

/// Why a link does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkRefused {
    /// It was made by nobody here, or changed since.
    Forged,
    /// Its time is over.
    Expired,
}

/// Signs links and checks them. The key lives as long as the process: a restart ends all links.
#[derive(Debug)]
pub(crate) struct LinkSigner {
    key: Redacted<[u8; 32]>,
}

impl LinkSigner {
    pub(crate) fn new(entropy: &Entropy) -> Self {
        Self { key: Redacted::new(entropy.bytes()) }
    }

    /// Returns the path and query of a link.
    pub(crate) fn sign(&self, link: &Link) -> String {
        let signature = HEXLOWER.encode(&self.mac(link).finalize().into_bytes());
        let place = utf8_percent_encode(link.place.as_str(), NON_ALPHANUMERIC);
        format!("/cdn/{}?file={place}&expires={}&signature={signature}", link.digest, link.expires)
    }

    /// Reads a link's path and query.
    ///
    /// # Errors
    /// [`LinkRefused`] by condition.
    pub(crate) fn open(&self, path: &str, query: &str, now: Timestamp) -> Result<Link, LinkRefused> {
        let (link, signature) = parse(path, query).ok_or(LinkRefused::Forged)?;
        // The comparison takes the same time wherever the first difference stands.
        self.mac(&link).verify_slice(&signature).map_err(|_| LinkRefused::Forged)?;
        if now.as_micros().div_euclid(1_000_000) >= link.expires {
            return Err(LinkRefused::Expired);
        }
        Ok(link)
    }

    fn mac(&self, link: &Link) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(self.key.expose()).expect("a key of any length is taken");
        // No part but the last can hold a line feed, so no two links give the same text.
        mac.chain_update(format!("{}\n{}\n{}", link.digest, link.expires, link.place))
    }
}

fn parse(path: &str, query: &str) -> Option<(Link, Vec<u8>)> {
    let digest = path.strip_prefix("/cdn/")?.parse().ok()?;
    let parameter = |name: &str| {
        query.split('&').find_map(|pair| pair.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
    };
    let place = percent_decode_str(parameter("file")?).decode_utf8().ok()?;
    let link = Link { digest, place: place.parse().ok()?, expires: parameter("expires")?.parse().ok()? };
    let signature = HEXLOWER.decode(parameter("signature")?.as_bytes()).ok()?;
    Some((link, signature))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_link_opens_until_it_expires_and_only_unchanged() {
        let signer = LinkSigner::new(&Entropy::seeded(7));
        let now = Timestamp::from_millis(1_000_000);
        let link = Link {
            digest: Digest::Sha256([5; 32]),
            place: "acme/tiny@dev/a b&c=ü.bin".parse().unwrap(),
            expires: 1_060,
        };
        let signed = signer.sign(&link);
        let (path, query) = signed.split_once('?').unwrap();
        let open = |path: &str, query: &str, now| signer.open(path, query, now);
        assert_eq!(open(path, query, now), Ok(link.clone()));
        assert_eq!(open(path, query, now + Duration::from_millis(59_999)), Ok(link.clone()));
        assert_eq!(open(path, query, now + Duration::from_secs(60)), Err(LinkRefused::Expired));
        let later = query.replace("expires=1060", "expires=9999");
        let elsewhere = query.replace("tiny", "other");
        let other_digest = path.replace("05", "06");
        for (path, query) in [
            (path, later.as_str()),
            (path, elsewhere.as_str()),
            (other_digest.as_str(), query),
            (path, ""),
            ("/cdn/x", query),
            ("/", query),
            (path, &query[..query.len() - 2]),
        ] {
            assert_eq!(open(path, query, now), Err(LinkRefused::Forged), "{path} {query}");
        }
        let other = LinkSigner::new(&Entropy::seeded(8));
        assert_eq!(other.open(path, query, now), Err(LinkRefused::Forged));
    }
}
