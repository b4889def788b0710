//! How spans stand to each other in the tree.

use std::collections::BTreeSet;

use super::Trace;
use crate::traceql::ast::{Keep, Relation};

/// The spans that `left op right` keeps.
pub(super) fn related(
    trace: &Trace,
    (relation, keep): (Relation, Keep),
    left: &BTreeSet<usize>,
    right: &BTreeSet<usize>,
) -> BTreeSet<usize> {
    let stands = |left: usize, right: usize| stands(trace, relation, left, right);
    let has_left = |span: &usize| left.iter().any(|other| stands(*other, *span));
    let has_right = |span: &usize| right.iter().any(|other| stands(*span, *other));
    match keep {
        Keep::Right => right.iter().copied().filter(has_left).collect(),
        Keep::NotRelated => right.iter().copied().filter(|span| !has_left(span)).collect(),
        Keep::Both => {
            let of_right = right.iter().copied().filter(has_left);
            of_right.chain(left.iter().copied().filter(has_right)).collect()
        }
    }
}

/// Whether `right` is the child, the descendant and so on of `left`. No span is related to itself.
fn stands(trace: &Trace, relation: Relation, left: usize, right: usize) -> bool {
    match relation {
        Relation::Child => trace.parent(right) == Some(left),
        Relation::Parent => trace.parent(left) == Some(right),
        Relation::Descendant => trace.ancestors(right).any(|above| above == left),
        Relation::Ancestor => trace.ancestors(left).any(|above| above == right),
        Relation::Sibling => left != right && trace.parent(left).is_some() && trace.parent(left) == trace.parent(right),
    }
}
