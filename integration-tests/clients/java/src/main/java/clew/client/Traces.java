package clew.client;

import static io.opentelemetry.api.common.AttributeKey.booleanArrayKey;
import static io.opentelemetry.api.common.AttributeKey.booleanKey;
import static io.opentelemetry.api.common.AttributeKey.doubleArrayKey;
import static io.opentelemetry.api.common.AttributeKey.doubleKey;
import static io.opentelemetry.api.common.AttributeKey.longArrayKey;
import static io.opentelemetry.api.common.AttributeKey.longKey;
import static io.opentelemetry.api.common.AttributeKey.stringArrayKey;
import static io.opentelemetry.api.common.AttributeKey.stringKey;
import static io.opentelemetry.api.common.AttributeKey.valueKey;

import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.common.AttributesBuilder;
import io.opentelemetry.api.common.KeyValue;
import io.opentelemetry.api.common.Value;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanBuilder;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Context;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.IdGenerator;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.SdkTracerProviderBuilder;
import io.opentelemetry.sdk.trace.SpanLimits;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** The traces of ../README.md. */
final class Traces {
  private static final long NOW = TimeUnit.SECONDS.toNanos(Instant.now().getEpochSecond());
  private static final String UNICODE =
      "žluťoučký kůň 🐎 日本語 \u202eright to left\u202c \u0000 \u001b[31m \r\n\t\"quoted\" <script>";

  private Traces() {}

  private static long at(long ms, long ns) {
    return NOW + 123_456_789 + ms * 1_000_000 + ns;
  }

  private static Attributes values() {
    AttributesBuilder values =
        Attributes.builder()
            .put("string", "plain")
            .put("string.empty", "")
            .put("string.unicode", UNICODE)
            .put("string.long", "0123456789abcdef".repeat(4096))
            .put("bool.true", true)
            .put("bool.false", false)
            .put("int", 42)
            .put("int.zero", 0)
            .put("int.max", Long.MAX_VALUE)
            .put("int.min", Long.MIN_VALUE)
            .put("double", 0.1)
            .put("double.whole", 3.0)
            .put("double.zero.negative", -0.0)
            .put("double.nan", Double.NaN)
            .put("double.infinity", Double.POSITIVE_INFINITY)
            .put("double.infinity.negative", Double.NEGATIVE_INFINITY)
            .put("double.max", Double.MAX_VALUE)
            .put("double.subnormal", Double.MIN_VALUE)
            .put(stringArrayKey("strings"), List.of("a", "", UNICODE))
            .put(booleanArrayKey("bools"), List.of(true, false))
            .put(longArrayKey("ints"), List.of(0L, -1L, Long.MAX_VALUE, Long.MIN_VALUE))
            .put(doubleArrayKey("doubles"), List.of(0.5, -0.0, Double.NaN, Double.NEGATIVE_INFINITY))
            .put(stringArrayKey("array.empty"), List.of())
            .put(longKey("key with spaces, ünicode and \"quotes\""), 1L);
    values.put(
        valueKey("array.mixed"),
        Value.of(
            Value.of("a"),
            Value.of(1),
            Value.of(2.5),
            Value.of(true),
            Value.empty(),
            Value.of(new byte[] {0}),
            Value.of(List.of()),
            Value.of(new KeyValue[0])));
    values.put(valueKey("bytes"), Value.of(new byte[] {0, (byte) 0xff, (byte) 0x80, 'r', 'a', 'w'}));
    values.put(valueKey("bytes.empty"), Value.of(new byte[0]));
    values.put(
        valueKey("map"),
        Value.of(
            KeyValue.of("a", Value.of(1)),
            KeyValue.of("b", Value.of(KeyValue.of("c", Value.of(Value.of(1.5)))))));
    values.put(valueKey("map.empty"), Value.of(new KeyValue[0]));
    values.put(valueKey("none"), Value.empty());
    values.put(valueKey("deep"), nested(32));
    return values.build();
  }

