"""The traces of ../README.md."""

import time

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

NOW = time.time_ns() // 1_000_000_000 * 1_000_000_000
MS = 1_000_000

UNICODE = "žluťoučký kůň 🐎 日本語 \u202eright to left\u202c \x00 \x1b[31m \r\n\t\"quoted\" <script>"


def at(ms, ns=0):
    return NOW + 123_456_789 + ms * MS + ns


def nested(depth):
    value = "the bottom"
    for level in range(depth):
        value = [value] if level % 2 else {"down": value}
    return value


VALUES = {
    "string": "plain",
    "string.empty": "",
    "string.unicode": UNICODE,
    "string.long": "0123456789abcdef" * 4096,
    "bool.true": True,
    "bool.false": False,
    "int": 42,
    "int.zero": 0,
    "int.max": 2**63 - 1,
    "int.min": -(2**63),
    "double": 0.1,
    "double.whole": 3.0,
    "double.zero.negative": -0.0,
    "double.nan": float("nan"),
    "double.infinity": float("inf"),
    "double.infinity.negative": float("-inf"),
    "double.max": 1.7976931348623157e308,
    "double.subnormal": 5e-324,
    "strings": ["a", "", UNICODE],
    "bools": [True, False],
    "ints": [0, -1, 2**63 - 1, -(2**63)],
    "doubles": [0.5, -0.0, float("nan"), float("-inf")],
    "array.empty": [],
    "array.mixed": ["a", 1, 2.5, True, None, b"\x00", [], {}],
    "bytes": b"\x00\xff\x80 raw",
    "bytes.empty": b"",
    "map": {"a": 1, "b": {"c": [1.5]}, "": "dropped by the SDK"},
    "map.empty": {},
    "none": None,
    "deep": nested(32),
    "key with spaces, ünicode and \"quotes\"": 1,
}


def providers():
    shop = Resource(
        {
            "service.name": "clew-python",
            "service.version": "1.2.3",
            "service.instance.id": "627cc493-f310-47de-96bd-71410b7dec09",
            "process.pid": 4321,
            "process.command_args": ["python", "-m", "shop", ""],
            "host.weight": 0.75,
            "host.spot": False,
            "deployment.note": UNICODE,
            "bytes": b"\x01\x02",
            "empty": "",
        },
        "https://opentelemetry.io/schemas/1.37.0",
    )
    tight = SpanLimits(
        max_span_attributes=3,
        max_events=2,
        max_links=1,
        max_event_attributes=1,
        max_link_attributes=1,
        max_attribute_length=12,
    )
    depot = Resource({"service.name": "clew-python-depot"})
    return (
        TracerProvider(resource=shop, shutdown_on_exit=False),
        TracerProvider(resource=depot, span_limits=tight, shutdown_on_exit=False),
    )


def make(shop, depot):
    tracer = shop.get_tracer(
        "clew.checkout",
        "2.0.0-rc.1",
        "https://opentelemetry.io/schemas/1.30.0",
        {"scope.string": "s", "scope.int": 7, "scope.flag": True, "scope.list": ["x", "y"]},
    )
    plain = shop.get_tracer("clew.plain")
    producer = checkout(tracer)
    shipment(plain, producer)
    values(plain)
    limits(depot.get_tracer("clew.limits", "1"))
    times(tracer)


def remote(trace_id, span_id, flags=TraceFlags.SAMPLED, state=()):
    return SpanContext(trace_id, span_id, True, TraceFlags(flags), TraceState(state))


def under(span_or_context):
    if isinstance(span_or_context, SpanContext):
        span_or_context = NonRecordingSpan(span_or_context)
    return trace.set_span_in_context(span_or_context)


def checkout(tracer):
    caller = remote(
        RandomIdGenerator().generate_trace_id(),
        0x00F067AA0BA902B7,
        state=[("vendor", "opaque:1;a.b"), ("tenant@system", "00f067aa0ba902b7")],
    )
    server = tracer.start_span(
        "POST /checkout",
        under(caller),
        SpanKind.SERVER,
        {"http.request.method": "POST", "http.response.status_code": 200},
        start_time=at(0),
    )
    price = tracer.start_span("price the cart", under(server), start_time=at(1, 1))
    price.set_attribute("cart.items", 3)
    price.end(at(3, 2))

    pay = tracer.start_span("POST /pay", under(server), SpanKind.CLIENT, start_time=at(4))
    pay.add_event("retry", {"attempt": 1, "backoff": 0.25}, at(5, 1))
    pay.add_event("no attributes", timestamp=at(5, 2))
    try:
        raise ValueError("card declined: 💳")
    except ValueError as error:
        pay.record_exception(error, {"card.network": "test"}, at(6), escaped=True)
    pay.set_status(Status(StatusCode.ERROR, "card declined"))
    pay.end(at(7))

    producer = tracer.start_span("orders publish", under(server), SpanKind.PRODUCER, start_time=at(8))
    producer.end(at(9))
    server.set_status(StatusCode.OK)
    server.end(at(10, 999_999))
    return producer.get_span_context()


def shipment(tracer, producer):
    far = remote(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, state=[("far", "away")])
    unsampled = remote(0x0AF7651916CD43DD8448EB211C80319D, 0xB7AD6B7169203332, TraceFlags.DEFAULT)
    links = [Link(producer, {"messaging.batch": 1}), Link(far), Link(unsampled, {"why": "not sampled"})]
    span = tracer.start_span("orders process", None, SpanKind.CONSUMER, links=links, start_time=at(20))
    span.end(at(30))


def values(tracer):
    span = tracer.start_span(
        "values", attributes=VALUES, links=[Link(remote(1, 2), VALUES)], start_time=at(40)
    )
    span.add_event("values", VALUES, at(41))
    span.end(at(42))


def limits(tracer):
    links = [Link(remote(3, index), {"a": 1, "b": 2, "c": 3}) for index in range(1, 5)]
    span = tracer.start_span("limits", links=links, start_time=at(50))
    for index in range(10):
        span.set_attribute(f"attribute.{index}", "cut after twelve characters")
    for index in range(5):
        span.add_event(f"event {index}", {"a": "cut after twelve characters", "b": 2}, at(51, index))
    span.end(at(60))


def times(tracer):
    root = tracer.start_span("", start_time=at(70))
    for name, start, end in [
        ("no duration", at(71), at(71)),
        ("one nanosecond", at(72), at(72, 1)),
        ("ends before it starts", at(74), at(73)),
        ("long " * 2000, at(75), at(76)),
        (UNICODE, at(77), at(78)),
    ]:
        tracer.start_span(name, under(root), start_time=start).end(end)
    root.end(at(80))
