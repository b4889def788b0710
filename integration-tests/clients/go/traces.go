package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const unicode = "žluťoučký kůň 🐎 日本語 \u202eright to left\u202c \x00 \x1b[31m \r\n\t\"quoted\" <script>"

var now = time.Now().Truncate(time.Second)

func at(ms, ns int) trace.SpanEventOption {
	return trace.WithTimestamp(now.Add(123_456_789*time.Nanosecond + time.Duration(ms)*time.Millisecond + time.Duration(ns)))
}

// nested puts a value into depth arrays and maps, in turns.
func nested(depth int) attribute.Value {
	value := attribute.StringValue("the bottom")
	for level := range depth {
		if level%2 == 0 {
			value = attribute.MapValue(attribute.KeyValue{Key: "down", Value: value})
		} else {
			value = attribute.SliceValue(value)
		}
	}
	return value
}

var everyValue = []attribute.KeyValue{
	attribute.String("string", "plain"),
	attribute.String("string.empty", ""),
	attribute.String("string.unicode", unicode),
	attribute.String("string.long", strings.Repeat("0123456789abcdef", 4096)),
	attribute.Bool("bool.true", true),
	attribute.Bool("bool.false", false),
	attribute.Int64("int", 42),
	attribute.Int64("int.zero", 0),
	attribute.Int64("int.max", math.MaxInt64),
	attribute.Int64("int.min", math.MinInt64),
	attribute.Float64("double", 0.1),
	attribute.Float64("double.whole", 3),
	attribute.Float64("double.zero.negative", math.Copysign(0, -1)),
	attribute.Float64("double.nan", math.NaN()),
	attribute.Float64("double.nan.payload", math.Float64frombits(0x7ff800000badcafe)),
	attribute.Float64("double.infinity", math.Inf(1)),
	attribute.Float64("double.infinity.negative", math.Inf(-1)),
	attribute.Float64("double.max", math.MaxFloat64),
	attribute.Float64("double.subnormal", math.SmallestNonzeroFloat64),
	attribute.StringSlice("strings", []string{"a", "", unicode}),
	attribute.BoolSlice("bools", []bool{true, false}),
	attribute.Int64Slice("ints", []int64{0, -1, math.MaxInt64, math.MinInt64}),
	attribute.Float64Slice("doubles", []float64{0.5, math.Copysign(0, -1), math.NaN(), math.Inf(-1)}),
	attribute.StringSlice("array.empty", []string{}),
	attribute.Slice("array.mixed", attribute.StringValue("a"), attribute.IntValue(1), attribute.Float64Value(2.5),
		attribute.BoolValue(true), attribute.Value{}, attribute.ByteSliceValue([]byte{0}), attribute.SliceValue(), attribute.MapValue()),
	attribute.ByteSlice("bytes", []byte("\x00\xff\x80 raw")),
	attribute.ByteSlice("bytes.empty", []byte{}),
	attribute.Map("map", attribute.Int("a", 1), attribute.Map("b", attribute.Float64Slice("c", []float64{1.5})), attribute.String("", "no key")),
	attribute.Map("map.empty"),
	{Key: "none"},
	{Key: "deep", Value: nested(32)},
	attribute.Int("key with spaces, ünicode and \"quotes\"", 1),
}

func providerOptions() [][]sdk.TracerProviderOption {
	shop := resource.NewWithAttributes(
		"https://opentelemetry.io/schemas/1.37.0",
		attribute.String("service.name", "clew-go"),
		attribute.String("service.version", "1.2.3"),
		attribute.String("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09"),
		attribute.Int("process.pid", 4321),
		attribute.StringSlice("process.command_args", []string{"shop", "-v", ""}),
		attribute.Float64("host.weight", 0.75),
		attribute.Bool("host.spot", false),
		attribute.String("deployment.note", unicode),
		attribute.ByteSlice("bytes", []byte{1, 2}),
		attribute.String("empty", ""),
	)
	depot := resource.NewSchemaless(attribute.String("service.name", "clew-go-depot"))
	tight := sdk.SpanLimits{
		AttributeValueLengthLimit:   12,
		AttributeCountLimit:         3,
		EventCountLimit:             2,
		LinkCountLimit:              1,
		AttributePerEventCountLimit: 1,
		AttributePerLinkCountLimit:  1,
	}
	return [][]sdk.TracerProviderOption{
		{sdk.WithResource(shop)},
		{sdk.WithResource(depot), sdk.WithRawSpanLimits(tight)},
	}
}

func makeTraces(shop, depot trace.TracerProvider) {
	tracer := shop.Tracer("clew.checkout",
		trace.WithInstrumentationVersion("2.0.0-rc.1"),
		trace.WithSchemaURL("https://opentelemetry.io/schemas/1.30.0"),
		trace.WithInstrumentationAttributes(
			attribute.String("scope.string", "s"),
			attribute.Int("scope.int", 7),
			attribute.Bool("scope.flag", true),
			attribute.StringSlice("scope.list", []string{"x", "y"}),
		))
	plain := shop.Tracer("clew.plain")
	producer := checkout(tracer)
	shipment(plain, producer)
	values(plain)
	limits(depot.Tracer("clew.limits", trace.WithInstrumentationVersion("1")))
	times(tracer)
}

