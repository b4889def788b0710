//! Checks the bytes of an ExportTraceServiceRequest in one go, without decoding them into structs.
//!
//! Damage is confined: what is wrong within a span makes that span bad, what is wrong within a Resource or an
//! InstrumentationScope (or their schema URL) makes the spans under it bad; only where the request's own framing is broken
//! nothing of it can be used. What passes decodes with prost, and has ids of the right size.
//!
//! Where this is stricter than a protobuf decoder: groups (wire types 3 and 4) are refused, and a span that names two
//! different traces is bad, though a decoder would take the last: so the first trace id in a span is always its trace id.

mod span;
#[cfg(test)]
mod tests;
mod value;

use std::{cell::Cell, ops::Range};

use super::wire::{BYTES, Reader, bytes, key_of};

/// An AnyValue may be nested this deep; the one directly in an attribute is at depth 1.
pub const MAX_DEPTH: u32 = 64;

/// A request with more bad spans is refused as a whole, so that a report about it stays smaller than the request.
pub const MAX_BAD_SPANS: usize = 1 << 16;

/// Who stores spans repeats their scope's attributes for each of them. So that a request cannot make much of little, it may have
/// them repeated to so many bytes,
const SCOPE_ROOM: u64 = 4 << 20;
/// and so many more for each byte of its good spans and their scopes,
const SCOPE_ROOM_PER_BYTE: u64 = 64;
/// and to so many in all.
const MAX_SCOPE_BYTES: u64 = 1 << 30;

/// To how many bytes the attributes of scopes may come, repeated for each span, in requests of `bytes` bytes together that
/// have each passed [`check`] and that were joined up to 1 MiB.
pub const fn scope_bytes_of_batch(bytes: u64) -> u64 {
    // What makes most of the least is a scope of 11 KB with spans of 30 bytes that take as much again: fifty of them are 1 MiB.
    50 * SCOPE_ROOM + SCOPE_ROOM_PER_BYTE.saturating_mul(bytes)
}

/// What `check` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many spans are good.
    pub spans: u32,
    /// The others, in order.
    pub bad: Vec<BadSpan>,
}

/// A span that has to be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSpan {
    /// The bytes of the Span message in the request.
    pub range: Range<usize>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// Its own bytes cannot be read.
    #[error(transparent)]
    Span(#[from] Flaw),
    /// Its InstrumentationScope, or the schema URL of that, cannot be read.
    #[error("its scope: {0}")]
    Scope(Flaw),
    /// Its scope's attributes, repeated for each span of the request, would take too much.
    #[error("its scope has too many attributes to be repeated for each of so many spans")]
    ScopeTooLarge,
    /// Its Resource, or the schema URL of that, cannot be read.
    #[error("its resource: {0}")]
    Resource(Flaw),
    /// A trace id of the wrong size, of zeros, or two that differ.
    #[error("trace_id has to be 16 bytes that are not all zero")]
    TraceId,
    /// A span id of the wrong size, or of zeros.
    #[error("span_id has to be 8 bytes that are not all zero")]
    SpanId,
    /// A parent's id of the wrong size.
    #[error("parent_span_id has to be empty or 8 bytes")]
    ParentSpanId,
    /// A link's id of the wrong size.
    #[error("a link's trace_id has to be empty or 16 bytes, its span_id empty or 8 bytes")]
    LinkId,
}

/// Why bytes are not the message that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Flaw {
    /// A length over the end, a wrong wire type, a group, a varint of more than 64 bits.
    #[error("not a protobuf message of OTLP")]
    Framing,
    /// Text that is not.
    #[error("a string is not UTF-8")]
    Utf8,
    /// Values within values within values.
    #[error("an attribute's value is nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

impl Reason {
    /// The reason in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Span(Flaw::Framing) => "framing",
            Self::Span(Flaw::Utf8) => "utf8",
            Self::Span(Flaw::TooDeep) => "too_deep",
            Self::Scope(_) => "scope",
            Self::ScopeTooLarge => "scope_too_large",
            Self::Resource(_) => "resource",
            Self::TraceId => "trace_id",
            Self::SpanId => "span_id",
            Self::ParentSpanId => "parent_span_id",
            Self::LinkId => "link_id",
        }
    }
}

