// Command client makes the traces of ../README.md, sends them with a real exporter, and prints what was made.
//
//	client PROTOCOL URL COMPRESSION
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(arguments []string) error {
	if len(arguments) != 3 {
		return fmt.Errorf("usage: client PROTOCOL URL COMPRESSION")
	}
	ctx := context.Background()
	made := tracetest.NewInMemoryExporter()
	var providers []*trace.TracerProvider
	for _, options := range providerOptions() {
		exporter, err := newExporter(ctx, arguments[0], arguments[1], arguments[2] == "gzip")
		if err != nil {
			return err
		}
		options = append(options, trace.WithSyncer(made), trace.WithBatcher(exporter))
		providers = append(providers, trace.NewTracerProvider(options...))
	}
	makeTraces(providers[0], providers[1])
	for _, provider := range providers {
		if err := provider.ForceFlush(ctx); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
	}
	var spans []map[string]any
	for _, stub := range made.GetSpans() {
		spans = append(spans, neutralSpan(stub))
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"client": "go " + sdk.Version(), "spans": spans})
}

func newExporter(ctx context.Context, protocol, url string, gzip bool) (trace.SpanExporter, error) {
	switch protocol {
	case "grpc":
		options := []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(url)}
		if gzip {
			options = append(options, otlptracegrpc.WithCompressor("gzip"))
		}
		return otlptrace.New(ctx, otlptracegrpc.NewClient(options...))
	case "http-protobuf":
		options := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(url + "/v1/traces")}
		if gzip {
			options = append(options, otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
		}
		return otlptrace.New(ctx, otlptracehttp.NewClient(options...))
	default:
		return nil, fmt.Errorf("no such protocol: %s", protocol)
	}
}
