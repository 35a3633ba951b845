//! Answers in JSON: who the caller is, what a model is, what files it has.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use base::ByteSize;
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_TYPE, LINK},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use super::{Granted, Hub};
use crate::{
    access::{AccessRules, Caller},
    listing::{self, ModelQuery, TreeQuery},
    refusal::Refusal,
    shelf::Branch,
};

/// Room for a thousand long paths.
const PATHS_BODY_MAX: ByteSize = ByteSize::mib(2);

/// Tells who a token belongs to.
pub(super) fn who_am_i(access: &AccessRules, caller: &Caller) -> Result<Response, Refusal> {
    match (caller, access.user(caller)) {
        (Caller::Unknown, _) => Err(Refusal::BadToken),
        (Caller::Known(_), Some(user)) => Ok(Json(json!({
            "type": "user",
            "id": user,
            "name": user,
            "fullname": user,
            "email": null,
            "emailVerified": false,
            "canPay": false,
            "isPro": false,
            "orgs": [],
            "auth": {
                "type": "access_token",
                "accessToken": { "displayName": user, "role": "read" },
            },
        }))
        .into_response()),
        (Caller::Anonymous | Caller::Known(_), _) => Err(Refusal::TokenMissing),
    }
}

impl Hub {
    pub(super) async fn model(
        &self,
        granted: &Granted<'_>,
        revision: Option<&str>,
    ) -> Result<Response, Refusal> {
        let query = Parameters::of(granted);
        let revision = revision.or(query.first("revision")).unwrap_or("main");
        let branch = self.at(granted, revision).await?;
        let query = ModelQuery { blobs: query.is_set("blobs"), expand: query.all("expand") };
        let lies = &granted.faults.listing;
        listing::model(&granted.repo, &branch, granted.access, &query, lies)
            .map(|told| Json(told).into_response())
    }

    pub(super) async fn tree(
        &self,
        granted: &Granted<'_>,
        revision: &str,
        folder: Option<&str>,
    ) -> Result<Response, Refusal> {
        let branch = self.at(granted, revision).await?;
        let parameters = Parameters::of(granted);
        let query = TreeQuery {
            recursive: parameters.is_set("recursive"),
            expand: parameters.is_set("expand"),
            limit: parameters.first("limit").and_then(|limit| limit.parse().ok()),
            cursor: parameters.first("cursor").map(str::to_owned),
        };
        let page =
            listing::tree(&branch, folder, &query, self.settings.page_entries_max, &granted.faults.listing)?;
        let mut response = Json(page.entries).into_response();
        if let Some(cursor) = page.next_cursor {
            let origin = match &granted.faults.next_page_origin {
                Some(origin) => origin.clone(),
                None => self.public_url(&granted.parts.headers),
            };
            let mut link = format!("<{origin}{}?", granted.parts.uri.path());
            for (name, value) in parameters.0.iter().filter(|(name, _)| name != "cursor") {
                let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                link.push_str(&format!("{}={}&", encode(name), encode(value)));
            }
            link.push_str(&format!("cursor={cursor}>; rel=\"next\""));
            if let Ok(value) = HeaderValue::from_str(&link) {
                response.headers_mut().insert(LINK, value);
            }
        }
        Ok(response)
    }

    pub(super) async fn paths_info(
        &self,
        granted: &Granted<'_>,
        revision: &str,
        body: Body,
    ) -> Result<Response, Refusal> {
        let branch = self.at(granted, revision).await?;
        let bytes = web::read_body(body, PATHS_BODY_MAX)
            .await
            .map_err(|error| Refusal::BadRequest { message: error.to_string() })?;
        let wanted = PathsBody::parse(&granted.parts.headers, &bytes)?;
        listing::paths_info(&branch, &wanted.paths, wanted.expand, &granted.faults.listing)
            .map(|entries| Json(entries).into_response())
    }

    pub(super) async fn refs(&self, granted: &Granted<'_>) -> Result<Response, Refusal> {
        let mut branches: BTreeMap<_, std::sync::Arc<Branch>> = BTreeMap::new();
        for (name, folder) in granted.branches {
            branches.insert(name, self.shelf.branch(folder).await?);
        }
        let with_pull_requests = Parameters::of(granted).is_set("include_prs");
        let told = branches.iter().map(|(name, branch)| (*name, &**branch));
        Ok(Json(listing::refs(told, with_pull_requests)).into_response())
    }
}

/// The parameters behind the question mark, in their order.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(granted: &Granted<'_>) -> Self {
        let query = granted.parts.uri.query().unwrap_or_default();
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> Vec<String> {
        let of_name = self.0.iter().filter(|(key, _)| key == name || key.strip_suffix("[]") == Some(name));
        of_name.map(|(_, value)| value.clone()).collect()
    }

    fn is_set(&self, name: &str) -> bool {
        self.first(name).is_some_and(is_true)
    }
}

fn is_true(value: &str) -> bool {
    value == "1" || value.eq_ignore_ascii_case("true")
}

/// What paths are asked for: as a form or as JSON, whichever the body is.
#[derive(Deserialize)]
struct PathsBody {
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    expand: bool,
}

impl PathsBody {
    fn parse(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Refusal> {
        let content_type =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if content_type.starts_with("application/json") {
            return web::parse_json(bytes)
                .map_err(|error| Refusal::BadRequest { message: error.to_string() });
        }
        let mut body = Self { paths: Vec::new(), expand: false };
        for (name, value) in url::form_urlencoded::parse(bytes) {
            match &*name {
                "paths" | "paths[]" => body.paths.push(value.into_owned()),
                "expand" => body.expand = is_true(&value),
                _ => {}
            }
        }
        Ok(body)
    }
}
