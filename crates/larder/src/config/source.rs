//! The sources of a hub's models beside the hub itself, as the file names them.

use agent::{MirrorToken, SideSource};
use base::Redacted;
use hub::{BucketKeys, FolderPlace};
use serde::Deserialize;
use url::Url;

/// The region of stores that have none.
const REGION_DEFAULT: &str = "us-east-1";

/// A mirror: its address, or that and whether it gets tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum MirrorSection {
    Address(Url),
    Full(FullMirrorSection),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FullMirrorSection {
    address: Url,
    #[serde(default)]
    send_token: bool,
}

/// A bucket of an S3-compatible store.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "BucketFields")]
pub(super) struct BucketSection(FolderPlace);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BucketFields {
    endpoint: Url,
    bucket: String,
    #[serde(default)]
    prefix: String,
    region: Option<String>,
    access_key: Option<String>,
    secret_key: Option<Redacted<String>>,
}

impl TryFrom<BucketFields> for BucketSection {
    type Error = &'static str;

    fn try_from(fields: BucketFields) -> Result<Self, Self::Error> {
        let BucketFields { endpoint, bucket, prefix, region, access_key, secret_key } = fields;
        let keys = match (access_key, secret_key) {
            (Some(access_key), Some(secret_key)) => Some(BucketKeys { access_key, secret_key }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err("access_key and secret_key go together"),
        };
        let region = region.unwrap_or_else(|| REGION_DEFAULT.to_owned());
        Ok(Self(FolderPlace::Bucket { endpoint, region, bucket, prefix, keys }))
    }
}

impl MirrorSection {
    pub(super) fn source(&self) -> SideSource {
        match self {
            Self::Address(address) => {
                SideSource::Mirror { address: address.clone(), token: MirrorToken::Withheld }
            }
            Self::Full(FullMirrorSection { address, send_token }) => {
                let token = if *send_token { MirrorToken::Sent } else { MirrorToken::Withheld };
                SideSource::Mirror { address: address.clone(), token }
            }
        }
    }
}

impl BucketSection {
    pub(super) fn place(&self) -> FolderPlace {
        self.0.clone()
    }
}
