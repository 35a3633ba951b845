//! The choice: cheapest first until it is enough, then back with whatever was not needed.

use std::{cmp::Reverse, collections::BinaryHeap};

use base::{ByteSize, Timestamp};

use super::{
    score::{EvictionPolicy, Grounds, KeepScore, Stake, grounds, score},
    shelf::{BlobIndex, EvictionPlan, Held, Kept, Shelf, Standing, Victim},
};

/// Chooses what leaves so that `needed` bytes are free.
///
/// The models that save least for their bytes go first; a model goes back when the others free enough without it.
/// The same shelf gives the same plan, in whatever order its models were added. What is freed never falls when more is
/// needed.
pub fn choose<K: Ord + Clone>(
    shelf: &Shelf<K>,
    needed: ByteSize,
    now: Timestamp,
    policy: &EvictionPolicy,
) -> EvictionPlan<K> {
    let mut choice = Choice::new(shelf);
    let kept = choice.kept();
    if needed.bytes() > 0 {
        choice.take_cheapest(needed, now, policy);
        choice.put_back_unneeded(needed);
    }
    let victims = choice.into_victims();
    let freed: ByteSize = victims.iter().map(|victim| victim.frees).sum();
    let short_by = ByteSize(needed.bytes().saturating_sub(freed.bytes()));
    EvictionPlan { outlook: policy.outlook, victims, freed, short_by, kept }
}

/// A model that was taken.
struct Taken {
    model: usize,
    score: KeepScore,
    grounds: Grounds,
}

/// A choice that is being made.
struct Choice<'a, K> {
    shelf: &'a Shelf<K>,
    /// For each blob: how many of the models that still hold it may leave.
    holders: Vec<u32>,
    /// For each blob: the strongest standing of its models.
    strongest: Vec<Standing>,
    /// For each blob: how often those models that were taken are used, per day. Who frees it in the end answers for them.
    carried: Vec<f64>,
    taken: Vec<Taken>,
    freed: u64,
}

impl<'a, K: Ord + Clone> Choice<'a, K> {
    fn new(shelf: &'a Shelf<K>) -> Self {
        let mut holders = vec![0; shelf.blobs.len()];
        let mut strongest = vec![Standing::Free; shelf.blobs.len()];
        for model in &shelf.models {
            for blob in &model.blobs {
                holders[blob.0 as usize] += 1;
                let standing = &mut strongest[blob.0 as usize];
                *standing = (*standing).min(model.standing);
            }
        }
        let carried = vec![0.0; shelf.blobs.len()];
        Self { shelf, holders, strongest, carried, taken: Vec::new(), freed: 0 }
    }

    fn kept(&self) -> Kept {
        let mut kept = Kept::default();
        for model in &self.shelf.models {
            if let Some(held) = held_by(&mut kept, model.standing) {
                held.models += 1;
            }
        }
        for ((bytes, standing), holders) in self.shelf.blobs.iter().zip(&self.strongest).zip(&self.holders) {
            if let Some(held) = held_by(&mut kept, *standing).filter(|_| *holders > 0) {
                held.bytes += *bytes;
            }
        }
        kept
    }

    /// Takes models, least worth first, until enough bytes are free or nothing is left that would free any.
    fn take_cheapest(&mut self, needed: ByteSize, now: Timestamp, policy: &EvictionPolicy) {
        let shelf = self.shelf;
        let sharers = self.sharers();
        let mut taken = vec![false; shelf.models.len()];
        let mut latest = vec![0_u32; shelf.models.len()];
        let entry = |choice: &Self, at: usize, edition: u32| {
            let model = &shelf.models[at];
            let stake = choice.stake(at);
            let grounds = grounds(model, stake, now, policy);
            let score = score(model, stake, &grounds, policy);
            // The key decides between equals; the place on the shelf, which depends on the caller, never does.
            (stake.lost > 0).then_some(Reverse((score, &model.key, at, edition)))
        };
        let free = (0..shelf.models.len()).filter(|at| shelf.models[*at].standing == Standing::Free);
        let mut queue: BinaryHeap<_> = free.filter_map(|at| entry(self, at, 0)).collect();
        while self.freed < needed.bytes() {
            let Some(Reverse((score, _, at, edition))) = queue.pop() else { break };
            if taken[at] || latest[at] != edition {
                continue;
            }
            let grounds = grounds(&shelf.models[at], self.stake(at), now, policy);
            taken[at] = true;
            self.freed += self.take(at);
            for blob in &shelf.models[at].blobs {
                self.carried[blob.0 as usize] += grounds.uses.per_day();
            }
            self.taken.push(Taken { model: at, score, grounds });
            for sharer in self.now_alone(at, &sharers, &taken) {
                latest[sharer] += 1;
                queue.extend(entry(self, sharer, latest[sharer]));
            }
        }
    }

