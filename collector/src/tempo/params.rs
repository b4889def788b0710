//! What a URL says behind its question mark.

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use serde::Deserialize;

use super::error::Refused;
use crate::queries::duration;

/// The parameters of a URL. One that is given and empty counts as not given.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Params(BTreeMap<String, String>);

const SECOND_NS: u64 = 1_000_000_000;

impl Params {
    /// A parameter's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// A whole number; 0 when it is not given.
    ///
    /// # Errors
    /// When it is none.
    pub fn count(&self, name: &str) -> Result<u32, Refused> {
        let Some(text) = self.text(name) else { return Ok(0) };
        text.parse().map_err(|_| Refused::invalid(format!("{name} is {text:?}; expected a whole number from 0 on")))
    }

    /// A point in time in nanoseconds since 1970: it is written in seconds, with a fraction or without, or, with more than
    /// ten digits, in nanoseconds; or as a date (RFC 3339, UTC).
    ///
    /// # Errors
    /// When it is none.
    pub fn time_ns(&self, name: &str) -> Result<Option<u64>, Refused> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || {
            Refused::invalid(format!(
                "{name} is {text:?}; expected seconds or nanoseconds since 1970, or a date such as 2026-11-23T05:41:00Z"
            ))
        };
        match text.parse::<u64>() {
            Ok(number) if text.len() > 10 => Ok(Some(number)),
            Ok(seconds) => Ok(seconds.checked_mul(SECOND_NS)),
            Err(_) => seconds(text).or_else(|| date(text)).map(Some).ok_or_else(wrong),
        }
    }

    /// The same in whole seconds; 0 when it is not given.
    ///
    /// # Errors
    /// When it is none.
    pub fn time_s(&self, name: &str) -> Result<u32, Refused> {
        let ns = self.time_ns(name)?.unwrap_or_default();
        Ok(u32::try_from(ns / SECOND_NS).unwrap_or(u32::MAX))
    }

    /// A duration in nanoseconds: as Go writes it (`1h30m`, `1.5s`, `100ms`) or in seconds.
    ///
    /// # Errors
    /// When it is none.
    pub fn duration_ns(&self, name: &str) -> Result<Option<u64>, Refused> {
        let Some(text) = self.text(name) else { return Ok(None) };
        duration::parse(text).or_else(|| seconds(text)).map(Some).ok_or_else(|| {
            Refused::invalid(format!("{name} is {text:?}; expected a duration such as 1h30m, 1.5s or 100ms"))
        })
    }
}

/// Seconds with a fraction, in nanoseconds.
fn seconds(text: &str) -> Option<u64> {
    let seconds: f64 = text.parse().ok()?;
    (0.0..=1e10).contains(&seconds).then_some((seconds * SECOND_NS as f64) as u64)
}

/// A date with a time, in nanoseconds since 1970.
fn date(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(value: &str) -> Params {
        Params([("x".to_owned(), value.to_owned())].into())
    }

    #[test]
    fn times_are_seconds_nanoseconds_or_dates() {
        for (text, ns) in [
            ("1700000000", 1_700_000_000_000_000_000),
            ("1700000000.5", 1_700_000_000_500_000_000),
            ("1700000000123456789", 1_700_000_000_123_456_789),
            ("0", 0),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
            ("2023-11-14T22:13:20.5Z", 1_700_000_000_500_000_000),
        ] {
            assert_eq!(params(text).time_ns("x").unwrap(), Some(ns), "{text}");
        }
        assert_eq!(params("").time_ns("x").unwrap(), None);
        assert!(params("").time_ns("y").unwrap().is_none());
        for text in ["now", "-1", "99999999999999999999999", "NaN", "1e300"] {
            assert!(params(text).time_ns("x").is_err(), "{text}");
        }
    }

    #[test]
    fn durations_may_be_seconds() {
        for (text, ns) in [("1m", 60_000_000_000), ("15", 15_000_000_000), ("0.5", 500_000_000)] {
            assert_eq!(params(text).duration_ns("x").unwrap(), Some(ns), "{text}");
        }
        assert!(params("1x").duration_ns("x").is_err());
    }
}