  private static Value<?> nested(int depth) {
    Value<?> value = Value.of("the bottom");
    for (int level = 0; level < depth; level++) {
      value = level % 2 == 0 ? Value.of(KeyValue.of("down", value)) : Value.of(List.<Value<?>>of(value));
    }
    return value;
  }

  static List<SdkTracerProviderBuilder> providers() {
    Resource shop =
        Resource.create(
            Attributes.builder()
                .put("service.name", "clew-java")
                .put("service.version", "1.2.3")
                .put("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09")
                .put("process.pid", 4321)
                .put(stringArrayKey("process.command_args"), List.of("java", "-jar", ""))
                .put(doubleKey("host.weight"), 0.75)
                .put(booleanKey("host.spot"), false)
                .put("deployment.note", UNICODE)
                .put(valueKey("bytes"), Value.of(new byte[] {1, 2}))
                .put("empty", "")
                .build(),
            "https://opentelemetry.io/schemas/1.37.0");
    Resource depot = Resource.create(Attributes.of(stringKey("service.name"), "clew-java-depot"));
    SpanLimits tight =
        SpanLimits.builder()
            .setMaxAttributeValueLength(12)
            .setMaxNumberOfAttributes(3)
            .setMaxNumberOfEvents(2)
            .setMaxNumberOfLinks(1)
            .setMaxNumberOfAttributesPerEvent(1)
            .setMaxNumberOfAttributesPerLink(1)
            .build();
    return List.of(
        SdkTracerProvider.builder().setResource(shop),
        SdkTracerProvider.builder().setResource(depot).setSpanLimits(tight));
  }

  static void make(SdkTracerProvider shop, SdkTracerProvider depot) {
    Tracer tracer =
        shop.tracerBuilder("clew.checkout")
            .setInstrumentationVersion("2.0.0-rc.1")
            .setSchemaUrl("https://opentelemetry.io/schemas/1.30.0")
            .build();
    Tracer plain = shop.get("clew.plain");
    SpanContext producer = checkout(tracer);
    shipment(plain, producer);
    everyValue(plain);
    limits(depot.get("clew.limits", "1"));
    times(tracer);
  }

  private static Span start(Tracer tracer, String name, SpanKind kind, Context parent, long startNanos) {
    return builder(tracer, name, kind, parent, startNanos).startSpan();
  }

  private static SpanBuilder builder(Tracer tracer, String name, SpanKind kind, Context parent, long startNanos) {
    return tracer
        .spanBuilder(name)
        .setSpanKind(kind)
        .setParent(parent)
        .setStartTimestamp(startNanos, TimeUnit.NANOSECONDS);
  }

  private static void end(Span span, long endNanos) {
    span.end(endNanos, TimeUnit.NANOSECONDS);
  }

  private static SpanContext remote(String traceId, String spanId, TraceFlags flags, TraceState state) {
    return SpanContext.createFromRemoteParent(traceId, spanId, flags, state);
  }

  private static SpanContext checkout(Tracer tracer) {
    TraceState state =
        TraceState.builder().put("tenant@system", "00f067aa0ba902b7").put("vendor", "opaque:1;a.b").build();
    String traceId = IdGenerator.random().generateTraceId();
    SpanContext caller = remote(traceId, "00f067aa0ba902b7", TraceFlags.getSampled(), state);
    Span server =
        start(tracer, "POST /checkout", SpanKind.SERVER, Context.root().with(Span.wrap(caller)), at(0, 0));
    server.setAttribute("http.request.method", "POST").setAttribute("http.response.status_code", 200);
    Context inServer = Context.root().with(server);

    Span price = start(tracer, "price the cart", SpanKind.INTERNAL, inServer, at(1, 1));
    price.setAttribute("cart.items", 3);
    end(price, at(3, 2));

    Span pay = start(tracer, "POST /pay", SpanKind.CLIENT, inServer, at(4, 0));
    Attributes retry = Attributes.of(longKey("attempt"), 1L, doubleKey("backoff"), 0.25);
    pay.addEvent("retry", retry, at(5, 1), TimeUnit.NANOSECONDS);
    pay.addEvent("no attributes", at(5, 2), TimeUnit.NANOSECONDS);
    pay.recordException(
        new IllegalStateException("card declined: 💳"), Attributes.of(stringKey("card.network"), "test"));
    pay.setStatus(StatusCode.ERROR, "card declined");
    end(pay, at(7, 0));

    Span producer = start(tracer, "orders publish", SpanKind.PRODUCER, inServer, at(8, 0));
    end(producer, at(9, 0));
    server.setStatus(StatusCode.OK);
    end(server, at(10, 999_999));
    return producer.getSpanContext();
  }

