//! A trace in numbers.

use std::collections::BTreeMap;

use bytes::Bytes;
use clew_common::ids::TraceId;
use clew_proto::jaeger::api_v3::{ServiceSummary, TraceSummary};
use clew_query::tree::{Place, Tree};

use super::model::NO_SERVICE;
use crate::queries::parts::resource_spans;

/// The summary of the trace that OTLP TracesData has the spans of; None when it cannot be read.
pub fn of_otlp(id: TraceId, spans: &Bytes) -> Option<TraceSummary> {
    let tree = Tree::decode(resource_spans(spans)).ok()?;
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let service = |node| tree.service(node).unwrap_or(NO_SERVICE);
    let mut services: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut errors, mut orphans) = (0, 0);
    for node in &tree.nodes {
        let (spans, failed) = services.entry(service(node)).or_default();
        *spans += 1;
        *failed += usize::from(node.is_error());
        errors += usize::from(node.is_error());
        orphans += usize::from(node.place == Place::Orphan);
    }
    let root = tree.first_root().filter(|root| root.place == Place::Root);
    let (start, end) = tree.bounds();
    Some(TraceSummary {
        trace_id: id.to_string(),
        root_service_name: root.map(|root| service(root).to_owned()).unwrap_or_default(),
        root_operation_name: root.map(|root| root.span.name.clone()).unwrap_or_default(),
        min_start_time_unix_nano: start,
        max_end_time_unix_nano: end,
        span_count: count(tree.nodes.len()),
        error_span_count: count(errors),
        orphan_span_count: count(orphans),
        services: services
            .iter()
            .map(|(name, (spans, failed))| ServiceSummary {
                name: (*name).to_owned(),
                span_count: count(*spans),
                error_span_count: count(*failed),
            })
            .collect(),
    })
}
