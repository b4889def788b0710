// The traces of ../README.md.
'use strict';

const { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, createTraceState, trace } = require('@opentelemetry/api');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { BasicTracerProvider, RandomIdGenerator } = require('@opentelemetry/sdk-trace-base');

const NOW = Math.floor(Date.now() / 1000);
const UNICODE =
  'žluťoučký kůň 🐎 日本語 \u202eright to left\u202c \u0000 \u001b[31m \r\n\t"quoted" <script>';
const LONG = '0123456789abcdef'.repeat(4096);

// [seconds, nanoseconds], as the SDK has it.
function at(ms, ns = 0) {
  return [NOW, 123_456_789 + ms * 1_000_000 + ns];
}

function values(json) {
  return {
    string: 'plain',
    'string.empty': '',
    'string.unicode': UNICODE,
    'string.long': LONG,
    'bool.true': true,
    'bool.false': false,
    int: 42,
    'int.zero': 0,
    'int.safe.max': Number.MAX_SAFE_INTEGER,
    'int.safe.min': Number.MIN_SAFE_INTEGER,
    // What lies outside int64's or JSON's reach is written as JSON that no receiver can read back as it was.
    ...(json ? {} : { 'int.min': -(2 ** 63), 'double.max': Number.MAX_VALUE }),
    double: 0.1,
    'double.zero.negative': -0,
    'double.nan': NaN,
    'double.infinity': Infinity,
    'double.infinity.negative': -Infinity,
    'double.small': 1.5e-300,
    'double.subnormal': Number.MIN_VALUE,
    strings: ['a', '', UNICODE],
    bools: [true, false],
    ints: [0, -1, Number.MAX_SAFE_INTEGER],
    doubles: [0.5, -2.5, NaN],
    'numbers.mixed': [1, 2.5],
    'strings.gap': ['a', null, 'c'],
    'array.empty': [],
    'key with spaces, ünicode and "quotes"': 1,
  };
}

function providers(spanProcessors) {
  const shop = resourceFromAttributes(
    {
      'service.name': 'clew-javascript',
      'service.version': '1.2.3',
      'service.instance.id': '627cc493-f310-47de-96bd-71410b7dec09',
      'process.pid': 4321,
      'process.command_args': ['node', 'shop.js', ''],
      'host.weight': 0.75,
      'host.spot': false,
      'deployment.note': UNICODE,
      empty: '',
    },
    { schemaUrl: 'https://opentelemetry.io/schemas/1.37.0' }
  );
  const depot = resourceFromAttributes({ 'service.name': 'clew-javascript-depot' });
  const tight = {
    attributeValueLengthLimit: 12,
    attributeCountLimit: 3,
    eventCountLimit: 2,
    linkCountLimit: 1,
    attributePerEventCountLimit: 1,
    attributePerLinkCountLimit: 1,
  };
  return [
    new BasicTracerProvider({ resource: shop, spanProcessors: spanProcessors() }),
    new BasicTracerProvider({ resource: depot, spanLimits: tight, spanProcessors: spanProcessors() }),
  ];
}

function make(shop, depot, json) {
  const tracer = shop.getTracer('clew.checkout', '2.0.0-rc.1', {
    schemaUrl: 'https://opentelemetry.io/schemas/1.30.0',
  });
  const plain = shop.getTracer('clew.plain');
  const producer = checkout(tracer);
  shipment(plain, producer);
  everyValue(plain, values(json));
  limits(depot.getTracer('clew.limits', '1'));
  times(tracer);
}

function remote(traceId, spanId, traceFlags = TraceFlags.SAMPLED, state = undefined) {
  return { traceId, spanId, traceFlags, isRemote: true, traceState: state && createTraceState(state) };
}

function checkout(tracer) {
  const caller = remote(
    new RandomIdGenerator().generateTraceId(),
    '00f067aa0ba902b7',
    TraceFlags.SAMPLED,
    'vendor=opaque:1;a.b,tenant@system=00f067aa0ba902b7'
  );
  const server = tracer.startSpan(
    'POST /checkout',
    {
      kind: SpanKind.SERVER,
      startTime: at(0),
      attributes: { 'http.request.method': 'POST', 'http.response.status_code': 200 },
    },
    trace.setSpanContext(ROOT_CONTEXT, caller)
  );
  const inServer = trace.setSpan(ROOT_CONTEXT, server);

  const price = tracer.startSpan('price the cart', { startTime: at(1, 1) }, inServer);
  price.setAttribute('cart.items', 3);
  price.end(at(3, 2));

  const pay = tracer.startSpan('POST /pay', { kind: SpanKind.CLIENT, startTime: at(4) }, inServer);
  pay.addEvent('retry', { attempt: 1, backoff: 0.25, 'no value': null }, at(5, 1));
  pay.addEvent('no attributes', at(5, 2));
  pay.recordException(new RangeError('card declined: 💳'), at(6));
  pay.setStatus({ code: SpanStatusCode.ERROR, message: 'card declined' });
  pay.end(at(7));

  const producer = tracer.startSpan('orders publish', { kind: SpanKind.PRODUCER, startTime: at(8) }, inServer);
  producer.end(at(9));
  server.setStatus({ code: SpanStatusCode.OK });
  server.end(at(10, 999_999));
  return producer.spanContext();
}

function shipment(tracer, producer) {
  const far = remote('0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', TraceFlags.SAMPLED, 'far=away');
  const unsampled = remote('0af7651916cd43dd8448eb211c80319d', 'b7ad6b7169203332', TraceFlags.NONE);
  const links = [
    { context: producer, attributes: { 'messaging.batch': 1 } },
    { context: far },
    { context: unsampled, attributes: { why: 'not sampled' } },
  ];
  const span = tracer.startSpan('orders process', { kind: SpanKind.CONSUMER, links, startTime: at(20) }, ROOT_CONTEXT);
  span.end(at(30));
}

function everyValue(tracer, attributes) {
  const links = [{ context: remote('01'.repeat(16), '02'.repeat(8)), attributes }];
  const span = tracer.startSpan('values', { attributes, links, startTime: at(40) }, ROOT_CONTEXT);
  span.addEvent('values', attributes, at(41));
  span.end(at(42));
}

function limits(tracer) {
  const attributes = { a: 'cut after twelve characters', b: 2, c: 3 };
  const span = tracer.startSpan('limits', { startTime: at(50) }, ROOT_CONTEXT);
  for (let index = 1; index < 5; index++) {
    span.addLink({ context: remote('03'.repeat(16), `${index}`.repeat(16)), attributes });
  }
  for (let index = 0; index < 10; index++) {
    span.setAttribute(`attribute.${index}`, 'cut after twelve characters');
  }
  for (let index = 0; index < 5; index++) {
    span.addEvent(`event ${index}`, attributes, at(51, index));
  }
  span.end(at(60));
}

function times(tracer) {
  const root = tracer.startSpan('', { startTime: at(70) }, ROOT_CONTEXT);
  const inRoot = trace.setSpan(ROOT_CONTEXT, root);
  for (const [name, startTime, endTime] of [
    ['no duration', at(71), at(71)],
    ['one nanosecond', at(72), at(72, 1)],
    // The SDK makes this one end when it starts.
    ['ends before it starts', at(74), at(73)],
    ['long '.repeat(2000), at(75), at(76)],
    [UNICODE, at(77), at(78)],
  ]) {
    tracer.startSpan(name, { startTime }, inRoot).end(endTime);
  }
  root.end(at(80));
}

module.exports = { make, providers };