    /// Puts back, most worth first, what the others do without.
    fn put_back_unneeded(&mut self, needed: ByteSize) {
        let mut needed_ones = Vec::new();
        for taken in std::mem::take(&mut self.taken).into_iter().rev() {
            let blobs = &self.shelf.models[taken.model].blobs;
            let back: u64 =
                blobs.iter().filter(|blob| self.is_gone(**blob)).map(|blob| self.bytes(*blob)).sum();
            if self.freed - back >= needed.bytes() {
                self.freed -= back;
                for blob in blobs {
                    self.holders[blob.0 as usize] += 1;
                }
            } else {
                needed_ones.push(taken);
            }
        }
        needed_ones.reverse();
        self.taken = needed_ones;
    }

    /// Returns the victims with what each frees after those before it.
    fn into_victims(mut self) -> Vec<Victim<K>> {
        let taken = std::mem::take(&mut self.taken);
        for victim in &taken {
            for blob in &self.shelf.models[victim.model].blobs {
                self.holders[blob.0 as usize] += 1;
            }
        }
        taken
            .into_iter()
            .map(|Taken { model, score, grounds }| {
                let frees = ByteSize(self.take(model));
                Victim { key: self.shelf.models[model].key.clone(), frees, score, grounds }
            })
            .collect()
    }

    /// Takes a model away from its blobs and returns the bytes that go with it.
    fn take(&mut self, model: usize) -> u64 {
        let shelf = self.shelf;
        let mut frees = 0;
        for blob in &shelf.models[model].blobs {
            self.holders[blob.0 as usize] -= 1;
            if self.is_gone(*blob) {
                frees += self.bytes(*blob);
            }
        }
        frees
    }

    fn stake(&self, model: usize) -> Stake {
        let mut stake = Stake { lost: 0, share: 0, carried: 0.0 };
        for blob in &self.shelf.models[model].blobs {
            if self.strongest[blob.0 as usize] == Standing::Free {
                stake.lost += self.bytes(*blob);
                stake.share += self.bytes(*blob) / u64::from(self.holders[blob.0 as usize].max(1));
                stake.carried += self.bytes(*blob) as f64 * self.carried[blob.0 as usize];
            }
        }
        stake
    }

    fn is_gone(&self, blob: BlobIndex) -> bool {
        self.holders[blob.0 as usize] == 0
    }

    fn bytes(&self, blob: BlobIndex) -> u64 {
        self.shelf.bytes_of(blob)
    }

    /// Returns the models of each blob.
    fn sharers(&self) -> Vec<Vec<usize>> {
        let mut sharers = vec![Vec::new(); self.shelf.blobs.len()];
        for (at, model) in self.shelf.models.iter().enumerate() {
            for blob in model.blobs.iter().filter(|blob| self.holders[blob.0 as usize] > 1) {
                sharers[blob.0 as usize].push(at);
            }
        }
        sharers
    }

    /// Returns the models that hold a blob alone now that `model` is gone: their removal frees more than before.
    ///
    /// Sharers in between are not looked at again, or one small file of ten thousand models would cost ten thousand
    /// looks for each victim.
    fn now_alone(&self, model: usize, sharers: &[Vec<usize>], taken: &[bool]) -> Vec<usize> {
        let mut alone: Vec<usize> = self.shelf.models[model]
            .blobs
            .iter()
            .filter(|blob| {
                self.holders[blob.0 as usize] == 1 && self.strongest[blob.0 as usize] == Standing::Free
            })
            .filter_map(|blob| sharers[blob.0 as usize].iter().copied().find(|sharer| !taken[*sharer]))
            .collect();
        alone.sort_unstable();
        alone.dedup();
        alone
    }
}

fn held_by(kept: &mut Kept, standing: Standing) -> Option<&mut Held> {
    match standing {
        Standing::Leased => Some(&mut kept.leased),
        Standing::Pinned => Some(&mut kept.pinned),
        Standing::Wanted => Some(&mut kept.wanted),
        Standing::Free => None,
    }
}