/// A request that cannot be read. Final: it will not get better by being sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an ExportTraceServiceRequest: {what}, at byte {at}")]
pub struct Malformed {
    /// Where in the request.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Checks a request. `on_span` gets the trace id of each good span, in order; after an error its calls mean nothing.
///
/// # Errors
/// When the framing is broken outside of spans, resources and scopes; when a resource or scope without spans is broken;
/// when more than [`MAX_BAD_SPANS`] are bad.
pub fn check(request: &[u8], on_span: impl FnMut(&[u8; 16])) -> Result<Checked, Malformed> {
    walk(request, on_span, ScopeRoom { left: SCOPE_ROOM, total: MAX_SCOPE_BYTES })
}

/// Checks several requests that have each passed [`check`], without the spans that did not, one after the other: together
/// their scopes may have more attributes than one of them.
///
/// # Errors
/// Those of `check`.
pub fn check_batch(requests: &[u8], on_span: impl FnMut(&[u8; 16])) -> Result<Checked, Malformed> {
    walk(requests, on_span, ScopeRoom { left: u64::MAX, total: u64::MAX })
}

fn walk(request: &[u8], on_span: impl FnMut(&[u8; 16]), room: ScopeRoom) -> Result<Checked, Malformed> {
    let mut walk = Walk { checked: Checked::default(), on_span, room };
    let mut reader = Reader::new(request);
    while !reader.is_empty() {
        let at = reader.at();
        let broken = || Malformed { at, what: "a field of it is cut short or of the wrong type" };
        match reader.key().ok_or_else(broken)? {
            RESOURCE_SPANS => walk.resource_spans(reader.message().ok_or_else(broken)?)?,
            key if key >> 3 == 1 => return Err(broken()),
            key => reader.skip(key).ok_or_else(broken)?,
        }
    }
    Ok(walk.checked)
}

pub(super) const RESOURCE_SPANS: u32 = key_of(1, BYTES);
/// The Resource of a ResourceSpans, and the InstrumentationScope of a ScopeSpans.
pub(super) const OWNER: u32 = key_of(1, BYTES);
/// The ScopeSpans of a ResourceSpans, and the Spans of a ScopeSpans.
pub(super) const CHILD: u32 = key_of(2, BYTES);
const SCHEMA_URL: u32 = key_of(3, BYTES);

struct Walk<F> {
    checked: Checked,
    on_span: F,
    room: ScopeRoom,
}

/// Room for attributes of scopes. Only good spans and their scopes make any: a request that has passed without its bad spans passes
/// again.
struct ScopeRoom {
    left: u64,
    total: u64,
}

impl ScopeRoom {
    /// Takes room for the attributes of a span's scope, to which the span adds by its size; `scope` is the scope's, until it has
    /// been added too. Says whether there was enough.
    fn take(&mut self, attributes: u64, span: u64, scope: &mut u64) -> bool {
        let left = self.left.saturating_add((*scope + span).saturating_mul(SCOPE_ROOM_PER_BYTE));
        if attributes > left || attributes > self.total {
            return false;
        }
        (self.left, self.total, *scope) = (left - attributes, self.total - attributes, 0);
        true
    }
}

impl<F: FnMut(&[u8; 16])> Walk<F> {
    fn resource_spans(&mut self, message: Reader<'_>) -> Result<(), Malformed> {
        let flaw = envelope(message, value::resource, "a field of a ResourceSpans is cut short or of the wrong type")?;
        let before = self.seen();
        let mut rest = message;
        while !rest.is_empty() {
            match rest.key() {
                Some(CHILD) => {
                    if let Some(scope_spans) = rest.message() {
                        self.scope_spans(scope_spans, flaw.map(Reason::Resource))?;
                    }
                }
                Some(key) => drop(rest.skip(key)),
                None => break,
            }
        }
        if flaw.is_some() && before == self.seen() {
            return Err(Malformed { at: message.at(), what: "a ResourceSpans without spans has a broken resource" });
        }
        Ok(())
    }

    fn scope_spans(&mut self, message: Reader<'_>, outer: Option<Reason>) -> Result<(), Malformed> {
        let attributes = Cell::new(0);
        let scope = |scope: &[u8]| {
            attributes.set(attributes.get() + value::scope_attributes(scope));
            value::scope(scope)
        };
        let flaw = envelope(message, scope, "a field of a ScopeSpans is cut short or of the wrong type")?;
        let (attributes, mut unpaid) = (attributes.get(), attributes.get());
        let reason = outer.or(flaw.map(Reason::Scope));
        let before = self.seen();
        let mut rest = message;
        while !rest.is_empty() {
            match rest.key() {
                Some(CHILD) => {
                    let Some(bytes) = bytes(&mut rest.rest) else { break };
                    let checked = reason.map_or_else(|| span::check(bytes), Err).and_then(|trace_id| {
                        let fits = self.room.take(attributes, bytes.len() as u64, &mut unpaid);
                        if fits { Ok(trace_id) } else { Err(Reason::ScopeTooLarge) }
                    });
                    match checked {
                        Ok(trace_id) => {
                            self.checked.spans += 1;
                            (self.on_span)(trace_id);
                        }
                        Err(reason) => self.bad_span(rest.at() - bytes.len()..rest.at(), reason)?,
                    }
                }
                Some(key) => drop(rest.skip(key)),
                None => break,
            }
        }
        if flaw.is_some() && before == self.seen() {
            return Err(Malformed { at: message.at(), what: "a ScopeSpans without spans has a broken scope" });
        }
        Ok(())
    }

    fn seen(&self) -> usize {
        self.checked.spans as usize + self.checked.bad.len()
    }

    #[cold]
    fn bad_span(&mut self, range: Range<usize>, reason: Reason) -> Result<(), Malformed> {
        if self.checked.bad.len() == MAX_BAD_SPANS {
            return Err(Malformed { at: range.start, what: "more than 65536 spans of it are bad" });
        }
        self.checked.bad.push(BadSpan { range, reason });
        Ok(())
    }
}

/// Reads a ResourceSpans or a ScopeSpans without its children: what is wrong with its owner or its schema URL has to be
/// known before the first span is reported, and both may stand after the spans. After this its framing is known to hold.
fn envelope(
    message: Reader<'_>,
    owner: impl Fn(&[u8]) -> Result<(), Flaw>,
    what: &'static str,
) -> Result<Option<Flaw>, Malformed> {
    let mut flaw = None;
    let mut rest = message;
    while !rest.is_empty() {
        let at = rest.at();
        let broken = || Malformed { at, what };
        match rest.key().ok_or_else(broken)? {
            CHILD => _ = bytes(&mut rest.rest).ok_or_else(broken)?,
            OWNER => flaw = flaw.or(owner(bytes(&mut rest.rest).ok_or_else(broken)?).err()),
            SCHEMA_URL => flaw = flaw.or(value::utf8(bytes(&mut rest.rest).ok_or_else(broken)?).err()),
            key if key >> 3 <= 3 => return Err(broken()),
            key => rest.skip(key).ok_or_else(broken)?,
        }
    }
    Ok(flaw)
}
