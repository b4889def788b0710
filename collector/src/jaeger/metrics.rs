//! What Jaeger calls service performance monitoring: how often services are called, how often that fails and how long it takes.

use axum::{
    extract::{Path, Query, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use clew_common::ids::Tenant;
use clew_query::{
    exec::MetricsOptions,
    traceql::{
        ast::{Field, Intrinsic, Literal},
        series::TimeSeries,
        steps::Steps,
        value::Value,
    },
};
use http::HeaderMap;
use serde_json::json;

use super::{Jaeger, answer::Answer, condition, find, model::NO_SERVICE, params::Params, refused::Refused};
use crate::queries::{
    bounds::{self, MAX_SERIES},
    partial,
    value::text,
};

const MS_NS: u64 = 1_000_000;
/// How far back, from one point to the next and over what time rates are, in milliseconds, when nothing is said.
const LOOKBACK_MS: u64 = 3_600_000;
const STEP_MS: u64 = 5_000;
const RATE_PER_MS: u64 = 600_000;
/// The shortest step, in milliseconds.
const MIN_STEP_MS: u64 = 1;
const KINDS: [(&str, &str); 6] = [
    ("SPAN_KIND_UNSPECIFIED", "unspecified"),
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
    name: Result<Path<String>, PathRejection>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let (Path(name), tenant) = (name?, Tenant::from_headers(&headers)?);
    let Asked { filter, by_operation, start, end, step, rate_per } = Asked::of(&jaeger, &params)?;
    let service = condition::service_name();
    let by = if by_operation { format!("{service}, {}", Intrinsic::Name) } else { service.to_string() };
    let count = |by: &str| format!("{{ {filter} }} | count_over_time() by ({by})");
    // A quantile is that of a step, since those of several say nothing of them together.
    let (query, steps_in_window, of, help) = match name.as_str() {
        "calls" => (count(&by), rate_per.div_ceil(step), "call_rate", "calls/sec".to_owned()),
        "errors" => {
            // One question about both: the answers of two may be of different spans.
            let query = count(&format!("{by}, {}", Intrinsic::Status));
            let help = "error rate, computed as a fraction of errors/sec over calls/sec".to_owned();
            (query, rate_per.div_ceil(step), "error_rate", help)
        }
        "latencies" => {
            let quantile = params.text("quantile").and_then(|quantile| quantile.parse::<f64>().ok());
            let quantile = quantile
                .filter(|quantile| (0.0..=1.0).contains(quantile))
                .ok_or_else(|| Refused::invalid("parameter 'quantile' is required: a number from 0 to 1"))?;
            let help = format!("{quantile:.2}th quantile latency");
            let (duration, quantile) = (Intrinsic::Duration, Literal::Float(quantile));
            let query = format!("{{ {filter} }} | quantile_over_time({duration}, {quantile}) by ({by})");
            (query, 1, "latencies", help)
        }
        _ => {
            return Err(Refused::invalid(format!("{name} is no metric; expected latencies, calls, errors or minstep")));
        }
    };
    let window = usize::try_from(steps_in_window.max(1)).unwrap_or(usize::MAX);
    let before = (steps_in_window.max(1) - 1).saturating_mul(step);
    let steps = bounds::steps(start.saturating_sub(before), end, step)?;
    let options = MetricsOptions { steps, exemplars: 0, max_series: MAX_SERIES as usize };
    let measured = jaeger.queries.metrics(&tenant, query, options).await?.answer;
    let mut series = measured.series;
    match name.as_str() {
        "calls" => series.iter_mut().for_each(|series| {
            let seconds = window as f64 * steps.seconds();
            let sums = sums(&series.values, window);
            series.values = sums.into_iter().map(|calls| calls.map(|calls| calls / seconds)).collect();
        }),
        "errors" => series = shares(series, window),
        _ => series.iter_mut().flat_map(|series| series.values.iter_mut().flatten()).for_each(|value| *value *= 1e3),
    }
    // Jaeger's UI looks for them by these names.
    let (kind, grouped) =
        if by_operation { ("service_operation", "service & operation") } else { ("service", "service") };
    let family = axum::Json(json!({
        "name": format!("{kind}_{of}"),
        "type": "GAUGE",
        "help": format!("{help}, grouped by {grouped}"),
        "metrics": series.iter().map(|series| shown(series, steps, window)).collect::<Vec<_>>(),
    }));
    let mut response = family.into_response();
    partial::mark(response.headers_mut(), &measured.missing);
    Ok(response)
}

/// What all metrics are asked by. Times are nanoseconds.
struct Asked {
    filter: String,
    by_operation: bool,
    start: u64,
    end: u64,
    step: u64,
    rate_per: u64,
}

impl Asked {
    fn of(jaeger: &Jaeger, params: &Params) -> Result<Self, Refused> {
        let ns = |ms: u64| ms.saturating_mul(MS_NS);
        let said = |name: &str, usual: u64| params.number(name).map(|ms| ns(ms.unwrap_or(usual)));
        let end = params.number("endTs")?.map_or_else(|| jaeger.queries.now_ns(), ns);
        Ok(Self {
            filter: filter(params)?,
            by_operation: params.yes("groupByOperation", "groupByOperation")?.unwrap_or(false),
            start: end.saturating_sub(said("lookback", LOOKBACK_MS)?),
            end,
            step: said("step", STEP_MS)?.max(ns(MIN_STEP_MS)),
            rate_per: said("ratePer", RATE_PER_MS)?,
        })
    }
}

/// At each point, the sum of so many values up to there. None: there are none.
fn sums(values: &[Option<f64>], window: usize) -> Vec<Option<f64>> {
    let (mut sum, mut some) = (0.0, 0usize);
    let at = |at: usize| {
        if let Some(value) = values[at] {
            (sum, some) = (sum + value, some + 1);
        }
        if let Some(value) = at.checked_sub(window).and_then(|gone| values[gone]) {
            (sum, some) = (sum - value, some - 1);
        }
        (some > 0).then_some(sum)
    };
    (0..values.len()).map(at).collect()
}

/// Makes of calls, by their status too, the shares of them that failed.
fn shares(calls: Vec<TimeSeries>, window: usize) -> Vec<TimeSeries> {
    let mut all: Vec<(TimeSeries, Vec<f64>)> = Vec::new();
    for mut one in calls {
        let is_status = |(name, _): &(String, Value)| *name == Intrinsic::Status.to_string();
        let failed = one.labels.iter().any(|label| is_status(label) && text(&label.1) == "error");
        one.labels.retain(|label| !is_status(label));
        let (sum, errors) = match all.iter_mut().find(|(sum, _)| sum.labels == one.labels) {
            Some(sum) => sum,
            None => {
                let none = TimeSeries { labels: one.labels, values: vec![None; one.values.len()] };
                all.push((none, vec![0.0; one.values.len()]));
                let Some(sum) = all.last_mut() else { continue };
                sum
            }
        };
        for (at, value) in sums(&one.values, window).into_iter().enumerate() {
            let Some(value) = value else { continue };
            sum.values[at] = Some(sum.values[at].unwrap_or(0.0) + value);
            errors[at] += if failed { value } else { 0.0 };
        }
    }
    let share = |(mut sum, errors): (TimeSeries, Vec<f64>)| {
        for (calls, errors) in sum.values.iter_mut().zip(errors) {
            *calls = calls.filter(|calls| *calls > 0.0).map(|calls| (errors / calls).clamp(0.0, 1.0));
        }
        sum
    };
    all.into_iter().map(share).collect()
}

/// A series as OpenMetrics has it, without the points that are only there for the windows of others.
fn shown(series: &TimeSeries, steps: Steps, window: usize) -> serde_json::Value {
    let label = |(name, value): &(String, Value)| {
        let name = match name.as_str() {
            "resource.service.name" => "service_name",
            "name" => "operation",
            _ => return None,
        };
        let text = if *value == Value::Nil { NO_SERVICE.to_owned() } else { text(value) };
        Some(json!({ "name": name, "value": text }))
    };
    let point = |(time, value): (u64, &Option<f64>)| {
        let value = (*value)?;
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(time);
        Some(json!({
            "gaugeValue": { "doubleValue": value },
            "timestamp": humantime::format_rfc3339_millis(time).to_string(),
        }))
    };
    let points = steps.times_ns().zip(&series.values).skip(window - 1);
    json!({
        "labels": series.labels.iter().filter_map(label).collect::<Vec<_>>(),
        "metricPoints": points.filter_map(point).collect::<Vec<_>>(),
    })
}

/// The spans that count: those of some services, of the kinds that are named or else those that serve, with the tags that are named.
fn filter(params: &Params) -> Result<String, Refused> {
    let any = |conditions: Vec<String>| format!("({})", conditions.join(" || "));
    let services: Vec<_> = params.all("service").map(condition::of_service).collect();
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
    let tags = find::tags(params)?.into_iter().map(|(key, value)| condition::tag(&key, &value));
    Ok([any(services), any(kinds)].into_iter().chain(tags).collect::<Vec<_>>().join(" && "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_sum_what_is_in_them() {
        let values = [Some(1.0), None, Some(4.0), None, None, None];
        assert_eq!(sums(&values, 1), values);
        assert_eq!(sums(&values, 3), [Some(1.0), Some(1.0), Some(5.0), Some(4.0), Some(4.0), None]);
        assert_eq!(sums(&values, usize::MAX)[5], Some(5.0));
    }

    #[test]
    fn shares_are_of_calls_with_any_status() {
        let series = |service: &str, status: &str, values: Vec<Option<f64>>| {
            let labels = [("resource.service.name", service), ("status", status)];
            let labels = labels.map(|(name, value)| (name.to_owned(), Value::String(value.to_owned())));
            TimeSeries { labels: labels.to_vec(), values }
        };
        let calls = vec![
            series("a", "unset", vec![Some(3.0), None, Some(1.0)]),
            series("b", "ok", vec![Some(2.0), None, None]),
            series("a", "error", vec![Some(1.0), None, Some(1.0)]),
        ];
        let values = |window| shares(calls.clone(), window).into_iter().map(|one| one.values).collect::<Vec<_>>();
        assert_eq!(values(1), [[Some(0.25), None, Some(0.5)], [Some(0.0), None, None]]);
        assert_eq!(values(3)[0], [Some(0.25), Some(0.25), Some(1.0 / 3.0)]);
        assert_eq!(shares(calls.clone(), 1)[0].labels.len(), 1);
    }
}
