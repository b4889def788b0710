//! Tempo's messages in protobuf's JSON: 64-bit integers are strings, names in camel case, empty lists and zeros of
//! `metrics` left out.

use clew_proto::{
    opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value},
    tempopb::{
        Exemplar, InstantSeries, MetadataMetrics, PartialStatus, QueryInstantResponse, QueryRangeResponse, Sample,
        SearchMetrics, SearchResponse, SearchTagValuesResponse, SearchTagValuesV2Response, SearchTagsResponse,
        SearchTagsV2Response, SearchTagsV2Scope, Span, SpanSet, TagValue, TimeSeries, TraceSearchMetadata,
    },
};
use serde_json::{Map, Value, json};

/// A message that can be written as JSON.
pub trait Json {
    /// The JSON.
    fn json(&self) -> Value;

    /// Writes it.
    fn write(&self, out: &mut String) {
        out.push_str(&self.json().to_string());
    }
}

/// Writes an object with a list, an item at a time: all of a long one as a [`Value`] takes ten times as much memory as its text.
fn write_list<T: Json>(name: &str, items: &[T], object: &Value, out: &mut String) {
    let object = object.to_string();
    let rest = object.trim_start_matches('{');
    out.push_str(&format!("{{\"{name}\":["));
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        item.write(out);
    }
    out.push_str(if rest == "}" { "]" } else { "]," });
    out.push_str(rest);
}

fn list<T: Json>(items: &[T]) -> Value {
    items.iter().map(Json::json).collect()
}

/// Puts a field in unless it is empty or 0.
fn put(object: &mut Value, name: &str, value: impl Into<Value>) {
    let (Value::Object(fields), value) = (object, value.into()) else { return };
    let empty = match &value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty() || text == "0",
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    };
    if !empty {
        fields.insert(name.to_owned(), value);
    }
}

/// JSON has no infinity and no NaN.
fn double(number: f64) -> Value {
    match number {
        _ if number.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        number => number.into(),
    }
}

impl Json for AnyValue {
    fn json(&self) -> Value {
        match &self.value {
            None => json!({}),
            Some(any_value::Value::StringValue(text)) => json!({ "stringValue": text }),
            Some(any_value::Value::BoolValue(yes)) => json!({ "boolValue": yes }),
            Some(any_value::Value::IntValue(number)) => json!({ "intValue": number.to_string() }),
            Some(any_value::Value::DoubleValue(number)) => json!({ "doubleValue": double(*number) }),
            Some(any_value::Value::ArrayValue(array)) => json!({ "arrayValue": { "values": list(&array.values) } }),
            Some(any_value::Value::KvlistValue(map)) => json!({ "kvlistValue": { "values": list(&map.values) } }),
            // TraceQL has no bytes.
            Some(any_value::Value::BytesValue(_)) => json!({}),
        }
    }
}

impl Json for KeyValue {
    fn json(&self) -> Value {
        json!({ "key": self.key, "value": self.value.as_ref().map_or_else(|| json!({}), Json::json) })
    }
}

/// Without the traces.
impl Json for SearchResponse {
    fn json(&self) -> Value {
        json!({ "metrics": self.metrics.as_ref().map_or_else(|| json!({}), Json::json) })
    }

    fn write(&self, out: &mut String) {
        write_list("traces", &self.traces, &self.json(), out);
    }
}

impl Json for TraceSearchMetadata {
    fn json(&self) -> Value {
        let stats = self.service_stats.iter().map(|(service, stats)| {
            let mut counts = json!({ "spanCount": stats.span_count });
            put(&mut counts, "errorCount", stats.error_count);
            (service.clone(), counts)
        });
        let stats: Map<String, Value> = stats.collect();
        let mut trace = json!({
            "traceID": self.trace_id,
            "rootServiceName": self.root_service_name,
            "rootTraceName": self.root_trace_name,
            "startTimeUnixNano": self.start_time_unix_nano.to_string(),
            "durationMs": self.duration_ms,
            "spanSets": list(&self.span_sets),
            "serviceStats": stats,
        });
        put(&mut trace, "spanSet", self.span_set.as_ref().map(Json::json));
        trace
    }
}

impl Json for SpanSet {
    fn json(&self) -> Value {
        let mut set = json!({ "spans": list(&self.spans), "matched": self.matched });
        put(&mut set, "attributes", list(&self.attributes));
        set
    }
}

