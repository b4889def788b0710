//! Values that people type on the command line.

use std::time::Duration;

use clew_common::ids::Tenant;
use http::{HeaderName, HeaderValue, Uri};

/// `500ms`, `60s`, `5m`, `2h`, or a plain number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err("not a length of time: write 500ms, 60s, 5m or 2h".to_owned()),
    };
    digits
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * factor).ok())
        .filter(|duration| duration.as_secs() <= 366 * 86_400)
        .ok_or_else(|| "not a length of time: write 500ms, 60s, 5m or 2h".to_owned())
}

/// A positive number.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let sound = |rate: &f64| rate.is_finite() && *rate >= 0.001;
    text.parse().ok().filter(sound).ok_or_else(|| "not a rate: write a number above 0, such as 10000".to_owned())
}

/// `key=value`.
pub(crate) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once('=').ok_or("a header looks like key=value")?;
    let name = name.trim().to_ascii_lowercase().parse().map_err(|error| format!("{name}: {error}"))?;
    let value = value.trim().parse().map_err(|error| format!("{value}: {error}"))?;
    Ok((name, value))
}

/// Where a collector is: `http://HOST:PORT`, of which the first part and the port may be left out.
pub(crate) fn collector(text: &str) -> Result<Uri, String> {
    let hint = "a collector looks like http://127.0.0.1:4327";
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = full.parse().map_err(|error| format!("{error}; {hint}"))?;
    if uri.scheme_str() != Some("http") {
        return Err(format!("only plain http:// is spoken here (put a TLS proxy in front); {hint}"));
    }
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or(hint)?;
    let port = authority.port_u16().unwrap_or(4327);
    format!("http://{}:{port}", authority.host()).parse().map_err(|_| hint.to_owned())
}

/// A tenant's name.
pub(crate) fn tenant(text: &str) -> Result<Tenant, String> {
    Tenant::new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units() {
        let millis = |text| duration(text).map(|duration| duration.as_millis());
        assert_eq!(
            ["500ms", "60s", "60", "1.5m", "2h", "0s"].map(millis).map(Result::unwrap),
            [500, 60_000, 60_000, 90_000, 7_200_000, 0]
        );
        for text in ["", "s", "5x", "-1s", "1e300h", "nan", "infs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_collector_may_lack_scheme_and_port() {
        let shown = |text| collector(text).map(|uri| uri.to_string());
        assert_eq!(shown("here").as_deref(), Ok("http://here:4327/"));
        assert_eq!(shown("http://[::1]:99/").as_deref(), Ok("http://[::1]:99/"));
        assert!(shown("https://here").is_err() && shown("").is_err());
    }

    #[test]
    fn headers_are_pairs() {
        let (name, value) = header("X-Scope-OrgID = team=a").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-scope-orgid", "team=a"));
        assert!(header("nothing").is_err() && header("a b=c").is_err());
    }
}
