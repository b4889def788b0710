package clew.client;

import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.common.KeyValue;
import io.opentelemetry.api.common.Value;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.sdk.common.InstrumentationScopeInfo;
import io.opentelemetry.sdk.trace.data.EventData;
import io.opentelemetry.sdk.trace.data.LinkData;
import io.opentelemetry.sdk.trace.data.SpanData;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Collectors;

/** The SDK's finished spans in the form of ../README.md. */
final class Neutral {
  private Neutral() {}

  static Map<String, Object> span(SpanData span) {
    SpanContext parent = span.getParentSpanContext();
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("trace_id", span.getTraceId());
    fields.put("span_id", span.getSpanId());
    fields.put("parent_span_id", parent.isValid() ? parent.getSpanId() : "");
    fields.put("trace_state", traceState(span.getSpanContext().getTraceState()));
    fields.put("flags", flags(span.getSpanContext(), parent));
    fields.put("name", span.getName());
    fields.put("kind", span.getKind().name().toLowerCase(Locale.ROOT));
    fields.put("start_time_unix_nano", Long.toString(span.getStartEpochNanos()));
    fields.put("end_time_unix_nano", Long.toString(span.getEndEpochNanos()));
    fields.put("attributes", attributes(span.getAttributes()));
    fields.put("events", span.getEvents().stream().map(Neutral::event).toList());
    fields.put("links", span.getLinks().stream().map(Neutral::link).toList());
    fields.put("dropped_attributes_count", span.getTotalAttributeCount() - span.getAttributes().size());
    fields.put("dropped_events_count", span.getTotalRecordedEvents() - span.getEvents().size());
    fields.put("dropped_links_count", span.getTotalRecordedLinks() - span.getLinks().size());
    fields.put(
        "status",
        Map.of(
            "code", span.getStatus().getStatusCode().name().toLowerCase(Locale.ROOT),
            "message", span.getStatus().getDescription()));
    fields.put(
        "resource",
        Map.of(
            "schema_url", Objects.requireNonNullElse(span.getResource().getSchemaUrl(), ""),
            "attributes", attributes(span.getResource().getAttributes()),
            "dropped_attributes_count", 0));
    InstrumentationScopeInfo scope = span.getInstrumentationScopeInfo();
    fields.put(
        "scope",
        Map.of(
            "schema_url", Objects.requireNonNullElse(scope.getSchemaUrl(), ""),
            "name", scope.getName(),
            "version", Objects.requireNonNullElse(scope.getVersion(), ""),
            "attributes", attributes(scope.getAttributes()),
            "dropped_attributes_count", 0));
    return fields;
  }

  private static Map<String, Object> event(EventData event) {
    return Map.of(
        "time_unix_nano", Long.toString(event.getEpochNanos()),
        "name", event.getName(),
        "attributes", attributes(event.getAttributes()),
        "dropped_attributes_count", event.getDroppedAttributesCount());
  }

  private static Map<String, Object> link(LinkData link) {
    SpanContext context = link.getSpanContext();
    return Map.of(
        "trace_id", context.getTraceId(),
        "span_id", context.getSpanId(),
        "trace_state", traceState(context.getTraceState()),
        "flags", flags(context, context),
        "attributes", attributes(link.getAttributes()),
        "dropped_attributes_count", link.getTotalAttributeCount() - link.getAttributes().size());
  }

  private static int flags(SpanContext own, SpanContext remote) {
    return own.getTraceFlags().asByte() & 0xff | 0x100 | (remote.isRemote() ? 0x200 : 0);
  }

  private static String traceState(TraceState state) {
    return state.asMap().entrySet().stream()
        .map(entry -> entry.getKey() + "=" + entry.getValue())
        .collect(Collectors.joining(","));
  }

  private static Map<String, Object> attributes(Attributes attributes) {
    Map<String, Object> values = new LinkedHashMap<>();
    attributes.forEach((key, value) -> values.put(key.getKey(), value(value)));
    return values;
  }

  /** Takes what {@link Attributes} hold as well as {@link Value}, which nests. */
  private static Map<String, Object> value(Object value) {
    if (value instanceof Value<?> wrapped) {
      return switch (wrapped.getType()) {
        case EMPTY -> Map.of("empty", true);
        case BYTES -> Map.of("bytes", hex((ByteBuffer) wrapped.getValue()));
        case KEY_VALUE_LIST -> Map.of("map", map((List<?>) wrapped.getValue()));
        default -> value(wrapped.getValue());
      };
    }
    if (value instanceof String text) {
      return Map.of("string", text);
    }
    if (value instanceof Boolean truth) {
      return Map.of("bool", truth);
    }
    if (value instanceof Long number) {
      return Map.of("int", number.toString());
    }
    if (value instanceof Double number) {
      return Map.of("double", String.format("%016x", Double.doubleToRawLongBits(number)));
    }
    if (value instanceof List<?> list) {
      return Map.of("array", list.stream().map(Neutral::value).toList());
    }
    throw new IllegalArgumentException("no such type: " + value.getClass());
  }

  private static Map<String, Object> map(List<?> pairs) {
    Map<String, Object> values = new LinkedHashMap<>();
    for (Object pair : pairs) {
      values.put(((KeyValue) pair).getKey(), value(((KeyValue) pair).getValue()));
    }
    return values;
  }

  private static String hex(ByteBuffer buffer) {
    byte[] bytes = new byte[buffer.remaining()];
    buffer.duplicate().get(bytes);
    return HexFormat.of().formatHex(bytes);
  }
}
