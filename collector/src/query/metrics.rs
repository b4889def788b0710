//! Time series.

use clew_common::ids::Tenant;
use clew_proto::v1::{Exemplar, MetricsRequest, MetricsResponse, TimeSeries};
use clew_query::{
    exec::{self, Measured, MetricsOptions},
    traceql::{series, steps::Steps},
};
use prost::Message;
use tonic::Status;

use crate::queries::{
    MAX_EXEMPLARS, Queries,
    bounds::{self, DEFAULT_SERIES, MAX_SERIES, within},
    partial::reasons,
    parts,
    value::key_value,
};

/// The messages of an answer.
pub async fn metrics(
    queries: &Queries,
    tenant: &Tenant,
    request: MetricsRequest,
) -> Result<Vec<MetricsResponse>, Status> {
    let (start, end) = queries.range_or_last_hour(request.start_unix_nano, request.end_unix_nano);
    let steps =
        if request.instant { bounds::instant(start, end)? } else { bounds::steps(start, end, request.step_nano)? };
    let options = MetricsOptions {
        steps,
        exemplars: within("exemplars", request.exemplars, 0, MAX_EXEMPLARS as u32)?,
        max_series: within("max_series", request.max_series, DEFAULT_SERIES, MAX_SERIES)?,
    };
    let asked = queries.metrics(tenant, request.query, options).await?;
    let Measured { series, exemplars, missing, inspected_spans } = asked.answer;
    let parts = parts::cut(series.iter().map(|series| time_series(series, steps)), TimeSeries::encoded_len);
    let mut messages: Vec<_> =
        parts.into_iter().map(|series| MetricsResponse { series, ..MetricsResponse::default() }).collect();
    // They have the labels of their series, which may be long.
    let mut exemplars = parts::cut(exemplars.into_iter().map(exemplar), Exemplar::encoded_len).into_iter();
    if let Some(last) = messages.last_mut() {
        last.exemplars = exemplars.next().unwrap_or_default();
    }
    messages.extend(exemplars.map(|exemplars| MetricsResponse { exemplars, ..MetricsResponse::default() }));
    if let Some(last) = messages.last_mut() {
        last.partial_reasons = reasons(missing);
        last.inspected_spans = inspected_spans;
    }
    Ok(messages)
}

fn time_series(series: &series::TimeSeries, steps: Steps) -> TimeSeries {
    let points = steps.times_ns().zip(&series.values).filter_map(|(time, value)| Some((time, (*value)?)));
    let (times_unix_nano, values) = points.unzip();
    let labels = series.labels.iter().map(|(name, value)| key_value(name, value)).collect();
    TimeSeries { labels, times_unix_nano, values }
}

fn exemplar(exemplar: exec::Exemplar) -> Exemplar {
    Exemplar {
        labels: exemplar.labels.iter().map(|(name, value)| key_value(name, value)).collect(),
        time_unix_nano: exemplar.time_ns,
        value: exemplar.value,
        trace_id: exemplar.trace_id.to_vec().into(),
        span_id: exemplar.span_id.to_vec().into(),
    }
}
