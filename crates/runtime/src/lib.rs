//! Workers as processes: the driver trait, its drivers, and the shim that stands between a worker and its host.
//!
//! A driver carries out starts and ends; it decides neither. Nothing here knows endpoints, models, jobs or HTTP.
//! Linux only, 5.12 or newer.

pub mod children;
mod driver;
mod error;
pub mod mounts;
mod process;
mod protocol;
mod python;
mod records;
pub mod shim;
mod sim;

pub use driver::{
    Adopted, BoxFuture, Driver, DriverEvent, Egress, ExitReason, LogLine, LogStream, ProcessIds, Relay,
    RelaySharing, ResolvedStart, Started,
};
pub use error::DriverError;
pub use mounts::{Mount, MountSource, ViewMount};
pub use process::{Confinement, ProcessDriver, ProcessOptions, ShimProgram};
pub use python::{PythonEnvironment, PythonError};
pub use sim::SimDriver;
