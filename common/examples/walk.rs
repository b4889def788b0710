//! Measures the check, the filter and the JSON of OTLP bytes on one core: `cargo run --release -p clew-common --example walk`.
//!
//! The spans are as instrumented services send them: 500 a request, about 510 bytes each, 14 attributes of mixed types,
//! under a resource of 13 attributes. Of many short rounds the fastest counts: the others were disturbed.
#![allow(clippy::print_stdout)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use clew_common::otlp::{filter, json, walk};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData},
};
use prost::Message;

const REQUESTS: usize = 16;
const SPANS: usize = 500;
const ROUND: Duration = Duration::from_millis(40);
const ROUNDS: usize = 75;

fn main() {
    let mut random = Random(7);
    let requests: Vec<Vec<u8>> = (0..REQUESTS).map(|_| request(&mut random).encode_to_vec()).collect();
    let bytes: usize = requests.iter().map(Vec::len).sum();
    println!("{} bytes a span", bytes / (REQUESTS * SPANS));

    measure("check", &requests, |request| {
        let mut ids = 0u64;
        let checked = walk::check(request, |id| ids += u64::from(id[0])).expect("well formed");
        assert!(checked.bad.is_empty(), "{:?}", checked.bad);
        black_box(ids);
        checked.spans as usize
    });
    measure("of_trace, none found", &requests, |request| {
        assert!(filter::of_trace(request, &[7; 16]).is_empty());
        SPANS
    });
    let bad: Vec<_> = requests.iter().map(|request| every_tenth(request)).collect();
    let mut next = 0;
    measure("without every tenth", &requests, |request| {
        black_box(filter::without(request, &bad[next % REQUESTS]));
        next += 1;
        SPANS
    });
    measure("protobuf to JSON", &requests, |request| {
        black_box(json::from_protobuf(request, json::Ids::Hex));
        SPANS
    });
    let texts: Vec<Vec<u8>> =
        requests.iter().map(|request| json::from_protobuf(request, json::Ids::Hex).into_bytes()).collect();
    measure("JSON to protobuf", &texts, |text| {
        black_box(json::to_protobuf(text).expect("well formed"));
        SPANS
    });
    measure("prost decodes", &requests, |request| {
        black_box(TracesData::decode(request).expect("well formed"));
        SPANS
    });
}

/// Runs `work`, which says how many spans it did, over the requests, and prints the fastest round.
fn measure(name: &str, requests: &[Vec<u8>], mut work: impl FnMut(&[u8]) -> usize) {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let (mut spans, start) = (0, Instant::now());
        while start.elapsed() < ROUND {
            spans += requests.iter().map(|request| work(request)).sum::<usize>();
        }
        best = best.min(start.elapsed().as_secs_f64() / spans as f64);
    }
    println!("{name:>22}: {:7.1} ns a span, {:6.2} M spans/s", best * 1e9, 1e-6 / best);
}

fn every_tenth(request: &[u8]) -> Vec<walk::BadSpan> {
    let mut bad = Vec::new();
    let mut at = 0;
    filter::filter(request, |span| {
        if at % 10 == 0 {
            bad.push(walk::BadSpan { range: span.range, reason: walk::Reason::SpanId });
        }
        at += 1;
        true
    });
    bad
}

fn request(random: &mut Random) -> TracesData {
    let resource = Resource {
        attributes: vec![
            text("service.name", "checkout"),
            text("service.version", "4.18.2"),
            text("service.namespace", "shop"),
            text("service.instance.id", &random.hex(32)),
            text("deployment.environment.name", "production"),
            text("k8s.cluster.name", "eu-west-1-a"),
            text("k8s.namespace.name", "shop-prod"),
            text("k8s.pod.name", &format!("checkout-7d9f8b6c5-{}", random.hex(5))),
            text("k8s.node.name", "ip-10-12-34-56.eu-west-1.compute.internal"),
            text("host.name", "ip-10-12-34-56"),
            text("telemetry.sdk.name", "opentelemetry"),
            text("telemetry.sdk.language", "java"),
            text("telemetry.sdk.version", "1.54.0"),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "io.opentelemetry.tomcat-10.0".into(),
        version: "2.19.0-alpha".into(),
        ..InstrumentationScope::default()
    };
    let mut trace_id = Vec::new();
    let spans = (0..SPANS)
        .map(|at| {
            if at % 12 == 0 {
                trace_id = random.bytes(16);
            }
            span(&trace_id, random)
        })
        .collect();
    let scope_spans =
        vec![ScopeSpans { scope: Some(scope), spans, schema_url: "https://opentelemetry.io/schemas/1.37.0".into() }];
    TracesData {
        resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans, schema_url: String::new() }],
    }
}

