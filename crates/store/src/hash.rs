//! The digests that hubs name files by, computed as bytes come.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use types::Digest;

/// Computes the digest of one file's bytes, given in order.
#[derive(Clone, Debug)]
pub(crate) enum ContentHasher {
    Sha256(Sha256),
    GitSha1(Sha1),
}

impl ContentHasher {
    /// Begins a digest of the same kind as the expected one, for a file of this length.
    pub(crate) fn like(expected: &Digest, size: u64) -> Self {
        match expected {
            Digest::Sha256(_) => Self::Sha256(Sha256::new()),
            Digest::GitSha1(_) => Self::GitSha1(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitSha1(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::Sha256(hasher.finalize().into()),
            Self::GitSha1(hasher) => Digest::GitSha1(hasher.finalize().into()),
        }
    }
}

/// Returns the digest of whole bytes, of the same kind as the expected one.
pub(crate) fn digest_like(expected: &Digest, bytes: &[u8]) -> Digest {
    let mut hasher = ContentHasher::like(expected, bytes.len() as u64);
    hasher.update(bytes);
    hasher.finish()
}

/// Returns how git names a file: by the digest itself, or for large-file storage by that of the pointer text that git
/// holds in its place (git-lfs specification, version 1).
pub fn git_blob_id(digest: &Digest, size: u64) -> Digest {
    match digest {
        Digest::GitSha1(_) => *digest,
        Digest::Sha256(_) => {
            let pointer =
                format!("version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n");
            digest_like(&Digest::GitSha1([0; 20]), pointer.as_bytes())
        }
    }
}

/// Returns the first 16 bytes of the SHA-256 of a text: enough that two never meet by chance or by intent to guess.
pub(crate) fn short_id(text: &str) -> [u8; 16] {
    let whole: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let mut short = [0; 16];
    short.copy_from_slice(&whole[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_git_and_sha256sum() {
        let check = |expected: &str, bytes: &[u8]| {
            let expected: Digest = expected.parse().unwrap();
            assert_eq!(digest_like(&expected, bytes), expected);
            let mut hasher = ContentHasher::like(&expected, bytes.len() as u64);
            bytes.chunks(3).for_each(|chunk| hasher.update(chunk));
            assert_eq!(hasher.finish(), expected);
        };
        // `printf 'hello\n' | git hash-object --stdin`, `printf 'hello\n' | sha256sum`; and of nothing.
        check("ce013625030ba8dba906f756967f9e9ca394464a", b"hello\n");
        check("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03", b"hello\n");
        check("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", b"");
        check("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", b"");
    }

    #[test]
    fn a_large_file_has_the_git_name_of_its_pointer() {
        // `printf 'version …\noid sha256:5891…\nsize 6\n' | git hash-object --stdin`.
        let content: Digest =
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03".parse().unwrap();
        assert_eq!(git_blob_id(&content, 6).to_string(), "fa61e1ef71c9908c0926776a4aa3504b3a27f159");
        let small: Digest = "ce013625030ba8dba906f756967f9e9ca394464a".parse().unwrap();
        assert_eq!(git_blob_id(&small, 6), small);
    }
}
