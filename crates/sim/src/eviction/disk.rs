//! The disk of the host: which models are on it, and what they take.

use super::trace::Trace;

/// Models on a disk, with their blobs counted once.
pub(super) struct Disk<'a> {
    trace: &'a Trace,
    is_here: Vec<bool>,
    here: Vec<usize>,
    /// For each blob: how many of the models here hold it.
    holders: Vec<u32>,
    taken: u64,
}

impl<'a> Disk<'a> {
    pub(super) fn new(trace: &'a Trace) -> Self {
        let is_here = vec![false; trace.models().len()];
        Self { trace, is_here, here: Vec::new(), holders: vec![0; trace.blobs().len()], taken: 0 }
    }

    pub(super) const fn trace(&self) -> &'a Trace {
        self.trace
    }

    /// Returns the models that are here, in no order that means anything.
    pub(super) fn models(&self) -> &[usize] {
        &self.here
    }

    pub(super) fn is_here(&self, model: usize) -> bool {
        self.is_here[model]
    }

    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Returns the bytes that would have to come for a model.
    pub(super) fn missing(&self, model: usize) -> u64 {
        let blobs = &self.trace.models()[model].blobs;
        blobs.iter().filter(|blob| self.holders[**blob] == 0).map(|blob| self.bytes(*blob)).sum()
    }

    pub(super) fn add(&mut self, model: usize) {
        self.taken += self.missing(model);
        for blob in &self.trace.models()[model].blobs {
            self.holders[*blob] += 1;
        }
        self.is_here[model] = true;
        self.here.push(model);
    }

    pub(super) fn remove(&mut self, model: usize) {
        for blob in &self.trace.models()[model].blobs {
            self.holders[*blob] -= 1;
        }
        self.taken -= self.missing(model);
        self.is_here[model] = false;
        self.here.retain(|one| *one != model);
    }

    fn bytes(&self, blob: usize) -> u64 {
        self.trace.blobs()[blob].bytes()
    }
}