impl Json for Span {
    fn json(&self) -> Value {
        let mut span = json!({
            "spanID": self.span_id,
            "name": self.name,
            "startTimeUnixNano": self.start_time_unix_nano.to_string(),
            "durationNanos": self.duration_nanos.to_string(),
        });
        put(&mut span, "attributes", list(&self.attributes));
        span
    }
}

/// Without the series.
impl Json for QueryRangeResponse {
    fn json(&self) -> Value {
        metrics_response(self.metrics.as_ref(), self.status(), &self.message)
    }

    fn write(&self, out: &mut String) {
        write_list("series", &self.series, &self.json(), out);
    }
}

/// Without the series.
impl Json for QueryInstantResponse {
    fn json(&self) -> Value {
        metrics_response(self.metrics.as_ref(), self.status(), &self.message)
    }

    fn write(&self, out: &mut String) {
        write_list("series", &self.series, &self.json(), out);
    }
}

fn metrics_response(metrics: Option<&SearchMetrics>, status: PartialStatus, message: &str) -> Value {
    let mut response = json!({ "metrics": metrics.map_or_else(|| json!({}), Json::json) });
    // Old clients know neither.
    if status == PartialStatus::Partial {
        put(&mut response, "status", status.as_str_name());
        put(&mut response, "message", message);
    }
    response
}

impl Json for TimeSeries {
    fn json(&self) -> Value {
        let mut series = json!({
            "labels": list(&self.labels),
            "samples": list(&self.samples),
            "promLabels": self.prom_labels,
        });
        put(&mut series, "exemplars", list(&self.exemplars));
        series
    }
}

impl Json for InstantSeries {
    fn json(&self) -> Value {
        json!({ "labels": list(&self.labels), "value": double(self.value), "promLabels": self.prom_labels })
    }
}

impl Json for Sample {
    fn json(&self) -> Value {
        json!({ "timestampMs": self.timestamp_ms.to_string(), "value": double(self.value) })
    }
}

impl Json for Exemplar {
    fn json(&self) -> Value {
        json!({
            "labels": list(&self.labels),
            "value": double(self.value),
            "timestampMs": self.timestamp_ms.to_string(),
        })
    }
}

/// An answer with one list.
fn listed(name: &str, items: Value, metrics: Option<&MetadataMetrics>) -> Value {
    json!({ name: items, "metrics": metrics.map_or_else(|| json!({}), Json::json) })
}

impl Json for SearchTagsResponse {
    fn json(&self) -> Value {
        listed("tagNames", json!(self.tag_names), self.metrics.as_ref())
    }
}

impl Json for SearchTagsV2Response {
    fn json(&self) -> Value {
        listed("scopes", list(&self.scopes), self.metrics.as_ref())
    }
}

impl Json for SearchTagsV2Scope {
    fn json(&self) -> Value {
        json!({ "name": self.name, "tags": self.tags })
    }
}

impl Json for SearchTagValuesResponse {
    fn json(&self) -> Value {
        listed("tagValues", json!(self.tag_values), self.metrics.as_ref())
    }
}

impl Json for SearchTagValuesV2Response {
    fn json(&self) -> Value {
        listed("tagValues", list(&self.tag_values), self.metrics.as_ref())
    }
}

impl Json for TagValue {
    fn json(&self) -> Value {
        json!({ "type": self.r#type, "value": self.value })
    }
}

impl Json for MetadataMetrics {
    fn json(&self) -> Value {
        let mut metrics = json!({});
        put(&mut metrics, "inspectedBytes", self.inspected_bytes.to_string());
        put(&mut metrics, "totalJobs", self.total_jobs);
        put(&mut metrics, "completedJobs", self.completed_jobs);
        put(&mut metrics, "totalBlocks", self.total_blocks);
        put(&mut metrics, "totalBlockBytes", self.total_block_bytes.to_string());
        metrics
    }
}

impl Json for SearchMetrics {
    fn json(&self) -> Value {
        let mut metrics = json!({});
        put(&mut metrics, "inspectedTraces", self.inspected_traces);
        put(&mut metrics, "inspectedBytes", self.inspected_bytes.to_string());
        put(&mut metrics, "totalBlocks", self.total_blocks);
        put(&mut metrics, "completedJobs", self.completed_jobs);
        put(&mut metrics, "totalJobs", self.total_jobs);
        put(&mut metrics, "totalBlockBytes", self.total_block_bytes.to_string());
        put(&mut metrics, "inspectedSpans", self.inspected_spans.to_string());
        metrics
    }
}
