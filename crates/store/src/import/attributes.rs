//! Which files a repository keeps in large-file storage, by its `.gitattributes`. Pure.
//!
//! Asked only of a plain file that nothing else names: a hub lists one in large-file storage by its SHA-256, any other
//! by its git SHA-1. A wrong guess costs a second fetch of that file, never a wrong byte.

use types::RepoPath;

/// Longer ones are cut: those of hubs have about 40 lines.
pub(super) const ATTRIBUTES_BYTES_MAX: u64 = 64 * 1024;
/// Hubs refuse larger files outside of large-file storage (10 MiB).
const PLAIN_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// The patterns of files in large-file storage.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Vec<String>);

impl Attributes {
    /// Reads the patterns whose filter is that of large-file storage.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let large = lines.filter_map(|line| {
            let mut words = line.split_whitespace();
            let pattern = words.next()?;
            words.any(|word| word == "filter=lfs").then(|| pattern.trim_start_matches('/').to_owned())
        });
        Self(large.collect())
    }

    /// Returns whether a file of this name and size is in large-file storage.
    pub(super) fn is_large(&self, path: &RepoPath, size: u64) -> bool {
        size > PLAIN_BYTES_MAX
            || self.0.iter().any(|pattern| {
                // Without a slash a pattern means the file's name, wherever it stands (gitattributes(5)).
                let text = if pattern.contains('/') { path.as_str() } else { path.file_name() };
                matches(pattern.as_bytes(), text.as_bytes())
            })
    }
}

/// Matches `*` and `?`, which is what these files hold. Linear steps back to the last star only.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        if at < pattern.len() && pattern[at] == b'*' {
            star = Some((at, read));
            at += 1;
        } else if at < pattern.len() && (pattern[at] == b'?' || pattern[at] == text[read]) {
            at += 1;
            read += 1;
        } else if let Some((after, from)) = star {
            at = after + 1;
            read = from + 1;
            star = Some((after, from + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_are_known_by_pattern_and_size() {
        let text = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n# *.txt filter=lfs\nsaved_model/**/* filter=lfs\n\
                    *tfevents* filter=lfs diff=lfs\n*.md text\n/root.bin filter=lfs";
        let attributes = Attributes::parse(text);
        let check = |path: &str, size: u64, expected: bool| {
            assert_eq!(attributes.is_large(&path.parse().unwrap(), size), expected, "{path}");
        };
        check("model.safetensors", 1, true);
        check("sub/model.safetensors", 1, true);
        check("model.safetensors.index.json", 1, false);
        check("notes.txt", 1, false);
        check("readme.md", 1, false);
        check("runs/events.out.tfevents.1", 1, true);
        check("saved_model/a/b", 1, true);
        check("root.bin", 1, true);
        check("config.json", 11 * 1024 * 1024, true);
        assert!(!Attributes::default().is_large(&"model.safetensors".parse().unwrap(), 1));
    }
}