func remote(traceID trace.TraceID, spanID byte, flags trace.TraceFlags, state string) trace.SpanContext {
	parsed, err := trace.ParseTraceState(state)
	if err != nil {
		panic(err)
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID, SpanID: trace.SpanID{0xb7, 7: spanID}, TraceFlags: flags, TraceState: parsed, Remote: true,
	})
}

func checkout(tracer trace.Tracer) trace.SpanContext {
	var id trace.TraceID
	_, _ = rand.Read(id[:])
	caller := remote(id, 1, trace.FlagsSampled, "vendor=opaque:1;a.b,tenant@system=00f067aa0ba902b7")
	ctx, server := tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), caller), "POST /checkout",
		trace.WithSpanKind(trace.SpanKindServer), at(0, 0),
		trace.WithAttributes(attribute.String("http.request.method", "POST"), attribute.Int("http.response.status_code", 200)))

	_, price := tracer.Start(ctx, "price the cart", at(1, 1))
	price.SetAttributes(attribute.Int("cart.items", 3))
	price.End(at(3, 2))

	_, pay := tracer.Start(ctx, "POST /pay", trace.WithSpanKind(trace.SpanKindClient), at(4, 0))
	pay.AddEvent("retry", trace.WithAttributes(attribute.Int("attempt", 1), attribute.Float64("backoff", 0.25)), at(5, 1))
	pay.AddEvent("no attributes", at(5, 2))
	pay.RecordError(errors.New("card declined: 💳"), at(6, 0), trace.WithStackTrace(true),
		trace.WithAttributes(attribute.String("card.network", "test")))
	pay.SetStatus(codes.Error, "card declined")
	pay.End(at(7, 0))

	_, producer := tracer.Start(ctx, "orders publish", trace.WithSpanKind(trace.SpanKindProducer), at(8, 0))
	producer.End(at(9, 0))
	server.SetStatus(codes.Ok, "")
	server.End(at(10, 999_999))
	return producer.SpanContext()
}

func shipment(tracer trace.Tracer, producer trace.SpanContext) {
	far := trace.TraceID{0x0a, 0xf7, 15: 0x9c}
	_, span := tracer.Start(context.Background(), "orders process", trace.WithSpanKind(trace.SpanKindConsumer), at(20, 0),
		trace.WithLinks(
			trace.Link{SpanContext: producer, Attributes: []attribute.KeyValue{attribute.Int("messaging.batch", 1)}},
			trace.Link{SpanContext: remote(far, 2, trace.FlagsSampled, "far=away")},
			trace.Link{SpanContext: remote(far, 3, 0, ""), Attributes: []attribute.KeyValue{attribute.String("why", "not sampled")}},
		))
	span.End(at(30, 0))
}

func values(tracer trace.Tracer) {
	_, span := tracer.Start(context.Background(), "values", at(40, 0), trace.WithAttributes(everyValue...),
		trace.WithLinks(trace.Link{SpanContext: remote(trace.TraceID{1}, 2, trace.FlagsSampled, ""), Attributes: everyValue}))
	span.AddEvent("values", at(41, 0), trace.WithAttributes(everyValue...))
	span.End(at(42, 0))
}

func limits(tracer trace.Tracer) {
	cut := attribute.String("a", "cut after twelve characters")
	_, span := tracer.Start(context.Background(), "limits", at(50, 0))
	for index := range 4 {
		span.AddLink(trace.Link{
			SpanContext: remote(trace.TraceID{3}, byte(index), trace.FlagsSampled, ""),
			Attributes:  []attribute.KeyValue{cut, attribute.Int("b", 2), attribute.Int("c", 3)},
		})
	}
	for index := range 10 {
		span.SetAttributes(attribute.String(fmt.Sprintf("attribute.%d", index), "cut after twelve characters"))
	}
	for index := range 5 {
		span.AddEvent(fmt.Sprintf("event %d", index), at(51, index), trace.WithAttributes(cut, attribute.Int("b", 2)))
	}
	span.End(at(60, 0))
}

func times(tracer trace.Tracer) {
	ctx, root := tracer.Start(context.Background(), "", at(70, 0))
	for _, span := range []struct {
		name       string
		start, end trace.SpanEventOption
	}{
		{"no duration", at(71, 0), at(71, 0)},
		{"one nanosecond", at(72, 0), at(72, 1)},
		{"ends before it starts", at(74, 0), at(73, 0)},
		{strings.Repeat("long ", 2000), at(75, 0), at(76, 0)},
		{unicode, at(77, 0), at(78, 0)},
	} {
		_, child := tracer.Start(ctx, span.name, span.start)
		child.End(span.end)
	}
	root.End(at(80, 0))
}
