//! Paths of files inside a repository: refused before any file call when they could leave their folder.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// ext4, xfs and btrfs hold names of at most 255 bytes.
const SEGMENT_BYTES_MAX: usize = 255;
/// Far above what repositories hold, far below `PATH_MAX` (4,096), which the whole path on a host must keep.
const PATH_BYTES_MAX: usize = 1024;
/// Deep enough for every repository seen; bounds the number of folders that one file can make.
const DEPTH_MAX: usize = 32;

/// A relative path with forward slashes that names a file below its folder, whatever the folder.
///
/// Invariant: not empty; no segment is empty, `.`, `..` or `.git`, longer than 255 bytes, or ends with a dot or
/// space; no backslash, colon as in a drive, NUL or control character; at most 1,024 bytes and 32 segments.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoPath(Box<str>);

/// A path that was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path {path:?} is refused: {reason}")]
pub struct RepoPathError {
    /// The path as given.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl RepoPath {
    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last segment.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().expect("a split gives at least one part")
    }

    /// Returns how many folders stand before the file name.
    pub fn depth(&self) -> usize {
        self.0.matches('/').count()
    }
}

impl FromStr for RepoPath {
    type Err = RepoPathError;

    fn from_str(path: &str) -> Result<Self, RepoPathError> {
        match reason_to_refuse(path) {
            Some(reason) => Err(RepoPathError { path: path.to_owned(), reason }),
            None => Ok(Self(path.into())),
        }
    }
}

fn reason_to_refuse(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.len() > PATH_BYTES_MAX {
        return Some("it is longer than 1,024 bytes");
    }
    if path.starts_with('/') {
        return Some("it is absolute");
    }
    if path.contains('\\') {
        return Some("it holds a backslash");
    }
    if path.chars().any(char::is_control) {
        return Some("it holds a control character");
    }
    if path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic() {
        return Some("it begins with a drive");
    }
    if path.split('/').count() > DEPTH_MAX {
        return Some("it is more than 32 folders deep");
    }
    path.split('/').find_map(|segment| match segment {
        "" => Some("it has an empty segment"),
        "." | ".." => Some("it has a segment that means another folder"),
        _ if segment.eq_ignore_ascii_case(".git") => Some("it has a segment named .git"),
        _ if segment.len() > SEGMENT_BYTES_MAX => Some("it has a segment longer than 255 bytes"),
        _ if segment.ends_with(['.', ' ']) => Some("it has a segment that ends with a dot or a space"),
        _ => None,
    })
}

impl TryFrom<String> for RepoPath {
    type Error = RepoPathError;

    fn try_from(path: String) -> Result<Self, RepoPathError> {
        path.parse()
    }
}

impl From<RepoPath> for String {
    fn from(path: RepoPath) -> Self {
        path.0.into()
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_their_folder_are_refused() {
        let long = "a".repeat(256);
        let deep = vec!["a"; 33].join("/");
        for wrong in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "./a",
            "a/.",
            "a\\b",
            "C:/x",
            "a\0b",
            "a\nb",
            ".git/config",
            "x/.GIT/y",
            "a.",
            "a/b ",
            &long,
            &deep,
        ] {
            assert!(wrong.parse::<RepoPath>().is_err(), "{wrong:?} was taken");
        }
        for right in ["config.json", "1_Pooling/config.json", ".gitattributes", "a b/ü.txt", "..a"] {
            assert_eq!(right.parse::<RepoPath>().unwrap().as_str(), right);
        }
    }

    proptest::proptest! {
        #[test]
        fn an_accepted_path_stays_below_any_folder(text in "[a./\\\\ ~:-]{0,12}") {
            if let Ok(path) = text.parse::<RepoPath>() {
                let joined = std::path::Path::new("/folder").join(path.as_str());
                let depth = joined.components().all(|part| matches!(
                    part,
                    std::path::Component::RootDir | std::path::Component::Normal(_)
                ));
                proptest::prop_assert!(depth && joined.starts_with("/folder") && joined != std::path::Path::new("/folder"));
            }
        }
    }
}
