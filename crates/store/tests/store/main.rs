//! The store as its callers use it: on the real disk, and on the faulty one under crashes.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod concurrency;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod import;
#[cfg(test)]
mod keep;
#[cfg(test)]
mod keep_faults;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod pieces;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod readers;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod room;
#[cfg(test)]
mod scrub;
#[cfg(test)]
mod small_disk;
#[cfg(test)]
mod view_tree;
#[cfg(test)]
mod warm;
