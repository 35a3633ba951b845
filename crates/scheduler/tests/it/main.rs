//! The planner from outside: scenarios that an operator can read, properties over random histories, and of eviction.

mod eviction;
mod properties;
mod scenarios;
mod world;
