//! Real OpenTelemetry SDKs send to an agent; the collector gives back what they made, field by field.
//!
//! The clients and the form in which they tell what they made are described in `clients/README.md`.

mod client;
mod compare;
mod neutral;
mod round_trip;
mod rust_client;

use client::{Client, Compression, Protocol};
use round_trip::comes_back_whole;

#[test]
fn python_spans_over_grpc_come_back_whole() -> anyhow::Result<()> {
    comes_back_whole(Client::Python, Protocol::Grpc, Compression::None)
}

#[test]
fn python_spans_over_http_protobuf_come_back_whole() -> anyhow::Result<()> {
    comes_back_whole(Client::Python, Protocol::HttpProtobuf, Compression::Gzip)
}

#[test]
fn python_spans_over_http_json_come_back_whole() -> anyhow::Result<()> {
    comes_back_whole(Client::Python, Protocol::HttpJson, Compression::Gzip)
}

#[test]
fn go_spans_over_grpc_come_back_whole() -> anyhow::Result<()> {
    comes_back_whole(Client::Go, Protocol::Grpc, Compression::Gzip)
}

#[test]
fn go_spans_over_http_protobuf_come_back_whole() -> anyhow::Result<()> {
    comes_back_whole(Client::Go, Protocol::HttpProtobuf, Compression::None)
}

#[test]
fn javascript_spans_over_grpc_come_back_whole() -> anyhow::Result<()> {
    comes_back_whole(Client::JavaScript, Protocol::Grpc, Compression::Gzip)
}

#[test]
fn javascript_spans_over_http_protobuf_come_back_whole() -> anyhow::Result<()> {
    comes_back_whole(Client::JavaScript, Protocol::HttpProtobuf, Compression::Gzip)
}

#[test]
fn javascript_spans_over_http_json_come_back_whole() -> anyhow::Result<()> {
    comes_back_whole(Client::JavaScript, Protocol::HttpJson, Compression::None)
}

#[test]
fn java_spans_over_grpc_come_back_whole() -> anyhow::Result<()> {
    comes_back_whole(Client::Java, Protocol::Grpc, Compression::Gzip)
}

#[test]
fn java_spans_over_http_protobuf_come_back_whole() -> anyhow::Result<()> {
    comes_back_whole(Client::Java, Protocol::HttpProtobuf, Compression::None)
}

#[test]
fn rust_spans_over_grpc_come_back_whole() -> anyhow::Result<()> {
    comes_back_whole(Client::Rust, Protocol::Grpc, Compression::Gzip)
}
