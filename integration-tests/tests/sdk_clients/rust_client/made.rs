//! The SDK's finished spans in the form of `clients/README.md`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    Array, KeyValue, Value as Attribute,
    trace::{Event, Link, SpanContext, SpanId, Status},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use serde_json::{Map, Value, json};

/// Gathers finished spans.
#[derive(Clone, Debug, Default)]
pub struct Made(Arc<Mutex<Vec<Value>>>);

impl Made {
    /// What gathers those of one provider.
    pub fn exporter(&self) -> Gatherer {
        Gatherer { made: self.clone(), resource: Resource::builder_empty().build() }
    }

    /// All that were gathered.
    pub fn spans(&self) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The second exporter, beside the one under test.
#[derive(Debug)]
pub struct Gatherer {
    made: Made,
    resource: Resource,
}

impl SpanExporter for Gatherer {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.iter().map(|one| span(one, &self.resource));
        self.made.0.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.clone();
    }
}

fn span(span: &SpanData, resource: &Resource) -> Value {
    let context = &span.span_context;
    let parent = if span.parent_span_id == SpanId::INVALID { String::new() } else { span.parent_span_id.to_string() };
    let (code, message) = match &span.status {
        Status::Unset => ("unset", ""),
        Status::Ok => ("ok", ""),
        Status::Error { description } => ("error", description.as_ref()),
    };
    let scope = &span.instrumentation_scope;
    json!({
        "trace_id": context.trace_id().to_string(),
        "span_id": context.span_id().to_string(),
        "parent_span_id": parent,
        "trace_state": context.trace_state().header(),
        "flags": flags(context, span.parent_span_is_remote),
        "name": span.name,
        "kind": format!("{:?}", span.span_kind).to_lowercase(),
        "start_time_unix_nano": nanos(span.start_time),
        "end_time_unix_nano": nanos(span.end_time),
        "attributes": attributes(&span.attributes),
        "events": span.events.iter().map(event).collect::<Vec<_>>(),
        "links": span.links.iter().map(link).collect::<Vec<_>>(),
        "dropped_attributes_count": span.dropped_attributes_count,
        "dropped_events_count": span.events.dropped_count,
        "dropped_links_count": span.links.dropped_count,
        "status": {"code": code, "message": message},
        "resource": {
            "schema_url": resource.schema_url().unwrap_or_default(),
            "attributes": resource.iter().map(|(key, item)| (key.to_string(), value(item))).collect::<Map<_, _>>(),
            "dropped_attributes_count": 0,
        },
        "scope": {
            "schema_url": scope.schema_url().unwrap_or_default(),
            "name": scope.name(),
            "version": scope.version().unwrap_or_default(),
            "attributes": attributes(scope.attributes()),
            "dropped_attributes_count": 0,
        },
    })
}

fn event(event: &Event) -> Value {
    json!({
        "time_unix_nano": nanos(event.timestamp),
        "name": event.name,
        "attributes": attributes(&event.attributes),
        "dropped_attributes_count": event.dropped_attributes_count,
    })
}

fn link(link: &Link) -> Value {
    let context = &link.span_context;
    json!({
        "trace_id": context.trace_id().to_string(),
        "span_id": context.span_id().to_string(),
        "trace_state": context.trace_state().header(),
        "flags": flags(context, context.is_remote()),
        "attributes": attributes(&link.attributes),
        "dropped_attributes_count": link.dropped_attributes_count,
    })
}

fn flags(own: &SpanContext, remote: bool) -> u32 {
    u32::from(own.trace_flags().to_u8()) | 0x100 | if remote { 0x200 } else { 0 }
}

fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

fn attributes<'a>(list: impl IntoIterator<Item = &'a KeyValue>) -> Map<String, Value> {
    list.into_iter().map(|pair| (pair.key.to_string(), value(&pair.value))).collect()
}

fn value(item: &Attribute) -> Value {
    match item {
        Attribute::Bool(truth) => json!({"bool": truth}),
        Attribute::I64(number) => json!({"int": number.to_string()}),
        Attribute::F64(number) => json!({"double": format!("{:016x}", number.to_bits())}),
        Attribute::String(text) => json!({"string": text.as_str()}),
        Attribute::Array(Array::Bool(items)) => array(items),
        Attribute::Array(Array::I64(items)) => array(items),
        Attribute::Array(Array::F64(items)) => array(items),
        Attribute::Array(Array::String(items)) => array(items),
        other => panic!("the SDK has a type of attribute that is not known here: {other:?}"),
    }
}

fn array<T: Clone + Into<Attribute>>(items: &[T]) -> Value {
    json!({"array": items.iter().map(|item| value(&item.clone().into())).collect::<Vec<_>>()})
}
