package clew.client;

import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.testing.exporter.InMemorySpanExporter;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.SdkTracerProviderBuilder;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import io.opentelemetry.sdk.trace.export.SimpleSpanProcessor;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * Makes the traces of ../README.md, sends them with a real exporter, and prints what was made.
 *
 * <p>Arguments: PROTOCOL URL COMPRESSION.
 */
public final class Client {
  private Client() {}

  public static void main(String[] arguments) {
    InMemorySpanExporter made = InMemorySpanExporter.create();
    List<SdkTracerProvider> providers =
        Traces.providers().stream()
            .map(builder -> withProcessors(builder, made, exporter(arguments[0], arguments[1], arguments[2])))
            .toList();
    Traces.make(providers.get(0), providers.get(1));
    for (SdkTracerProvider provider : providers) {
      if (!provider.forceFlush().join(10, TimeUnit.SECONDS).isSuccess()) {
        System.err.println("the flush failed");
        System.exit(1);
      }
    }
    List<Map<String, Object>> spans = made.getFinishedSpanItems().stream().map(Neutral::span).toList();
    String version = io.opentelemetry.sdk.trace.SdkTracerProvider.class.getPackage().getImplementationVersion();
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    out.println(Json.write(Map.of("client", "java " + version, "spans", spans)));
    // The exporters' threads would hold the process for a while.
    System.exit(0);
  }

  private static SdkTracerProvider withProcessors(
      SdkTracerProviderBuilder builder, SpanExporter made, SpanExporter exporter) {
    return builder
        .addSpanProcessor(SimpleSpanProcessor.create(made))
        .addSpanProcessor(BatchSpanProcessor.builder(exporter).build())
        .build();
  }

  private static SpanExporter exporter(String protocol, String url, String compression) {
    return switch (protocol) {
      case "grpc" -> OtlpGrpcSpanExporter.builder().setEndpoint(url).setCompression(compression).build();
      case "http-protobuf" ->
          OtlpHttpSpanExporter.builder().setEndpoint(url + "/v1/traces").setCompression(compression).build();
      default -> throw new IllegalArgumentException("no such protocol: " + protocol);
    };
  }
}
