//! The names of things: traces and tenants.

use std::{fmt, str::FromStr};

/// The 16 bytes that name a trace. All zeros is not a trace: `TraceId::new` refuses it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

/// Why something is not a trace id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a trace id: it has 1 to 32 hexadecimal digits, not all zero, like 4bf92f3577b34da6a3ce929d0e0e4736"
)]
pub struct NotATraceId(String);

impl TraceId {
    /// None for all zeros.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// From a slice of 16 bytes that are not all zero.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Self::new(bytes.try_into().ok()?)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// From hexadecimal digits of either case; fewer than 32 are padded with zeros on the left, as older clients write ids.
impl FromStr for TraceId {
    type Err = NotATraceId;

    fn from_str(text: &str) -> Result<Self, NotATraceId> {
        let refuse = || NotATraceId(text.chars().take(64).collect());
        if text.is_empty() || text.len() > 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(format!("{text:0>32}"), &mut bytes).map_err(|_| refuse())?;
        Self::new(bytes).ok_or_else(refuse)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whose spans they are. Names are safe as folder names: 1 to 128 letters, digits and `-_.` that do not start with a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(String);

/// The header (and gRPC metadata key) that names the tenant.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// Why something is not a tenant's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tenant: a name has 1 to {max} letters, digits, '-', '_' or '.', does not start with '.', and is one", max = Tenant::MAX_BYTES)]
pub struct NotATenant;

impl Tenant {
    /// The longest name.
    pub const MAX_BYTES: usize = 128;

    /// Checks a name.
    ///
    /// # Errors
    /// When it is not of the form above.
    pub fn new(name: &str) -> Result<Self, NotATenant> {
        let fits = (1..=Self::MAX_BYTES).contains(&name.len()) && !name.starts_with('.');
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if fits && plain { Ok(Self(name.to_owned())) } else { Err(NotATenant) }
    }

    /// The tenant that a request names in its headers; the default one when it names none.
    ///
    /// # Errors
    /// When the header's value is not a tenant's name.
    pub fn from_headers(headers: &http::HeaderMap) -> Result<Self, NotATenant> {
        let mut values = headers.get_all(TENANT_HEADER).iter();
        let Some(value) = values.next() else { return Ok(Self::default()) };
        // A client's own name beside the one that a proxy has added must not win.
        if values.any(|other| other != value) {
            return Err(NotATenant);
        }
        Self::new(value.to_str().map_err(|_| NotATenant)?)
    }

    /// From a protocol field, where empty means the default tenant.
    ///
    /// # Errors
    /// When it is neither empty nor a tenant's name.
    pub fn from_field(name: &str) -> Result<Self, NotATenant> {
        if name.is_empty() { Ok(Self::default()) } else { Self::new(name) }
    }

    /// For a protocol field, where empty means the default tenant.
    pub fn as_field(&self) -> &str {
        if *self == Self::default() { "" } else { &self.0 }
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_read_in_either_case_and_padded_on_the_left() {
        let id: TraceId = "4BF92f3577b34da6a3ce929d0e0e4736".parse().unwrap();
        assert_eq!(id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!("abc".parse::<TraceId>().unwrap().to_string(), format!("{:0>32}", "abc"));
        for wrong in ["", "0", "xyz", "4bf92f3577b34da6a3ce929d0e0e47361", "é"] {
            assert!(wrong.parse::<TraceId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_tenant_name_cannot_leave_its_folder() {
        for wrong in ["", ".", "..", "../x", "a/b", "a\\b", "a\0b", "é", &"x".repeat(300)] {
            assert_eq!(Tenant::new(wrong), Err(NotATenant), "{wrong:?}");
        }
        assert_eq!(Tenant::from_field("").unwrap(), Tenant::default());
        let named = |names: &[&'static str]| {
            let name = |name: &&'static str| {
                (http::HeaderName::from_static(TENANT_HEADER), http::HeaderValue::from_static(name))
            };
            let mut headers = http::HeaderMap::new();
            for (key, value) in names.iter().map(name) {
                headers.append(key, value);
            }
            Tenant::from_headers(&headers)
        };
        assert_eq!((named(&[]), named(&["a", "a"])), (Ok(Tenant::default()), Tenant::new("a")));
        assert_eq!(named(&["a", "b"]), Err(NotATenant));
        assert_eq!(Tenant::new("team-1.eu_west").unwrap().as_field(), "team-1.eu_west");
        assert_eq!(Tenant::default().as_field(), "");
    }
}
