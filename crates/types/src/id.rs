//! Identities: each kind its own type, with a prefix that tells people what they look at.

use std::{fmt, str::FromStr};

use base::Entropy;
use data_encoding::{Encoding, Specification};
use serde::{Deserialize, Serialize};

/// A text that is no id of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the id of {kind}: it must be {prefix}_ and 1 to 40 lower-case letters or digits")]
pub struct ParseIdError {
    /// The text as given.
    pub text: String,
    /// What was looked for, in words.
    pub kind: &'static str,
    /// The prefix that it needed.
    pub prefix: &'static str,
}

/// Letters and digits without look-alikes (Crockford's base32, lower case).
fn alphabet() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    specification.encoding().expect("the alphabet is fixed and valid")
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Makes a fresh id: 80 random bits, so that two never meet.
            pub fn generate(entropy: &Entropy) -> Self {
                Self(format!("{}_{}", $prefix, alphabet().encode(&entropy.bytes::<10>())).into())
            }

            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let well_formed = text
                    .strip_prefix(concat!($prefix, "_"))
                    .is_some_and(|rest| {
                        (1..=40).contains(&rest.len())
                            && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                    });
                if well_formed {
                    Ok(Self(text.into()))
                } else {
                    Err(ParseIdError { text: text.to_owned(), kind: $kind, prefix: $prefix })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// Who owns endpoints, keys and grants.
    TenantId = "tn", "a tenant";
    /// What a user calls.
    EndpointId = "ep", "an endpoint";
    /// An immutable version of an endpoint's spec.
    ReleaseId = "rel", "a release";
    /// One running copy of a release.
    WorkerId = "wk", "a worker";
    /// A machine with an agent.
    HostId = "host", "a host";
    /// An access key, without its secret part.
    KeyId = "key", "a key";
    /// A stored secret. Holding the reference gives nothing.
    SecretRef = "sec", "a secret";
    /// One bringing of a model to a host.
    FetchId = "ft", "a fetch";
}

impl TenantId {
    /// Returns the tenant of a system that has only one.
    pub fn default_tenant() -> Self {
        Self("tn_default".into())
    }
}

/// By which route a job came; it shows in the job's id and decides how long its result is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobRoute {
    /// `/run`: the caller comes back for the result.
    Async,
    /// `/runsync`: the caller waits for the result.
    Sync,
}

/// The identity of a job, in the shape that Runpod's clients know: a UUID with `-u1` behind it, or `sync-` before it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Box<str>);

impl JobId {
    /// Makes a fresh job id.
    pub fn generate(entropy: &Entropy, route: JobRoute) -> Self {
        let mut bytes = entropy.bytes::<16>();
        // RFC 9562, section 5.4: version 4, variant 10.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = data_encoding::HEXLOWER.encode(&bytes);
        let uuid = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        Self(match route {
            JobRoute::Async => format!("{uuid}-u1").into(),
            JobRoute::Sync => format!("sync-{uuid}-u1").into(),
        })
    }

    /// Returns the route that the job came by.
    pub fn route(&self) -> JobRoute {
        if self.0.starts_with("sync-") { JobRoute::Sync } else { JobRoute::Async }
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let well_formed = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err(ParseIdError { text: text.to_owned(), kind: "a job", prefix: "job" })
        }
    }
}

impl TryFrom<String> for JobId {
    type Error = ParseIdError;

    fn try_from(text: String) -> Result<Self, ParseIdError> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_made_and_parsed() {
        let entropy = Entropy::seeded(7);
        let worker = WorkerId::generate(&entropy);
        assert_eq!(worker.as_str().len(), 19);
        assert_eq!(worker.as_str().parse(), Ok(worker.clone()));
        assert!(worker.as_str().parse::<EndpointId>().is_err());
        for wrong in ["wk_", "wk_A", "wk_../x", "", "wk"] {
            assert!(wrong.parse::<WorkerId>().is_err(), "{wrong:?} was taken");
        }
        let job = JobId::generate(&entropy, JobRoute::Sync);
        assert_eq!(job.route(), JobRoute::Sync);
        assert_eq!(job.as_str().parse(), Ok(job));
        assert!("a/b".parse::<JobId>().is_err());
    }
}
