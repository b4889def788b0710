//! A trace in numbers, as a search counts them.

use clew_proto::jaeger::api_v3::{ServiceSummary, TraceSummary};
use clew_query::exec::Found;

use super::model::NO_SERVICE;

/// The summary of a trace.
pub fn of(found: Found) -> TraceSummary {
    let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let (mut spans, mut errors) = (found.spans, found.errors);
    let mut services = found.services;
    for (_, of_service, failed) in &services {
        (spans, errors) = (spans.saturating_sub(*of_service), errors.saturating_sub(*failed));
    }
    // What is left is of services without a name.
    services.extend((spans > 0).then(|| (NO_SERVICE.to_owned(), spans, errors)));
    services.sort();
    let service =
        |(name, spans, failed)| ServiceSummary { name, span_count: count(spans), error_span_count: count(failed) };
    TraceSummary {
        trace_id: hex::encode(found.trace_id),
        // A root without a service has a name.
        root_service_name: match (found.root_service, &found.root_name) {
            (None, Some(_)) => NO_SERVICE.to_owned(),
            (service, _) => service.unwrap_or_default(),
        },
        root_operation_name: found.root_name.unwrap_or_default(),
        min_start_time_unix_nano: found.start,
        max_end_time_unix_nano: found.start.saturating_add(found.duration),
        span_count: count(found.spans),
        error_span_count: count(found.errors),
        orphan_span_count: count(found.orphans),
        services: services.into_iter().map(service).collect(),
    }
}
