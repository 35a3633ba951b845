//! Whether what is served is what was listed. Pure.

use reqwest::{
    Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap},
};
use types::{Commit, Digest, HubName, ManifestFile};

use crate::{
    address::authority,
    answer::{cleaned, entity_tag, header},
    client::ByteRange,
    error::{AnswerInvalid, FileChanged, HubError, RangesUnsupported, ReadError},
};

/// Checks the description of a file that a redirect to its bytes carries, as far as there is one.
pub(super) fn check_description(
    hub: &HubName,
    file: &ManifestFile,
    commit: Commit,
    headers: &HeaderMap,
) -> Result<(), FileChanged> {
    let changed = |what: String| FileChanged { hub: hub.clone(), path: file.path.clone(), what };
    if let Some(size) = header(headers, "x-linked-size").and_then(|text| text.parse::<u64>().ok())
        && size != file.size
    {
        return Err(changed(format!("it holds {size} bytes, not {}", file.size)));
    }
    if let Some(other) = header(headers, "x-repo-commit").and_then(|text| text.parse::<Commit>().ok())
        && other != commit
    {
        return Err(changed(format!("it is of commit {}, not {}", other.short(), commit.short())));
    }
    check_digest(header(headers, "x-linked-etag"), file).map_err(changed)
}

/// Checks that an answer is the range asked for, or the whole file where that is the same.
pub(super) fn check_range(
    hub: &HubName,
    file: &ManifestFile,
    range: ByteRange,
    response: &Response,
) -> Result<(), ReadError> {
    let headers = response.headers();
    let invalid = |what: String| HubError::from(AnswerInvalid { hub: hub.clone(), what });
    let changed = |what: String| FileChanged { hub: hub.clone(), path: file.path.clone(), what };
    if let Some(encoding) = header(headers, CONTENT_ENCODING.as_str())
        && encoding != "identity"
    {
        return Err(invalid(format!("it sends {} encoded as {}", file.path, cleaned(encoding))).into());
    }
    let is_whole = range.offset == 0 && range.len == file.size;
    let length = response.content_length();
    match response.status() {
        StatusCode::OK if is_whole => match length {
            Some(length) if length != file.size => {
                Err(changed(format!("it holds {length} bytes, not {}", file.size)).into())
            }
            Some(_) | None => Ok(()),
        },
        StatusCode::OK => Err(RangesUnsupported {
            hub: hub.clone(),
            path: file.path.clone(),
            authority: authority(response.url()),
        }
        .into()),
        StatusCode::PARTIAL_CONTENT => {
            let told = header(headers, CONTENT_RANGE.as_str()).and_then(parse_content_range);
            let (first, last, size) = told
                .ok_or_else(|| invalid(format!("it sends a part of {} without saying which", file.path)))?;
            if size.is_some_and(|size| size != file.size) {
                let size = size.unwrap_or_default();
                return Err(changed(format!("it holds {size} bytes, not {}", file.size)).into());
            }
            if first != range.offset || last > range.last() {
                return Err(invalid(format!("it sends another part of {} than asked for", file.path)).into());
            }
            Ok(())
        }
        status => Err(invalid(format!("status {} for a range of {}", status.as_u16(), file.path)).into()),
    }
}

/// Checks the tag that the endpoint itself gave a file. Tags of storage servers are other hashes altogether.
pub(super) fn check_home_tag(
    hub: &HubName,
    file: &ManifestFile,
    headers: &HeaderMap,
) -> Result<(), FileChanged> {
    check_digest(header(headers, ETAG.as_str()), file).map_err(|what| FileChanged {
        hub: hub.clone(),
        path: file.path.clone(),
        what,
    })
}

/// Compares a tag with the listed digest, if it is a digest of the same kind.
fn check_digest(tag: Option<&str>, file: &ManifestFile) -> Result<(), String> {
    let Some(tag) = tag.and_then(|tag| entity_tag(tag).parse::<Digest>().ok()) else { return Ok(()) };
    let differs = match (tag, file.digest) {
        (Digest::Sha256(told), Digest::Sha256(listed)) => told != listed,
        (Digest::GitSha1(told), Digest::GitSha1(listed)) => told != listed,
        (Digest::Sha256(_), Digest::GitSha1(_)) | (Digest::GitSha1(_), Digest::Sha256(_)) => false,
    };
    if differs { Err(format!("its digest is {tag}, not {}", file.digest)) } else { Ok(()) }
}

/// Reads `bytes 0-9/100`: first byte, last byte, and the size of the whole unless that is `*`.
fn parse_content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let size = match size {
        "*" => None,
        size => Some(size.parse().ok()?),
    };
    Some((first.parse().ok()?, last.parse().ok()?, size))
}

#[cfg(test)]
mod tests;
