//! What is said otherwise of the same span.

use std::collections::BTreeMap;

use clew_proto::opentelemetry::proto::common::v1::AnyValue;
use clew_query::{analysis::compare::Compared, tree::Tree};
use prost::Message;

use crate::values;

/// An attribute with its value in each trace, if it has one there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) values: [Option<String>; 2],
}

/// The attributes that differ at a place with one span in each trace, by key; of more spans it is not known which belong
/// together.
pub(crate) fn changed(trees: &[Tree; 2], place: &Compared) -> Vec<Change> {
    let ([first], [second]) = (&*place.nodes[0], &*place.nodes[1]) else { return Vec::new() };
    let mut both: BTreeMap<&str, [Option<String>; 2]> = BTreeMap::new();
    for (side, span) in [*first, *second].into_iter().enumerate() {
        for attribute in &trees[side].nodes[span].span.attributes {
            // The same message, as another crate has it.
            let value = attribute.value.as_ref().and_then(|value| AnyValue::decode(&*value.encode_to_vec()).ok());
            both.entry(&attribute.key).or_default()[side] = Some(values::text(value.as_ref()));
        }
    }
    let changed = both.into_iter().filter(|(_, [first, second])| first != second);
    changed.map(|(key, values)| Change { key: key.to_owned(), values }).collect()
}
