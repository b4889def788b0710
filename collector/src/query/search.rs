//! Traces that a query finds.

use clew_common::ids::Tenant;
use clew_proto::v1::{FoundSpan, FoundTrace, SearchRequest, SearchResponse, ServiceSpans, SpanSet};
use clew_query::exec::{self, SearchOptions, Searched};
use prost::Message;
use tonic::Status;

use crate::queries::{
    Queries,
    bounds::{DEFAULT_SPANS, DEFAULT_TRACES, MAX_SPANS, MAX_TRACES, range_ns, within},
    partial::reasons,
    parts,
    value::key_value,
};

/// The messages of an answer.
pub async fn search(queries: &Queries, tenant: &Tenant, request: SearchRequest) -> Result<Vec<SearchResponse>, Status> {
    let options = SearchOptions {
        range: range_ns(request.start_unix_nano, request.end_unix_nano)?,
        limit: within("limit", request.limit, DEFAULT_TRACES, MAX_TRACES)?,
        spans: within("spans_per_set", request.spans_per_set, DEFAULT_SPANS, MAX_SPANS)?,
    };
    let Searched { traces, missing, inspected_spans } = queries.search(tenant, request.query, options).await?.answer;
    let parts = parts::cut(traces.into_iter().map(trace), FoundTrace::encoded_len);
    let mut messages: Vec<_> =
        parts.into_iter().map(|traces| SearchResponse { traces, ..SearchResponse::default() }).collect();
    if let Some(last) = messages.last_mut() {
        last.partial_reasons = reasons(missing);
        last.inspected_spans = inspected_spans;
    }
    Ok(messages)
}

fn trace(found: exec::Found) -> FoundTrace {
    let services = found.services.into_iter();
    FoundTrace {
        trace_id: found.trace_id.to_vec().into(),
        root_service: found.root_service,
        root_name: found.root_name,
        start_unix_nano: found.start,
        duration_nano: found.duration,
        services: services.map(|(service, spans, errors)| ServiceSpans { service, spans, errors }).collect(),
        sets: found.sets.into_iter().map(set).collect(),
    }
}

fn set(set: exec::FoundSet) -> SpanSet {
    SpanSet {
        matched: set.matched,
        spans: set.spans.into_iter().map(span).collect(),
        attributes: set.attributes.iter().map(|(name, value)| key_value(name, value)).collect(),
    }
}

fn span(span: exec::FoundSpan) -> FoundSpan {
    FoundSpan {
        span_id: span.id.to_vec().into(),
        name: span.name,
        start_unix_nano: span.start,
        duration_nano: span.duration,
        attributes: span.attributes.iter().map(|(name, value)| key_value(name, value)).collect(),
    }
}
