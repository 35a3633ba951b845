//! What a request comes to: something of a model that is here, or something to pass on.

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use base::ByteSize;
use http::{
    HeaderValue, Method,
    header::{CONTENT_TYPE, LINK},
    request::Parts,
};
use hub::{Ask, RepoRoute, Route};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{
    Edge, Guest, Turn,
    listing::{self, TreeQuery},
    place::Place,
    refusal::Refusal,
    shelf::{Found, ModelShelf},
};

/// Room for a thousand long paths.
const PATHS_BODY_MAX: ByteSize = ByteSize::mib(2);
/// A registry of terminal programs that `huggingface_hub` asks for in every fresh home folder, and does without: no
/// worker waits for a hub because of it.
const REGISTRY: &str = "/api/agent-harnesses";

/// What is added where the commit may have the file all the same.
const NOT_KEPT: &str =
    ", among the files that this endpoint keeps of the model; --include keeps more of them";

/// A request with all that it takes to answer it.
pub(super) struct Asked<'a> {
    pub(super) guest: &'a Guest,
    pub(super) parts: &'a Parts,
    pub(super) place: &'a Place<'a>,
}

impl Edge {
    pub(super) async fn answer(
        &self,
        guest: &Guest,
        parts: &Parts,
        place: &Place<'_>,
        body: Body,
        turn: Turn,
    ) -> Result<Response, Refusal> {
        let asked = Asked { guest, parts, place };
        if place.path == REGISTRY {
            return Err(Refusal::NoRoute);
        }
        match Route::parse(place.path) {
            Route::Repo(route) => match guest.shelves.get(&route.id.to_lowercase()) {
                Some(shelf) if is_read(&parts.method, &route.ask) => {
                    self.answer_from_shelf(&asked, shelf, &route, body, turn).await
                }
                Some(_) | None => self.pass(&asked, body, turn).await,
            },
            Route::WhoAmI | Route::Unknown => self.pass(&asked, body, turn).await,
        }
    }

    async fn answer_from_shelf(
        &self,
        asked: &Asked<'_>,
        shelf: &ModelShelf,
        route: &RepoRoute,
        body: Body,
        turn: Turn,
    ) -> Result<Response, Refusal> {
        let place = asked.place;
        let named = match &route.ask {
            Ask::Model { revision } => revision.clone().or_else(|| place.parameter("revision")),
            Ask::Tree { revision, .. }
            | Ask::PathsInfo { revision }
            | Ask::Resolve { revision, .. }
            | Ask::ResolveCache { revision, .. } => Some(revision.clone()),
            Ask::Refs => None,
        };
        if let Some(revision) = named.filter(|revision| !shelf.is_here(revision)) {
            return self.pass_other_revision(asked, shelf, revision, body, turn).await;
        }
        match &route.ask {
            Ask::Model { .. } => {
                let fields: Vec<String> =
                    place.parameters().filter(|(name, _)| name == "expand").map(|(_, field)| field).collect();
                Ok(Json(listing::model(shelf, place.is_set("blobs"), &fields)).into_response())
            }
            Ask::Tree { folder, .. } => tree(place, shelf, folder.as_deref()),
            Ask::PathsInfo { .. } => {
                let bytes = web::read_body(body, PATHS_BODY_MAX)
                    .await
                    .map_err(|error| Refusal::BadRequest { message: error.to_string() })?;
                let wanted = PathsBody::parse(asked.parts, &bytes)?;
                listing::paths(shelf, &wanted.paths).map(|entries| Json(entries).into_response())
            }
            Ask::Refs => Ok(Json(listing::refs(shelf)).into_response()),
            Ask::Resolve { path, .. } | Ask::ResolveCache { path, .. } => match shelf.find(path) {
                Found::File(file) => self.send(asked.parts, shelf, file, turn).await,
                Found::Absent => Err(missing(shelf, path, "")),
                // Libraries would put it into the view, which is read-only: better no such file than a broken start.
                Found::NotKept => Err(missing(shelf, path, NOT_KEPT)),
            },
        }
    }
}

fn missing(shelf: &ModelShelf, path: &str, note: &'static str) -> Refusal {
    Refusal::EntryNotFound { commit: shelf.commit(), path: path.to_owned(), note }
}

/// Whether a request only reads what a shelf can tell. Anything else, such as an upload, is the hub's matter.
fn is_read(method: &Method, ask: &Ask) -> bool {
    match ask {
        Ask::PathsInfo { .. } => method == Method::POST,
        Ask::Model { .. } | Ask::Tree { .. } | Ask::Refs | Ask::Resolve { .. } | Ask::ResolveCache { .. } => {
            matches!(*method, Method::GET | Method::HEAD)
        }
    }
}

fn tree(place: &Place<'_>, shelf: &ModelShelf, folder: Option<&str>) -> Result<Response, Refusal> {
    let query = TreeQuery {
        recursive: place.is_set("recursive"),
        limit: place.parameter("limit").and_then(|limit| limit.parse().ok()),
        cursor: place.parameter("cursor"),
    };
    let page = listing::tree(shelf, folder, &query)?;
    let mut response = Json(page.entries).into_response();
    if let Some(cursor) = page.next_cursor {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let kept = place.parameters().filter(|(name, _)| name != "cursor");
        let kept: String =
            kept.map(|(name, value)| format!("{}={}&", encode(&name), encode(&value))).collect();
        let next = place.absolute(&format!("{}?{kept}cursor={cursor}", place.path));
        if let Ok(link) = HeaderValue::from_str(&format!("<{next}>; rel=\"next\"")) {
            response.headers_mut().insert(LINK, link);
        }
    }
    Ok(response)
}

/// What paths are asked for: as a form or as JSON, whichever the body is.
#[derive(Default, Deserialize)]
struct PathsBody {
    #[serde(default)]
    paths: Vec<String>,
}

impl PathsBody {
    fn parse(parts: &Parts, bytes: &[u8]) -> Result<Self, Refusal> {
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if content_type.is_some_and(|content_type| content_type.starts_with("application/json")) {
            return web::parse_json(bytes)
                .map_err(|error| Refusal::BadRequest { message: error.to_string() });
        }
        let fields = url::form_urlencoded::parse(bytes);
        let paths = fields.filter(|(name, _)| matches!(&**name, "paths" | "paths[]"));
        Ok(Self { paths: paths.map(|(_, path)| path.into_owned()).collect() })
    }
}
