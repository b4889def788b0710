//! Searches for traces.

use axum::{
    extract::{Query, State},
    response::Response,
};
use clew_common::ids::Tenant;
use clew_proto::tempopb::{SearchRequest, SearchResponse, ServiceStats, Span, SpanSet, TraceSearchMetadata};
use clew_query::exec::{Found, FoundSet, FoundSpan, SearchOptions};
use http::HeaderMap;

use super::{
    Tempo,
    error::Refused,
    params::Params,
    respond::{Reply, took},
    tags_query,
};
use crate::queries::{
    Asked,
    bounds::{DEFAULT_SPANS, DEFAULT_TRACES, MAX_SPANS, MAX_TRACES, range_s, within},
    value::key_value,
};

/// Stands for the name and the service of a root that is not there.
const NO_ROOT: &str = "<root span not yet received>";

/// `/api/search`
pub async fn over_http(
    State(tempo): State<Tempo>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let query = match params.text("q") {
        Some(query) => query.to_owned(),
        None => {
            let tags = tags_query::logfmt(params.text("tags").unwrap_or_default());
            let tags = tags.iter().map(|(name, value)| (&**name, &**value));
            tags_query::traceql(tags, params.duration_ns("minDuration")?, params.duration_ns("maxDuration")?)
        }
    };
    let request = SearchRequest {
        query,
        limit: params.count("limit")?,
        start: params.time_s("start")?,
        end: params.time_s("end")?,
        spans_per_span_set: params.count("spss")?,
        ..SearchRequest::default()
    };
    let tenant = Tenant::from_headers(&headers)?;
    Ok(tempo.search(&tenant, request).await?.over_http(&headers))
}

impl Tempo {
    /// Finds traces.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn search(&self, tenant: &Tenant, request: SearchRequest) -> Result<Reply<SearchResponse>, Refused> {
        let query = if request.query.trim().is_empty() {
            let tags = request.tags.iter().map(|(name, value)| (&**name, &**value));
            let ms = |ms: u32| (ms > 0).then_some(u64::from(ms) * 1_000_000);
            tags_query::traceql(tags, ms(request.min_duration_ms), ms(request.max_duration_ms))
        } else {
            request.query
        };
        let options = SearchOptions {
            range: range_s(request.start, request.end)?,
            limit: within("limit", request.limit, DEFAULT_TRACES, MAX_TRACES)?,
            spans: within("spss", request.spans_per_span_set, DEFAULT_SPANS, MAX_SPANS)?,
        };
        let asked = self.queries.search(tenant, query, options).await?;
        let metrics = Some(took(&asked));
        let Asked { answer, .. } = asked;
        let traces = answer.traces.into_iter().map(trace).collect();
        Ok(Reply { message: SearchResponse { traces, metrics }, missing: answer.missing })
    }
}

fn trace(found: Found) -> TraceSearchMetadata {
    let span_sets: Vec<SpanSet> = found.sets.into_iter().map(span_set).collect();
    let stats = found
        .services
        .into_iter()
        .map(|(service, span_count, error_count)| (service, ServiceStats { span_count, error_count }));
    TraceSearchMetadata {
        trace_id: hex::encode(found.trace_id),
        root_service_name: found.root_service.unwrap_or_else(|| NO_ROOT.to_owned()),
        root_trace_name: found.root_name.unwrap_or_else(|| NO_ROOT.to_owned()),
        start_time_unix_nano: found.start,
        duration_ms: u32::try_from(found.duration / 1_000_000).unwrap_or(u32::MAX),
        span_set: span_sets.first().cloned(),
        span_sets,
        service_stats: stats.collect(),
    }
}

fn span_set(set: FoundSet) -> SpanSet {
    SpanSet {
        matched: set.matched,
        spans: set.spans.into_iter().map(span).collect(),
        attributes: set.attributes.iter().map(|(name, value)| key_value(name, value)).collect(),
    }
}

fn span(span: FoundSpan) -> Span {
    Span {
        span_id: hex::encode(span.id),
        name: span.name,
        start_time_unix_nano: span.start,
        duration_nanos: span.duration,
        attributes: span.attributes.iter().map(|(name, value)| key_value(name, value)).collect(),
    }
}
