//! Time series that TraceQL computes.

use std::fmt::Write;

use axum::{
    extract::{Query, State},
    response::Response,
};
use clew_common::ids::Tenant;
use clew_proto::{
    opentelemetry::proto::common::v1::KeyValue,
    tempopb::{
        Exemplar, InstantSeries, PartialStatus, QueryInstantRequest, QueryInstantResponse, QueryRangeRequest,
        QueryRangeResponse, Sample, TimeSeries,
    },
};
use clew_query::{
    exec::{self, Measured, MetricsOptions},
    traceql::{series, steps::Steps, value::Value},
};
use http::HeaderMap;

use super::{
    Tempo,
    error::Refused,
    params::Params,
    respond::{Reply, took},
};
use crate::queries::{
    Asked, MAX_EXEMPLARS,
    bounds::{self, DEFAULT_RANGE_NS, DEFAULT_SERIES, MAX_SERIES, within},
    value::{key_text, key_value, text},
};

/// Exemplars of an answer when nothing is said.
const DEFAULT_EXEMPLARS: u32 = 100;

/// `/api/metrics/query_range`
pub async fn range_over_http(
    State(tempo): State<Tempo>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let tenant = Tenant::from_headers(&headers)?;
    let (start, end) = tempo.range_of(&params)?;
    let step = params.duration_ns("step")?.unwrap_or_default();
    // Over HTTP none can be asked for.
    let none = params.text("exemplars") == Some("0");
    let request = QueryRangeRequest {
        query: query(&params)?,
        start,
        end,
        step,
        exemplars: params.count("exemplars")?,
        max_series: params.count("maxSeries")?,
    };
    let mut reply = tempo.query_range(&tenant, request).await?;
    if none {
        reply.message.series.iter_mut().for_each(|series| series.exemplars.clear());
    }
    Ok(reply.over_http(&headers))
}

/// `/api/metrics/query`
pub async fn instant_over_http(
    State(tempo): State<Tempo>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let tenant = Tenant::from_headers(&headers)?;
    let (start, end) = tempo.range_of(&params)?;
    let request = QueryInstantRequest { query: query(&params)?, start, end };
    Ok(tempo.query_instant(&tenant, request).await?.over_http(&headers))
}

fn query(params: &Params) -> Result<String, Refused> {
    // Prometheus calls it so.
    let query = params.text("q").or_else(|| params.text("query"));
    query.map(str::to_owned).ok_or_else(|| Refused::invalid("q is missing; expected TraceQL such as { } | rate()"))
}

impl Tempo {
    /// From `start`, `end` and `since`.
    fn range_of(&self, params: &Params) -> Result<(u64, u64), Refused> {
        let end = params.time_ns("end")?.unwrap_or_else(|| self.queries.now_ns());
        let since = params.duration_ns("since")?.unwrap_or(DEFAULT_RANGE_NS);
        // In messages 0 says nothing.
        Ok((params.time_ns("start")?.unwrap_or(end.saturating_sub(since)).max(1), end.max(1)))
    }

    /// Computes time series.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn query_range(
        &self,
        tenant: &Tenant,
        request: QueryRangeRequest,
    ) -> Result<Reply<QueryRangeResponse>, Refused> {
        let (start, end) = self.queries.range_or_last_hour(request.start, request.end);
        let steps = bounds::steps(start, end, request.step)?;
        let options = MetricsOptions {
            steps,
            exemplars: within("exemplars", request.exemplars, DEFAULT_EXEMPLARS, u32::MAX)?.min(MAX_EXEMPLARS),
            max_series: within("maxSeries", request.max_series, DEFAULT_SERIES, MAX_SERIES)?,
        };
        let asked = self.queries.metrics(tenant, request.query, options).await?;
        let metrics = Some(took(&asked));
        let Asked { answer: Measured { series, exemplars, missing, .. }, .. } = asked;
        let mut exemplars = exemplars.into_iter().map(Some).collect::<Vec<_>>();
        let series = series.into_iter().map(|series| {
            let mut made = time_series(&series, steps);
            let mut its = exemplars.iter_mut().filter(|one| one.as_ref().is_some_and(|one| is_of(one, &series)));
            made.exemplars = its.by_ref().filter_map(Option::take).map(exemplar).collect();
            made
        });
        let series = series.collect();
        let (status, message) = partial(&missing);
        Ok(Reply { message: QueryRangeResponse { series, metrics, status, message }, missing })
    }

    /// Computes one value of each time series.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn query_instant(
        &self,
        tenant: &Tenant,
        request: QueryInstantRequest,
    ) -> Result<Reply<QueryInstantResponse>, Refused> {
        let (start, end) = self.queries.range_or_last_hour(request.start, request.end);
        let options =
            MetricsOptions { steps: bounds::instant(start, end)?, exemplars: 0, max_series: DEFAULT_SERIES as usize };
        let asked = self.queries.metrics(tenant, request.query, options).await?;
        let metrics = Some(took(&asked));
        let Asked { answer: Measured { series, missing, .. }, .. } = asked;
        let series = series.iter().filter_map(|series| {
            Some(InstantSeries {
                labels: labels(&series.labels),
                value: series.values.iter().flatten().next().copied()?,
                prom_labels: prom_labels(&series.labels),
            })
        });
        let series = series.collect();
        let (status, message) = partial(&missing);
        Ok(Reply { message: QueryInstantResponse { series, metrics, status, message }, missing })
    }
}

fn partial(missing: &[String]) -> (i32, String) {
    let status = if missing.is_empty() { PartialStatus::Complete } else { PartialStatus::Partial };
    (status.into(), missing.join("; "))
}

fn time_series(series: &series::TimeSeries, steps: Steps) -> TimeSeries {
    let sample = |(time_ns, value): (u64, &Option<f64>)| {
        Some(Sample { timestamp_ms: (time_ns / 1_000_000) as i64, value: (*value)? })
    };
    TimeSeries {
        labels: labels(&series.labels),
        samples: steps.times_ns().zip(&series.values).filter_map(sample).collect(),
        prom_labels: prom_labels(&series.labels),
        exemplars: Vec::new(),
    }
}

/// Whether a series counts the span of an exemplar: it has the labels of its group. Of the series of a histogram only the
/// bucket that the value is in; of quantiles the first.
fn is_of(exemplar: &exec::Exemplar, series: &series::TimeSeries) -> bool {
    let bucket = |(name, value): &(String, Value)| {
        name != "__bucket"
            || value.as_number().is_none_or(|bound| exemplar.value <= bound && exemplar.value > bound / 2.0)
    };
    exemplar.labels.iter().all(|label| series.labels.contains(label)) && series.labels.iter().all(bucket)
}

fn exemplar(exemplar: exec::Exemplar) -> Exemplar {
    let mut labels = labels(&exemplar.labels);
    labels.push(key_text("trace:id", hex::encode(exemplar.trace_id)));
    labels.push(key_text("span:id", hex::encode(exemplar.span_id)));
    Exemplar { labels, value: exemplar.value, timestamp_ms: (exemplar.time_ns / 1_000_000) as i64 }
}

fn labels(labels: &[(String, Value)]) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| key_value(name, value)).collect()
}

/// `{resource_service_name="shop"}`: names have letters, digits and `_` only.
fn prom_labels(labels: &[(String, Value)]) -> String {
    let mut all = "{".to_owned();
    for (at, (name, value)) in labels.iter().enumerate() {
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let text = text(value).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        // A string takes whatever is written to it.
        let _ = write!(all, "{}{name}=\"{text}\"", if at == 0 { "" } else { ", " });
    }
    all.push('}');
    all
}
