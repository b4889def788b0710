//! What a URL says behind its question mark. Some parameters may come several times.

use serde::Deserialize;

use super::answer::Refused;

/// The parameters of a URL, in order. One that is empty counts as not given.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Params(Vec<(String, String)>);

impl Params {
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
