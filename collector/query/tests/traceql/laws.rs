//! What has to hold between answers, whatever is asked.

use std::collections::BTreeSet;

use clew_query::traceql::{
    ast::Body,
    parse,
    reference::{Trace, find, measure},
    steps::Steps,
};
use proptest::prelude::*;

use super::{
    traces,
    words::{expr, query},
};

/// The spans of all spansets that a search finds in each trace.
fn found(traces: &[Trace], query: &str) -> Vec<BTreeSet<usize>> {
    let Ok(Body::Spans(pipeline)) = parse(query).map(|query| query.body) else { panic!("{query} is no search") };
    let spans = |trace| find(trace, &pipeline).spansets.into_iter().flat_map(|spanset| spanset.spans).collect();
    traces.iter().map(spans).collect()
}

fn all() -> Vec<Trace> {
    traces::all().into_iter().map(|(_, trace)| trace).collect()
}

/// Conditions that hold for some of the spans in `traces/`, and for others not.
fn likely() -> impl Strategy<Value = String> {
    let simple = prop::sample::select(vec![
        "status = error",
        "kind = client",
        "kind != client",
        ".rows != nil",
        ".attempt >= 2",
        "duration > 20ms",
        "childCount > 0",
        "parent = nil",
        "name =~ \".*-.*\"",
        "resource.service.name = \"pay\"",
        "true",
        "event:name != \"retry\"",
    ]);
    prop_oneof![3 => simple.prop_map(str::to_owned), 1 => expr()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_query_has_an_answer(query in query()) {
        match parse(&query).unwrap().body {
            Body::Spans(pipeline) => all().iter().for_each(|trace| {
                for spanset in find(trace, &pipeline).spansets {
                    assert!(!spanset.spans.is_empty() && spanset.spans.is_sorted_by(|a, b| a < b));
                }
            }),
            Body::Metrics(metrics) => {
                let begin_ns = traces::BEGIN_S * 1_000_000_000;
                let steps = Steps::aligned(begin_ns, begin_ns + 60_000_000_000, 7_000_000_000);
                for series in measure(&all(), &metrics, steps) {
                    assert_eq!(series.values.len(), steps.count());
                }
            }
        }
    }

    #[test]
    fn a_relation_and_its_negation_share_out_the_right_side(
        (left, right) in (likely(), likely()),
        relation in prop::sample::select(vec![">", ">>", "<", "<<", "~"]),
    ) {
        let traces = all();
        let related = found(&traces, &format!("{{ {left} }} {relation} {{ {right} }}"));
        let others = found(&traces, &format!("{{ {left} }} !{relation} {{ {right} }}"));
        let whole = found(&traces, &format!("{{ {right} }}"));
        for ((related, others), whole) in related.iter().zip(&others).zip(&whole) {
            prop_assert!(related.is_disjoint(others));
            prop_assert_eq!(&(related | others), whole);
        }
    }

    #[test]
    fn a_union_is_both_directions_together(
        (left, right) in (likely(), likely()),
        (forth, back) in prop::sample::select(vec![(">", "<"), (">>", "<<"), ("<", ">"), ("<<", ">>"), ("~", "~")]),
    ) {
        let traces = all();
        let both = found(&traces, &format!("{{ {left} }} &{forth} {{ {right} }}"));
        let each = format!("({{ {left} }} {forth} {{ {right} }}) || ({{ {right} }} {back} {{ {left} }})");
        prop_assert_eq!(both, found(&traces, &each));
    }

    #[test]
    fn a_child_is_a_descendant_and_a_parent_an_ancestor((left, right) in (likely(), likely())) {
        let traces = all();
        for (near, far) in [(">", ">>"), ("<", "<<")] {
            let near = found(&traces, &format!("{{ {left} }} {near} {{ {right} }}"));
            let far = found(&traces, &format!("{{ {left} }} {far} {{ {right} }}"));
            prop_assert!(near.iter().zip(&far).all(|(near, far)| near.is_subset(far)));
        }
    }

    #[test]
    fn logic_inside_of_braces_is_logic_of_sets((left, right) in (likely(), likely())) {
        let traces = all();
        let either = found(&traces, &format!("{{ ({left}) || ({right}) }}"));
        prop_assert_eq!(&either, &found(&traces, &format!("{{ {left} }} || {{ {right} }}")));
        let both = found(&traces, &format!("{{ ({left}) && ({right}) }}"));
        prop_assert_eq!(&both, &found(&traces, &format!("{{ {left} }} | {{ {right} }}")));
        let not = found(&traces, &format!("{{ !(({left}) || false) }}"));
        let whole = found(&traces, "{ }");
        let one = found(&traces, &format!("{{ {left} }}"));
        for ((one, not), whole) in one.iter().zip(&not).zip(&whole) {
            prop_assert!(one.is_disjoint(not));
            prop_assert_eq!(&(one | not), whole);
        }
    }

    #[test]
    fn groups_share_out_the_spans(condition in likely(), by in prop::sample::select(vec!["kind", ".rows", ".tags", "name", ".ratio * 2"])) {
        let traces = all();
        let Ok(Body::Spans(pipeline)) = parse(&format!("{{ {condition} }} | by({by})")).map(|query| query.body) else { panic!() };
        for (trace, whole) in traces.iter().zip(found(&traces, &format!("{{ {condition} }}"))) {
            let grouped: Vec<_> = find(trace, &pipeline).spansets.into_iter().flat_map(|spanset| spanset.spans).collect();
            prop_assert_eq!(grouped.len(), whole.len());
            prop_assert_eq!(grouped.into_iter().collect::<BTreeSet<_>>(), whole);
        }
    }
}
