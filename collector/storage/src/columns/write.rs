//! Makes OTLP of rows.

use std::{collections::HashMap, ops::Range};

use arrow_array::{Array, RecordBatch, UInt32Array};
use clew_common::otlp::wire::{BYTES, FIXED32, FIXED64, VARINT, key_of, put_varint};

use super::{
    pair::{self, put_bytes},
    resource::Resource,
    view::{View, ViewError},
};

/// Appends rows of a batch in memory form as a TracesData message (or a part of one: such messages may be joined). Spans
/// are grouped by resource and scope, groups in order of their first row, spans in the order of `rows`. A span's attributes
/// are in the order of the columns, then of its list. A ResourceSpans whose resource is not known has none.
///
/// # Errors
/// When the batch has other columns than [`crate::schema`] says, or not as many rows. Then `out` is as it was.
pub fn write_otlp(
    batch: &RecordBatch,
    rows: &[usize],
    resource: impl Fn(u64) -> Option<Resource>,
    out: &mut Vec<u8>,
) -> Result<(), ViewError> {
    let view = View::new(batch)?;
    if let Some(&row) = rows.iter().find(|row| **row >= batch.num_rows()) {
        return Err(ViewError::Row { row, rows: batch.num_rows() });
    }
    let mut spans = Spans::default();
    let mut groups = Groups::default();
    for &row in rows {
        let start = spans.bytes.len();
        spans.put(&view, row);
        groups.add(Owner::of(&view, row), start..spans.bytes.len());
    }
    for group in &groups.resources {
        let resource = resource(group.id);
        let message = resource.as_ref().and_then(|resource| resource.message.as_deref());
        let schema_url = resource.as_ref().map_or("", |resource| resource.schema_url.as_str());
        let scopes: Vec<Vec<u8>> = group.scopes.iter().map(Scope::header).collect();
        let length = message.map_or(0, pair::bytes_len)
            + group.scopes.iter().zip(&scopes).map(|(scope, header)| child_len(scope.len(header))).sum::<usize>()
            + text_len(schema_url);
        put_len(out, 1, length);
        if let Some(message) = message {
            put_bytes(out, 1, message);
        }
        for (scope, header) in group.scopes.iter().zip(&scopes) {
            put_len(out, 2, scope.len(header));
            out.extend_from_slice(header);
            scope.spans.iter().for_each(|range| out.extend_from_slice(&spans.bytes[range.clone()]));
            put_text(out, 3, scope.owner.scope_schema_url);
        }
        put_text(out, 3, schema_url);
    }
    Ok(())
}

/// How long a message is as a field.
fn child_len(length: usize) -> usize {
    1 + clew_common::otlp::wire::varint_len(length as u64) + length
}

fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { pair::bytes_len(text.as_bytes()) }
}

fn put_len(out: &mut Vec<u8>, field: u32, length: usize) {
    put_varint(out, key_of(field, BYTES).into());
    put_varint(out, length as u64);
}

fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        put_varint(out, key_of(field, VARINT).into());
        put_varint(out, number);
    }
}

fn put_fixed64(out: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        put_varint(out, key_of(field, FIXED64).into());
        out.extend(number.to_le_bytes());
    }
}

fn put_fixed32(out: &mut Vec<u8>, field: u32, number: u32) {
    if number != 0 {
        put_varint(out, key_of(field, FIXED32).into());
        out.extend(number.to_le_bytes());
    }
}

/// A number, 0 when it is null.
fn number(column: &UInt32Array, row: usize) -> u32 {
    if column.is_valid(row) { column.value(row) } else { 0 }
}

/// What a span is grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Owner<'a> {
    resource_id: u64,
    scope_name: Option<&'a str>,
    scope_version: &'a str,
    scope_fields: &'a [u8],
    scope_schema_url: &'a str,
}

impl<'a> Owner<'a> {
    fn of(view: &View<'a>, row: usize) -> Self {
        Self {
            resource_id: view.resource_id.value(row),
            scope_name: view.scope_name.get(row),
            scope_version: view.scope_version.get(row).unwrap_or_default(),
            scope_fields: if view.scope_fields.is_valid(row) { view.scope_fields.value(row) } else { &[] },
            scope_schema_url: view.scope_schema_url.get(row).unwrap_or_default(),
        }
    }
}

/// The spans of a scope.
#[derive(Debug)]
struct Scope<'a> {
    owner: Owner<'a>,
    /// Where they are, as fields of a ScopeSpans.
    spans: Vec<Range<usize>>,
    /// Bytes of all of them.
    size: usize,
}

impl Scope<'_> {
    /// The InstrumentationScope as a field; nothing when there was none.
    fn header(&self) -> Vec<u8> {
        let mut header = Vec::new();
        if let Some(name) = self.owner.scope_name {
            let length = text_len(name) + text_len(self.owner.scope_version) + self.owner.scope_fields.len();
            put_len(&mut header, 1, length);
            put_text(&mut header, 1, name);
            put_text(&mut header, 2, self.owner.scope_version);
            header.extend_from_slice(self.owner.scope_fields);
        }
        header
    }

    fn len(&self, header: &[u8]) -> usize {
        header.len() + self.size + text_len(self.owner.scope_schema_url)
    }
}

