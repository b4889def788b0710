//! What was planted is found, and counts are those of all spans.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clew_query::{
    analysis::over::{CERTAIN, Counted, Over, Totals, over},
    exec::{Budget, Cache, ExplainOptions, Explained, Range, Sample, explain},
    traceql::{
        ast::{Body, Expr, Field, SpansetKind, Stage},
        parse, value,
    },
};
use clew_storage::Snapshot;
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    trace::v1::{Span, Status},
};
use proptest::{collection::vec, prelude::*};

use super::store::{self, Batch, Kept};

const ALL: ExplainOptions =
    ExplainOptions { range: Range::ALL, values: usize::MAX, limit: usize::MAX, sample: Sample::USUAL };

fn filter(query: &str) -> Expr {
    let Body::Spans(mut pipeline) = parse(query).unwrap().body else { panic!("{query}") };
    let Some(Stage::Spansets(spanset)) = pipeline.stages.pop() else { panic!("{query}") };
    let SpansetKind::Filter(Some(filter)) = spanset.kind else { panic!("{query}") };
    filter
}

fn explained(snapshot: &Snapshot, selection: &str, baseline: Option<&str>, options: ExplainOptions) -> Explained {
    let (budget, _client) = Budget::new(Duration::from_secs(60));
    let (selection, baseline) = (filter(selection), baseline.map(filter));
    let cache = Cache::new(1 << 20);
    let found = explain(snapshot, &cache, &selection, baseline.as_ref(), options, &budget).unwrap();
    assert_eq!(found.missing, [""; 0]);
    found
}

/// Numbers that look like chance and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Spans of which so many of ten thousand have the planted value of a key and mostly fail, or are slow.
fn planted(key: &str, per_ten_thousand: u64, slow: bool) -> Vec<Batch> {
    planted_in(6_000, key, per_ten_thousand, slow, |_| true)
}

/// Where blocks, or memory, have them.
const PLACES: usize = 12;

/// So many spans; those with the planted value are like others where `bad_in` does not hold.
fn planted_in(spans: u64, key: &str, per_ten_thousand: u64, slow: bool, bad_in: impl Fn(usize) -> bool) -> Vec<Batch> {
    let mut chance = Chance(per_ten_thousand);
    let mut batches: Vec<Batch> =
        (0..PLACES).map(|place| Batch { place, spans: Vec::new(), may_duplicate: false }).collect();
    for at in 0..spans {
        let bad = chance.below(10_000) < per_ten_thousand;
        let place = at as usize % PLACES;
        let wrong = chance.below(100) < if bad && bad_in(place) { 90 } else { 1 };
        let mut of = |name: &str, values: u64| {
            let other = chance.below(values);
            Value::StringValue(if bad && key == name { "planted".to_owned() } else { format!("{name}{other}") })
        };
        let resource = [("service.version", 3), ("host.name", 20), ("service.name", 6)];
        let resource = resource.map(|(key, values)| store::attribute(key, of(key, values))).to_vec();
        let mut attributes = [("tenant", 200), ("user", 3_000), ("route", 10)]
            .map(|(key, values)| store::attribute(key, of(key, values)))
            .to_vec();
        let Value::StringValue(name) = of("name", 12) else { unreachable!() };
        let shard = if bad && key == "shard" { 99 } else { chance.below(16) as i64 };
        attributes.push(store::attribute("shard", Value::IntValue(shard)));
        attributes.push(store::attribute("request.id", Value::StringValue(format!("r{at}"))));
        attributes.push(store::attribute("at", Value::IntValue(1_700_000_000_000 + at as i64)));
        let start = 1_000_000_000 + at * 1_000;
        let made = Span {
            trace_id: u128::from(at / 3 + 1).to_be_bytes().to_vec(),
            span_id: (at + 1).to_be_bytes().to_vec(),
            name,
            start_time_unix_nano: start,
            end_time_unix_nano: start + if wrong && slow { 5_000_000_000 } else { 1_000_000 + chance.below(9_000_000) },
            status: (wrong && !slow).then(|| Status { code: 2, message: format!("failed at {at}") }),
            attributes,
            ..Span::default()
        };
        batches[place].spans.push(store::span(made, resource));
    }
    batches
}

/// What may be wrong, and the field that tells.
const FIELDS: [(&str, &str); 5] = [
    ("service.version", "resource.service.version"),
    ("host.name", "resource.host.name"),
    ("tenant", "span.tenant"),
    ("shard", "span.shard"),
    ("name", "name"),
];