fn span(trace_id: &[u8], random: &mut Random) -> Span {
    let id = random.below(1_000_000);
    let (name, kind, attributes) = match random.below(4) {
        0 => ("GET /api/v1/orders/{orderId}".to_owned(), 2, http(random, id)),
        1 => ("SELECT shop.orders".to_owned(), 3, database(random, id)),
        2 => ("shop.Inventory/Reserve".to_owned(), 3, rpc(random, id)),
        _ => ("publish order-events".to_owned(), 4, messaging(random, id)),
    };
    let start = 1_790_000_000_000_000_000 + random.below(1 << 50);
    Span {
        trace_id: trace_id.to_vec(),
        span_id: random.bytes(8),
        parent_span_id: random.bytes(8),
        name,
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: start + random.below(1 << 27),
        attributes,
        flags: 0x101,
        status: Some(Status { code: (random.below(20) == 0).into(), message: String::new() }),
        ..Span::default()
    }
}

fn http(random: &mut Random, id: u64) -> Vec<KeyValue> {
    vec![
        text("http.request.method", "GET"),
        text("url.path", &format!("/api/v1/orders/{id}")),
        text("url.scheme", "https"),
        text("http.route", "/api/v1/orders/{id}"),
        integer("http.status_code", 200),
        text("user_agent.original", "okhttp/5.1.0"),
        text("server.address", "orders.shop.example"),
        integer("server.port", 443),
        text("client.address", &format!("10.0.{}.{}", random.below(256), random.below(256))),
        text("network.protocol", "1.1"),
        integer("http.body.size", random.below(100_000) as i64),
        boolean("app.cache.hit", random.below(2) == 0),
        double("app.cart.value", random.below(100_000) as f64 / 100.0),
        integer("thread.id", random.below(200) as i64),
    ]
}

fn database(random: &mut Random, id: u64) -> Vec<KeyValue> {
    vec![
        text("db.system.name", "postgresql"),
        text("db.namespace", "shop"),
        text("db.collection.name", "orders"),
        text("db.operation.name", "SELECT"),
        text("db.query.text", &format!("SELECT id, total FROM orders WHERE id = {id}")),
        text("server.address", "orders-db-0"),
        integer("server.port", 5432),
        integer("db.rows", random.below(500) as i64),
        text("db.pool.name", "orders-ro"),
        text("network.peer.address", &format!("10.0.{}.{}", random.below(256), random.below(256))),
        boolean("db.prepared", true),
        double("app.db.wait_ms", random.below(1000) as f64 / 7.0),
        text("thread.name", "http-8080-17"),
        integer("thread.id", random.below(200) as i64),
    ]
}

fn rpc(random: &mut Random, id: u64) -> Vec<KeyValue> {
    vec![
        text("rpc.system", "grpc"),
        text("rpc.service", "shop.Inventory"),
        text("rpc.method", "Reserve"),
        integer("rpc.status_code", 0),
        text("server.address", "inventory.shop-prod.svc"),
        integer("server.port", 8443),
        text("network.type", "ipv4"),
        text("network.transport", "tcp"),
        text("app.order.id", &format!("ord_{id}_{}", random.hex(4))),
        integer("app.order.items", random.below(40) as i64),
        boolean("app.order.express", random.below(2) == 0),
        double("app.order.weight", random.below(10_000) as f64 / 3.0),
        text("thread.name", "grpc-executor-3"),
        integer("thread.id", random.below(200) as i64),
    ]
}

fn messaging(random: &mut Random, id: u64) -> Vec<KeyValue> {
    vec![
        text("messaging.system", "kafka"),
        text("messaging.operation", "publish"),
        text("messaging.topic", "order-events"),
        text("messaging.partition", &random.below(48).to_string()),
        integer("messaging.offset", random.below(1 << 40) as i64),
        text("messaging.message.id", &random.hex(12)),
        integer("messaging.size", random.below(20_000) as i64),
        text("messaging.client.id", "checkout-producer-1"),
        text("server.address", "kafka-2.shop-prod.svc"),
        integer("server.port", 9092),
        text("app.order.id", &format!("ord_{id}")),
        boolean("messaging.tombstone", false),
        double("app.queue.seconds", random.below(1000) as f64 / 13.0),
        text("thread.name", "kafka-producer-network-1"),
    ]
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn integer(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn boolean(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

fn double(key: &str, value: f64) -> KeyValue {
    attribute(key, Value::DoubleValue(value))
}

/// xorshift64 (Marsaglia 2003): the same spans in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(b"0123456789abcdef"[self.below(16) as usize])).collect()
    }
}
