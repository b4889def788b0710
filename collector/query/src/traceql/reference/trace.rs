//! A trace, and what its spans have.

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    trace::v1::{TracesData, span::Event},
};

use crate::{
    traceql::{
        ast::{Attribute, Field, Intrinsic, Kind, Scope, Status},
        value::Value,
    },
    tree::{Node, Place, Tree},
};

/// All spans of one trace, with their places in its tree. Spans are named by their index in [`Tree::nodes`].
#[derive(Debug, Clone)]
pub struct Trace {
    pub tree: Tree,
    /// For each span the numbers at which a walk through the tree enters and leaves it.
    nested: Vec<(i64, i64)>,
}

impl Trace {
    /// Builds the tree of a trace's spans.
    #[must_use]
    pub fn new(spans: TracesData) -> Self {
        let tree = Tree::build(spans);
        let nested = nested_sets(&tree);
        Self { tree, nested }
    }

    /// The span's parent, when the trace has it.
    #[must_use]
    pub fn parent(&self, span: usize) -> Option<usize> {
        match self.node(span).place {
            Place::Child(parent) => Some(parent),
            Place::Root | Place::Orphan | Place::Circle => None,
        }
    }

    /// The spans above, from its parent to the top.
    pub fn ancestors(&self, span: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.parent(span), |above| self.parent(*above))
    }

    /// What a field of a span is worth.
    #[must_use]
    pub fn field(&self, span: usize, field: &Field) -> Value {
        match field {
            Field::Intrinsic(intrinsic) => self.intrinsic(span, *intrinsic),
            Field::Attribute(attribute) if attribute.of_parent => {
                self.parent(span).map_or(Value::Nil, |parent| self.attribute(parent, attribute))
            }
            Field::Attribute(attribute) => self.attribute(span, attribute),
        }
    }

    fn attribute(&self, span: usize, attribute: &Attribute) -> Value {
        let node = self.node(span);
        let key = &*attribute.key;
        let of_many = |lists: Vec<&[KeyValue]>| {
            let values = lists.into_iter().map(|list| lookup(list, key));
            Value::array(values.flat_map(|value| value.elements().to_vec()).collect())
        };
        match attribute.scope {
            Scope::Any => {
                let scopes = [Scope::Span, Scope::Resource, Scope::Event, Scope::Link, Scope::Instrumentation];
                let scoped = |scope| self.attribute(span, &Attribute { scope, ..attribute.clone() });
                scopes.into_iter().map(scoped).find(|value| !value.is_nil()).unwrap_or_default()
            }
            Scope::Span => lookup(&node.span.attributes, key),
            Scope::Resource => lookup(&self.tree.resources[node.resource].attributes, key),
            Scope::Instrumentation => lookup(&self.tree.scopes[node.scope].attributes, key),
            Scope::Event => of_many(node.span.events.iter().map(|event| &*event.attributes).collect()),
            Scope::Link => of_many(node.span.links.iter().map(|link| &*link.attributes).collect()),
        }
    }

    fn intrinsic(&self, span: usize, intrinsic: Intrinsic) -> Value {
        let node = self.node(span);
        let text = |text: &str| Value::String(text.to_owned());
        let status = node.span.status.as_ref();
        let (left, right) = self.nested[span];
        match intrinsic {
            Intrinsic::Duration => duration(node.duration_ns()),
            Intrinsic::Name => text(&node.span.name),
            Intrinsic::Status => Value::Status(Status::from_otlp(status.map_or(0, |status| status.code))),
            Intrinsic::StatusMessage => text(status.map_or("", |status| &status.message)),
            Intrinsic::Kind => Value::Kind(Kind::from_otlp(node.span.kind)),
            Intrinsic::ChildCount => count(node.children.len()),
            Intrinsic::Parent => self.parent(span).map_or(Value::Nil, |parent| hex(&self.node(parent).span.span_id)),
            Intrinsic::SpanParentId => hex(&node.span.parent_span_id),
            Intrinsic::SpanId => hex(&node.span.span_id),
            Intrinsic::TraceId => hex(&node.span.trace_id),
            Intrinsic::TraceDuration => {
                let (start, end) = self.tree.bounds();
                duration(end - start)
            }
            Intrinsic::RootName => self.root().map_or(Value::Nil, |root| text(&root.span.name)),
            Intrinsic::RootService => self.root().and_then(|root| self.tree.service(root)).map_or(Value::Nil, text),
            Intrinsic::EventName => Value::array(node.span.events.iter().map(|event| text(&event.name)).collect()),
            Intrinsic::EventTimeSinceStart => {
                let start = node.span.start_time_unix_nano;
                let since = |event: &Event| Value::Duration(event.time_unix_nano.wrapping_sub(start).cast_signed());
                Value::array(node.span.events.iter().map(since).collect())
            }
            Intrinsic::LinkTraceId => Value::array(node.span.links.iter().map(|link| hex(&link.trace_id)).collect()),
            Intrinsic::LinkSpanId => Value::array(node.span.links.iter().map(|link| hex(&link.span_id)).collect()),
            Intrinsic::InstrumentationName => text(&self.tree.scopes[node.scope].name),
            Intrinsic::InstrumentationVersion => text(&self.tree.scopes[node.scope].version),
            Intrinsic::NestedSetLeft => Value::Int(left),
            Intrinsic::NestedSetRight => Value::Int(right),
            Intrinsic::NestedSetParent => Value::Int(match node.place {
                Place::Root => -1,
                Place::Child(parent) => self.nested[parent].0,
                Place::Orphan | Place::Circle => 0,
            }),
        }
    }

    /// The first span that says it has no parent.
    fn root(&self) -> Option<&Node> {
        self.tree.first_root().filter(|node| node.place == Place::Root)
    }

    fn node(&self, span: usize) -> &Node {
        &self.tree.nodes[span]
    }
}

/// The value of a key; of several the first.
fn lookup(attributes: &[KeyValue], key: &str) -> Value {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    found.and_then(|attribute| attribute.value.as_ref()).map_or(Value::Nil, Value::from)
}

fn duration(ns: u64) -> Value {
    Value::Duration(i64::try_from(ns).unwrap_or(i64::MAX))
}

fn count(count: usize) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

/// An id; nil when there is none.
fn hex(id: &[u8]) -> Value {
    if id.iter().all(|byte| *byte == 0) {
        return Value::Nil;
    }
    Value::String(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Numbers the walk down and up the tree, from 1.
fn nested_sets(tree: &Tree) -> Vec<(i64, i64)> {
    enum Step {
        Enter(usize),
        Leave(usize),
    }
    let mut nested = vec![(0, 0); tree.nodes.len()];
    let mut steps: Vec<_> = tree.roots.iter().rev().map(|root| Step::Enter(*root)).collect();
    let mut number = 0;
    while let Some(step) = steps.pop() {
        number += 1;
        match step {
            Step::Enter(span) => {
                nested[span].0 = number;
                steps.push(Step::Leave(span));
                steps.extend(tree.nodes[span].children.iter().rev().map(|child| Step::Enter(*child)));
            }
            Step::Leave(span) => nested[span].1 = number,
        }
    }
    nested
}
