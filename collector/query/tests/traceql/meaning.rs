//! What queries find and measure.

use clew_query::traceql::{
    ast::Body,
    parse,
    reference::{Spanset, Trace, find, measure},
    series::TimeSeries,
    steps::Steps,
    value::Value,
};

use super::{
    cases,
    traces::{self, BEGIN_S},
};

#[test]
fn searches_find_the_spans_that_they_describe() {
    let traces = traces::all();
    let cases = cases::run("find", &["-> "], |query| {
        let Body::Spans(pipeline) = parse(query).unwrap_or_else(|error| panic!("{query}: {error}")).body else {
            panic!("{query} is no search")
        };
        let lines = traces.iter().filter_map(|(name, trace)| {
            let found = find(trace, &pipeline);
            let shown = |spanset: &Spanset| {
                let spans = spanset.spans.iter().map(|span| {
                    let name = &trace.tree.nodes[*span].span.name;
                    let selected =
                        found.selected.iter().map(|field| format!("{field}={}", written(&trace.field(*span, field))));
                    let selected: Vec<_> = selected.collect();
                    if selected.is_empty() { name.clone() } else { format!("{name}[{}]", selected.join(" ")) }
                });
                let mut parts: Vec<_> = spans.collect();
                parts.extend(spanset.attributes.iter().map(|(name, value)| format!("({name} = {})", written(value))));
                parts.join(" ")
            };
            let spansets: Vec<_> = found.spansets.iter().map(shown).collect();
            (!spansets.is_empty()).then(|| format!("-> {name}: {}\n", spansets.join(" | ")))
        });
        let lines: String = lines.collect();
        if lines.is_empty() { "-> nothing".to_owned() } else { lines }
    });
    assert!(cases >= 120, "only {cases} cases were found");
}

#[test]
fn metrics_queries_measure_what_they_describe() {
    let traces: Vec<Trace> = traces::all().into_iter().map(|(_, trace)| trace).collect();
    let at = |seconds| (BEGIN_S + seconds) * 1_000_000_000;
    let cases = cases::run("measure", &["-> "], |query| {
        // An instant query is marked by a word before it.
        let (query, steps) = match query.strip_prefix("instant ") {
            Some(query) => (query, Steps::instant(at(0), at(60))),
            None => (query, Steps::aligned(at(5), at(45), 20_000_000_000)),
        };
        let Body::Metrics(metrics) = parse(query).unwrap_or_else(|error| panic!("{query}: {error}")).body else {
            panic!("{query} is no metrics query")
        };
        let lines: String = measure(&traces, &metrics, steps).iter().map(line).collect();
        if lines.is_empty() { "-> nothing".to_owned() } else { lines }
    });
    assert!(cases >= 30, "only {cases} cases were found");
}

fn line(series: &TimeSeries) -> String {
    let labels: Vec<_> = series.labels.iter().map(|(name, value)| format!("{name}={}", written(value))).collect();
    let values = series.values.iter().map(|value| value.map_or("-".to_owned(), |value| value.to_string()));
    format!("-> {{{}}} {}\n", labels.join(", "), values.collect::<Vec<_>>().join(" "))
}

fn written(value: &Value) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Bool(yes) => yes.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Duration(ns) => format!("{}ms", *ns as f64 / 1e6),
        Value::String(text) => format!("{text:?}"),
        Value::Status(status) => status.to_string(),
        Value::Kind(kind) => kind.to_string(),
        Value::Array(elements) => format!("[{}]", elements.iter().map(written).collect::<Vec<_>>().join(",")),
        Value::Opaque => "opaque".to_owned(),
    }
}
