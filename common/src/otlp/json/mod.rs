//! OTLP JSON to protobuf and back, by one table of the messages.
//!
//! JSON is read as proto3's JSON parsers read it, with OTLP's hex ids. A key that comes twice means what a field that comes
//! twice means in protobuf: of plain values the last counts, lists are joined, messages merged. `null` is nothing; as an
//! element of a list it is an empty element.

mod read;
mod scalar;
pub(super) mod schema;
#[cfg(test)]
mod tests;
pub mod text;
mod write;

pub use read::to_protobuf;
pub use write::{from_protobuf, write_resource_spans_array};

/// How JSON is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// As OTLP has it: ids in hex, enums as numbers.
    Hex,
    /// As proto3 has it, and Tempo's API: ids in base64, enums by name.
    Base64,
}

/// Why JSON was not understood. Final.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}, at line {line} column {column}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct JsonError {
    /// The field, as in `resourceSpans[0].scopeSpans[0].spans[3].kind`; empty for the request itself.
    pub path: String,
    /// What is wrong with it, and what it should be.
    pub what: String,
    /// From 1.
    pub line: usize,
    /// In bytes, from 1; 0 at a line's start.
    pub column: usize,
}
