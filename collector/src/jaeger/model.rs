//! OTLP in Jaeger's model, borrowed from its bytes: a trace of 10,000 spans is read without a copy of what they say.

use std::collections::HashMap;

use clew_common::otlp::wire::{Raw, each_field};
use clew_query::tree::{Link, Place, Places};
use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};

use super::tag::{Tag, Tags, Value, bytes, text};

/// What Jaeger calls a service without a name.
pub const NO_SERVICE: &str = "OTLPResourceNoServiceName";

/// The spans of a trace.
#[derive(Debug, Default)]
pub struct Trace<'a> {
    pub spans: Vec<Span<'a>>,
    pub processes: Vec<Process<'a>>,
    pub warnings: Vec<String>,
}

/// What made spans: a resource. Equal ones are one process.
#[derive(Debug)]
pub struct Process<'a> {
    pub service: &'a str,
    pub tags: Vec<Tag<'a>>,
}

#[derive(Debug, Default)]
pub struct Span<'a> {
    pub trace_id: &'a [u8],
    pub id: &'a [u8],
    pub name: &'a str,
    /// Whether it was sampled: what is here was.
    pub flags: u32,
    pub references: Vec<Reference<'a>>,
    /// Nanoseconds since 1970.
    pub start_ns: u64,
    pub duration_ns: u64,
    pub tags: Vec<Tag<'a>>,
    pub logs: Vec<Log<'a>>,
    /// Index into [`Trace::processes`].
    pub process: usize,
    /// What is odd about it.
    pub warnings: Vec<&'static str>,
    parent: &'a [u8],
}

/// To the parent, or to what is linked.
#[derive(Debug)]
pub struct Reference<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    /// It is no child of that span, but follows from it.
    pub follows: bool,
}

/// An event.
#[derive(Debug)]
pub struct Log<'a> {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    pub fields: Vec<Tag<'a>>,
}

/// The trace that OTLP TracesData has the spans of; None when it cannot be read.
pub fn of_otlp(traces_data: &[u8]) -> Option<Trace<'_>> {
    let (mut trace, mut reading) = (Trace::default(), Reading::default());
    each_field(traces_data, |number, raw| match number {
        1 => trace.add(bytes(raw)?, &mut reading),
        _ => Some(()),
    })?;
    trace.warn_of_places();
    trace.warnings.extend(
        (reading.left_out > 0).then(|| format!("{} attributes are nested too deeply to be shown", reading.left_out)),
    );
    Some(trace)
}

/// What is known while a trace is read.
#[derive(Default)]
struct Reading<'a> {
    /// Processes by the bytes of their resources.
    processes: HashMap<&'a [u8], usize>,
    left_out: usize,
}

impl<'a> Trace<'a> {
    fn add(&mut self, resource_spans: &'a [u8], reading: &mut Reading<'a>) -> Option<()> {
        let resource = child(resource_spans, 1)?;
        let next = self.processes.len();
        let process = *reading.processes.entry(resource).or_insert(next);
        if process == next {
            self.processes.push(reading.process(resource)?);
        }
        each_field(resource_spans, |number, raw| match number {
            2 => self.add_scope(bytes(raw)?, process, reading),
            _ => Some(()),
        })
    }

    fn add_scope(&mut self, scope_spans: &'a [u8], process: usize, reading: &mut Reading<'a>) -> Option<()> {
        let (mut name, mut version) = ("", "");
        each_field(child(scope_spans, 1)?, |number, raw| {
            match number {
                1 => name = text(raw)?,
                2 => version = text(raw)?,
                _ => {}
            }
            Some(())
        })?;
        let scope = [("otel.scope.name", name), ("otel.scope.version", version)];
        each_field(scope_spans, |number, raw| {
            if number == 2 {
                let span = reading.span(bytes(raw)?, scope)?;
                self.spans.push(Span { process, ..span });
            }
            Some(())
        })
    }

    fn warn_of_places(&mut self) {
        let link = |span: &Span<'a>| Link { id: span.id, parent: span.parent, start: span.start_ns };
        let Places { places, same_id } = Places::of(&self.spans.iter().map(link).collect::<Vec<_>>());
        for (span, (place, same_id)) in self.spans.iter_mut().zip(places.into_iter().zip(same_id)) {
            span.warnings.extend(same_id.then_some("another span of the trace has the same id"));
            span.warnings.extend((place == Place::Circle).then_some("the span is an ancestor of its own"));
        }
    }
}

