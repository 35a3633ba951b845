//! What the seeds went through, and which of them failed.

/// What a seed went through, to tell that the test tests something.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) power_losses: u64,
    pub(super) kills: u64,
    pub(super) published: u64,
    pub(super) mismatches: u64,
    pub(super) extents_resumed: u64,
    pub(super) models: u64,
    pub(super) removed: u64,
    pub(super) views: u64,
    pub(super) views_found_again: u64,
    pub(super) full: u64,
    pub(super) failed: u64,
    pub(super) pins: u64,
    pub(super) swept: u64,
    pub(super) quarantined: u64,
}

/// Tells which seed it was when its run panics.
pub(super) struct NamedSeed(pub(super) u64);

impl Drop for NamedSeed {
    fn drop(&mut self) {
        eprintln!("failing seed: LARDER_CRASH_SEED={}", self.0);
    }
}

impl Tally {
    pub(super) fn numbers(&mut self) -> [&mut u64; 14] {
        [
            &mut self.power_losses,
            &mut self.kills,
            &mut self.published,
            &mut self.mismatches,
            &mut self.extents_resumed,
            &mut self.models,
            &mut self.removed,
            &mut self.views,
            &mut self.views_found_again,
            &mut self.full,
            &mut self.failed,
            &mut self.pins,
            &mut self.swept,
            &mut self.quarantined,
        ]
    }

    pub(super) fn add(&mut self, other: &Self) {
        let mut other = Self { ..*other };
        for (sum, number) in self.numbers().into_iter().zip(other.numbers()) {
            *sum += *number;
        }
    }

    pub(super) fn all_happened(&self) -> bool {
        Self { ..*self }.numbers().into_iter().all(|number| *number > 0)
    }
}
