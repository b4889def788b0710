//! Where the spans of a trace hang, by what they say of themselves and their parents.

use std::collections::HashMap;

/// What a span says of its place.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    pub id: &'a [u8],
    /// Empty or zeros: it has none.
    pub parent: &'a [u8],
    /// Nanoseconds since 1970.
    pub start: u64,
}

/// Where a span hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// It has no parent.
    Root,
    /// Under the span with this index.
    Child(usize),
    /// Its parent is not among the spans.
    Orphan,
    /// It is an ancestor of its own: the circle is cut above the span of it that starts first.
    Circle,
}

/// The places of spans, in their order.
#[derive(Debug, Clone, Default)]
pub struct Places {
    pub places: Vec<Place>,
    /// An earlier span has the same id. Children belong to the first one.
    pub same_id: Vec<bool>,
}

impl Places {
    /// Finds a place for every span.
    #[must_use]
    pub fn of(spans: &[Link<'_>]) -> Self {
        let mut by_id = HashMap::with_capacity(spans.len());
        let same_id = spans.iter().enumerate().map(|(index, span)| *by_id.entry(span.id).or_insert(index) != index);
        let same_id = same_id.collect();
        let place = |span: &Link<'_>| match by_id.get(span.parent) {
            _ if span.parent.iter().all(|byte| *byte == 0) => Place::Root,
            Some(parent) => Place::Child(*parent),
            None => Place::Orphan,
        };
        let mut found = Self { places: spans.iter().map(place).collect(), same_id };
        found.cut_circles(spans);
        found
    }

    /// Follows parents up from every span; whoever comes by a span of the same walk again has found a circle.
    fn cut_circles(&mut self, spans: &[Link<'_>]) {
        const UNSEEN: usize = usize::MAX;
        let mut seen_by = vec![UNSEEN; spans.len()];
        for walk in 0..spans.len() {
            let mut at = walk;
            while seen_by[at] == UNSEEN {
                seen_by[at] = walk;
                let Place::Child(parent) = self.places[at] else { break };
                if seen_by[parent] == walk {
                    self.cut(parent, spans);
                    break;
                }
                at = parent;
            }
        }
    }

    /// Cuts the circle that `start` lies on above the span that starts first.
    fn cut(&mut self, start: usize, spans: &[Link<'_>]) {
        let (mut first, mut at) = (start, start);
        while let Place::Child(parent) = self.places[at] {
            if (spans[parent].start, parent) < (spans[first].start, first) {
                first = parent;
            }
            at = parent;
            if at == start {
                break;
            }
        }
        self.places[first] = Place::Circle;
    }
}
