//! The tree of a trace's spans, whatever the spans say about their parents.
//!
//! Spans come from outside, so anything occurs: several roots, parents that are missing, spans that are their own
//! ancestors, ids that occur twice. [`Tree`] finds a place for every span, once, and says what was odd about it. It keeps
//! no recursion, so a chain of a million spans costs memory, not the stack.
//!
//! Spans hang where they say, as in TraceQL. Who shows a trace to people joins calls that Zipkin's tracers reported, of which both
//! sides have one id: [`Tree::with_calls_joined`].

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{Span, TracesData, status::StatusCode},
};

mod decode;
mod place;
mod shared;

pub use place::{Link, Place, Places};

/// The spans of one trace, each with its place.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// All spans, in the order in which they came.
    pub nodes: Vec<Node>,
    /// Indices of the spans that have no parent here, by start.
    pub roots: Vec<usize>,
    /// What made them; nodes refer to these.
    pub resources: Vec<Resource>,
    /// The libraries that reported them; nodes refer to these.
    pub scopes: Vec<InstrumentationScope>,
    /// Attributes, events and links that are nested too deeply to be decoded, and so are not here.
    pub left_out: usize,
}

/// One span and its place.
#[derive(Debug, Clone)]
pub struct Node {
    pub span: Span,
    /// Index into [`Tree::resources`].
    pub resource: usize,
    /// Index into [`Tree::scopes`].
    pub scope: usize,
    pub place: Place,
    /// An earlier span has the same id. Children belong to the first one.
    pub same_id: bool,
    /// Indices of its children, by start.
    pub children: Vec<usize>,
}

/// A row of the tree as it is read from top to bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Index into [`Tree::nodes`].
    pub node: usize,
    /// 0 for what has no parent here.
    pub depth: usize,
    /// No sibling follows.
    pub last: bool,
}

impl Tree {
    /// Builds the tree from encoded `ResourceSpans` messages.
    ///
    /// # Errors
    /// When one of them is no such message.
    pub fn decode<B: AsRef<[u8]>>(resource_spans: impl IntoIterator<Item = B>) -> Result<Self, prost::DecodeError> {
        let mut left_out = 0;
        let decoded: Result<_, _> =
            resource_spans.into_iter().map(|bytes| decode::resource_spans(bytes.as_ref(), &mut left_out)).collect();
        Ok(Self { left_out, ..Self::build(TracesData { resource_spans: decoded? }) })
    }

    /// Builds the tree.
    #[must_use]
    pub fn build(spans: TracesData) -> Self {
        let mut tree = Self::default();
        for resource_spans in spans.resource_spans {
            let resource = tree.resources.len();
            tree.resources.push(resource_spans.resource.unwrap_or_default());
            for scope_spans in resource_spans.scope_spans {
                let scope = tree.scopes.len();
                tree.scopes.push(scope_spans.scope.unwrap_or_default());
                let node = |span| Node { span, resource, scope, place: Place::Root, same_id: false, children: vec![] };
                tree.nodes.extend(scope_spans.spans.into_iter().map(node));
            }
        }
        let links: Vec<_> = tree.nodes.iter().map(Node::link).collect();
        tree.set_places(Places::of(&links));
        tree.order();
        tree
    }

    fn set_places(&mut self, Places { places, same_id }: Places) {
        for (node, (place, same_id)) in self.nodes.iter_mut().zip(places.into_iter().zip(same_id)) {
            (node.place, node.same_id) = (place, same_id);
        }
    }

    /// Lists roots and children by start, anew.
    pub(crate) fn order(&mut self) {
        self.roots.clear();
        self.nodes.iter_mut().for_each(|node| node.children.clear());
        let mut order: Vec<_> = (0..self.nodes.len()).collect();
        // By start, the longer one first: what encloses another stands above it.
        order.sort_by_key(|index| {
            let span = &self.nodes[*index].span;
            (span.start_time_unix_nano, std::cmp::Reverse(span.end_time_unix_nano), *index)
        });
        for index in order {
            match self.nodes[index].place {
                Place::Child(parent) => self.nodes[parent].children.push(index),
                Place::Root | Place::Orphan | Place::Circle => self.roots.push(index),
            }
        }
    }

    /// The span that stands for the trace: the first root, or, when no span is one, the first without a parent here.
    #[must_use]
    pub fn first_root(&self) -> Option<&Node> {
        self.first_root_index().map(|root| &self.nodes[root])
    }

    /// Index of [`Self::first_root`] into [`Self::nodes`].
    #[must_use]
    pub fn first_root_index(&self) -> Option<usize> {
        let is_root = |root: &&usize| self.nodes[**root].place == Place::Root;
        self.roots.iter().find(is_root).or_else(|| self.roots.first()).copied()
    }

    /// All spans, parents before their children, siblings by start.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        let mut waiting = Vec::new();
        let push = |waiting: &mut Vec<Row>, nodes: &[usize], depth| {
            let row = |(from_end, node): (usize, &usize)| Row { node: *node, depth, last: from_end == 0 };
            waiting.extend(nodes.iter().rev().enumerate().map(row));
        };
        push(&mut waiting, &self.roots, 0);
        std::iter::from_fn(move || {
            let row = waiting.pop()?;
            push(&mut waiting, &self.nodes[row.node].children, row.depth + 1);
            Some(row)
        })
    }

    /// When the trace begins and ends, nanoseconds since 1970. Times of 0 are not known ones and are left out, if there
    /// are others.
    #[must_use]
    pub fn bounds(&self) -> (u64, u64) {
        let times =
            || self.nodes.iter().flat_map(|node| [node.span.start_time_unix_nano, node.span.end_time_unix_nano]);
        let known = || times().filter(|time| *time != 0);
        (known().min().unwrap_or(0), known().max().unwrap_or(0))
    }

    /// The `service.name` of a span.
    #[must_use]
    pub fn service(&self, node: &Node) -> Option<&str> {
        text(&self.resources[node.resource].attributes, "service.name")
    }
}

impl Node {
    /// What it says of its place.
    fn link(&self) -> Link<'_> {
        let Span { span_id, parent_span_id, start_time_unix_nano, .. } = &self.span;
        Link { id: span_id, parent: parent_span_id, start: *start_time_unix_nano }
    }

    /// Nanoseconds from its start to its end; 0 when it ends before it starts.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.span.end_time_unix_nano.saturating_sub(self.span.start_time_unix_nano)
    }

    /// When it starts and ends, nanoseconds since 1970. Never ends before it starts: a time of 0 is not known, and a span
    /// of which one time cannot be right takes no time, at the other one.
    #[must_use]
    pub fn interval(&self) -> (u64, u64) {
        match (self.span.start_time_unix_nano, self.span.end_time_unix_nano) {
            (0, end) => (end, end),
            (start, end) => (start, end.max(start)),
        }
    }

    /// It says that it failed.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32)
    }

    /// The exception that its last `exception` event tells of.
    #[must_use]
    pub fn exception(&self) -> Option<Exception<'_>> {
        let event = self.span.events.iter().rev().find(|event| event.name == "exception")?;
        let of = |key| text(&event.attributes, key).filter(|text| !text.is_empty());
        Some(Exception { kind: of("exception.type"), message: of("exception.message") })
    }
}

/// What went wrong, as an `exception` event says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception<'a> {
    /// `exception.type`.
    pub kind: Option<&'a str>,
    /// `exception.message`.
    pub message: Option<&'a str>,
}

/// The value of an attribute that is a string.
#[must_use]
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?;
    match value {
        AnyValue { value: Some(any_value::Value::StringValue(text)) } => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
