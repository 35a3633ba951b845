//! Who calls: the key of a request, turned into a caller before any handler runs.

use axum::{extract::FromRequestParts, http::request::Parts};
use types::{ErrorCode, Fault};
use web::ProblemResponse;

use crate::{jobs::JobApiError, router::Faces};

/// The caller of a management route.
pub(crate) struct Caller(pub(crate) control::Caller);

impl FromRequestParts<Faces> for Caller {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, faces: &Faces) -> Result<Self, ProblemResponse> {
        let Some(key) = web::key_of(&parts.headers) else {
            let fault = Fault::new(ErrorCode::KeyMissing, "the request carries no key").with_hint(
                "send the header `Authorization: Bearer KEY`; the first key is in admin.key in the data folder",
            );
            return Err(fault.into());
        };
        let caller = faces.control.authenticate(&key).map_err(crate::manage::answer)?;
        Ok(Self(caller))
    }
}

/// The caller of a job route, whose errors have another shape.
pub(crate) struct JobCaller(pub(crate) control::Caller);

impl FromRequestParts<Faces> for JobCaller {
    type Rejection = JobApiError;

    async fn from_request_parts(parts: &mut Parts, faces: &Faces) -> Result<Self, JobApiError> {
        let Caller(caller) = Caller::from_request_parts(parts, faces).await?;
        Ok(Self(caller))
    }
}
