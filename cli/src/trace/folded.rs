//! Siblings that repeat each other, of which a picture shows the first few.

use std::collections::{HashMap, HashSet};

use clew_query::tree::Tree;

/// How many of them are shown when there are more than that and one.
const SHOWN: usize = 3;

/// What a picture leaves out.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    hidden: HashSet<usize>,
    /// By the last one that is shown: how many follow, and their nanoseconds together.
    after: HashMap<usize, (usize, u64)>,
    /// Those that no sibling follows that is shown.
    ends: HashSet<usize>,
}

impl Folded {
    pub(crate) fn hides(&self, span: usize) -> bool {
        self.hidden.contains(&span)
    }

    /// Whether no sibling that is shown follows, though there are some.
    pub(crate) fn ends(&self, span: usize) -> bool {
        self.ends.contains(&span)
    }

    pub(crate) fn after(&self, span: usize) -> Option<(usize, u64)> {
        self.after.get(&span).copied()
    }
}

/// Leaves out repeated siblings: spans of the same service, name and kind with nothing below them and nothing wrong.
pub(crate) fn fold(tree: &Tree) -> Folded {
    let mut folded = Folded::default();
    for siblings in std::iter::once(&tree.roots).chain(tree.nodes.iter().map(|node| &node.children)) {
        if siblings.len() <= SHOWN + 1 {
            continue;
        }
        let mut alike: HashMap<_, Vec<usize>> = HashMap::new();
        for span in siblings {
            let node = &tree.nodes[*span];
            if node.children.is_empty() && !node.is_error() && node.exception().is_none() && !node.same_id {
                let operation = (tree.service(node), &node.span.name, node.span.kind, node.place);
                alike.entry(operation).or_default().push(*span);
            }
        }
        for spans in alike.into_values().filter(|spans| spans.len() > SHOWN + 1) {
            let (shown, hidden) = spans.split_at(SHOWN);
            let time = hidden.iter().fold(0u64, |sum, span| sum.saturating_add(tree.nodes[*span].duration_ns()));
            folded.after.insert(shown[SHOWN - 1], (hidden.len(), time));
            folded.hidden.extend(hidden);
        }
        folded.ends.extend(siblings.iter().rfind(|span| !folded.hidden.contains(*span)));
    }
    folded
}
