//! Sealing: secrets as they stand at rest, and the keyed hash by which access keys are looked up.
//!
//! The key is 32 random bytes in a file of mode 0600 beside the database, so that a copy of the database alone gives
//! no secret away. Each record names its key, so that a later one can be introduced without a flag day.

use std::{fmt, io, path::Path, sync::Arc};

use base::{Disk, Entropy, Redacted};
use chacha20poly1305::{
    Key, XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The key in hex and a line feed, with room for an editor's spaces.
const KEY_FILE_BYTES_MAX: u64 = 128;

/// The keyed hash of an access key's text (HMAC-SHA-256). Knowing it gives nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyHash([u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

/// A sealed value as it is stored.
pub(crate) struct Sealed {
    /// Which key sealed it: the first eight bytes of the key's own hash.
    pub(crate) key_id: String,
    /// Random, fresh for every sealing: 24 bytes are enough to draw without counting.
    pub(crate) nonce: [u8; 24],
    /// The value and its tag.
    pub(crate) bytes: Vec<u8>,
}

/// Holds the key.
#[derive(Clone)]
pub(crate) struct Sealer {
    cipher: XChaCha20Poly1305,
    hash_key: [u8; 32],
    key_id: String,
    entropy: Entropy,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// The key file can't be used.
pub(crate) enum SealKeyError {
    Disk(io::Error),
    Damaged(&'static str),
}

impl Sealer {
    /// Reads the key, or makes one when the file is missing.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path, entropy: Entropy) -> Result<Self, SealKeyError> {
        let key: [u8; 32] = match disk.read(path, KEY_FILE_BYTES_MAX) {
            Ok(text) => HEXLOWER
                .decode(text.trim_ascii())
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(SealKeyError::Damaged("it does not hold 64 hex digits"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = entropy.bytes();
                let text = HEXLOWER.encode(&key) + "\n";
                base::write_privately(disk, path, text.as_bytes()).map_err(SealKeyError::Disk)?;
                key
            }
            Err(error) => return Err(SealKeyError::Disk(error)),
        };
        Ok(Self::new(key, entropy))
    }

    fn new(key: [u8; 32], entropy: Entropy) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(&Key::from(key)),
            hash_key: keyed_hash(&key, b"access keys"),
            key_id: HEXLOWER.encode(&Sha256::digest(keyed_hash(&key, b"key id"))[..8]),
            entropy,
        }
    }

    /// Seals a value, bound to its place: opened at another place it is refused.
    pub(crate) fn seal(&self, place: &str, value: &Redacted<String>) -> Sealed {
        let nonce = self.entropy.bytes();
        let payload = Payload { msg: value.expose().as_bytes(), aad: place.as_bytes() };
        let bytes = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("the cipher refuses only values of more than 256 GiB");
        Sealed { key_id: self.key_id.clone(), nonce, bytes }
    }

    /// Opens a value, or returns `None` when the key, the place or the bytes are not those of its sealing.
    pub(crate) fn open_sealed(&self, place: &str, sealed: &Sealed) -> Option<Redacted<String>> {
        if sealed.key_id != self.key_id {
            return None;
        }
        let payload = Payload { msg: &sealed.bytes, aad: place.as_bytes() };
        let bytes = self.cipher.decrypt(&XNonce::from(sealed.nonce), payload).ok()?;
        String::from_utf8(bytes).ok().map(Redacted::new)
    }

    /// Returns the hash by which an access key is looked up.
    pub(crate) fn hash_key(&self, text: &Redacted<String>) -> KeyHash {
        KeyHash(keyed_hash(&self.hash_key, text.expose().as_bytes()))
    }
}

fn keyed_hash(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
