//! Names of models: hubs, repositories, revisions, commits, digests, and the one parser of model references.

mod reference;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use reference::{HubName, ModelRef, ModelRefError, RepoName, Revision, Variant};

/// A text that is no digest or commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct ParseDigestError {
    /// The text as given.
    pub text: String,
    /// What was looked for, in words.
    pub wanted: &'static str,
}

/// A repository on a named hub, in the hub's own spelling. The same `org/name` on two hubs are two repositories.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RepoId {
    /// The hub that has it.
    pub hub: HubName,
    /// Its canonical name there.
    pub name: RepoName,
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}!{}", self.hub, self.name)
    }
}

macro_rules! hex_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

/// A commit of a repository: 40 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit([u8; 20]);

hex_text!(Commit);

impl Commit {
    /// Makes a commit from its bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// Returns the first eight hex digits, for people.
    pub fn short(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0[..4])
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Commit {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        parse_hex(text, "a commit of 40 lower-case hex digits").map(Self)
    }
}

/// What a file's bytes are named by: the digest that the hub vouches for. Shown as plain hex, as the hub does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    /// SHA-256 of the content (files in large-file storage): 64 hex digits.
    Sha256([u8; 32]),
    /// SHA-1 of `blob <len>\0` and the content, as git names it (small files): 40 hex digits.
    GitSha1([u8; 20]),
}

hex_text!(Digest);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Sha256(bytes) => data_encoding::HEXLOWER.encode(bytes),
            Self::GitSha1(bytes) => data_encoding::HEXLOWER.encode(bytes),
        })
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        const WANTED: &str = "a digest of 64 (SHA-256) or 40 (git) lower-case hex digits";
        match text.len() {
            64 => parse_hex(text, WANTED).map(Self::Sha256),
            _ => parse_hex(text, WANTED).map(Self::GitSha1),
        }
    }
}

fn parse_hex<const N: usize>(text: &str, wanted: &'static str) -> Result<[u8; N], ParseDigestError> {
    data_encoding::HEXLOWER
        .decode(text.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| ParseDigestError { text: text.chars().take(80).collect(), wanted })
}
