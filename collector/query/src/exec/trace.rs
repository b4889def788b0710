//! One trace, from all parts that hold spans of it.

use std::{cell::OnceCell, cmp::Reverse, collections::HashMap};

use super::{budget::Pace, same, scope::Scope};
use crate::traceql::{
    ast::{Attribute, Field, Intrinsic, Scope as Of},
    value::Value,
};

/// The spans of a trace, in order of their start.
pub struct Trace<'a> {
    pub scope: &'a Scope,
    pub id: [u8; 16],
    pub spans: Vec<Span>,
    /// For loops over its spans: there may be millions.
    pace: Pace<'a>,
    root: OnceCell<Option<u32>>,
    bounds: OnceCell<(u64, u64)>,
    nested: OnceCell<Vec<Nested>>,
    children: OnceCell<Vec<i64>>,
}

/// A span of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub part: u32,
    pub row: u32,
    /// Nanoseconds since 1970.
    pub start: i64,
    /// Nanoseconds.
    pub duration: i64,
    pub id: [u8; 8],
    pub parent: Parent,
}

/// What is known of a span's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parent {
    /// It has none.
    Root,
    /// It is not among the spans, or the span is an ancestor of its own.
    Missing([u8; 8]),
    /// It is this one.
    At(u32),
}

impl Span {
    /// When it ends, nanoseconds since 1970.
    pub fn end(&self) -> u64 {
        (self.start as u64).saturating_add_signed(self.duration)
    }
}

/// Makes trees of spans that are ancestors of their own: the circle is cut above the first of them.
fn cut_circles(spans: &mut [Span]) {
    const UNSEEN: usize = usize::MAX;
    let mut seen_by = vec![UNSEEN; spans.len()];
    for walk in 0..spans.len() {
        let mut at = walk;
        while seen_by[at] == UNSEEN {
            seen_by[at] = walk;
            let Parent::At(parent) = spans[at].parent else { break };
            at = parent as usize;
        }
        // Whoever comes by a span of the same walk again has found a circle, and is on it.
        if seen_by[at] == walk
            && let Parent::At(_) = spans[at].parent
        {
            let (mut first, start) = (at, at);
            while let Parent::At(parent) = spans[at].parent {
                at = parent as usize;
                first = first.min(at);
                if at == start {
                    break;
                }
            }
            if let Parent::At(parent) = spans[first].parent {
                spans[first].parent = Parent::Missing(spans[parent as usize].id);
            }
        }
    }
}

/// Numbers of a walk through the tree.
#[derive(Clone, Copy, Default)]
struct Nested {
    left: i64,
    right: i64,
    parent: i64,
}

impl<'a> Trace<'a> {
    /// Puts a trace together; once the budget is spent, some of it. Blocking.
    pub fn read(scope: &'a Scope, id: [u8; 16]) -> Self {
        let rows = scope.find(&id);
        let mut spans = Vec::with_capacity(rows.len());
        // Of rows in one block the parents are rows; across blocks only ids say them.
        let mut block_start = 0;
        let mut block_of = None;
        let mut last_part = None;
        let place_of = |part: u32| scope.blocks.iter().position(|(_, parts)| parts.contains(&(part as usize)));
        let pace = scope.pace();
        for (at, (part, row)) in rows.iter().enumerate().take_while(|_| pace.goes_on()) {
            if last_part != Some(*part) {
                last_part = Some(*part);
                let place = place_of(*part);
                if block_of != Some(place) {
                    (block_of, block_start) = (Some(place), at);
                }
            }
            let Some(links) = scope.links(*part) else { continue };
            let parent = match (links.parent_row(*row), links.parent_id(*row)) {
                (Some(position), _) => match rows.get(block_start + position as usize) {
                    Some((part, row)) => {
                        scope.links(*part).map_or(Parent::Root, |links| Parent::Missing(links.id(*row)))
                    }
                    None => Parent::Root,
                },
                (None, Some(id)) => Parent::Missing(id),
                (None, None) => Parent::Root,
            };
            spans.push(Span {
                part: *part,
                row: *row,
                start: links.starts.value(*row as usize),
                duration: links.durations.value(*row as usize),
                id: links.id(*row),
                parent,
            });
        }
        Self::of(scope, id, spans)
    }

    /// Sorts spans, drops those that are there twice, finds parents.
    fn of(scope: &'a Scope, id: [u8; 16], mut spans: Vec<Span>) -> Self {
        // By start, the longer one first: what encloses another stands above it.
        spans.sort_by_key(|span| (span.start as u64, Reverse(span.end()), span.id));
        same::drop_repeats(scope, &mut spans);
        let mut places: HashMap<[u8; 8], u32> = HashMap::with_capacity(spans.len());
        for (at, span) in spans.iter().enumerate() {
            places.entry(span.id).or_insert(at as u32);
        }
        for (at, span) in spans.iter_mut().enumerate() {
            if let Parent::Missing(id) = span.parent
                && let Some(parent) = places.get(&id)
                && *parent != at as u32
            {
                span.parent = Parent::At(*parent);
            }
        }
        cut_circles(&mut spans);
        Self {
            scope,
            id,
            spans,
            pace: scope.pace(),
            root: OnceCell::new(),
            bounds: OnceCell::new(),
            nested: OnceCell::new(),
            children: OnceCell::new(),
        }
    }

