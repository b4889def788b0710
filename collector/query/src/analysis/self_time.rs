//! What each span did itself.

use crate::tree::{Node, Tree};

/// For each span, in the order of [`Tree::nodes`], the nanoseconds of it in which none of its children ran. Children count
/// as far as they lie within it, and time in which several ran counts once.
#[must_use]
pub fn self_times(tree: &Tree) -> Vec<u64> {
    let self_time = |node: &Node| {
        let (start, end) = node.interval();
        let within = |child: &usize| {
            let (child_start, child_end) = tree.nodes[*child].interval();
            (child_start.clamp(start, end), child_end.clamp(start, end))
        };
        end - start - covered(node.children.iter().map(within).collect())
    };
    tree.nodes.iter().map(self_time).collect()
}

/// How much time intervals cover; what lies in several counts once.
pub(super) fn covered(mut intervals: Vec<(u64, u64)>) -> u64 {
    intervals.sort_unstable();
    let (mut covered, mut reached) = (0, 0);
    for (start, end) in intervals {
        covered += end.saturating_sub(start.max(reached));
        reached = end.max(reached);
    }
    covered
}
