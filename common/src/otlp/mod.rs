//! OTLP traces on the wire, from the socket to the record: what comes in is checked, never decoded into structs.

pub mod admission;
#[cfg(test)]
mod arbitrary;
mod body;
pub mod decompress;
pub mod filter;
pub mod grpc;
pub mod http;
pub mod json;
pub mod pack;
pub mod receiver;
pub mod record;
pub mod status;
pub mod walk;
pub mod wire;
