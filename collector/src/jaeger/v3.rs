//! /api/v3: Jaeger's newer API over HTTP. Its parameters are those of jaeger.api_v3's messages, in either spelling, and its spans are OTLP
//! JSON.

use axum::{
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, PathRejection},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use clew_common::{
    ids::{Tenant, TraceId},
    otlp::json::{self, Ids as IdForm},
};
use clew_proto::jaeger::api_v3::TraceSummary;
use clew_query::exec::{Range, Searched};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{
    Jaeger,
    answer::{self, Answer},
    condition::Wanted,
    params::Params,
    refused::Refused,
    search::{Ids, Read, Search},
    summary,
};
use crate::{lookup, queries::partial};

/// A question that is not answered, in this API's form.
pub struct NoAnswer(Refused);

impl<E: Into<Refused>> From<E> for NoAnswer {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let error = json!({"error": {"httpCode": status.as_u16(), "message": self.0.to_string()}});
        answer::retried(answer::body(status, &error))
    }
}

fn whole(value: &Value, missing: &[String]) -> Response {
    let mut response = answer::body(StatusCode::OK, value);
    partial::mark(response.headers_mut(), missing);
    response
}

/// `/api/v3/services`
pub async fn services(State(jaeger): State<Jaeger>, headers: HeaderMap) -> Result<Response, NoAnswer> {
    let Answer { data, missing, .. } = jaeger.services(&Tenant::from_headers(&headers)?).await?;
    Ok(whole(&json!({"services": data}), &missing))
}

