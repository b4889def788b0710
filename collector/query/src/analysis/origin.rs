//! Where a failure began.

use std::collections::HashMap;

use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};

use crate::tree::{Node, Tree};

/// The spans through which a failure came: the last one is where it began, each other one has the next as its child.
/// Empty when nothing failed that was not made good.
///
/// A span failed when its status is an error, or when it has no status and an `exception` event. The walk begins at the
/// trace's root if that failed, otherwise at the failed span, with none above it that failed, that ended last. From there it
/// goes down as long as a child explains the failure. A child explains it if it failed and was not made good: no later
/// sibling with the same service, name and kind, that started after it had ended, did not fail. A consumer explains nothing
/// of its producer, which does not wait. Of several children the one whose status is an error comes before one that only
/// has an exception, then the one that ended last, then the one that started last: earlier failures were survived.
#[must_use]
pub fn origin(tree: &Tree) -> Vec<usize> {
    let failed_root = tree.first_root_index().filter(|root| failed(&tree.nodes[*root]));
    let Some(entry) = failed_root.or_else(|| last(tree, topmost(tree).into_iter())) else { return Vec::new() };
    let mut path = vec![entry];
    let mut at = entry;
    while let Some(child) =
        last(tree, not_made_good(tree, &tree.nodes[at].children).filter(|child| waits(tree, at, *child)))
    {
        path.push(child);
        at = child;
    }
    path
}

fn failed(node: &Node) -> bool {
    let status = node.span.status.as_ref().map_or(StatusCode::Unset as i32, |status| status.code);
    status == StatusCode::Error as i32 || (status == StatusCode::Unset as i32 && node.exception().is_some())
}

/// The failed spans that were not made good and have none above them that failed.
fn topmost(tree: &Tree) -> Vec<usize> {
    let mut found = Vec::new();
    let mut waiting = vec![&tree.roots];
    while let Some(siblings) = waiting.pop() {
        found.extend(not_made_good(tree, siblings));
        let sound = siblings.iter().map(|span| &tree.nodes[*span]).filter(|node| !failed(node));
        waiting.extend(sound.map(|node| &node.children));
    }
    found
}

/// The failed ones among siblings for which no later attempt succeeded.
fn not_made_good<'a>(tree: &'a Tree, siblings: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    // When the last attempt of each operation that succeeded started.
    let mut sound = HashMap::new();
    for span in siblings.iter().filter(|span| !failed(&tree.nodes[**span])) {
        let start = tree.nodes[*span].interval().0;
        let last = sound.entry(operation(tree, *span)).or_insert(start);
        *last = start.max(*last);
    }
    let counts = move |span: &usize| {
        let node = &tree.nodes[*span];
        failed(node) && sound.get(&operation(tree, *span)).is_none_or(|start| *start < node.interval().1)
    };
    siblings.iter().copied().filter(counts)
}

fn operation(tree: &Tree, span: usize) -> (Option<&str>, &str, i32) {
    let node = &tree.nodes[span];
    (tree.service(node), &node.span.name, node.span.kind)
}

fn waits(tree: &Tree, parent: usize, child: usize) -> bool {
    let kind = |span: usize| tree.nodes[span].span.kind;
    kind(parent) != SpanKind::Producer as i32 || kind(child) != SpanKind::Consumer as i32
}

fn last(tree: &Tree, spans: impl Iterator<Item = usize>) -> Option<usize> {
    spans.max_by_key(|span| {
        let node = &tree.nodes[*span];
        let (start, end) = node.interval();
        (node.is_error(), end, start, *span)
    })
}
