//! Eviction: which models leave a shelf that is too full, and why these.
//!
//! A pure function from a shelf (what stands on it, who needs it, how it was used) to a plan: the models to remove, in
//! order, with the grounds for each. It removes nothing and reserves nothing; bytes count as freed when the store has
//! seen them go. Bytes that no model names, and partial files, are the caller's to free first. DESIGN.md argues the
//! policy; `sim` measures it.

mod choose;
mod experience;
mod outlook;
mod score;
mod shelf;
mod uses;

pub use choose::choose;
pub use experience::{Experience, MODELS_REMEMBERED_MAX, Used};
pub use outlook::Outlook;
pub use score::{EvictionPolicy, Grounds, KeepScore, Worth};
pub use shelf::{BlobIndex, EvictionPlan, Held, Kept, Shelf, Shelved, Standing, Victim};
pub use uses::{UseRate, Uses};

#[cfg(test)]
mod tests;
