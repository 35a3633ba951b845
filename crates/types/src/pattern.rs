//! Patterns over paths, with the meaning that Python's `fnmatch.fnmatchcase` gives them, as `huggingface_hub` does.
//!
//! `*` stands for any characters, slashes among them; `?` for one; `[seq]` for one of a set and `[!seq]` for one
//! outside of it; a pattern that ends with a slash means everything below. A path is read once, whatever the
//! pattern: all places in the pattern that the path may stand at are kept side by side, as bits.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What 256 bits hold with one for the end. Far above any pattern seen; paths themselves may have 1,024 bytes.
const PATTERN_CHARS_MAX: usize = 255;
/// A state of the matcher: which places in the pattern the text may stand at.
type Places = [u64; 4];

/// A pattern over paths of files. Invariant: 1 to 255 characters, none of them a control character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Box<str>);

/// A text that is no pattern, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a pattern: {reason}")]
pub struct PatternError {
    /// The text as given, cut to 100 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Pattern {
    /// Returns the pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes what tells paths that it means from others.
    pub fn matcher(&self) -> Matcher {
        let mut text: Vec<char> = self.0.chars().collect();
        // `huggingface_hub` reads `folder/` as everything in the folder.
        if text.last() == Some(&'/') {
            text.push('*');
        }
        Matcher::new(&steps(&text))
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let reason = if text.is_empty() {
            Some("it is empty")
        } else if text.chars().count() > PATTERN_CHARS_MAX {
            Some("it is longer than 255 characters")
        } else if text.chars().any(char::is_control) {
            Some("it holds a control character")
        } else {
            None
        };
        match reason {
            Some(reason) => Err(PatternError { text: text.chars().take(100).collect(), reason }),
            None => Ok(Self(text.into())),
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.into()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What a pattern stands for at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Any characters, or none.
    Star,
    One(Single),
}

/// What one character may be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Single {
    Any,
    Is(char),
    /// Not even one: a set whose only range runs backwards.
    Never,
    Set {
        outside: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Single {
    fn takes(&self, found: char) -> bool {
        match self {
            Self::Any => true,
            Self::Is(wanted) => *wanted == found,
            Self::Never => false,
            Self::Set { outside, ranges } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&found)) != *outside
            }
        }
    }
}

/// A pattern made ready to be asked about many paths.
#[derive(Clone, Debug)]
pub struct Matcher {
    singles: Vec<Single>,
    /// Places where a star stands: any character leaves the text there.
    stars: Places,
    /// For each ASCII character, the places whose single takes it.
    ascii: Vec<Places>,
}

impl Matcher {
    fn new(steps: &[Step]) -> Self {
        let mut singles = Vec::new();
        let mut stars = Places::default();
        for step in steps {
            match step {
                Step::Star => set(&mut stars, singles.len()),
                Step::One(single) => singles.push(single.clone()),
            }
        }
        let ascii = (0..128_u8).map(|byte| places_taking(&singles, char::from(byte))).collect();
        Self { singles, stars, ascii }
    }

    /// Returns whether the pattern means this path.
    pub fn matches(&self, path: &str) -> bool {
        let mut places = Places::default();
        set(&mut places, 0);
        for found in path.chars() {
            let taking = match self.ascii.get(found as usize) {
                Some(known) => *known,
                None => places_taking(&self.singles, found),
            };
            places = advance(places, taking, self.stars);
            if places == Places::default() {
                return false;
            }
        }
        let end = self.singles.len();
        places[end / 64] >> (end % 64) & 1 == 1
    }
}

fn set(places: &mut Places, at: usize) {
    places[at / 64] |= 1 << (at % 64);
}

fn places_taking(singles: &[Single], found: char) -> Places {
    let mut places = Places::default();
    for (at, _) in singles.iter().enumerate().filter(|(_, single)| single.takes(found)) {
        set(&mut places, at);
    }
    places
}

/// Moves every place on by one where its single takes the character; places with a star stay as well.
fn advance(places: Places, taking: Places, stars: Places) -> Places {
    let mut next = Places::default();
    let mut carry = 0;
    for word in 0..next.len() {
        let taken = places[word] & taking[word];
        next[word] = taken << 1 | carry | places[word] & stars[word];
        carry = taken >> 63;
    }
    next
}

fn steps(text: &[char]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let (step, next) = match text[at] {
            '*' => (Step::Star, at + 1),
            '?' => (Step::One(Single::Any), at + 1),
            '[' => match end_of_set(text, at + 1) {
                Some(end) => (Step::One(set_of(&text[at + 1..end])), end + 1),
                // Without its end it is just a bracket.
                None => (Step::One(Single::Is('[')), at + 1),
            },
            other => (Step::One(Single::Is(other)), at + 1),
        };
        steps.push(step);
        at = next;
    }
    steps
}

/// Returns where the bracket that closes a set stands. A bracket right after the opening one is part of the set.
fn end_of_set(text: &[char], start: usize) -> Option<usize> {
    let mut at = start;
    at += usize::from(text.get(at) == Some(&'!'));
    at += usize::from(text.get(at) == Some(&']'));
    (at..text.len()).find(|end| text[*end] == ']')
}

/// Reads the inside of a set as Python does, with its peculiar way of dropping ranges that run backwards.
fn set_of(inside: &[char]) -> Single {
    let chunks = chunks(inside);
    let outside = chunks[0].first() == Some(&'!');
    let written: usize = chunks.iter().map(Vec::len).sum();
    match (written, outside) {
        (0, _) => return Single::Never,
        (1, true) => return Single::Any,
        (_, true | false) => {}
    }
    let mut ranges = Vec::new();
    for (at, chunk) in chunks.iter().enumerate() {
        // The last character of a chunk and the first of the next are the ends of a range.
        let skipped = usize::from(at > 0 || outside);
        let single_end = chunk.len() - usize::from(at + 1 < chunks.len() && !chunk.is_empty());
        let singles = chunk.get(skipped..single_end).unwrap_or_default();
        ranges.extend(singles.iter().map(|one| (*one, *one)));
        if let (Some(first), Some(next)) = (chunk.last(), chunks.get(at + 1))
            && let Some(last) = next.first()
        {
            ranges.push((*first, *last));
        }
    }
    Single::Set { outside, ranges }
}

/// Cuts a set at the dashes that make ranges, and joins what a range that runs backwards stood between.
fn chunks(inside: &[char]) -> Vec<Vec<char>> {
    let mut chunks: Vec<Vec<char>> = Vec::new();
    let mut begin = 0;
    // A dash in front is just a dash.
    let mut from = if inside.first() == Some(&'!') { 2 } else { 1 };
    while let Some(dash) = (from..inside.len()).find(|at| inside[*at] == '-') {
        chunks.push(inside[begin..dash].to_vec());
        begin = dash + 1;
        // The range's own end, and one character more, come before the next dash that can make a range.
        from = dash + 3;
    }
    match (inside.get(begin..).unwrap_or_default(), chunks.last_mut()) {
        ([], Some(last)) => last.push('-'),
        (rest, Some(_) | None) => chunks.push(rest.to_vec()),
    }
    for at in (1..chunks.len()).rev() {
        if chunks[at - 1].last() > chunks[at].first() {
            let joined = chunks.remove(at);
            chunks[at - 1].pop();
            chunks[at - 1].extend_from_slice(&joined[1..]);
        }
    }
    chunks
}

#[cfg(test)]
mod tests;
