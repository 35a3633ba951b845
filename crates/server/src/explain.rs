//! The page of an error's code, at the address that a problem names.

use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use include_dir::{Dir, include_dir};
use types::{ErrorCode, Fault};
use web::{Path, ProblemResponse};

/// The pages, one for each code; `cargo xtask tidy` keeps them complete.
static PAGES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../docs/errors");

pub(crate) async fn error(Path(code): Path<String>) -> Result<Response, ProblemResponse> {
    let page = PAGES.get_file(format!("{code}.md")).and_then(include_dir::File::contents_utf8);
    match page {
        Some(page) => Ok(([(CONTENT_TYPE, "text/markdown; charset=utf-8")], page).into_response()),
        None => Err(Fault::new(ErrorCode::RouteNotFound, "no error has this code").into()),
    }
}
