//! Checks a Span with its events, links and status.

use super::{
    super::wire::{BYTES, FIXED32, FIXED64, VARINT, bytes, key, key_of, take, varint},
    Flaw, Reason,
    value::{key_value, string, unknown},
};

/// Checks a Span and gives its trace id. Broken framing is reported before ids of the wrong size.
pub(super) fn check(mut rest: &[u8]) -> Result<&[u8; 16], Reason> {
    const TRACE_ID: u32 = key_of(1, BYTES);
    const SPAN_ID: u32 = key_of(2, BYTES);
    const TRACE_STATE: u32 = key_of(3, BYTES);
    const PARENT_SPAN_ID: u32 = key_of(4, BYTES);
    const NAME: u32 = key_of(5, BYTES);
    const KIND: u32 = key_of(6, VARINT);
    const START: u32 = key_of(7, FIXED64);
    const END: u32 = key_of(8, FIXED64);
    const ATTRIBUTE: u32 = key_of(9, BYTES);
    const DROPPED_ATTRIBUTES: u32 = key_of(10, VARINT);
    const EVENT: u32 = key_of(11, BYTES);
    const DROPPED_EVENTS: u32 = key_of(12, VARINT);
    const LINK: u32 = key_of(13, BYTES);
    const DROPPED_LINKS: u32 = key_of(14, VARINT);
    const STATUS: u32 = key_of(15, BYTES);
    const FLAGS: u32 = key_of(16, FIXED32);

    let mut trace_id: Option<&[u8]> = None;
    let mut one_trace = true;
    let mut span_id: &[u8] = &[];
    let mut parent_span_id: &[u8] = &[];
    let mut links_good = true;
    while !rest.is_empty() {
        match key(&mut rest).ok_or(Flaw::Framing)? {
            TRACE_ID => {
                let id = bytes(&mut rest).ok_or(Flaw::Framing)?;
                one_trace &= trace_id.is_none_or(|before| before == id);
                trace_id = Some(id);
            }
            SPAN_ID => span_id = bytes(&mut rest).ok_or(Flaw::Framing)?,
            PARENT_SPAN_ID => parent_span_id = bytes(&mut rest).ok_or(Flaw::Framing)?,
            TRACE_STATE | NAME => string(&mut rest)?,
            START | END => _ = take(&mut rest, 8).ok_or(Flaw::Framing)?,
            ATTRIBUTE => key_value(bytes(&mut rest).ok_or(Flaw::Framing)?, 1)?,
            KIND | DROPPED_ATTRIBUTES | DROPPED_EVENTS | DROPPED_LINKS => _ = varint(&mut rest).ok_or(Flaw::Framing)?,
            EVENT => event(bytes(&mut rest).ok_or(Flaw::Framing)?)?,
            LINK => links_good &= link(bytes(&mut rest).ok_or(Flaw::Framing)?)?,
            STATUS => status(bytes(&mut rest).ok_or(Flaw::Framing)?)?,
            FLAGS => _ = take(&mut rest, 4).ok_or(Flaw::Framing)?,
            key => unknown(&mut rest, key, 16)?,
        }
    }

    let trace_id = trace_id.and_then(|id| <&[u8; 16]>::try_from(id).ok()).filter(|id| one_trace && **id != [0; 16]);
    let trace_id = trace_id.ok_or(Reason::TraceId)?;
    if span_id.len() != 8 || span_id == [0; 8] {
        return Err(Reason::SpanId);
    }
    if !matches!(parent_span_id.len(), 0 | 8) {
        return Err(Reason::ParentSpanId);
    }
    if !links_good {
        return Err(Reason::LinkId);
    }
    Ok(trace_id)
}

/// Checks a span's Event.
fn event(mut rest: &[u8]) -> Result<(), Flaw> {
    const TIME: u32 = key_of(1, FIXED64);
    const NAME: u32 = key_of(2, BYTES);
    const ATTRIBUTE: u32 = key_of(3, BYTES);
    const DROPPED_ATTRIBUTES: u32 = key_of(4, VARINT);
    while !rest.is_empty() {
        match key(&mut rest).ok_or(Flaw::Framing)? {
            TIME => _ = take(&mut rest, 8).ok_or(Flaw::Framing)?,
            NAME => string(&mut rest)?,
            ATTRIBUTE => key_value(bytes(&mut rest).ok_or(Flaw::Framing)?, 1)?,
            DROPPED_ATTRIBUTES => _ = varint(&mut rest).ok_or(Flaw::Framing)?,
            key => unknown(&mut rest, key, 4)?,
        }
    }
    Ok(())
}

/// Checks a span's Link; says whether its ids have a right size.
fn link(mut rest: &[u8]) -> Result<bool, Flaw> {
    const TRACE_ID: u32 = key_of(1, BYTES);
    const SPAN_ID: u32 = key_of(2, BYTES);
    const TRACE_STATE: u32 = key_of(3, BYTES);
    const ATTRIBUTE: u32 = key_of(4, BYTES);
    const DROPPED_ATTRIBUTES: u32 = key_of(5, VARINT);
    const FLAGS: u32 = key_of(6, FIXED32);
    let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
    while !rest.is_empty() {
        match key(&mut rest).ok_or(Flaw::Framing)? {
            TRACE_ID => trace_id = bytes(&mut rest).ok_or(Flaw::Framing)?,
            SPAN_ID => span_id = bytes(&mut rest).ok_or(Flaw::Framing)?,
            TRACE_STATE => string(&mut rest)?,
            ATTRIBUTE => key_value(bytes(&mut rest).ok_or(Flaw::Framing)?, 1)?,
            DROPPED_ATTRIBUTES => _ = varint(&mut rest).ok_or(Flaw::Framing)?,
            FLAGS => _ = take(&mut rest, 4).ok_or(Flaw::Framing)?,
            key => unknown(&mut rest, key, 6)?,
        }
    }
    Ok(matches!(trace_id.len(), 0 | 16) && matches!(span_id.len(), 0 | 8))
}

/// Checks a span's Status. Its field 1 is retired: any wire type will do.
fn status(mut rest: &[u8]) -> Result<(), Flaw> {
    const MESSAGE: u32 = key_of(2, BYTES);
    const CODE: u32 = key_of(3, VARINT);
    while !rest.is_empty() {
        match key(&mut rest).ok_or(Flaw::Framing)? {
            MESSAGE => string(&mut rest)?,
            CODE => _ = varint(&mut rest).ok_or(Flaw::Framing)?,
            key if key >> 3 == 1 => unknown(&mut rest, key, 0)?,
            key => unknown(&mut rest, key, 3)?,
        }
    }
    Ok(())
}
