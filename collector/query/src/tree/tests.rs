//! Trees of well and ill-behaved spans.

use opentelemetry_proto::tonic::{
    common::v1::ArrayValue,
    trace::v1::{
        ResourceSpans, ScopeSpans, Status,
        span::{
            Event,
            SpanKind::{self, Client, Internal, Server},
        },
    },
};
use prost::Message;

use super::*;

/// A span by its id, its parent (0 for none), and its times.
fn span(id: u8, parent: u8, start: u64, end: u64) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { vec![] } else { vec![parent; 8] },
        name: format!("s{id}"),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..Span::default()
    }
}

fn tree(spans: Vec<Span>) -> Tree {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    Tree::build(TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] })
}

/// The rows as text: a dot for each level, the id, and what is odd.
fn drawn(tree: &Tree) -> Vec<String> {
    let row = |row: Row| {
        let node = &tree.nodes[row.node];
        let odd = match node.place {
            Place::Orphan => " orphan",
            Place::Circle => " circle",
            Place::Root | Place::Child(_) => "",
        };
        let again = if node.same_id { " again" } else { "" };
        format!("{}{}{odd}{again}", ".".repeat(row.depth), node.span.name)
    };
    tree.rows().map(row).collect()
}

#[test]
fn children_stand_under_their_parents_by_start() {
    let tree = tree(vec![span(3, 1, 30, 40), span(4, 2, 12, 13), span(1, 0, 10, 50), span(2, 1, 11, 20)]);
    assert_eq!(drawn(&tree), ["s1", ".s2", "..s4", ".s3"]);
    let last: Vec<_> = tree.rows().map(|row| row.last).collect();
    assert_eq!(last, [true, false, true, true]);
    assert_eq!(tree.bounds(), (10, 50));
}

#[test]
fn of_two_that_start_together_the_longer_one_comes_first() {
    let tree = tree(vec![span(1, 0, 1, 9), span(2, 1, 2, 3), span(3, 1, 2, 8)]);
    assert_eq!(drawn(&tree), ["s1", ".s3", ".s2"]);
}

#[test]
fn several_roots_and_missing_parents_all_have_a_place() {
    let tree = tree(vec![span(5, 9, 1, 2), span(1, 0, 3, 9), span(2, 0, 2, 4), span(6, 5, 1, 2)]);
    assert_eq!(drawn(&tree), ["s5 orphan", ".s6", "s2", "s1"]);
    assert_eq!(tree.first_root().unwrap().span.name, "s2");
}

#[test]
fn a_parent_of_zeros_is_none() {
    let mut zeros = span(1, 0, 1, 2);
    zeros.parent_span_id = vec![0; 8];
    assert_eq!(drawn(&tree(vec![zeros])), ["s1"]);
}

#[test]
fn a_circle_is_cut_above_the_span_that_starts_first() {
    // 2 -> 3 -> 4 -> 2, with 5 under 4 and 6 under 5; 1 is its own parent.
    let spans = vec![
        span(6, 5, 9, 9),
        span(4, 3, 6, 9),
        span(2, 4, 7, 9),
        span(5, 4, 8, 9),
        span(3, 2, 5, 9),
        span(1, 1, 1, 2),
    ];
    assert_eq!(drawn(&tree(spans)), ["s1 circle", "s3 circle", ".s4", "..s2", "..s5", "...s6"]);
}

#[test]
fn of_spans_with_the_same_id_the_first_has_the_children() {
    let tree = tree(vec![span(1, 0, 1, 9), span(2, 1, 5, 6), span(2, 1, 3, 4), span(3, 2, 5, 6)]);
    assert_eq!(drawn(&tree), ["s1", ".s2 again", ".s2", "..s3"]);
}

#[test]
fn a_span_that_repeats_the_id_of_its_parent_hangs_under_it() {
    let tree = tree(vec![span(1, 0, 1, 9), span(1, 1, 2, 8)]);
    assert_eq!(drawn(&tree), ["s1", ".s1 again"]);
}

/// The tree of spans, each with its service and its kind, with calls joined.
fn joined(spans: Vec<(&str, SpanKind, Span)>) -> Tree {
    let resource_spans = spans.into_iter().map(|(service, kind, span)| {
        let value = Some(AnyValue { value: Some(any_value::Value::StringValue(service.into())) });
        let attributes = vec![KeyValue { key: "service.name".into(), value, ..KeyValue::default() }];
        let spans = vec![Span { name: format!("{service} {}", span.name), kind: kind as i32, ..span }];
        ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }
    });
    Tree::build(TracesData { resource_spans: resource_spans.collect() }).with_calls_joined()
}

#[test]
fn a_server_with_the_id_of_its_client_hangs_below_it_with_what_its_service_did() {
    let spans = || {
        vec![
            ("web", Client, span(1, 0, 1, 90)),
            ("api", Server, span(1, 0, 5, 80)),
            ("api", Internal, span(2, 1, 10, 20)),
            ("web", Internal, span(3, 1, 2, 3)),
            ("web", Client, span(1, 0, 95, 99)),
        ]
    };
    let expected = ["web s1", ".web s3", ".api s1", "..api s2", "web s1 again"];
    assert_eq!(drawn(&joined(spans())), expected);
    let mut server_first = spans();
    server_first.swap(0, 1);
    assert_eq!(drawn(&joined(server_first)), expected);
}

