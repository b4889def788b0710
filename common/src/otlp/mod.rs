//! OTLP traces on the wire, from the socket to the record: what comes in is checked, never decoded into structs.

mod body;
pub mod decompress;
pub mod grpc;
pub mod http;
pub mod json;
pub mod walk;
pub mod wire;
pub mod filter;
pub mod receiver;
pub mod admission;
pub mod pack;
pub mod record;
pub mod status;
