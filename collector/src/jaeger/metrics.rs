//! What Jaeger calls service performance monitoring: how often services are called, how often that fails and how long it takes.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use clew_common::ids::Tenant;
use clew_query::{
    exec::MetricsOptions,
    traceql::{
        ast::{Field, Intrinsic, Literal},
        series::TimeSeries,
        value::Value,
    },
};
use http::HeaderMap;
use serde_json::json;

use super::{Jaeger, answer::Answer, condition::service_name, params::Params, refused::Refused};
use crate::queries::{
    bounds::{self, MAX_SERIES},
    value::text,
};

const MS_NS: u64 = 1_000_000;
/// How far back, from one point to the next and over what time rates are, in milliseconds, when nothing is said.
const LOOKBACK_MS: u64 = 3_600_000;
const STEP_MS: u64 = 5_000;
/// The shortest step, in milliseconds.
const MIN_STEP_MS: u64 = 1;
const KINDS: [(&str, &str); 5] = [
    ("SPAN_KIND_INTERNAL", "internal"),
    ("SPAN_KIND_SERVER", "server"),
    ("SPAN_KIND_CLIENT", "client"),
    ("SPAN_KIND_PRODUCER", "producer"),
    ("SPAN_KIND_CONSUMER", "consumer"),
];

/// `/api/metrics/minstep`
pub async fn min_step() -> Answer<u64> {
    Answer { data: MIN_STEP_MS, total: 0, missing: Vec::new() }
}

/// `/api/metrics/{latencies,calls,errors}`
pub async fn metrics(
    State(jaeger): State<Jaeger>,
    Path(name): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Json<serde_json::Value>, Refused> {
    let tenant = Tenant::from_headers(&headers)?;
    let by_operation = params.text("groupByOperation") == Some("true");
    let filter = filter(&params)?;
    let by = if by_operation { format!("{}, {}", service_name(), Intrinsic::Name) } else { service_name().to_string() };
    let rate = |condition: &str| format!("{{ {filter}{condition} }} | rate() by ({by})");
    let (query, help) = match name.as_str() {
        "calls" => (rate(""), "calls/sec, grouped by service"),
        "errors" => (rate(""), "error rate, computed as a fraction of errors/sec over calls/sec, grouped by service"),
        "latencies" => {
            let quantile = params.text("quantile").and_then(|quantile| quantile.parse::<f64>().ok());
            let quantile = quantile
                .filter(|quantile| (0.0..=1.0).contains(quantile))
                .ok_or_else(|| Refused::invalid("parameter 'quantile' is required: a number from 0 to 1"))?;
            let quantile = Literal::Float(quantile);
            let latency = format!("{{ {filter} }} | quantile_over_time({}, {quantile}) by ({by})", Intrinsic::Duration);
            (latency, "quantile latency, in milliseconds, grouped by service")
        }
        _ => {
            return Err(Refused::invalid(format!("{name} is no metric; expected latencies, calls, errors or minstep")));
        }
    };
    let end = params.number("endTs")?.map_or_else(|| jaeger.queries.now_ns(), |ms| ms.saturating_mul(MS_NS));
    let start = end.saturating_sub(params.number("lookback")?.unwrap_or(LOOKBACK_MS).saturating_mul(MS_NS));
    let step = params.number("step")?.unwrap_or(STEP_MS).max(MIN_STEP_MS).saturating_mul(MS_NS);
    let steps = bounds::steps(start, end, step)?;
    let options = MetricsOptions { steps, exemplars: 0, max_series: MAX_SERIES as usize };
    let mut series = jaeger.queries.metrics(&tenant, query, options).await?.answer.series;
    if name == "errors" {
        let failed = jaeger.queries.metrics(&tenant, rate(" && status = error"), options).await?.answer.series;
        series.iter_mut().for_each(|calls| share(calls, failed.iter().find(|failed| failed.labels == calls.labels)));
    }
    let scale = if name == "latencies" { 1e3 } else { 1.0 };
    let family = series.iter().map(|series| {
        let label = |(name, value): &(String, Value)| {
            let name = match name.as_str() {
                "resource.service.name" => "service_name",
                "name" => "operation",
                _ => return None,
            };
            Some(json!({ "name": name, "value": text(value) }))
        };
        let point = |(time, value): (u64, &Option<f64>)| {
            let value = (*value)?;
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(time);
            Some(json!({
                "gaugeValue": { "doubleValue": value * scale },
                "timestamp": humantime::format_rfc3339_millis(time).to_string(),
            }))
        };
        json!({
            "labels": series.labels.iter().filter_map(label).collect::<Vec<_>>(),
            "metricPoints": steps.times_ns().zip(&series.values).filter_map(point).collect::<Vec<_>>(),
        })
    });
    let kind = if by_operation { "operation" } else { "service" };
    let of = match name.as_str() {
        "calls" => "call_rate",
        "errors" => "error_rate",
        _ => "latencies",
    };
    Ok(Json(json!({
        "name": format!("{kind}_{of}"),
        "type": "GAUGE",
        "help": help,
        "metrics": family.collect::<Vec<_>>(),
    })))
}

/// Makes of calls the share of them that failed.
fn share(calls: &mut TimeSeries, failed: Option<&TimeSeries>) {
    for (at, value) in calls.values.iter_mut().enumerate() {
        let failed = failed.and_then(|failed| failed.values[at]).unwrap_or(0.0);
        *value = value.filter(|calls| *calls > 0.0).map(|calls| failed / calls);
    }
}

/// The spans that count: those of some services, of the kinds that are named or else those that serve.
fn filter(params: &Params) -> Result<String, Refused> {
    let any = |conditions: Vec<String>| format!("({})", conditions.join(" || "));
    let services: Vec<_> = params
        .all("service")
        .map(|service| format!("{} = {}", service_name(), Literal::String(service.to_owned())))
        .collect();
    if services.is_empty() {
        return Err(Refused::invalid("parameter 'service' is required; it may be given several times"));
    }
    let mut kinds = Vec::new();
    for said in params.all("spanKind") {
        let kind = KINDS.iter().find(|(long, short)| said == *short || said.eq_ignore_ascii_case(long));
        let (_, kind) = kind.ok_or_else(|| Refused::invalid(format!("spanKind {said:?} is unknown")))?;
        kinds.push(format!("{} = {kind}", Field::Intrinsic(Intrinsic::Kind)));
    }
    if kinds.is_empty() {
        kinds.push(format!("{} = server", Field::Intrinsic(Intrinsic::Kind)));
    }
    Ok(format!("{} && {}", any(services), any(kinds)))
}
