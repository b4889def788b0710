//! OTLP spans in the form of `clients/README.md`.

use anyhow::{Result, bail, ensure};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, span},
};
use serde_json::{Map, Value, json};

/// Every span of `parts`, with its resource and scope.
///
/// # Errors
/// When a span could not have come from an SDK: a key that is there twice, or a number that has no name.
pub fn spans(parts: &[ResourceSpans]) -> Result<Vec<Value>> {
    let mut spans = Vec::new();
    for part in parts {
        let resource = resource(part)?;
        for scope_spans in &part.scope_spans {
            let scope = scope(scope_spans)?;
            for one in &scope_spans.spans {
                spans.push(span(one, &resource, &scope)?);
            }
        }
    }
    Ok(spans)
}

fn resource(part: &ResourceSpans) -> Result<Value> {
    let Resource { attributes, dropped_attributes_count, entity_refs } = part.resource.clone().unwrap_or_default();
    ensure!(entity_refs.is_empty(), "a resource has entity references, which no client sent");
    Ok(json!({
        "schema_url": part.schema_url,
        "attributes": self::attributes(&attributes)?,
        "dropped_attributes_count": dropped_attributes_count,
    }))
}

fn scope(part: &ScopeSpans) -> Result<Value> {
    let InstrumentationScope { name, version, attributes, dropped_attributes_count } =
        part.scope.clone().unwrap_or_default();
    Ok(json!({
        "schema_url": part.schema_url,
        "name": name,
        "version": version,
        "attributes": self::attributes(&attributes)?,
        "dropped_attributes_count": dropped_attributes_count,
    }))
}

fn span(span: &Span, resource: &Value, scope: &Value) -> Result<Value> {
    let status = span.status.clone().unwrap_or_default();
    Ok(json!({
        "trace_id": hex::encode(&span.trace_id),
        "span_id": hex::encode(&span.span_id),
        "parent_span_id": hex::encode(&span.parent_span_id),
        "trace_state": span.trace_state,
        "flags": span.flags,
        "name": span.name,
        "kind": name_of(&["unspecified", "internal", "server", "client", "producer", "consumer"], span.kind)?,
        "start_time_unix_nano": span.start_time_unix_nano.to_string(),
        "end_time_unix_nano": span.end_time_unix_nano.to_string(),
        "attributes": attributes(&span.attributes)?,
        "events": span.events.iter().map(event).collect::<Result<Vec<_>>>()?,
        "links": span.links.iter().map(link).collect::<Result<Vec<_>>>()?,
        "dropped_attributes_count": span.dropped_attributes_count,
        "dropped_events_count": span.dropped_events_count,
        "dropped_links_count": span.dropped_links_count,
        "status": {"code": name_of(&["unset", "ok", "error"], status.code)?, "message": status.message},
        "resource": resource,
        "scope": scope,
    }))
}

fn event(event: &span::Event) -> Result<Value> {
    Ok(json!({
        "time_unix_nano": event.time_unix_nano.to_string(),
        "name": event.name,
        "attributes": attributes(&event.attributes)?,
        "dropped_attributes_count": event.dropped_attributes_count,
    }))
}

fn link(link: &span::Link) -> Result<Value> {
    Ok(json!({
        "trace_id": hex::encode(&link.trace_id),
        "span_id": hex::encode(&link.span_id),
        "trace_state": link.trace_state,
        "flags": link.flags,
        "attributes": attributes(&link.attributes)?,
        "dropped_attributes_count": link.dropped_attributes_count,
    }))
}

fn name_of(names: &[&'static str], number: i32) -> Result<&'static str> {
    match usize::try_from(number).ok().and_then(|number| names.get(number)) {
        Some(name) => Ok(name),
        None => bail!("{number} is none of {names:?}"),
    }
}

fn attributes(list: &[KeyValue]) -> Result<Value> {
    let mut values = Map::new();
    for KeyValue { key, value, .. } in list {
        let other = values.insert(key.clone(), self::value(value.as_ref())?);
        ensure!(other.is_none(), "the attribute {key:?} is there twice");
    }
    Ok(Value::Object(values))
}

fn value(value: Option<&AnyValue>) -> Result<Value> {
    use any_value::Value::{
        ArrayValue, BoolValue, BytesValue, DoubleValue, IntValue, KvlistValue, StringValue, StringValueStrindex,
    };
    Ok(match value.and_then(|value| value.value.as_ref()) {
        None => json!({"empty": true}),
        Some(StringValue(text)) => json!({"string": text}),
        Some(BoolValue(truth)) => json!({"bool": truth}),
        Some(IntValue(number)) => json!({"int": number.to_string()}),
        Some(DoubleValue(number)) => json!({"double": format!("{:016x}", number.to_bits())}),
        Some(BytesValue(bytes)) => json!({"bytes": hex::encode(bytes)}),
        Some(ArrayValue(array)) => {
            let parts = array.values.iter().map(|part| self::value(Some(part)));
            json!({"array": parts.collect::<Result<Vec<_>>>()?})
        }
        Some(KvlistValue(map)) => json!({"map": attributes(&map.values)?}),
        Some(StringValueStrindex(index)) => bail!("a string of a profile's table, {index}, which no client sent"),
    })
}
