//! The Rust client: made with opentelemetry_sdk, sent with opentelemetry-otlp, in this process.

mod made;
mod traces;

use anyhow::{Result, ensure};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::trace::SimpleSpanProcessor;
use serde_json::{Value, json};

use crate::client::{Compression, Protocol};
use made::Made;

/// Makes the traces, sends them to `url` and gives the document of `clients/README.md`.
pub fn run(protocol: Protocol, url: &str, compression: Compression) -> Result<Value> {
    ensure!(protocol == Protocol::Grpc, "this client has no {protocol:?}");
    // The exporter's connection lives on it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _inside = runtime.enter();
    let made = Made::default();
    let mut providers = Vec::new();
    for builder in [traces::shop(), traces::depot()] {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(url);
        let exporter = match compression {
            Compression::None => exporter.build()?,
            Compression::Gzip => exporter.with_compression(opentelemetry_otlp::Compression::Gzip).build()?,
        };
        let provider = builder
            .with_span_processor(SimpleSpanProcessor::new(made.exporter()))
            .with_batch_exporter(exporter)
            .build();
        providers.push(provider);
    }
    traces::make(&providers[0], &providers[1]);
    for provider in &providers {
        provider.force_flush()?;
        provider.shutdown()?;
    }
    Ok(json!({"client": "rust", "spans": made.spans()}))
}
