//! The command line client: the public API, spoken by people.
//!
//! It knows only the API's shapes and the addresses of its routes. It keeps nothing on disk and starts no process;
//! roles (server, agent, up, hub serve, demo) are the binary's.

mod args;
mod client;
mod commands;
mod dispatch;
mod failure;
mod folder;
mod progress;
mod screen;
mod surroundings;
mod table;
mod words;

pub use args::{ClientCommand, GlobalArgs, OutputFormat};
pub use client::Client;
pub use commands::wait_for_job;
pub use dispatch::run;
pub use failure::{Exit, Failure};
pub use folder::{FOLDER_BYTES_MAX, FolderError, PackedFolder, pack};
pub use progress::Progress;
pub use screen::Screen;
pub use surroundings::{ADMIN_KEY_FILE, Connection, SERVER_ADDRESS_FILE, Surroundings};
pub use table::{Align, Table};
pub use words::{ago, for_people, millis};