/// The scopes of a resource.
#[derive(Debug)]
struct Group<'a> {
    id: u64,
    scopes: Vec<Scope<'a>>,
}

#[derive(Debug, Default)]
struct Groups<'a> {
    resources: Vec<Group<'a>>,
    by_id: HashMap<u64, usize>,
    by_owner: HashMap<Owner<'a>, (usize, usize)>,
    /// Of the span before.
    last: Option<(Owner<'a>, (usize, usize))>,
}

impl<'a> Groups<'a> {
    fn add(&mut self, owner: Owner<'a>, span: Range<usize>) {
        let (resource, scope) = match self.last {
            Some((last, place)) if last == owner => place,
            _ => self.place(owner),
        };
        self.last = Some((owner, (resource, scope)));
        let scope = &mut self.resources[resource].scopes[scope];
        scope.size += span.len();
        match scope.spans.last_mut() {
            Some(before) if before.end == span.start => before.end = span.end,
            _ => scope.spans.push(span),
        }
    }

    fn place(&mut self, owner: Owner<'a>) -> (usize, usize) {
        let resources = &mut self.resources;
        let resource = *self.by_id.entry(owner.resource_id).or_insert_with(|| {
            resources.push(Group { id: owner.resource_id, scopes: Vec::new() });
            resources.len() - 1
        });
        let scopes = &mut self.resources[resource].scopes;
        *self.by_owner.entry(owner).or_insert_with(|| {
            scopes.push(Scope { owner, spans: Vec::new(), size: 0 });
            (resource, scopes.len() - 1)
        })
    }
}

/// Spans as fields of a ScopeSpans, one after another.
#[derive(Debug, Default)]
struct Spans {
    bytes: Vec<u8>,
    /// The Span that is being written.
    span: Vec<u8>,
    /// A message in it.
    child: Vec<u8>,
    value: Vec<u8>,
}

impl Spans {
    fn put(&mut self, view: &View<'_>, row: usize) {
        if view.raw.is_valid(row) {
            put_bytes(&mut self.bytes, 2, view.raw.value(row));
            return;
        }
        self.span.clear();
        let out = &mut self.span;
        put_bytes(out, 1, view.trace_id.value(row));
        put_bytes(out, 2, view.span_id.value(row));
        put_text(out, 3, view.trace_state.get(row).unwrap_or_default());
        if view.parent_span_id.is_valid(row) {
            put_bytes(out, 4, view.parent_span_id.value(row));
        }
        put_text(out, 5, view.name.get(row).unwrap_or_default());
        put_number(out, 6, i64::from(view.kind.value(row)) as u64);
        let start = view.start_time.value(row);
        put_fixed64(out, 7, start as u64);
        put_fixed64(out, 8, start.wrapping_add(view.duration.value(row)) as u64);
        for (key, column) in &view.columns {
            if let Some(value) = column.get(row) {
                pair::put(out, 9, key.as_bytes(), value, &mut self.value);
            }
        }
        for (key, value) in view.attributes.of(row) {
            pair::put(out, 9, key.as_bytes(), value, &mut self.value);
        }
        put_number(out, 10, number(view.dropped_attributes, row).into());
        self.events(view, row);
        put_number(&mut self.span, 12, number(view.dropped_events, row).into());
        self.links(view, row);
        let out = &mut self.span;
        put_number(out, 14, number(view.dropped_links, row).into());
        if view.status_code.is_valid(row) {
            self.child.clear();
            put_text(&mut self.child, 2, view.status_message.get(row).unwrap_or_default());
            put_number(&mut self.child, 3, i64::from(view.status_code.value(row)) as u64);
            put_bytes(out, 15, &self.child);
        }
        put_fixed32(out, 16, view.flags.value(row));
        put_bytes(&mut self.bytes, 2, &self.span);
    }

    fn events(&mut self, view: &View<'_>, row: usize) {
        let events = &view.events;
        for at in events.of(row) {
            let out = &mut self.child;
            out.clear();
            put_fixed64(out, 1, events.time.value(at) as u64);
            put_text(out, 2, events.name.value(at));
            for (key, value) in events.attributes.of(at) {
                pair::put(out, 3, key.as_bytes(), value, &mut self.value);
            }
            put_number(out, 4, number(events.dropped, at).into());
            put_bytes(&mut self.span, 11, out);
        }
    }

    fn links(&mut self, view: &View<'_>, row: usize) {
        let links = &view.links;
        for at in links.of(row) {
            let out = &mut self.child;
            out.clear();
            if links.trace_id.is_valid(at) {
                put_bytes(out, 1, links.trace_id.value(at));
            }
            if links.span_id.is_valid(at) {
                put_bytes(out, 2, links.span_id.value(at));
            }
            if links.trace_state.is_valid(at) {
                put_text(out, 3, links.trace_state.value(at));
            }
            for (key, value) in links.attributes.of(at) {
                pair::put(out, 4, key.as_bytes(), value, &mut self.value);
            }
            put_number(out, 5, number(links.dropped, at).into());
            put_fixed32(out, 6, links.flags.value(at));
            put_bytes(&mut self.span, 13, out);
        }
    }
}
