//! How workers are kept apart: the driver that does it, and the question whether this system lets it.

use std::path::{Path, PathBuf};

use base::Clock;
use runtime::{Confinement, Driver as _, ProcessDriver, ProcessOptions, ShimProgram};
use types::Fault;

use crate::grammar::IsolationWish;

/// The word that makes this program a shim.
pub(crate) const SHIM_WORD: &str = "shim";

/// Makes the driver of this host's workers.
///
/// # Errors
/// A fault when the folder of running workers can't be made.
pub(crate) fn driver(
    isolation: IsolationWish,
    run_folder: &Path,
    protected: Vec<PathBuf>,
) -> Result<ProcessDriver, Fault> {
    let confinement = match isolation {
        IsolationWish::Namespaces => Confinement::Sandbox,
        IsolationWish::None => Confinement::None,
    };
    let options = ProcessOptions {
        run_folder: run_folder.to_owned(),
        shim: ShimProgram { program: "/proc/self/exe".into(), arguments: vec![SHIM_WORD.to_owned()] },
        confinement,
        protected,
    };
    ProcessDriver::new(options, Clock::System).map_err(|error| error.fault())
}

/// Finds out whether this system lets workers be kept apart so.
///
/// # Errors
/// A fault that names the command which allows it.
pub(crate) async fn check(isolation: IsolationWish) -> Result<(), Fault> {
    let folder = tempfile::Builder::new().prefix("larder-probe-").tempdir();
    let folder = folder.map_err(|error| Fault::from_error(types::ErrorCode::DiskError, &error))?;
    let driver = driver(isolation, folder.path(), Vec::new())?;
    driver.probe().await.map(drop).map_err(|error| error.fault())
}
