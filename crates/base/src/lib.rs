//! Ground: what every other crate stands on.
//!
//! Time, randomness, tasks, files, sizes, secrets in memory and the pace of retries. Nothing here knows
//! what Larder is for, and nothing here reads the environment.

mod backoff;
mod disk;
mod random;
mod redacted;
mod size;
mod task;
mod time;

pub use backoff::Backoff;
pub use disk::{
    Access, Advice, BLOCK_BYTES, BlockBuffer, Disk, DiskCall, DiskFile, DiskLock, DiskSpace, EntryKind,
    FaultyDisk, FileMeta, FileOwner, FolderEntry, ForeignFile, ForeignFolder, ForeignMeta, OpenForeignError,
    RealDisk, is_whole_blocks, write_durably, write_privately,
};
pub use random::Entropy;
pub use redacted::Redacted;
pub use size::{ByteSize, ParseByteSizeError};
pub use task::{TaskError, TaskScope};
pub use time::{Clock, ManualTime, Timestamp};