/// `/api/v3/operations`
pub async fn operations(
    State(jaeger): State<Jaeger>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, NoAnswer> {
    let (tenant, kind) = (Tenant::from_headers(&headers)?, params.either("spanKind", "span_kind"));
    let Answer { data, missing, .. } =
        jaeger.operations(&tenant, params.text("service"), kind.map(|(_, kind)| kind)).await?;
    Ok(whole(&json!({"operations": data}), &missing))
}

/// `/api/v3/traces`
pub async fn traces(
    State(jaeger): State<Jaeger>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, NoAnswer> {
    let tenant = Tenant::from_headers(&headers)?;
    let ids = jaeger.find(&tenant, search(&params)?).await?;
    Ok(resource_spans(&jaeger, &tenant, ids).await?)
}

/// The same with a body.
pub async fn find_traces(
    jaeger: State<Jaeger>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, NoAnswer> {
    traces(jaeger, Query(asked(body)?), headers).await
}

/// `/api/v3/traces/{id}`
pub async fn trace(
    State(jaeger): State<Jaeger>,
    id: Result<Path<String>, PathRejection>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, NoAnswer> {
    let tenant = Tenant::from_headers(&headers)?;
    let ids = Ids { ids: vec![id?.parse()?], missing: Vec::new() };
    // Neither is needed to find it.
    params.time_ns("startTime", "start_time")?;
    params.time_ns("endTime", "end_time")?;
    params.yes("rawTraces", "raw_traces")?;
    Ok(resource_spans(&jaeger, &tenant, ids).await?)
}

/// `/api/v3/trace-summaries`
pub async fn summaries(
    State(jaeger): State<Jaeger>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, NoAnswer> {
    let tenant = Tenant::from_headers(&headers)?;
    let Searched { traces, missing, .. } = jaeger.search(&tenant, search(&params)?).await?;
    let summaries: Vec<Value> = traces.into_iter().map(|found| numbers(&summary::of(found))).collect();
    Ok(whole(&json!({"summaries": summaries}), &missing))
}

/// The same with a body.
pub async fn find_summaries(
    jaeger: State<Jaeger>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, NoAnswer> {
    summaries(jaeger, Query(asked(body)?), headers).await
}

/// `/api/v3/dependencies`
pub async fn dependencies(
    State(jaeger): State<Jaeger>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, NoAnswer> {
    let tenant = Tenant::from_headers(&headers)?;
    let (start, end) = (params.time_ns("startTime", "start_time")?, params.time_ns("endTime", "end_time")?);
    let (Some(start), Some(end)) = (start, end) else {
        return Err(Refused::invalid("startTime and endTime are required, in RFC 3339").into());
    };
    let Answer { data, missing, .. } = jaeger.dependencies(&tenant, Some(start), Some(end)).await?;
    let calls = data.iter().map(|call| {
        // 64 bits are texts in protobuf's JSON.
        json!({"parent": call.parent, "child": call.child, "callCount": call.calls.to_string()})
    });
    Ok(whole(&json!({"dependencies": calls.collect::<Vec<_>>()}), &missing))
}

/// `/api/v3/capabilities`
pub async fn capabilities() -> Response {
    whole(&json!({"search": {"withoutServiceName": true, "sameSpanConjunction": true}}), &[])
}

fn asked(body: Result<Bytes, BytesRejection>) -> Result<Params, Refused> {
    Params::of_json(&body.map_err(|error| Refused::invalid(error.body_text()))?)
}

/// What is searched by. Names are those of jaeger.api_v3.TraceQueryParameters.
fn search(params: &Params) -> Result<Search, Refused> {
    for unknown in ["query.filter", "query.pagination", "query.pagination.pageSize", "query.pagination.pageToken"] {
        if params.text(unknown).is_some() {
            return Err(Refused::invalid(format!("{unknown} is not offered here, as /api/v3/capabilities says")));
        }
    }
    let text = |name: &str, old: &str| params.either(name, old).map(|(_, text)| text.to_owned());
    let start = params.time_ns("query.startTimeMin", "query.start_time_min")?;
    let end = params.time_ns("query.startTimeMax", "query.start_time_max")?;
    let (Some(start), Some(end)) = (start, end) else {
        return Err(Refused::invalid("query.start_time_min and query.start_time_max are required, in RFC 3339"));
    };
    params.yes("query.rawTraces", "query.raw_traces")?;
    let depth = params.either("query.searchDepth", "query.search_depth").or_else(|| {
        let old = "query.num_traces";
        params.text(old).map(|text| (old, text))
    });
    let depth = depth.map(|(name, _)| params.number(name)).transpose()?.flatten().unwrap_or(0);
    let tags = match params.text("query.attributes") {
        None => Vec::new(),
        Some(text) => {
            let map: std::collections::BTreeMap<String, String> = serde_json::from_str(text).map_err(|error| {
                Refused::invalid(format!(
                    "malformed parameter query.attributes, expected a JSON object of texts such as {{\"key\":\"value\"}}: {error}"
                ))
            })?;
            map.into_iter().collect()
        }
    };
    let duration = |name, old| params.either(name, old).map_or(Ok(None), |(name, _)| params.duration_ns(name));
    let wanted = Wanted {
        service: text("query.serviceName", "query.service_name"),
        operation: text("query.operationName", "query.operation_name"),
        min_ns: duration("query.durationMin", "query.duration_min")?,
        max_ns: duration("query.durationMax", "query.duration_max")?,
        tags,
    };
    let range = Range { start, end };
    Search::new(wanted, range, i64::try_from(depth).unwrap_or(i64::MAX))
}

/// All spans of some traces, as OTLP JSON.
async fn resource_spans(jaeger: &Jaeger, tenant: &Tenant, ids: Ids) -> Result<Response, Refused> {
    let Read { answers, missing, .. } = jaeger.read_all(tenant, ids, items).await?;
    if answers.is_empty() {
        return Err(if missing.is_empty() { Refused::Unknown } else { Refused::Unreadable(missing.join("; ")) });
    }
    let mut response = answer::json(format!("{{\"result\":{{\"resourceSpans\":[{}]}}}}", answers.join(",")));
    partial::mark(response.headers_mut(), &missing);
    Ok(response)
}

/// The items of an array of ResourceSpans.
fn items(_: TraceId, trace: lookup::Trace) -> Result<String, Refused> {
    let mut array = String::with_capacity(trace.spans.len() * 5 / 2);
    json::write_resource_spans_array(&mut array, &trace.spans, IdForm::Hex);
    array.pop();
    array.remove(0);
    Ok(array)
}

/// A summary in protobuf's JSON.
fn numbers(summary: &TraceSummary) -> Value {
    let services = summary.services.iter().map(|service| {
        json!({"name": service.name, "spanCount": service.span_count, "errorSpanCount": service.error_span_count})
    });
    json!({
        "traceId": summary.trace_id,
        "rootServiceName": summary.root_service_name,
        "rootOperationName": summary.root_operation_name,
        "minStartTimeUnixNano": summary.min_start_time_unix_nano.to_string(),
        "maxEndTimeUnixNano": summary.max_end_time_unix_nano.to_string(),
        "spanCount": summary.span_count,
        "errorSpanCount": summary.error_span_count,
        "orphanSpanCount": summary.orphan_span_count,
        "services": services.collect::<Vec<_>>(),
    })
}