/// Whether the planted value is the first one of what is found, whatever was planted.
fn is_first(spans: u64, sample: Sample, kept: impl Into<Kept>, slow: bool) {
    let kept = kept.into();
    let options = ExplainOptions { values: 3, limit: 10, sample, ..ALL };
    let selection = if slow { "{ duration > 1s }" } else { "{ status = error }" };
    let mut wrong = Vec::new();
    for (key, field) in FIELDS {
        for share in [50, 500, 5_000] {
            let batches = planted_in(spans, key, share, slow, |_| true);
            let found = store::ask(&batches, kept, |store| explained(store, selection, None, options));
            let first = found.over.first().map(|over| over.counted.value.0.to_string());
            if first.as_deref() != Some(field) || found.over.len() > 10 {
                wrong.push(format!("{key} {share}: {:?}", found.over));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A fifth of the rows of 20,000 spans.
const FIFTH: Sample = Sample { selection: 24, baseline: 8, rows: 128 };

#[test]
fn a_planted_value_that_fails_is_the_first_one() {
    is_first(6_000, Sample::USUAL, 2, false);
}

#[test]
fn a_planted_value_that_is_slow_is_the_first_one() {
    is_first(6_000, Sample::USUAL, 2, true);
}

#[test]
fn a_planted_value_that_fails_is_the_first_one_by_a_sample() {
    is_first(20_000, FIFTH, Kept::cut(2, 1024), false);
}

#[test]
fn a_planted_value_that_is_slow_is_the_first_one_by_a_sample() {
    is_first(20_000, FIFTH, 4, true);
}

#[test]
fn what_fails_for_a_while_only_is_seen_by_a_sample() {
    let options = ExplainOptions { values: 3, limit: 10, sample: FIFTH, ..ALL };
    for place in [0, 5, PLACES - 1] {
        let batches = planted_in(20_000, "tenant", 500, false, |at| at == place);
        store::ask(&batches, PLACES - 1, |store| {
            let found = explained(store, "{ status = error }", None, options);
            let first = found.over.first().unwrap();
            assert_eq!(first.counted.value.0.to_string(), "span.tenant", "in {place}: {:?}", found.over);
        });
    }
}

#[test]
fn a_sample_chooses_the_values_and_all_spans_count() {
    let batches = planted("tenant", 500, false);
    store::ask(&batches, Kept::cut(11, 128), |store| {
        let exact = explained(store, "{ status = error }", None, ALL);
        let sample = Sample { selection: 12, baseline: 8, rows: 64 };
        let sampled =
            explained(store, "{ status = error }", None, ExplainOptions { values: 3, limit: 5, sample, ..ALL });
        assert_eq!(sampled.totals, exact.totals);
        assert!(sampled.over.iter().all(|over| exact.over.contains(over)), "{:?}\n{:?}", sampled.over, exact.over);
        assert_eq!(sampled.over.first(), exact.over.first());
        assert_eq!(sampled.over.first().unwrap().counted.value.0.to_string(), "span.tenant");
    });
}

/// Attributes k, n and (of the resource) v, whether it failed, its start, and where it is.
type Given = (u8, u8, u8, bool, u64, usize);

/// What has to be found, as text.
fn expected(spans: &[Given], range: Range, selected: impl Fn(&Given) -> Option<bool>) -> BTreeSet<String> {
    let mut totals = Totals::default();
    let mut counts: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for span in spans.iter().filter(|span| range.has(span.4 as i64)) {
        let Some(selected) = selected(span) else { continue };
        *(if selected { &mut totals.selection } else { &mut totals.baseline }) += 1;
        let values = [("span.k", span.0), ("span.n", span.1), ("resource.v", span.2)];
        for (field, value) in values.into_iter().filter(|(_, value)| *value > 0) {
            counts.entry(format!("{field} Int({value})")).or_default()[usize::from(selected)] += 1;
        }
    }
    let counted = |(value, [baseline, selection]): (String, [u64; 2])| Counted { value, selection, baseline };
    let found = over(counts.into_iter().map(counted), totals, CERTAIN).into_iter();
    found.map(|over| format!("{} {} {}", over.counted.value, over.counted.selection, over.counted.baseline)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_are_counted_as_one_by_one(
        spans in vec((0..4u8, 0..3u8, 0..3u8, any::<bool>(), 1..100u64, 0..4usize), 150..250),
        start in 0..60i64,
        all in any::<bool>(),
    ) {
        // What failed mostly has a value that others seldom have.
        let clear = |span: Given| match span {
            (_, _, v, true, start, place) if start % 8 > 0 => (1, 2, v, true, start, place),
            (1, n, v, false, start, place) if start % 8 > 0 => (2, n, v, false, start, place),
            span => span,
        };
        let spans: Vec<Given> = spans.into_iter().map(clear).collect();
        let made = |(at, (k, n, v, failed, start, _)): (usize, &Given)| {
            let int = |key, value: u8| (value > 0).then(|| store::attribute(key, Value::IntValue(value.into())));
            let made = Span {
                trace_id: vec![1 + at as u8 % 9; 16],
                span_id: (at as u64 + 1).to_be_bytes().to_vec(),
                start_time_unix_nano: *start,
                end_time_unix_nano: *start,
                status: failed.then(|| Status { code: 2, ..Status::default() }),
                attributes: [int("k", *k), int("n", *n)].into_iter().flatten().collect(),
                ..Span::default()
            };
            store::span(made, int("v", *v).into_iter().collect())
        };
        let batch = |place| {
            let here = spans.iter().enumerate().filter(|(_, span)| span.5 == place);
            Batch { place, spans: here.map(made).collect(), may_duplicate: false }
        };
        let batches: Vec<Batch> = (0..4).map(batch).filter(|batch| !batch.spans.is_empty()).collect();
        let range = if all { Range::ALL } else { Range { start, end: start + 40 } };
        let options = ExplainOptions { range, ..ALL };
        for kept in [0.into(), 1.into(), 3.into(), Kept::cut(1, 16), Kept::cut(2, 16)] {
            store::ask(&batches, kept, |snapshot| {
                for (baseline, others) in [(None, 0), (Some("{ resource.v = 1 }"), 1)] {
                    let found = explained(snapshot, "{ status = error }", baseline, options);
                    let line = |over: &Over<(Field, value::Value)>| {
                        let Counted { value: (field, value), selection, baseline } = &over.counted;
                        format!("{field} {value:?} {selection} {baseline}")
                    };
                    assert!(!all || baseline.is_some() || !found.over.is_empty());
                    let found: BTreeSet<String> = found.over.iter().map(line).filter(|line| !line.starts_with("root") && !line.starts_with("trace:root")).collect();
                    let selected = |span: &Given| (span.3 || others == 0 || span.2 == others).then_some(span.3);
                    let mut expected = expected(&spans, range, selected);
                    // What a filter names is no answer.
                    expected.retain(|line| baseline.is_none() || !line.starts_with("resource.v"));
                    assert_eq!(found, expected, "{kept:?}");
                }
            });
        }
    }
}
