//! Where a failure began.

use std::collections::HashMap;

use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};

use crate::tree::{Node, Tree};

/// The spans through which a failure came: the last one is where it began, each other one has the next as its child.
/// Empty when nothing failed that was not made good.
///
/// A span failed when its status is an error, or when it has no status and an `exception` event. The walk begins at the
/// trace's root if that failed, otherwise at the failed span that ended last of those with none above them that failed or says
/// that it went well: what failed below such a span was survived. From there it goes down as long as a child explains the failure. A child explains it if it failed and was not made good: no later
/// sibling with the same service, name and kind, that started after it had ended, did not fail. A consumer explains nothing
/// of its producer, which does not wait. Of several children the one whose status is an error comes before one that only
/// has an exception, then the one that ended last, then the one that started last: earlier failures were survived.
///
/// Many instrumentations leave the status of spans between a failure and what it failed unset. So where no failed child
/// explains it, failed spans below children without a status do, by the same rules. Such a child was made good if a later
/// attempt neither failed nor has such a failure below it. A child that says that it went well explains nothing.
#[must_use]
pub fn origin(tree: &Tree) -> Vec<usize> {
    let failed_root = tree.first_root_index().filter(|root| failed(&tree.nodes[*root]));
    let Some(entry) = failed_root.or_else(|| last(tree, topmost(tree).into_iter())) else { return Vec::new() };
    let carries = carriers(tree);
    let mut path = vec![entry];
    let mut at = entry;
    while let Some(further) = below(tree, &carries, at) {
        path.extend(&further);
        at = *further.last().unwrap_or(&entry);
    }
    path
}

/// The way from a span down to the failed one that explains its failure; without the span itself.
fn below(tree: &Tree, carries: &[bool], at: usize) -> Option<Vec<usize>> {
    let (mut found, mut above, mut waiting) = (Vec::new(), HashMap::new(), vec![at]);
    while let Some(span) = waiting.pop() {
        let failed: Vec<usize> = failures(tree, span).collect();
        let silent: Vec<usize> = carriers_of(tree, carries, span).collect();
        above.extend(failed.iter().chain(&silent).map(|child| (*child, span)));
        found.extend(failed);
        waiting.extend(silent);
    }
    let mut way = vec![last(tree, found.into_iter())?];
    while let Some(span) = way.last().and_then(|span| above.get(span)).filter(|span| **span != at) {
        way.push(*span);
    }
    way.reverse();
    Some(way)
}

/// For each span whether it says nothing of its status but has failures below it that were not made good.
fn carriers(tree: &Tree) -> Vec<bool> {
    let mut carries = vec![false; tree.nodes.len()];
    let mut rows: Vec<usize> = tree.rows().map(|row| row.node).collect();
    // Children come before their parents.
    rows.reverse();
    for span in rows {
        let node = &tree.nodes[span];
        let has_failures =
            || failures(tree, span).next().is_some() || carriers_of(tree, &carries, span).next().is_some();
        carries[span] = says_nothing(node) && has_failures();
    }
    carries
}

/// The children that failed and may explain why their parent did.
fn failures(tree: &Tree, span: usize) -> impl Iterator<Item = usize> + '_ {
    let failed = |child: usize| failed(&tree.nodes[child]);
    not_made_good(tree, &tree.nodes[span].children, failed, move |child| !failed(child))
        .filter(move |child| waits(tree, span, *child))
}

/// The children that say nothing, below which are failures that may.
fn carriers_of<'a>(tree: &'a Tree, carries: &'a [bool], span: usize) -> impl Iterator<Item = usize> + 'a {
    let sound = |child: usize| !failed(&tree.nodes[child]) && !carries[child];
    not_made_good(tree, &tree.nodes[span].children, |child| carries[child], sound)
        .filter(move |child| waits(tree, span, *child))
}

fn status(node: &Node) -> i32 {
    node.span.status.as_ref().map_or(StatusCode::Unset as i32, |status| status.code)
}

fn failed(node: &Node) -> bool {
    node.is_error() || (status(node) == StatusCode::Unset as i32 && node.exception().is_some())
}

fn says_nothing(node: &Node) -> bool {
    status(node) == StatusCode::Unset as i32 && node.exception().is_none()
}

/// The failed spans that were not made good and have none above them that failed or says that it went well.
fn topmost(tree: &Tree) -> Vec<usize> {
    let failed = |span: usize| failed(&tree.nodes[span]);
    let mut found = Vec::new();
    let mut waiting = vec![&tree.roots];
    while let Some(siblings) = waiting.pop() {
        found.extend(not_made_good(tree, siblings, failed, |span| !failed(span)));
        let silent = siblings.iter().map(|span| &tree.nodes[*span]).filter(|node| says_nothing(node));
        waiting.extend(silent.map(|node| &node.children));
    }
    found
}

/// Those among siblings with which something is wrong and for which no later attempt was sound.
fn not_made_good<'a>(
    tree: &'a Tree,
    siblings: &'a [usize],
    is_wrong: impl Fn(usize) -> bool + 'a,
    is_sound: impl Fn(usize) -> bool + 'a,
) -> impl Iterator<Item = usize> + 'a {
    // When the last attempt of each operation that succeeded started.
    let mut sound = HashMap::new();
    if siblings.iter().any(|span| is_wrong(*span)) {
        for span in siblings.iter().filter(|span| is_sound(**span)) {
            let start = tree.nodes[*span].interval().0;
            let last = sound.entry(operation(tree, *span)).or_insert(start);
            *last = start.max(*last);
        }
    }
    let counts = move |span: &usize| {
        let end = tree.nodes[*span].interval().1;
        is_wrong(*span) && sound.get(&operation(tree, *span)).is_none_or(|start| *start < end)
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