    /// Whether to go on with the next of its spans, or groups of them.
    pub fn goes_on(&self) -> bool {
        self.pace.goes_on()
    }

    /// The root: the first span without a parent.
    pub fn root(&self) -> Option<&Span> {
        let first = || self.spans.iter().position(|span| span.parent == Parent::Root).map(|at| at as u32);
        self.root.get_or_init(first).map(|at| &self.spans[at as usize])
    }

    /// When it begins, nanoseconds since 1970.
    pub fn start(&self) -> u64 {
        self.bounds().0
    }

    /// From its beginning to its end, nanoseconds.
    pub fn duration(&self) -> u64 {
        let (start, end) = self.bounds();
        end - start
    }

    /// The first and the last time that spans start or end at, as in [`crate::tree::Tree::bounds`]: times of 0 are not known ones.
    fn bounds(&self) -> (u64, u64) {
        *self.bounds.get_or_init(|| {
            let times = |span: &Span| [span.start as u64, (span.start as u64).wrapping_add_signed(span.duration)];
            let known = || self.spans.iter().flat_map(times).filter(|time| *time != 0);
            (known().min().unwrap_or(0), known().max().unwrap_or(0))
        })
    }

    /// What a field of a span is. Blocking.
    pub fn value(&self, field: &Field, at: u32) -> Value {
        let span = &self.spans[at as usize];
        match field {
            Field::Attribute(Attribute { of_parent: true, scope, key }) => match span.parent {
                Parent::At(parent) => {
                    let attribute = |scope| Field::Attribute(Attribute { scope, of_parent: false, key: key.clone() });
                    match scope {
                        Of::Any => match self.value(&attribute(Of::Span), parent) {
                            Value::Nil => self.value(&attribute(Of::Resource), parent),
                            value => value,
                        },
                        scope => self.value(&attribute(*scope), parent),
                    }
                }
                _ => Value::Nil,
            },
            Field::Intrinsic(Intrinsic::ChildCount) => Value::Int(self.children()[at as usize]),
            Field::Intrinsic(Intrinsic::Parent) => match span.parent {
                Parent::At(parent) => Value::String(hex::encode(self.spans[parent as usize].id)),
                Parent::Root | Parent::Missing(_) => Value::Nil,
            },
            Field::Intrinsic(Intrinsic::SpanParentId) => match span.parent {
                Parent::Root => Value::Nil,
                Parent::Missing(id) => Value::String(hex::encode(id)),
                Parent::At(parent) => Value::String(hex::encode(self.spans[parent as usize].id)),
            },
            Field::Intrinsic(Intrinsic::TraceDuration) => {
                Value::Duration(i64::try_from(self.duration()).unwrap_or(i64::MAX))
            }
            Field::Intrinsic(Intrinsic::RootName) => self.of_root(&Field::Intrinsic(Intrinsic::Name)),
            Field::Intrinsic(Intrinsic::RootService) => self.of_root(&Field::attribute(Of::Resource, "service.name")),
            Field::Intrinsic(Intrinsic::NestedSetLeft) => Value::Int(self.nested()[at as usize].left),
            Field::Intrinsic(Intrinsic::NestedSetRight) => Value::Int(self.nested()[at as usize].right),
            Field::Intrinsic(Intrinsic::NestedSetParent) => Value::Int(self.nested()[at as usize].parent),
            field => self.scope.value(field, span.part, span.row),
        }
    }

    /// What a field of the root is.
    pub fn of_root(&self, field: &Field) -> Value {
        self.root().map_or(Value::Nil, |root| self.scope.value(field, root.part, root.row))
    }

    fn children(&self) -> &[i64] {
        self.children.get_or_init(|| {
            let mut counts = vec![0; self.spans.len()];
            for span in &self.spans {
                if let Parent::At(parent) = span.parent {
                    counts[parent as usize] += 1;
                }
            }
            counts
        })
    }

    /// Walks through the trees of all roots; spans whose parent is missing begin trees of their own.
    fn nested(&self) -> &[Nested] {
        self.nested.get_or_init(|| {
            let mut below: Vec<Vec<u32>> = vec![Vec::new(); self.spans.len()];
            let mut tops = Vec::new();
            for (at, span) in self.spans.iter().enumerate() {
                match span.parent {
                    Parent::At(parent) => below[parent as usize].push(at as u32),
                    Parent::Root => tops.push((at as u32, -1)),
                    Parent::Missing(_) => tops.push((at as u32, 0)),
                }
            }
            let mut nested = vec![Nested::default(); self.spans.len()];
            let mut next = 1;
            for (top, parent) in tops {
                nested[top as usize] = Nested { left: next, right: 0, parent };
                next += 1;
                let mut path = vec![(top, 0)];
                while let Some((at, child)) = path.last_mut() {
                    if let Some(down) = below[*at as usize].get(*child) {
                        *child += 1;
                        nested[*down as usize] = Nested { left: next, right: 0, parent: nested[*at as usize].left };
                        next += 1;
                        path.push((*down, 0));
                    } else {
                        nested[*at as usize].right = next;
                        next += 1;
                        path.pop();
                    }
                }
            }
            nested
        })
    }
}
