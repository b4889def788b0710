//! Two traces side by side.

use std::{cmp::Reverse, collections::HashMap};

use super::self_time::self_times;
use crate::tree::Tree;

/// What two traces do at the same place: the spans with the same service, name and kind, under parents that are the same
/// in this sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// `service.name`, empty without one.
    pub service: String,
    pub name: String,
    /// As in OTLP.
    pub kind: i32,
    /// 0 for what has no parent.
    pub depth: usize,
    /// No sibling follows.
    pub last: bool,
    /// What the first trace and the second one have here.
    pub sides: [Side; 2],
    /// The spans of both, as indices into their [`Tree::nodes`].
    pub nodes: [Vec<usize>; 2],
}

/// What one trace has at a place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Side {
    pub spans: usize,
    pub errors: usize,
    /// Of all these spans together.
    pub duration_ns: u64,
    /// Of all these spans together: what none of their children did.
    pub self_ns: u64,
}

impl Compared {
    /// How much longer the second trace takes here itself, nanoseconds; negative when the first one does. These make up
    /// the difference between traces of which no spans run at the same time.
    #[must_use]
    pub fn self_difference_ns(&self) -> i128 {
        i128::from(self.sides[1].self_ns) - i128::from(self.sides[0].self_ns)
    }
}

/// Spans with the same parents in both traces, before they are told apart.
struct Siblings {
    spans: [Vec<usize>; 2],
    depth: usize,
    last: bool,
}

/// All places of both traces, parents before their children, siblings by when their first span starts after its trace.
#[must_use]
pub fn compare(first: &Tree, second: &Tree) -> Vec<Compared> {
    let trees = [first, second];
    let self_times = trees.map(self_times);
    let starts = trees.map(|tree| tree.bounds().0);
    let mut compared = Vec::new();
    let roots = trees.map(|tree| tree.roots.clone());
    let mut waiting = groups(trees, starts, &roots, 0);
    while let Some(Siblings { spans, depth, last }) = waiting.pop() {
        let sides = [0, 1].map(|side| {
            spans[side].iter().fold(Side::default(), |sum, span| {
                let node = &trees[side].nodes[*span];
                let (start, end) = node.interval();
                Side {
                    spans: sum.spans + 1,
                    errors: sum.errors + usize::from(node.is_error()),
                    duration_ns: sum.duration_ns.saturating_add(end - start),
                    self_ns: sum.self_ns.saturating_add(self_times[side][*span]),
                }
            })
        });
        let Some((side, span)) = [0, 1].into_iter().find_map(|side| spans[side].first().map(|span| (side, *span)))
        else {
            continue;
        };
        let (service, name, kind) = place(trees[side], span);
        let children = [0, 1].map(|side| {
            spans[side].iter().flat_map(|span| &trees[side].nodes[*span].children).copied().collect::<Vec<_>>()
        });
        let (service, name) = (service.to_owned(), name.to_owned());
        compared.push(Compared { service, name, kind, depth, last, sides, nodes: spans });
        waiting.extend(groups(trees, starts, &children, depth + 1));
    }
    compared
}

/// The places where traces differ in what is there, what fails and what takes time itself, as indices: those that make up
/// most of the difference in time first.
#[must_use]
pub fn ranked(compared: &[Compared]) -> Vec<usize> {
    let differs = |place: &usize| {
        let [first, second] = compared[*place].sides;
        (first.spans, first.errors, first.self_ns) != (second.spans, second.errors, second.self_ns)
    };
    let mut places: Vec<usize> = (0..compared.len()).filter(differs).collect();
    places.sort_by_key(|place| Reverse(compared[*place].self_difference_ns().unsigned_abs()));
    places
}

fn place(tree: &Tree, span: usize) -> (&str, &str, i32) {
    let node = &tree.nodes[span];
    (tree.service(node).unwrap_or_default(), &node.span.name, node.span.kind)
}

/// Siblings by their places, the last one first.
fn groups(trees: [&Tree; 2], starts: [u64; 2], siblings: &[Vec<usize>; 2], depth: usize) -> Vec<Siblings> {
    let mut found: Vec<(u64, [Vec<usize>; 2])> = Vec::new();
    let mut places = HashMap::new();
    for side in 0..2 {
        for span in &siblings[side] {
            let after = trees[side].nodes[*span].interval().0.saturating_sub(starts[side]);
            let at = *places.entry(place(trees[side], *span)).or_insert_with(|| {
                found.push((after, Default::default()));
                found.len() - 1
            });
            let (first, spans) = &mut found[at];
            *first = after.min(*first);
            spans[side].push(*span);
        }
    }
    found.sort_by_key(|(first, _)| *first);
    let end = found.len();
    let group = |(at, (_, spans))| Siblings { spans, depth, last: at + 1 == end };
    let mut groups: Vec<_> = found.into_iter().enumerate().map(group).collect();
    groups.reverse();
    groups
}