  private static void shipment(Tracer tracer, SpanContext producer) {
    String farTrace = "0af7651916cd43dd8448eb211c80319c";
    TraceState state = TraceState.builder().put("far", "away").build();
    SpanContext far = remote(farTrace, "b7ad6b7169203331", TraceFlags.getSampled(), state);
    SpanContext unsampled = remote(farTrace, "b7ad6b7169203332", TraceFlags.getDefault(), TraceState.getDefault());
    Span span =
        builder(tracer, "orders process", SpanKind.CONSUMER, Context.root(), at(20, 0))
            .addLink(producer, Attributes.of(longKey("messaging.batch"), 1L))
            .addLink(far)
            .addLink(unsampled, Attributes.of(stringKey("why"), "not sampled"))
            .startSpan();
    end(span, at(30, 0));
  }

  private static void everyValue(Tracer tracer) {
    Attributes values = values();
    SpanContext linked =
        remote("01".repeat(16), "02".repeat(8), TraceFlags.getSampled(), TraceState.getDefault());
    Span span =
        builder(tracer, "values", SpanKind.INTERNAL, Context.root(), at(40, 0))
            .setAllAttributes(values)
            .addLink(linked, values)
            .startSpan();
    span.addEvent("values", values, at(41, 0), TimeUnit.NANOSECONDS);
    end(span, at(42, 0));
  }

  private static void limits(Tracer tracer) {
    Attributes three =
        Attributes.of(stringKey("a"), "cut after twelve characters", longKey("b"), 2L, longKey("c"), 3L);
    Span span = start(tracer, "limits", SpanKind.INTERNAL, Context.root(), at(50, 0));
    for (int index = 1; index < 5; index++) {
      String spanId = Integer.toString(index).repeat(16);
      span.addLink(remote("03".repeat(16), spanId, TraceFlags.getSampled(), TraceState.getDefault()), three);
    }
    for (int index = 0; index < 10; index++) {
      span.setAttribute("attribute." + index, "cut after twelve characters");
    }
    for (int index = 0; index < 5; index++) {
      span.addEvent("event " + index, three, at(51, index), TimeUnit.NANOSECONDS);
    }
    end(span, at(60, 0));
  }

  private record Timed(String name, long startNanos, long endNanos) {}

  private static void times(Tracer tracer) {
    Span root = start(tracer, "", SpanKind.INTERNAL, Context.root(), at(70, 0));
    List<Timed> spans =
        List.of(
            new Timed("no duration", at(71, 0), at(71, 0)),
            new Timed("one nanosecond", at(72, 0), at(72, 1)),
            new Timed("ends before it starts", at(74, 0), at(73, 0)),
            new Timed("long ".repeat(2000), at(75, 0), at(76, 0)),
            new Timed(UNICODE, at(77, 0), at(78, 0)));
    for (Timed span : spans) {
      end(start(tracer, span.name(), SpanKind.INTERNAL, Context.root().with(root), span.startNanos()), span.endNanos());
    }
    end(root, at(80, 0));
  }
}
