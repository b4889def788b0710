package main

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// neutralSpan gives one of the SDK's finished spans in the form of ../README.md.
func neutralSpan(span tracetest.SpanStub) map[string]any {
	parent := ""
	if span.Parent.HasSpanID() {
		parent = span.Parent.SpanID().String()
	}
	events := []any{}
	for _, event := range span.Events {
		events = append(events, neutralEvent(event))
	}
	links := []any{}
	for _, link := range span.Links {
		links = append(links, neutralLink(link))
	}
	scope := span.InstrumentationScope
	return map[string]any{
		"trace_id":                 span.SpanContext.TraceID().String(),
		"span_id":                  span.SpanContext.SpanID().String(),
		"parent_span_id":           parent,
		"trace_state":              span.SpanContext.TraceState().String(),
		"flags":                    flags(span.SpanContext, span.Parent),
		"name":                     span.Name,
		"kind":                     span.SpanKind.String(),
		"start_time_unix_nano":     nanos(span.StartTime),
		"end_time_unix_nano":       nanos(span.EndTime),
		"attributes":               attributes(span.Attributes),
		"events":                   events,
		"links":                    links,
		"dropped_attributes_count": span.DroppedAttributes,
		"dropped_events_count":     span.DroppedEvents,
		"dropped_links_count":      span.DroppedLinks,
		"status":                   map[string]any{"code": statusCode(span.Status.Code), "message": span.Status.Description},
		"resource": map[string]any{
			"schema_url":               span.Resource.SchemaURL(),
			"attributes":               attributes(span.Resource.Attributes()),
			"dropped_attributes_count": 0,
		},
		"scope": map[string]any{
			"schema_url":               scope.SchemaURL,
			"name":                     scope.Name,
			"version":                  scope.Version,
			"attributes":               attributes(scope.Attributes.ToSlice()),
			"dropped_attributes_count": 0,
		},
	}
}

func neutralEvent(event sdk.Event) map[string]any {
	return map[string]any{
		"time_unix_nano":           nanos(event.Time),
		"name":                     event.Name,
		"attributes":               attributes(event.Attributes),
		"dropped_attributes_count": event.DroppedAttributeCount,
	}
}

func neutralLink(link sdk.Link) map[string]any {
	return map[string]any{
		"trace_id": link.SpanContext.TraceID().String(),
		"span_id":  link.SpanContext.SpanID().String(),
		// The exporters do not send link.SpanContext.TraceState().
		"trace_state":              "",
		"flags":                    flags(link.SpanContext, link.SpanContext),
		"attributes":               attributes(link.Attributes),
		"dropped_attributes_count": link.DroppedAttributeCount,
	}
}

func flags(own, remote trace.SpanContext) uint32 {
	flags := uint32(own.TraceFlags()) | 0x100
	if remote.IsRemote() {
		flags |= 0x200
	}
	return flags
}

func statusCode(code codes.Code) string {
	switch code {
	case codes.Ok:
		return "ok"
	case codes.Error:
		return "error"
	default:
		return "unset"
	}
}

func nanos(at time.Time) string {
	return strconv.FormatInt(at.UnixNano(), 10)
}

func attributes(list []attribute.KeyValue) map[string]any {
	values := map[string]any{}
	for _, pair := range list {
		values[string(pair.Key)] = value(pair.Value)
	}
	return values
}

func value(v attribute.Value) map[string]any {
	switch v.Type() {
	case attribute.EMPTY:
		return map[string]any{"empty": true}
	case attribute.BOOL:
		return map[string]any{"bool": v.AsBool()}
	case attribute.INT64:
		return map[string]any{"int": strconv.FormatInt(v.AsInt64(), 10)}
	case attribute.FLOAT64:
		return map[string]any{"double": fmt.Sprintf("%016x", math.Float64bits(v.AsFloat64()))}
	case attribute.STRING:
		return map[string]any{"string": v.AsString()}
	case attribute.BYTESLICE:
		return map[string]any{"bytes": hex.EncodeToString(v.AsByteSlice())}
	case attribute.BOOLSLICE:
		return array(v.AsBoolSlice(), attribute.BoolValue)
	case attribute.INT64SLICE:
		return array(v.AsInt64Slice(), attribute.Int64Value)
	case attribute.FLOAT64SLICE:
		return array(v.AsFloat64Slice(), attribute.Float64Value)
	case attribute.STRINGSLICE:
		return array(v.AsStringSlice(), attribute.StringValue)
	case attribute.SLICE:
		return array(v.AsSlice(), func(part attribute.Value) attribute.Value { return part })
	case attribute.MAP:
		return map[string]any{"map": attributes(v.AsMap())}
	default:
		panic("no such type: " + v.Type().String())
	}
}

func array[T any](parts []T, wrap func(T) attribute.Value) map[string]any {
	values := make([]any, len(parts))
	for i, part := range parts {
		values[i] = value(wrap(part))
	}
	return map[string]any{"array": values}
}
