//! The environment, read here and nowhere else.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use cli::Surroundings;

/// Reads what the client's commands go by.
pub(crate) fn read() -> std::io::Result<Surroundings> {
    let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Ok(Surroundings {
        home: path("HOME"),
        data_home: path("XDG_DATA_HOME"),
        cache_home: path("XDG_CACHE_HOME"),
        hub_token: env::var("HF_TOKEN").ok().filter(|token| !token.is_empty()).map(Into::into),
        folder: env::current_dir()?,
    })
}

/// Returns the search path of programs, `PATH`.
pub(crate) fn search_path() -> OsString {
    env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
}

/// Returns what to log, from `LARDER_LOG`.
pub(crate) fn log_filter() -> Option<String> {
    env::var("LARDER_LOG").ok().filter(|filter| !filter.is_empty())
}

/// Returns this program's own file, to start it again in another role.
pub(crate) fn own_program() -> std::io::Result<PathBuf> {
    // The link goes on naming the running program when its file was replaced meanwhile.
    let link = Path::new("/proc/self/exe");
    match link.read_link() {
        Ok(path) if path.exists() => Ok(path),
        Ok(_) | Err(_) => env::current_exe(),
    }
}

/// Returns where the demo keeps what it prepared, from `LARDER_DEMO_CACHE`: for continuous integration.
pub(crate) fn demo_cache() -> Option<PathBuf> {
    env::var_os("LARDER_DEMO_CACHE").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Returns where the demo puts a copy of its models, from `LARDER_DEMO_MODELS`: for tests that read them.
pub(crate) fn demo_models() -> Option<PathBuf> {
    env::var_os("LARDER_DEMO_MODELS").filter(|value| !value.is_empty()).map(PathBuf::from)
}
