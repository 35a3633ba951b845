//! What a command finds around it: the environment, read once by the binary, and where the server is.
//!
//! Nothing else in this crate reads environment variables, so that a test's surroundings are whole.

use std::{fs, io, path::PathBuf};

use base::Redacted;
use types::{ErrorCode, Fault};
use url::Url;

use crate::args::GlobalArgs;

/// The file in the data folder that holds the key of the first start (mode 0600).
pub const ADMIN_KEY_FILE: &str = "admin.key";

/// The file in the data folder in which a running server's address stands.
pub const SERVER_ADDRESS_FILE: &str = "server.url";

/// Where `larder up` listens unless told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8380";

/// The environment of a command.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_DATA_HOME`.
    pub data_home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub cache_home: Option<PathBuf>,
    /// `HF_TOKEN`.
    pub hub_token: Option<Redacted<String>>,
    /// The current folder.
    pub folder: PathBuf,
}

/// Where the server is, and the key to it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The server's address.
    pub server: Url,
    /// The key, when there is one.
    pub key: Option<Redacted<String>>,
    /// Where the key was looked for, for hints.
    pub key_file: PathBuf,
}

impl Surroundings {
    /// Returns the data folder: as given, or `larder` in the folder for a user's data.
    ///
    /// # Errors
    /// A fault when neither `HOME` nor `XDG_DATA_HOME` is set and none was given.
    pub fn data_folder(&self, globals: &GlobalArgs) -> Result<PathBuf, Fault> {
        let below_home = |home: &PathBuf| home.join(".local/share");
        match (&globals.data_dir, &self.data_home, &self.home) {
            (Some(given), _, _) => Ok(self.folder.join(given)),
            (None, Some(data_home), _) if data_home.is_absolute() => Ok(data_home.join("larder")),
            (None, _, Some(home)) => Ok(below_home(home).join("larder")),
            (None, _, None) => {
                Err(Fault::new(ErrorCode::FieldInvalid, "there is no place for the data folder")
                    .with_hint("give --data-dir, or set HOME"))
            }
        }
    }

    /// Returns the folder for what can be made again.
    ///
    /// # Errors
    /// A fault when neither `HOME` nor `XDG_CACHE_HOME` is set.
    pub fn cache_folder(&self) -> Result<PathBuf, Fault> {
        match (&self.cache_home, &self.home) {
            (Some(cache_home), _) if cache_home.is_absolute() => Ok(cache_home.join("larder")),
            (_, Some(home)) => Ok(home.join(".cache/larder")),
            (_, None) => Err(Fault::new(ErrorCode::FieldInvalid, "there is no place for the cache folder")
                .with_hint("set HOME or XDG_CACHE_HOME")),
        }
    }

    /// Finds the server and the key: what was given goes first, then what a running server left in the data folder.
    ///
    /// # Errors
    /// A fault when the key's file is there and can't be read, or when the data folder can't be told.
    pub fn connection(&self, globals: &GlobalArgs) -> Result<Connection, Fault> {
        let data_folder = match self.data_folder(globals) {
            Ok(folder) => folder,
            // With both given, the data folder is not needed.
            Err(_) if globals.server.is_some() && globals.key.is_some() => PathBuf::new(),
            Err(fault) => return Err(fault),
        };
        let key_file = data_folder.join(ADMIN_KEY_FILE);
        let server = match &globals.server {
            Some(server) => server.clone(),
            None => fs::read_to_string(data_folder.join(SERVER_ADDRESS_FILE))
                .ok()
                .and_then(|text| Url::parse(text.trim()).ok())
                .unwrap_or_else(|| Url::parse(DEFAULT_SERVER).expect("the address is fixed and valid")),
        };
        let key = match &globals.key {
            Some(key) => Some(key.clone()),
            None => match fs::read_to_string(&key_file) {
                Ok(text) => Some(Redacted::new(text.trim().to_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => {
                    let message = format!("the key in {} can't be read: {error}", key_file.display());
                    return Err(Fault::new(ErrorCode::KeyMissing, message)
                        .with_hint("run as the user who started Larder, or give --key"));
                }
            },
        };
        Ok(Connection { server, key, key_file })
    }
}
