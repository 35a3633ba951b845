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

/// How an answer does not fit the range that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It is encoded, in this way.
    Encoded(String),
    /// The file has another size.
    Size(u64),
    /// It is the whole file.
    Whole,
    /// It does not say which part it is.
    PartUntold,
    /// It is another part.
    OtherPart,
    /// It is neither part nor whole.
    Status(u16),
}

impl Misfit {
    /// Returns what is wrong with an answer about a file, to be read after its name.
    pub(crate) fn words(&self, file: &ManifestFile) -> String {
        match self {
            Self::Encoded(encoding) => format!("it sends {} encoded as {encoding}", file.path),
            Self::Size(size) => format!("it holds {size} bytes, not {}", file.size),
            Self::Whole => format!("it sends the whole of {}", file.path),
            Self::PartUntold => format!("it sends a part of {} without saying which", file.path),
            Self::OtherPart => format!("it sends another part of {} than asked for", file.path),
            Self::Status(status) => format!("status {status} for a range of {}", file.path),
        }
    }
}

/// An answer to a question for a range, as far as its fit needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RangeAnswer<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    /// The length of its body, if that is told.
    pub(crate) length: Option<u64>,
}

impl<'a> From<&'a Response> for RangeAnswer<'a> {
    fn from(response: &'a Response) -> Self {
        Self { status: response.status(), headers: response.headers(), length: response.content_length() }
    }
}

/// Checks that an answer is the range asked for of a file of `size` bytes, or the whole where that is the same.
pub(crate) fn fit(answer: RangeAnswer<'_>, range: ByteRange, size: u64) -> Result<(), Misfit> {
    if let Some(encoding) = header(answer.headers, CONTENT_ENCODING.as_str())
        && encoding != "identity"
    {
        return Err(Misfit::Encoded(cleaned(encoding)));
    }
    let is_whole = range.offset == 0 && range.len == size;
    match answer.status {
        StatusCode::OK if is_whole => match answer.length {
            Some(length) if length != size => Err(Misfit::Size(length)),
            Some(_) | None => Ok(()),
        },
        StatusCode::OK => Err(Misfit::Whole),
        StatusCode::PARTIAL_CONTENT => {
            let told = header(answer.headers, CONTENT_RANGE.as_str()).and_then(parse_content_range);
            let (first, last, told_size) = told.ok_or(Misfit::PartUntold)?;
            match told_size {
                Some(told_size) if told_size != size => Err(Misfit::Size(told_size)),
                Some(_) | None if first != range.offset || last > range.last() => Err(Misfit::OtherPart),
                Some(_) | None => Ok(()),
            }
        }
        status => Err(Misfit::Status(status.as_u16())),
    }
}

/// Says what a hub's answer is when it is not the range asked for.
pub(super) fn check_range(
    hub: &HubName,
    file: &ManifestFile,
    range: ByteRange,
    response: &Response,
) -> Result<(), ReadError> {
    let Err(misfit) = fit(response.into(), range, file.size) else { return Ok(()) };
    let (hub, path, what) = (hub.clone(), file.path.clone(), misfit.words(file));
    Err(match misfit {
        Misfit::Size(_) => FileChanged { hub, path, what }.into(),
        Misfit::Whole => RangesUnsupported { hub, path, authority: authority(response.url()) }.into(),
        Misfit::Encoded(_) | Misfit::PartUntold | Misfit::OtherPart | Misfit::Status(_) => {
            HubError::from(AnswerInvalid { hub, what }).into()
        }
    })
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
    let (first, last) = range.trim().split_once('-')?;
    let size = match size {
        "*" => None,
        size => Some(size.parse().ok()?),
    };
    Some((first.parse().ok()?, last.parse().ok()?, size))
}

#[cfg(test)]
mod tests;
