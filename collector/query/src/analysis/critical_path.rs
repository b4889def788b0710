//! The spans that made a trace take as long as it did.

use std::{cmp::Reverse, collections::HashMap};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::tree::{Node, Tree};

/// A time in which one span determined when the trace ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index into [`Tree::nodes`].
    pub span: usize,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970; later than `start`.
    pub end: u64,
}

/// A child that runs on past its limit by no more than one part in so many of its duration is taken to have ended there:
/// clocks and the order in which spans are ended are no more exact.
const TOLERANCE: u128 = 10;

/// The segments that cover the interval of the trace's root, in order of time: each begins where the one before ends. None
/// when the root takes no time.
///
/// The walk goes back from the root's end. The child that ended last, at or before the place that was reached, is what its
/// parent waited for: its time is its own path, and the walk goes on where it started, with the children that had ended by
/// then. Time without such a child is the parent's. This is the algorithm of Zhang et al., "CRISP: Critical Path Analysis of
/// Large-Scale Microservice Architectures" (USENIX ATC 2022).
///
/// A child counts as far as it lies within its parent. One that runs on for more than a tenth of its duration after its
/// parent's end was not waited for and is left out, with all below it; so are those that run on after the start of the child
/// that the walk went to, since they ran beside it. But a server's span is never left out for outliving the client's: the
/// client waits for the answer, so that the clocks differ or the client gave up. The server's span is cut off there, with all
/// below it; which children it waited for is still told by the end that it has without the cut.
#[must_use]
pub fn critical_path(tree: &Tree) -> Vec<Segment> {
    let mut path = Vec::new();
    let Some(root) = tree.first_root_index() else { return path };
    let (start, end) = tree.nodes[root].interval();
    // What is to be put before the path as far as it is known, the latest on top.
    let mut waiting = vec![Step::Through(Segment { span: root, start, end })];
    while let Some(step) = waiting.pop() {
        match step {
            Step::Own(segment) if segment.start < segment.end => path.push(segment),
            Step::Own(_) => {}
            Step::Through(segment) => {
                let first = waiting.len();
                through(tree, segment, &mut waiting);
                waiting[first..].reverse();
            }
        }
    }
    path.reverse();
    path
}

/// What the spans of one service and name have of a critical path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// `service.name`, empty without one.
    pub service: &'a str,
    pub name: &'a str,
    pub duration_ns: u64,
}

/// Where the time of a path went, the largest part first; parts of the same size in order of the path.
#[must_use]
pub fn parts<'a>(tree: &'a Tree, path: &[Segment]) -> Vec<Part<'a>> {
    let mut parts: Vec<Part<'a>> = Vec::new();
    let mut known = HashMap::new();
    for segment in path {
        let node = &tree.nodes[segment.span];
        let (service, name) = (tree.service(node).unwrap_or_default(), node.span.name.as_str());
        let at = *known.entry((service, name)).or_insert(parts.len());
        if at == parts.len() {
            parts.push(Part { service, name, duration_ns: 0 });
        }
        parts[at].duration_ns += segment.end - segment.start;
    }
    parts.sort_by_key(|part| Reverse(part.duration_ns));
    parts
}

/// A part of the walk.
enum Step {
    /// The time is the span's own.
    Own(Segment),
    /// The time is that of the span and its children.
    Through(Segment),
}

/// Adds the steps that a segment consists of, the latest first.
fn through(tree: &Tree, Segment { span, start, end }: Segment, steps: &mut Vec<Step>) {
    let parent = &tree.nodes[span];
    let mut children = parent.children.clone();
    children.sort_by_key(|child| Reverse((tree.nodes[*child].interval().1, *child)));
    let mut reached = end;
    // A span that is cut off at `end` waited for what ends after that, but not after itself.
    let mut limit = parent.interval().1;
    for child in children {
        let node = &tree.nodes[child];
        let (child_start, child_end) = node.interval();
        let beyond = u128::from(child_end.saturating_sub(limit));
        let waited_for =
            beyond * TOLERANCE <= u128::from(child_end - child_start) || (reached == end && is_answer(parent, node));
        let (from, until) = (child_start.max(start), child_end.min(reached));
        if waited_for && from < until {
            steps.push(Step::Own(Segment { span, start: until, end: reached }));
            steps.push(Step::Through(Segment { span: child, start: from, end: until }));
            (reached, limit) = (from, from);
        }
    }
    steps.push(Step::Own(Segment { span, start, end: reached }));
}

fn is_answer(parent: &Node, child: &Node) -> bool {
    parent.span.kind == SpanKind::Client as i32 && child.span.kind == SpanKind::Server as i32
}
