//! Requests that the hub answers: passed on with the worker's own authorization and nothing of ours.
//!
//! Where workers have a way out, a redirect to another origin is theirs to follow. Where they have none and the
//! operator lets requests through, it is followed here, so that what the hub points to reaches them as well.

use std::{collections::HashMap, io, sync::Mutex, time::Duration};

use api::HubOrigin;
use axum::{
    body::{Body, HttpBody},
    response::Response,
};
use futures::{StreamExt, stream};
use http::{
    HeaderMap, HeaderValue,
    header::{LINK, LOCATION},
};
use hub::{ForwardBody, ForwardRequest, Forwarded, Hub, HubError, HubOptions};
use types::HubName;

use super::{
    Edge, PassThrough, Turn, answers::Asked, lock, place::Place, refusal::Refusal, shelf::ModelShelf,
};

/// Hubs that are talked to; each has a pool of connections. Endpoints name few.
const HUBS_MAX: usize = 64;
/// Half of what libraries wait for the head of an answer, so that they hear from us why there is none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A worker that sends nothing of an upload for this long is stuck or gone.
const BODY_STALL_MAX: Duration = Duration::from_secs(60);

/// The hubs that are asked.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    hubs: Mutex<HashMap<(HubName, String), Hub>>,
}

impl Upstreams {
    /// Returns the client of a hub, or none after saying why it can't be asked.
    pub(super) fn hub(&self, origin: &HubOrigin) -> Option<Hub> {
        let mut hubs = lock(&self.hubs);
        let key = (origin.name.clone(), origin.endpoint.to_string());
        if let Some(hub) = hubs.get(&key) {
            return Some(hub.clone());
        }
        let mut options = HubOptions::new(origin.name.clone(), origin.endpoint.clone());
        options.connect_timeout = CONNECT_TIMEOUT;
        match Hub::new(options) {
            Ok(hub) => {
                if hubs.len() >= HUBS_MAX {
                    hubs.clear();
                }
                hubs.insert(key, hub.clone());
                Some(hub)
            }
            Err(error) => {
                tracing::warn!(hub = %origin.name, reason = %error.fault(), "workers can't be led to the hub");
                None
            }
        }
    }
}

impl Edge {
    /// Passes a request on as it is.
    pub(super) async fn pass(&self, asked: &Asked<'_>, body: Body, turn: Turn) -> Result<Response, Refusal> {
        match self.0.pass_through {
            PassThrough::Allowed => {}
            PassThrough::Refused => return Err(Refusal::NotPassedOn),
        }
        let hub = self.upstream(asked.guest).ok_or(Refusal::NoHub)?;
        let target = asked.place.target();
        let answer = self.ask(&hub, asked, target.clone(), body).await;
        match answer {
            Ok(forwarded) => Ok(handed_on(hub, asked.place, &target, forwarded, turn)),
            Err(error) => {
                tracing::debug!(hub = %hub.name(), %error, "a worker's request could not be passed on");
                Err(Refusal::HubAway(error.fault()))
            }
        }
    }

    /// Passes on what is asked of one of the endpoint's own models at another commit.
    pub(super) async fn pass_other_revision(
        &self,
        asked: &Asked<'_>,
        shelf: &ModelShelf,
        revision: String,
        body: Body,
        turn: Turn,
    ) -> Result<Response, Refusal> {
        let refused = |note| Refusal::OtherRevision {
            repo: shelf.key().repo.name.clone(),
            commit: shelf.commit(),
            revision: revision.clone(),
            note,
        };
        match self.0.pass_through {
            PassThrough::Allowed => {}
            PassThrough::Refused => {
                return Err(refused(
                    "this worker has no way out: name the revision with --model org/name@revision",
                ));
            }
        }
        if !asks_its_hub(asked, shelf) {
            return Err(refused("its hub is not the one that this endpoint asks"));
        }
        self.pass(asked, body, turn).await
    }

    async fn ask(
        &self,
        hub: &Hub,
        asked: &Asked<'_>,
        target: String,
        body: Body,
    ) -> Result<Forwarded, HubError> {
        let is_empty = body.size_hint().exact() == Some(0);
        let body = (!is_empty).then(|| ForwardBody::wrap_stream(paced(body)));
        let request = ForwardRequest {
            method: asked.parts.method.clone(),
            target,
            headers: asked.parts.headers.clone(),
            body,
            elsewhere: self.0.elsewhere,
        };
        hub.forward(request).await
    }
}

/// Whether the hub that this worker asks is the one that the model is from.
fn asks_its_hub(asked: &Asked<'_>, shelf: &ModelShelf) -> bool {
    asked.guest.record.hub.as_ref().is_some_and(|origin| origin.name == shelf.key().repo.hub)
}

/// Makes the answer of a hub one of the edge: places below the hub become places below the worker's own address.
fn handed_on(hub: Hub, place: &Place<'_>, target: &str, forwarded: Forwarded, turn: Turn) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = forwarded.status;
    *response.headers_mut() = forwarded.headers.clone();
    lead_back(response.headers_mut(), &hub, place, target);
    let rest = stream::unfold((forwarded, hub, turn), |(mut forwarded, hub, turn)| async move {
        let chunk = forwarded.chunk(&hub).await.map_err(io::Error::other).transpose()?;
        Some((chunk, (forwarded, hub, turn)))
    });
    *response.body_mut() = Body::from_stream(rest);
    response
}

fn lead_back(headers: &mut HeaderMap, hub: &Hub, place: &Place<'_>, target: &str) {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let behind = headers.get(LOCATION).and_then(text).and_then(|location| hub.behind(target, &location));
    if let Some(Ok(location)) = behind.map(|behind| HeaderValue::from_str(&place.relative(&behind))) {
        headers.insert(LOCATION, location);
    }
    let links: Vec<String> = headers.get_all(LINK).iter().filter_map(text).collect();
    headers.remove(LINK);
    for link in links {
        let led = lead_links_back(&link, |url| hub.behind(target, url).map(|behind| place.absolute(&behind)));
        if let Ok(link) = HeaderValue::from_str(&led) {
            headers.append(LINK, link);
        }
    }
}

/// Puts other addresses between the angle brackets of a `Link` header, where there are others.
fn lead_links_back(link: &str, other: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = link.split('<');
    let mut led = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (url, rest) = part.split_once('>').unwrap_or((part, ""));
        let url = other(url).unwrap_or_else(|| url.to_owned());
        led.push_str(&format!("<{url}>{rest}"));
    }
    led
}

/// A body that breaks when nothing of it comes for too long.
fn paced(body: Body) -> impl futures::Stream<Item = io::Result<bytes::Bytes>> + Send + 'static {
    stream::unfold(Some(body.into_data_stream()), |chunks| async {
        let mut chunks = chunks?;
        match tokio::time::timeout(BODY_STALL_MAX, chunks.next()).await {
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(chunks))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    })
}

#[cfg(test)]
mod tests;
