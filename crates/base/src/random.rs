//! Randomness by argument: the system's in service, a seed's in tests.

use std::sync::{Arc, Mutex, PoisonError};

/// A source of random bytes. Cheap to clone; clones of a seeded source share one sequence.
#[derive(Clone, Debug)]
pub enum Entropy {
    /// The operating system's generator: fit for secrets.
    System,
    /// A repeatable sequence: fit for tests only.
    Seeded(Arc<Mutex<u64>>),
}

impl Entropy {
    /// Makes a source that gives the same bytes for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Arc::new(Mutex::new(seed)))
    }

    /// Returns fresh random bytes.
    ///
    /// # Panics
    /// When the operating system gives no randomness: nothing can be kept secret then.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match self {
            Self::System => {
                getrandom::fill(&mut bytes).expect("the system's generator always answers on Linux");
            }
            Self::Seeded(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                for chunk in bytes.chunks_mut(8) {
                    chunk.copy_from_slice(&splitmix64(&mut state).to_le_bytes()[..chunk.len()]);
                }
            }
        }
        bytes
    }

    /// Returns a random number.
    pub fn number(&self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014: "Fast splittable pseudorandom number generators").
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
