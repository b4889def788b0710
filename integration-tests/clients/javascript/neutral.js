// The SDK's finished spans in the form of ../README.md.
'use strict';

const { SpanKind, SpanStatusCode } = require('@opentelemetry/api');

// `json`: the exporter under test writes JSON.
function span(span, json) {
  const context = span.spanContext();
  const parent = span.parentSpanContext;
  const attributes = object => attributesOf(object, json);
  return {
    trace_id: context.traceId,
    span_id: context.spanId,
    parent_span_id: parent?.spanId ?? '',
    trace_state: context.traceState?.serialize() ?? '',
    flags: flags(context, parent),
    name: span.name,
    kind: SpanKind[span.kind].toLowerCase(),
    start_time_unix_nano: nanos(span.startTime),
    end_time_unix_nano: nanos(span.endTime),
    attributes: attributes(span.attributes),
    events: span.events.map(event => ({
      time_unix_nano: nanos(event.time),
      name: event.name,
      attributes: attributes(event.attributes),
      dropped_attributes_count: event.droppedAttributesCount ?? 0,
    })),
    links: span.links.map(link => ({
      trace_id: link.context.traceId,
      span_id: link.context.spanId,
      trace_state: link.context.traceState?.serialize() ?? '',
      flags: flags(link.context, link.context),
      attributes: attributes(link.attributes),
      dropped_attributes_count: link.droppedAttributesCount ?? 0,
    })),
    dropped_attributes_count: span.droppedAttributesCount,
    dropped_events_count: span.droppedEventsCount,
    dropped_links_count: span.droppedLinksCount,
    status: { code: SpanStatusCode[span.status.code].toLowerCase(), message: span.status.message ?? '' },
    resource: {
      schema_url: span.resource.schemaUrl ?? '',
      attributes: attributes(span.resource.attributes),
      dropped_attributes_count: 0,
    },
    scope: {
      schema_url: span.instrumentationScope.schemaUrl ?? '',
      name: span.instrumentationScope.name,
      version: span.instrumentationScope.version ?? '',
      attributes: {},
      dropped_attributes_count: 0,
    },
  };
}

function flags(own, remote) {
  return own.traceFlags | 0x100 | (remote?.isRemote ? 0x200 : 0);
}

function nanos([seconds, nanoseconds]) {
  return (BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)).toString();
}

function attributesOf(object, json) {
  return Object.fromEntries(Object.entries(object ?? {}).map(([key, item]) => [key, value(item, json)]));
}

function value(item, json) {
  if (item === null || item === undefined) return { empty: true };
  if (typeof item === 'string') return { string: item };
  if (typeof item === 'boolean') return { bool: item };
  if (typeof item === 'number') return number(item, json);
  if (item instanceof Uint8Array) return { bytes: Buffer.from(item).toString('hex') };
  if (Array.isArray(item)) return { array: item.map(part => value(part, json)) };
  return { map: attributesOf(item, json) };
}

function number(item, json) {
  // The language has one type: the exporters send whole numbers as ints, as far as they fit.
  if (Number.isInteger(item) && item >= -(2 ** 63) && item < 2 ** 63) return { int: BigInt(item).toString() };
  // JSON.stringify makes these null.
  if (json && !Number.isFinite(item)) return { empty: true };
  const bits = Buffer.alloc(8);
  bits.writeDoubleBE(item);
  return { double: bits.toString('hex') };
}

module.exports = { span };
