//! Values of options, parsed once into what they mean.

use std::{str::FromStr, time::Duration};

use api::{GpuBody, ScalingBody};
use base::Redacted;
use types::HubAccess;

/// A span of time: a number of seconds, or a number with a unit (`500ms`, `90s`, `5m`, `1h30m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl Seconds {
    /// Returns it in milliseconds, as the API takes most of them.
    pub(crate) fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is no span of time; write 90, 90s, 500ms, 5m or 1h30m");
        if let Ok(seconds) = text.parse::<f64>() {
            return Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| refuse());
        }
        let parsed: jiff::SignedDuration = text.parse().map_err(|_| refuse())?;
        Duration::try_from(parsed).map(Self).map_err(|_| refuse())
    }
}

/// A variable of a worker's environment. Its value may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: Redacted<String>,
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
                Ok(Self { name: name.to_owned(), value: Redacted::new(value.to_owned()) })
            }
            // The text itself is not repeated: it may be a secret.
            Some(_) | None => Err("it must be NAME=VALUE".to_owned()),
        }
    }
}

/// GPUs of a worker, as one `--gpu` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GpuWish {
    kind: Option<String>,
    count: Option<u32>,
}

impl GpuWish {
    /// Joins the wishes of several options: types in their order, and the one count that was given.
    ///
    /// # Errors
    /// A sentence when two options give different counts.
    pub(crate) fn join(wishes: &[Self]) -> Result<GpuBody, String> {
        let mut count = None;
        for wished in wishes.iter().filter_map(|wish| wish.count) {
            if count.is_some_and(|before| before != wished) {
                return Err("the counts of several --gpu differ; a worker has so many of one type".to_owned());
            }
            count = Some(wished);
        }
        let pools = wishes.iter().filter_map(|wish| wish.kind.clone()).collect();
        Ok(GpuBody { pools, count: count.unwrap_or(1) })
    }
}

impl FromStr for GpuWish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is neither COUNT, TYPE nor TYPE:COUNT");
        if let Ok(count) = text.parse() {
            return Ok(Self { kind: None, count: Some(count) });
        }
        let (kind, count) = match text.rsplit_once(':') {
            Some((kind, count)) => (kind, Some(count.parse().map_err(|_| refuse())?)),
            None => (text, None),
        };
        if kind.trim().is_empty() {
            Err(refuse())
        } else {
            Ok(Self { kind: Some(kind.trim().to_owned()), count })
        }
    }
}

/// Whether libraries in the worker may ask the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HubAccessWish(pub(crate) HubAccess);

impl FromStr for HubAccessWish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "edge" => Ok(Self(HubAccess::Edge)),
            "offline" => Ok(Self(HubAccess::Offline)),
            "online" => Ok(Self(HubAccess::Online)),
            _ => Err("it must be edge, offline or online".to_owned()),
        }
    }
}

/// Parses `queue-delay:SECONDS` or `request-count:JOBS`.
pub(crate) fn parse_scaler(text: &str) -> Result<ScalingBody, String> {
    let refuse = || format!("{text:?} is neither queue-delay:SECONDS nor request-count:JOBS");
    let (name, number) = text.split_once(':').ok_or_else(refuse)?;
    match name {
        "queue-delay" => {
            let queue_delay: f64 = number.parse().map_err(|_| refuse())?;
            if queue_delay.is_finite() && queue_delay >= 0.0 {
                Ok(ScalingBody::QueueDelay { queue_delay })
            } else {
                Err(refuse())
            }
        }
        "request-count" => {
            let request_count = number.parse().map_err(|_| refuse())?;
            Ok(ScalingBody::RequestCount { request_count })
        }
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read_as_people_write_them() {
        let check = |text: &str, expected: u64| {
            let parsed: Seconds = text.parse().unwrap();
            assert_eq!(parsed.as_millis(), expected, "{text}");
        };
        check("5", 5000);
        check("0.5", 500);
        check("500ms", 500);
        check("90s", 90_000);
        check("1h30m", 5_400_000);
        for wrong in ["", "-1", "-5s", "soon", "NaN", "5 parsecs"] {
            assert!(wrong.parse::<Seconds>().is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn gpus_are_a_count_or_types() {
        let check = |texts: &[&str], pools: &[&str], count: u32| {
            let wishes: Vec<GpuWish> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let pools = pools.iter().map(|pool| (*pool).to_owned()).collect();
            assert_eq!(GpuWish::join(&wishes), Ok(GpuBody { pools, count }));
        };
        check(&["2"], &[], 2);
        check(&["NVIDIA L4"], &["NVIDIA L4"], 1);
        check(&["NVIDIA L4:2", "NVIDIA A100"], &["NVIDIA L4", "NVIDIA A100"], 2);
        let wishes = ["L4:1".parse().unwrap(), "A100:2".parse().unwrap()];
        assert!(GpuWish::join(&wishes).is_err());
        for wrong in ["", ":2", "L4:x"] {
            assert!(wrong.parse::<GpuWish>().is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn scalers_and_variables_are_named() {
        assert_eq!(parse_scaler("queue-delay:4"), Ok(ScalingBody::QueueDelay { queue_delay: 4.0 }));
        assert_eq!(parse_scaler("request-count:1"), Ok(ScalingBody::RequestCount { request_count: 1 }));
        for wrong in
            ["", "4", "queue-delay", "queue-delay:-1", "queue-delay:NaN", "request-count:1.5", "other:1"]
        {
            assert!(parse_scaler(wrong).is_err(), "{wrong:?} was taken");
        }
        let variable: Variable = "A=b=c".parse().unwrap();
        assert_eq!((variable.name.as_str(), variable.value.expose().as_str()), ("A", "b=c"));
        assert!("=x".parse::<Variable>().is_err());
        assert!(!"SECRET".parse::<Variable>().unwrap_err().contains("SECRET"));
    }
}
