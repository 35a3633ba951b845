//! The store as its callers use it: on the real disk, and on the faulty one under crashes.

mod concurrency;
mod crash;
mod lifecycle;
mod pool;
mod rights;
mod room;
mod view_tree;
