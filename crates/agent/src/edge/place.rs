//! Where a request came in: whose address it is, and what is asked behind it. Pure.

use http::{HeaderMap, header::HOST, request::Parts};
use percent_encoding::percent_decode_str;

/// The start of every address.
const ROOT: &str = "/hub/";
/// What may stand in a `Host` header that becomes part of a link.
const HOST_PUNCTUATION: [char; 5] = ['.', '-', ':', '[', ']'];

/// An address of the edge, taken apart. All of it is as it came: percent signs are not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) worker: &'a str,
    pub(super) key: &'a str,
    /// What a hub would be asked for: the path behind the worker's own address, with its slash.
    pub(super) path: &'a str,
    /// Behind the question mark.
    pub(super) query: Option<&'a str>,
    /// The worker's own address, without host.
    own: &'a str,
    host: Option<&'a str>,
}

impl<'a> Place<'a> {
    pub(super) fn parse(parts: &'a Parts) -> Option<Self> {
        Self::new(parts.uri.path(), parts.uri.query(), host_of(&parts.headers))
    }

    fn new(whole: &'a str, query: Option<&'a str>, host: Option<&'a str>) -> Option<Self> {
        let (worker, rest) = whole.strip_prefix(ROOT)?.split_once('/')?;
        let key_len = rest.find('/').unwrap_or(rest.len());
        let (key, path) = rest.split_at(key_len);
        let own = &whole[..whole.len() - path.len()];
        Some(Self { worker, key, path, query, own, host })
    }

    /// Returns whether a segment, once decoded, means another folder: nobody asks for that by mistake.
    pub(super) fn leaves_its_folder(&self) -> bool {
        let decoded = percent_decode_str(self.path).decode_utf8_lossy();
        [self.path, &*decoded]
            .iter()
            .flat_map(|path| path.split(['/', '\\']))
            .any(|segment| matches!(segment, "." | ".."))
    }

    /// Returns path and query as a hub is asked.
    pub(super) fn target(&self) -> String {
        match self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_owned(),
        }
    }

    /// Returns the address of something behind the worker's own one, for redirects.
    pub(super) fn relative(&self, target: &str) -> String {
        format!("{}{target}", self.own)
    }

    /// Returns the whole address of something behind the worker's own one, for links in headers.
    pub(super) fn absolute(&self, target: &str) -> String {
        let origin = self.host.map_or_else(String::new, |host| format!("http://{host}"));
        format!("{origin}{}{target}", self.own)
    }

    /// Returns the first value of a parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.parameters().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns whether a parameter is set to true.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| is_true(&value))
    }

    /// Returns the parameters, decoded, in their order.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (String, String)> {
        url::form_urlencoded::parse(self.query.unwrap_or_default().as_bytes()).into_owned()
    }
}

fn is_true(value: &str) -> bool {
    value == "1" || value.eq_ignore_ascii_case("true")
}

fn host_of(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(HOST)?.to_str().ok()?;
    let is_plain = !host.is_empty()
        && host.chars().all(|one| one.is_ascii_alphanumeric() || HOST_PUNCTUATION.contains(&one));
    is_plain.then_some(host)
}

#[cfg(test)]
mod tests;
