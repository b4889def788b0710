//! What a URL says behind its question mark. Some parameters may come several times.

use serde::Deserialize;
use serde_json::Value;

use super::refused::Refused;

/// The parameters of a URL, in order. One that is empty counts as not given.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Params(Vec<(String, String)>);

/// What a search is asked for in.
#[derive(Deserialize)]
struct Body {
    query: serde_json::Map<String, Value>,
}

impl Params {
    /// The fields of `query` in a JSON object, as a URL would have them: each with `query.` before its name.
    ///
    /// # Errors
    /// When there are none.
    pub fn of_json(body: &[u8]) -> Result<Self, Refused> {
        let wrong =
            |why: String| Refused::invalid(format!("malformed body, expected JSON such as {{\"query\": {{}}}}: {why}"));
        let body: Body = serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))?;
        let text = |value| match value {
            Value::Null => String::new(),
            Value::String(text) => text,
            value => value.to_string(),
        };
        Ok(Self(body.query.into_iter().map(|(name, value)| (format!("query.{name}"), text(value))).collect()))
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, value)| key == name && !value.is_empty()).map(|(_, value)| &**value)
    }

    /// Its first value.
    pub fn text<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// A whole number.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Refused> {
        let wrong =
            |text: &str| Refused::invalid(format!("unable to parse param '{name}': {text:?} is no whole number"));
        self.text(name).map(|text| text.trim().parse().map_err(|_| wrong(text))).transpose()
    }

    /// What is said under a name, or else under an older one; with the name that was used.
    pub fn either<'a>(&'a self, name: &'a str, old: &'a str) -> Option<(&'a str, &'a str)> {
        [name, old].into_iter().find_map(|name| Some((name, self.text(name)?)))
    }

    /// A time in RFC 3339, in nanoseconds since 1970.
    ///
    /// # Errors
    /// When it is none.
    pub fn time_ns(&self, name: &str, old: &str) -> Result<Option<i64>, Refused> {
        let wrong = |name: &str, text: &str| {
            Refused::invalid(format!(
                "malformed parameter {name}: {text:?} is no time after 1970 in RFC 3339, such as 2025-01-31T15:04:05.5Z"
            ))
        };
        self.either(name, old).map(|(name, text)| rfc3339(text).ok_or_else(|| wrong(name, text))).transpose()
    }

    /// A yes or no, as Go reads them.
    ///
    /// # Errors
    /// When it is neither.
    pub fn yes(&self, name: &str, old: &str) -> Result<Option<bool>, Refused> {
        let read = |(name, text): (&str, &str)| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(Refused::invalid(format!("malformed parameter {name}: {text:?} is neither true nor false"))),
        };
        self.either(name, old).map(read).transpose()
    }

    /// A duration as Go writes it, in nanoseconds.
    ///
    /// # Errors
    /// When it is none.
    pub fn duration_ns(&self, name: &str) -> Result<Option<u64>, Refused> {
        let wrong = |text: &str| {
            Refused::invalid(format!("unable to parse param '{name}': {text:?} is no duration such as 1.5s or 100ms"))
        };
        self.text(name).map(|text| crate::queries::duration::parse(text).ok_or_else(|| wrong(text))).transpose()
    }
}

/// A time as RFC 3339 has it, in nanoseconds since 1970. None when it is none, or from before 1970.
fn rfc3339(text: &str) -> Option<i64> {
    let (local, sign, offset) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, 0, "00:00"),
        None => {
            let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
            let (sign, offset) = offset.split_at_checked(1)?;
            (
                local,
                if sign == "+" {
                    1
                } else if sign == "-" {
                    -1
                } else {
                    return None;
                },
                offset,
            )
        }
    };
    let (hours, minutes) = offset.split_once(':')?;
    let part = |digits: &str, below: i64| {
        let number = digits.parse::<u8>().ok().map(i64::from)?;
        (digits.len() == 2 && number < below).then_some(number)
    };
    let offset_s = sign * (part(hours, 24)? * 3_600 + part(minutes, 60)? * 60);
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let ns = time.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos();
    let ns = i128::try_from(ns).ok()? - i128::from(offset_s) * 1_000_000_000;
    i64::try_from(ns).ok().filter(|ns| *ns >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_rfc_3339_has_them() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T12:00:00.123456789Z", 1_709_208_000_123_456_789),
            ("2024-02-29T14:30:00+02:30", 1_709_208_000_000_000_000),
            ("2024-02-29T04:00:00.5-08:00", 1_709_208_000_500_000_000),
        ] {
            assert_eq!(rfc3339(text), Some(ns), "{text}");
        }
        for text in [
            "",
            "Z",
            "now",
            "1709208000",
            "2024-02-30T00:00:00Z",
            "2024-02-29T12:00:00",
            "2024-02-29T12:00:00+2:00",
            "2024-02-29T12:00:00*02:00",
            "2024-02-29T12:00:00+25:00",
            "9999-12-31T00:00:00Z",
            "1969-12-31T00:00:00Z",
            "ž+00:00",
            "žž:žž",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }
}