impl<'a> Reading<'a> {
    fn done(&mut self, Tags { tags, left_out }: Tags<'a>) -> Vec<Tag<'a>> {
        self.left_out += left_out;
        tags
    }

    fn process(&mut self, resource: &'a [u8]) -> Option<Process<'a>> {
        let mut tags = Tags::default();
        each_field(resource, |number, raw| if number == 1 { tags.add(raw) } else { Some(()) })?;
        let mut tags = self.done(tags);
        let service = tags.iter().find(|tag| tag.key == "service.name").and_then(Tag::borrowed).unwrap_or(NO_SERVICE);
        tags.retain(|tag| tag.key != "service.name");
        Some(Process { service, tags })
    }

    fn span(&mut self, message: &'a [u8], scope: [(&'a str, &'a str); 2]) -> Option<Span<'a>> {
        let mut span = Span::default();
        let (mut end_ns, mut kind, mut state) = (0, 0, "");
        let (mut code, mut description) = (0, "");
        let mut links = Vec::new();
        // Most spans have about as many attributes.
        let mut tags = Tags { tags: Vec::with_capacity(20), left_out: 0 };
        tags.tags
            .extend(scope.into_iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| Tag::text(key, text)));
        each_field(message, |number, raw| {
            match (number, raw) {
                (1, raw) => span.trace_id = bytes(raw)?,
                (2, raw) => span.id = bytes(raw)?,
                (3, raw) => state = text(raw)?,
                (4, raw) => span.parent = bytes(raw)?,
                (5, raw) => span.name = text(raw)?,
                (6, Raw::Varint(number)) => kind = number as i32,
                (7, Raw::Fixed64(ns)) => span.start_ns = u64::from_le_bytes(ns),
                (8, Raw::Fixed64(ns)) => end_ns = u64::from_le_bytes(ns),
                (9, raw) => tags.add(raw)?,
                (11, raw) => span.logs.push(self.log(bytes(raw)?)?),
                (13, raw) => links.push(self.link(bytes(raw)?)?),
                (15, raw) => each_field(bytes(raw)?, |number, raw| {
                    match (number, raw) {
                        (2, raw) => description = text(raw)?,
                        (3, Raw::Varint(number)) => code = number as i32,
                        _ => {}
                    }
                    Some(())
                })?,
                (16, Raw::Fixed32(flags)) => span.flags = u32::from_le_bytes(flags) & 0xff,
                _ => {}
            }
            Some(())
        })?;
        span.references = references(&span, links);
        span.duration_ns = end_ns.saturating_sub(span.start_ns);
        span.warnings.extend((end_ns < span.start_ns).then_some("the span ends before it starts"));
        span.tags = self.done(tags);
        span.tags.extend(kind_name(kind).map(|kind| Tag::text("span.kind", kind)));
        match StatusCode::try_from(code).unwrap_or_default() {
            StatusCode::Unset => {}
            StatusCode::Ok => span.tags.push(Tag::text("otel.status_code", "OK")),
            StatusCode::Error => {
                span.tags.push(Tag::text("otel.status_code", "ERROR"));
                span.tags.push(Tag { key: "error", value: Value::Bool(true) });
            }
        }
        let texts = [("otel.status_description", description), ("w3c.tracestate", state)];
        span.tags
            .extend(texts.into_iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| Tag::text(key, text)));
        Some(span)
    }

    fn log(&mut self, event: &'a [u8]) -> Option<Log<'a>> {
        let (mut time_ns, mut name, mut tags) = (0, "", Tags::default());
        each_field(event, |number, raw| {
            match (number, raw) {
                (1, Raw::Fixed64(ns)) => time_ns = u64::from_le_bytes(ns),
                (2, raw) => name = text(raw)?,
                (3, raw) => tags.add(raw)?,
                _ => {}
            }
            Some(())
        })?;
        let mut fields = self.done(tags);
        if !name.is_empty() && fields.iter().all(|tag| tag.key != "event") {
            fields.insert(0, Tag::text("event", name));
        }
        Some(Log { time_ns, fields })
    }

    fn link(&mut self, link: &'a [u8]) -> Option<Reference<'a>> {
        let (mut trace_id, mut span_id, mut tags) = (&[][..], &[][..], Tags::default());
        each_field(link, |number, raw| {
            match number {
                1 => trace_id = bytes(raw)?,
                2 => span_id = bytes(raw)?,
                4 => tags.add(raw)?,
                _ => {}
            }
            Some(())
        })?;
        let tags = self.done(tags);
        let kind = tags.iter().find(|tag| tag.key == "opentracing.ref_type").and_then(Tag::borrowed);
        Some(Reference { trace_id, span_id, follows: kind != Some("child_of") })
    }
}

/// The parent, and what is linked. A link to the parent is no second reference: it says what the first one is.
fn references<'a>(span: &Span<'a>, links: Vec<Reference<'a>>) -> Vec<Reference<'a>> {
    let has_parent = span.parent.iter().any(|byte| *byte != 0);
    let mut references = Vec::with_capacity(usize::from(has_parent) + links.len());
    if has_parent {
        references.push(Reference { trace_id: span.trace_id, span_id: span.parent, follows: false });
    }
    for link in links {
        if has_parent && link.trace_id == span.trace_id && link.span_id == span.parent {
            references[0].follows = link.follows;
        } else {
            references.push(link);
        }
    }
    references
}

/// The last message in a field; an empty one when there is none.
fn child(message: &[u8], wanted: u32) -> Option<&[u8]> {
    let mut found = &[][..];
    each_field(message, |number, raw| {
        if number == wanted {
            found = bytes(raw)?;
        }
        Some(())
    })?;
    Some(found)
}

fn kind_name(kind: i32) -> Option<&'static str> {
    match SpanKind::try_from(kind).unwrap_or_default() {
        SpanKind::Unspecified => None,
        SpanKind::Internal => Some("internal"),
        SpanKind::Server => Some("server"),
        SpanKind::Client => Some("client"),
        SpanKind::Producer => Some("producer"),
        SpanKind::Consumer => Some("consumer"),
    }
}

#[cfg(test)]
mod tests;