#[test]
fn a_shared_id_in_a_circle_leaves_every_span_in_a_place() {
    let spans = vec![("a", Server, span(1, 2, 3, 9)), ("a", Client, span(1, 1, 1, 9)), ("a", Client, span(2, 1, 2, 9))];
    assert_eq!(drawn(&joined(spans)), ["a s1 circle", ".a s1", "..a s2"]);
}

#[test]
fn an_id_of_zeros_is_shared_by_nobody() {
    let root = Span { parent_span_id: vec![0; 8], ..span(2, 0, 3, 9) };
    let spans = vec![("a", Client, span(0, 0, 1, 9)), ("a", Server, span(0, 0, 2, 9)), ("a", Client, root)];
    assert_eq!(drawn(&joined(spans)), ["a s0", "a s0 again", "a s2"]);
}

#[test]
fn a_chain_of_a_hundred_thousand_spans_needs_no_stack() {
    let id = |n: u64| n.to_be_bytes().to_vec();
    let link = |n: u64| Span { span_id: id(n), parent_span_id: id(n - 1), ..Span::default() };
    let chain = tree((1..=100_000).map(link).collect());
    assert_eq!(chain.rows().map(|row| row.depth).max(), Some(99_999));
    let ring = tree((1..=100_000).map(|n| Span { parent_span_id: id(n % 100_000 + 1), ..link(n) }).collect());
    assert_eq!((ring.roots.len(), ring.rows().count()), (1, 100_000));
}

#[test]
fn every_span_has_one_place_whatever_parents_are_named() {
    let mut seed = 1u64;
    for _ in 0..2_000 {
        let mut random = |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % end
        };
        let count = random(12);
        let mut any = |_| {
            let kind = random(6) as i32;
            Span { kind, ..span(1 + random(9) as u8, random(12) as u8, random(4), random(4)) }
        };
        let tree = tree((0..count).map(&mut any).collect());
        for tree in [tree.clone(), tree.with_calls_joined()] {
            let mut rows: Vec<_> = tree.rows().map(|row| row.node).collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..count as usize).collect::<Vec<_>>(), "{:?}", drawn(&tree));
        }
    }
}

#[test]
fn odd_times_neither_stretch_the_bounds_nor_panic() {
    let tree = tree(vec![span(1, 0, 0, 0), span(2, 1, 100, 90), span(3, 1, 95, 120)]);
    assert_eq!((tree.bounds(), tree.nodes[1].duration_ns()), ((90, 120), 0));
    assert_eq!(Tree::default().bounds(), (0, 0));
    assert!(Tree::default().first_root().is_none());
}

#[test]
fn errors_and_exceptions_are_read_off_a_span() {
    let mut failed = span(1, 0, 1, 2);
    failed.status = Some(Status { code: 2, message: "no".into() });
    let attribute = |key: &str, text: &str| KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(text.into())) }),
        ..KeyValue::default()
    };
    failed.events = vec![Event {
        name: "exception".into(),
        attributes: vec![attribute("exception.type", "E"), attribute("exception.message", "")],
        ..Event::default()
    }];
    let tree = tree(vec![failed]);
    assert!(tree.nodes[0].is_error());
    assert_eq!(tree.nodes[0].exception(), Some(Exception { kind: Some("E"), message: None }));
    assert_eq!(tree.service(&tree.nodes[0]), None);
}

#[test]
fn bytes_that_are_no_spans_are_refused() {
    assert!(Tree::decode([b"\xff\xff"]).is_err());
    assert_eq!(Tree::decode([ResourceSpans::default().encode_to_vec()]).unwrap().nodes.len(), 0);
}

#[test]
fn a_value_that_is_nested_too_deeply_to_be_decoded_does_not_hide_its_span() {
    let nested = |depth| {
        let leaf = AnyValue { value: Some(any_value::Value::IntValue(1)) };
        let value = (0..depth).fold(leaf, |inner, _| AnyValue {
            value: Some(any_value::Value::ArrayValue(ArrayValue { values: vec![inner] })),
        });
        KeyValue { key: format!("nested {depth}"), value: Some(value), ..KeyValue::default() }
    };
    let mut deep = span(1, 0, 1, 2);
    deep.attributes = vec![nested(0), nested(60), nested(3)];
    deep.events = vec![Event { attributes: vec![nested(60)], ..Event::default() }, Event::default()];
    let resource = Resource { attributes: vec![nested(60), nested(1)], ..Resource::default() };
    let scope = InstrumentationScope { attributes: vec![nested(60)], name: "lib".into(), ..Default::default() };
    let scope_spans =
        vec![ScopeSpans { spans: vec![deep, span(2, 1, 1, 2)], scope: Some(scope), ..Default::default() }];
    let spans = ResourceSpans { resource: Some(resource), scope_spans, schema_url: "s".into() };
    let tree = Tree::decode([spans.encode_to_vec()]).unwrap();
    assert_eq!(drawn(&tree), ["s1", ".s2"]);
    assert_eq!(tree.left_out, 4);
    let node = &tree.nodes[0];
    assert_eq!((node.span.attributes.len(), node.span.events.len()), (2, 1));
    assert_eq!((tree.resources[0].attributes.len(), tree.scopes[0].name.as_str()), (1, "lib"));
}
