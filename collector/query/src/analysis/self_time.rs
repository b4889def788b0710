//! What each span did itself.

use crate::tree::{Node, Tree};

/// For each span, in the order of [`Tree::nodes`], the nanoseconds of it in which none of its children ran. Children count
/// as far as they lie within it, and time in which several ran counts once.
#[must_use]
pub fn self_times(tree: &Tree) -> Vec<u64> {
    let self_time = |node: &Node| {
        let (start, end) = node.interval();
        let (mut own, mut covered_until) = (end - start, start);
        // Children are in order of their start but for those without one.
        let mut children: Vec<(u64, u64)> = node.children.iter().map(|child| tree.nodes[*child].interval()).collect();
        children.sort_unstable();
        for (child_start, child_end) in children {
            let (from, until) = (child_start.max(covered_until), child_end.min(end));
            if from < until {
                own -= until - from;
                covered_until = until;
            }
        }
        own
    };
    tree.nodes.iter().map(self_time).collect()
}
