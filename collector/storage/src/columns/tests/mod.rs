//! Whether what comes out of columns is what went in, by prost.

// The requests of the tests of the wire.
#[path = "../../../../../common/src/otlp/arbitrary.rs"]
pub(crate) mod arbitrary;
mod hostile;
mod resources;
mod round_trip;

use arrow_array::Array;
use clew_common::otlp::walk;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData},
};
use prost::Message;

use super::{Builder, Spans, pair::put_bytes, write_otlp};
use crate::schema;

/// The columns of one request, which has passed the check.
pub(crate) fn columns(request: &[u8]) -> Spans {
    let checked = walk::check(request, |_| ()).unwrap();
    assert_eq!(checked.bad, []);
    let mut builder = Builder::new();
    builder.add(request).unwrap();
    let spans = builder.finish().unwrap();
    assert_eq!(spans.batch.num_rows(), checked.spans as usize);
    spans
}

/// All rows as OTLP.
pub(crate) fn otlp(spans: &Spans) -> Vec<u8> {
    let rows: Vec<usize> = (0..spans.batch.num_rows()).collect();
    let mut out = Vec::new();
    let find = |id| spans.resources.iter().find(|resource| resource.id == id).cloned();
    write_otlp(&spans.batch, &rows, find, &mut out).unwrap();
    out
}

/// Each span with what it is in, so that spans may be compared whose order is not kept. Attributes are sorted by key.
pub(crate) fn spans(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut spans = Vec::new();
    for ResourceSpans { resource, scope_spans, schema_url } in TracesData::decode(bytes).unwrap().resource_spans {
        for ScopeSpans { scope, spans: within, schema_url: scope_schema_url } in scope_spans {
            for mut span in within {
                span.attributes.sort_by(|a, b| a.key.cmp(&b.key));
                let scope_spans =
                    vec![ScopeSpans { scope: scope.clone(), spans: vec![span], schema_url: scope_schema_url.clone() }];
                let alone = ResourceSpans { resource: resource.clone(), scope_spans, schema_url: schema_url.clone() };
                // As bytes: NaN is not equal to itself.
                spans.push(alone.encode_to_vec());
            }
        }
    }
    spans.sort();
    spans
}

/// Whether a span of these has its bytes.
fn has_raw(spans: &Spans) -> bool {
    spans.batch.column(schema::core::RAW).null_count() < spans.batch.num_rows()
}

/// A Span's bytes as a request.
fn wrapped(span: &[u8]) -> Vec<u8> {
    [2, 2, 1].into_iter().fold(span.to_vec(), |message, field| {
        let mut outer = Vec::new();
        put_bytes(&mut outer, field, &message);
        outer
    })
}

fn span(attributes: Vec<KeyValue>) -> Span {
    Span { trace_id: vec![7; 16], span_id: vec![8; 8], attributes, ..Span::default() }
}

fn request(spans: Vec<Span>) -> TracesData {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}
