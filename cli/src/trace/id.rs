//! The id of a trace as people type it.

use std::str::FromStr;

/// The 16 bytes that name a trace; not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId(pub(crate) [u8; 16]);

impl FromStr for TraceId {
    type Err = String;

    /// Reads up to 32 hexadecimal digits; a shorter id is filled with zeros on the left, as Jaeger shows 64-bit ids.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let sound = !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u128::from_str_radix(text, 16) {
            Ok(0) if sound => Err("the id of all zeros names no trace".to_owned()),
            Ok(id) if sound => Ok(Self(id.to_be_bytes())),
            _ => Err("a trace id is 32 hexadecimal digits, such as 4bf92f3577b34da6a3ce929d0e0e4736 \
                      (a shorter one is filled with zeros on the left)"
                .to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_in_any_case_and_length_up_to_32_digits() {
        let id = |text: &str| text.parse::<TraceId>().map(|id| hex::encode(id.0)).unwrap_or_else(|error| error);
        assert_eq!(id("4BF92F3577b34da6a3ce929d0e0e4736"), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(id(" a3ce929d0e0e4736 "), "0000000000000000a3ce929d0e0e4736");
        assert_eq!(id("f"), "0000000000000000000000000000000f");
        for text in ["", "xyz", "+1", "4bf92f3577b34da6a3ce929d0e0e47361", "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"] {
            assert!(id(text).contains("32 hexadecimal digits"), "{text}");
        }
        assert!(id("00000000000000000000000000000000").contains("zeros"));
    }
}
