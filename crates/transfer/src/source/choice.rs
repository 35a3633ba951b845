//! Which source is asked next, and who is blamed for wrong bytes. Pure.
//!
//! The order of the list is the operator's, and stands as long as nothing speaks against it: a source that failed
//! lately comes after those that did not, and one that is measured to be much slower after the faster one.

use base::Timestamp;

/// A source goes before an earlier one when it is this many times as fast: measurements of one line differ by less.
const FASTER_TIMES: u64 = 2;
/// A source whose bytes of a file were wrong this often gives no more of it: once may be chance on the way.
pub(crate) const STRIKES_MAX: u32 = 2;

/// How a source stands when a range is to be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Whether it can't be asked for this range any more.
    pub(crate) is_out: bool,
    /// Whether it gives this file only as a whole.
    pub(crate) is_whole_only: bool,
    /// How often its bytes of this file were wrong.
    pub(crate) strikes: u32,
    /// Until when it must not be asked.
    pub(crate) ready_at: Timestamp,
    /// Until when it is better not asked, because it failed lately.
    pub(crate) shaky_until: Timestamp,
    /// Bytes a second that one connection brought, if that is known.
    pub(crate) rate: Option<u64>,
}

/// What to do next about a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Ask this source.
    Ask(usize),
    /// Wait for this source: no other can be asked sooner.
    WaitFor(usize, Timestamp),
    /// Only sources are left that give the file as a whole, this one first.
    WholeOnly(usize),
    /// Nobody is left.
    Nobody,
}

/// Chooses among sources, the operator's first choice first.
pub(crate) fn choose(candidates: &[Candidate], now: Timestamp) -> Choice {
    let is_usable = |(index, one): &(usize, &Candidate)| !one.is_out && is_trusted(candidates, *index);
    let usable = || candidates.iter().enumerate().filter(is_usable);
    let ready = |shaky: bool| {
        usable().filter(move |(_, one)| {
            !one.is_whole_only && one.ready_at <= now && (one.shaky_until > now) == shaky
        })
    };
    if let Some((index, _)) = ready(false).reduce(faster).or_else(|| ready(true).reduce(faster)) {
        return Choice::Ask(index);
    }
    let waiting = usable().filter(|(_, one)| !one.is_whole_only).min_by_key(|(_, one)| one.ready_at);
    match (waiting, usable().next()) {
        (Some((index, one)), _) => Choice::WaitFor(index, one.ready_at),
        (None, Some((index, _))) => Choice::WholeOnly(index),
        (None, None) => Choice::Nobody,
    }
}

/// Returns the later of two sources only if it is known to be much faster.
fn faster<'a>(first: (usize, &'a Candidate), later: (usize, &'a Candidate)) -> (usize, &'a Candidate) {
    match (first.1.rate, later.1.rate) {
        (Some(slow), Some(fast)) if fast >= slow.saturating_mul(FASTER_TIMES) => later,
        (Some(_) | None, Some(_) | None) => first,
    }
}

/// Returns whether a source may still give bytes of a file, after some were wrong.
///
/// While anyone has a clean record the others are set aside. When nobody has, each gets a second chance alone, so
/// that it is known whose bytes they are, beginning with the last of the list: the hub, whose word the digests are.
fn is_trusted(candidates: &[Candidate], index: usize) -> bool {
    let left = || candidates.iter().enumerate().filter(|(_, one)| !one.is_out);
    let fewest = left().map(|(_, one)| one.strikes).min().unwrap_or(STRIKES_MAX);
    match fewest {
        0 => candidates[index].strikes == 0,
        STRIKES_MAX.. => false,
        _ => left().rfind(|(_, one)| one.strikes == fewest).is_some_and(|(last, _)| last == index),
    }
}

#[cfg(test)]
mod tests;
