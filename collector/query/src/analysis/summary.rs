//! A trace in a few numbers.

use std::collections::BTreeMap;

use crate::tree::Tree;

/// A trace in a few numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Index of the span that stands for the trace; none when there are no spans.
    pub root: Option<usize>,
    pub spans: usize,
    /// Spans whose status is an error.
    pub errors: usize,
    /// When the first span starts, nanoseconds since 1970; 0 when that is not known.
    pub start: u64,
    /// From the first start to the last end.
    pub duration_ns: u64,
    /// By name; spans without one are under the empty name.
    pub services: BTreeMap<String, Share>,
}

/// What a service has of a trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub spans: usize,
    pub errors: usize,
}

/// Sums a trace up.
#[must_use]
pub fn summary(tree: &Tree) -> Summary {
    let (start, end) = tree.bounds();
    let mut summary = Summary {
        root: tree.first_root_index(),
        spans: tree.nodes.len(),
        start,
        duration_ns: end - start,
        ..Summary::default()
    };
    for node in &tree.nodes {
        let failed = usize::from(node.is_error());
        let service = tree.service(node).unwrap_or_default();
        if !summary.services.contains_key(service) {
            summary.services.insert(service.to_owned(), Share::default());
        }
        if let Some(share) = summary.services.get_mut(service) {
            share.spans += 1;
            share.errors += failed;
        }
        summary.errors += failed;
    }
    summary
}
