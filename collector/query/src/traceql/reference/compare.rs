//! `compare`: in what selected spans differ from the others.

use std::collections::BTreeMap;

use super::{
    Trace,
    expr::holds,
    metrics::{Counted, sorted},
};
use crate::traceql::{
    ast::{Comparison, Field, Intrinsic, Scope},
    series::TimeSeries,
    steps::Steps,
    value::Value,
};

/// How many values of an attribute are shown when the query does not say.
const DEFAULT_TOP_N: u32 = 10;

/// What is compared besides the attributes of span and resource.
const COMPARED: [Intrinsic; 6] = [
    Intrinsic::Name,
    Intrinsic::Kind,
    Intrinsic::Status,
    Intrinsic::StatusMessage,
    Intrinsic::RootName,
    Intrinsic::RootService,
];

const GROUPS: [&str; 2] = ["baseline", "selection"];

/// For each field, for each value: how often at each step, in the baseline and in the selection.
type Counts = BTreeMap<Field, Vec<(Value, [Vec<f64>; 2])>>;

/// A series for each field, group and value: how many spans have it. With them, for each field and group, how many have any
/// value (`baseline_total`, `selection_total`), and an error for each field of which values are left out.
pub(super) fn compare(counted: &Counted<'_>, comparison: &Comparison, steps: Steps) -> Vec<TimeSeries> {
    let mut counts = Counts::new();
    for (trace, span, step) in counted {
        let group = usize::from(is_selected(trace, *span, comparison));
        for (field, value) in fields(trace, *span) {
            let of_field = counts.entry(field).or_default();
            let index = of_field.iter().position(|(of, _)| *of == value).unwrap_or_else(|| {
                of_field.push((value, [vec![0.0; steps.count()], vec![0.0; steps.count()]]));
                of_field.len() - 1
            });
            of_field[index].1[group][*step] += 1.0;
        }
    }
    let top_n = usize::try_from(comparison.top_n.unwrap_or(DEFAULT_TOP_N)).unwrap_or(usize::MAX);
    sorted(counts.iter().flat_map(|(field, values)| of_field(field, values, top_n)).collect())
}

fn of_field(field: &Field, values: &[(Value, [Vec<f64>; 2])], top_n: usize) -> Vec<TimeSeries> {
    let label = |key: &str, meta: &str, value: &Value, values: Vec<Option<f64>>| TimeSeries {
        labels: vec![(key.to_owned(), Value::String(meta.to_owned())), (field.to_string(), value.clone())],
        values,
    };
    let some = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
    let mut series = Vec::new();
    let mut too_many = false;
    for (group, name) in GROUPS.into_iter().enumerate() {
        let total = |counts: &[Vec<f64>; 2]| counts[group].iter().sum::<f64>();
        let mut present: Vec<_> = values.iter().filter(|(_, counts)| total(counts) > 0.0).collect();
        if present.is_empty() {
            continue;
        }
        let steps = present[0].1[group].len();
        let sums: Vec<f64> =
            (0..steps).map(|step| present.iter().map(|(_, counts)| counts[group][step]).sum()).collect();
        series.push(label("__meta_type", &format!("{name}_total"), &Value::Nil, some(&sums)));
        // Of those that are equally frequent the lower ones, so that answers are the same each time.
        present.sort_by_cached_key(|(value, _)| format!("{value:?}"));
        present.sort_by(|(_, left), (_, right)| total(right).total_cmp(&total(left)));
        too_many |= present.len() > top_n;
        present.truncate(top_n);
        series
            .extend(present.into_iter().map(|(value, counts)| label("__meta_type", name, value, some(&counts[group]))));
    }
    if too_many {
        let steps = values.first().map_or(0, |(_, counts)| counts[0].len());
        series.push(label("__meta_error", "__too_many_values__", &Value::Nil, vec![None; steps]));
    }
    series
}

fn is_selected(trace: &Trace, span: usize, comparison: &Comparison) -> bool {
    let start = trace.tree.nodes[span].span.start_time_unix_nano;
    let in_window = comparison.window_ns.is_none_or(|(from, until)| {
        let start = i64::try_from(start).unwrap_or(i64::MAX);
        (from..until).contains(&start)
    });
    in_window && holds(trace, span, comparison.selection.as_ref())
}

/// What a span is compared by, with its values. An array counts with each of its elements; a status message that nobody
/// wrote does not count.
fn fields(trace: &Trace, span: usize) -> Vec<(Field, Value)> {
    let node = &trace.tree.nodes[span];
    let resource = &trace.tree.resources[node.resource].attributes;
    let attributes = |scope, attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
        attributes.iter().map(|attribute| Field::attribute(scope, &*attribute.key)).collect::<Vec<_>>()
    };
    let mut fields: Vec<Field> = COMPARED.into_iter().map(Field::Intrinsic).collect();
    fields.extend(attributes(Scope::Span, &node.span.attributes));
    fields.extend(attributes(Scope::Resource, resource));
    fields.sort();
    fields.dedup();
    let values = |field: Field| {
        let value = trace.field(span, &field);
        let empty_message =
            field == Field::Intrinsic(Intrinsic::StatusMessage) && value == Value::String(String::new());
        let shown = |value: &&Value| **value != Value::Opaque && !empty_message;
        let elements: Vec<_> = value.elements().iter().filter(shown).cloned().collect();
        elements.into_iter().map(move |value| (field.clone(), value))
    };
    fields.into_iter().flat_map(values).collect()
}
