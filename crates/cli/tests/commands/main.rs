//! Whole commands against a canned server: what goes out, what the user sees, how the command ends.

#[cfg(test)]
mod canned;
mod choices;
mod endpoints;
mod jobs;
mod refusals;
mod shelf;
#[cfg(test)]
mod views;
