//! The planner from outside: scenarios that an operator can read, and properties over random histories.

mod properties;
mod scenarios;
mod world;
