//! Reads Spans into columns.

use clew_common::otlp::wire::{BYTES, FIXED32, FIXED64, VARINT, bytes, key, key_of, skip, take, varint};

use super::{
    attributes::Attributes,
    lists::{Events, Link, Links},
    pair,
    sparse::Sparse,
    strings::{Blobs, Strings},
};

/// The columns of spans that are not those of their resource, their scope or their attributes.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) trace_ids: Vec<[u8; 16]>,
    pub(super) span_ids: Vec<[u8; 8]>,
    pub(super) parents: Sparse<[u8; 8]>,
    pub(super) starts: Vec<i64>,
    pub(super) durations: Vec<i64>,
    pub(super) kinds: Vec<i32>,
    pub(super) status_codes: Sparse<i32>,
    pub(super) status_messages: Strings,
    pub(super) names: Strings,
    pub(super) trace_states: Strings,
    pub(super) flags: Vec<u32>,
    pub(super) dropped_attributes: Sparse<u32>,
    pub(super) dropped_events: Sparse<u32>,
    pub(super) dropped_links: Sparse<u32>,
    pub(super) events: Events,
    pub(super) links: Links,
    pub(super) raw: Blobs,
}

/// Fields that a message may have once.
#[derive(Default)]
struct Once(u32);

impl Once {
    /// Notes that a field was there, by its key; false when it was there before.
    #[inline(always)]
    fn first(&mut self, key: u32) -> bool {
        let bit = 1 << (key >> 3 & 31);
        let first = self.0 & bit == 0;
        self.0 |= bit;
        first
    }
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.trace_ids.len()
    }

    pub(super) fn clear(&mut self) {
        self.trace_ids.clear();
        self.span_ids.clear();
        self.parents.clear();
        self.starts.clear();
        self.durations.clear();
        self.kinds.clear();
        self.status_codes.clear();
        self.status_messages.clear();
        self.names.clear();
        self.trace_states.clear();
        self.flags.clear();
        self.dropped_attributes.clear();
        self.dropped_events.clear();
        self.dropped_links.clear();
        self.events.clear();
        self.links.clear();
        self.raw.clear();
    }

    /// Adds a Span as a row. None when its framing is broken or one of its own ids is of the wrong size.
    #[inline]
    pub(super) fn push(&mut self, message: &[u8], attributes: &mut Attributes) -> Option<()> {
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

        let row = self.trace_ids.len() as u32;
        let mut once = Once::default();
        // Whether columns say all of it.
        let mut exact = true;
        let (mut trace_id, mut span_id, mut parent): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
        let (mut name, mut trace_state): (&[u8], &[u8]) = (&[], &[]);
        let mut status: Option<&[u8]> = None;
        let (mut start, mut end) = (0u64, 0u64);
        let (mut kind, mut flags) = (0, 0);
        let (mut dropped_attributes, mut dropped_events, mut dropped_links) = (0, 0, 0);
        attributes.start();

        let mut rest = message;
        while !rest.is_empty() {
            let key = key(&mut rest)?;
            match key {
                ATTRIBUTE => {
                    let pair = pair::read(bytes(&mut rest)?)?;
                    exact &= attributes.push(row, &pair) & !pair.odd;
                    continue;
                }
                EVENT => {
                    exact &= self.event(row, bytes(&mut rest)?)?;
                    continue;
                }
                LINK => {
                    exact &= self.link(row, bytes(&mut rest)?)?;
                    continue;
                }
                TRACE_ID => trace_id = bytes(&mut rest)?,
                SPAN_ID => span_id = bytes(&mut rest)?,
                TRACE_STATE => trace_state = bytes(&mut rest)?,
                PARENT_SPAN_ID => parent = bytes(&mut rest)?,
                NAME => name = bytes(&mut rest)?,
                KIND => kind = varint(&mut rest)? as i32,
                START => start = fixed64(&mut rest)?,
                END => end = fixed64(&mut rest)?,
                DROPPED_ATTRIBUTES => dropped_attributes = varint(&mut rest)? as u32,
                DROPPED_EVENTS => dropped_events = varint(&mut rest)? as u32,
                DROPPED_LINKS => dropped_links = varint(&mut rest)? as u32,
                STATUS => status = Some(bytes(&mut rest)?),
                FLAGS => flags = fixed32(&mut rest)?,
                key => {
                    skip(&mut rest, key)?;
                    exact = false;
                    continue;
                }
            }
            exact &= once.first(key);
        }

        self.trace_ids.push(trace_id.try_into().ok()?);
        self.span_ids.push(span_id.try_into().ok()?);
        match <[u8; 8]>::try_from(parent) {
            // Eight zeros are no parent: to queries such a span is a root, as one is without the field.
            Ok(id) if id != [0; 8] => self.parents.push(row, id),
            _ => exact &= parent.is_empty(),
        }
        self.starts.push(start as i64);
        self.durations.push(end.wrapping_sub(start) as i64);
        self.kinds.push(kind);
        self.names.push(row, name);
        self.flags.push(flags);
        if let Some(status) = status {
            exact &= self.status(row, status)?;
        }
        if !trace_state.is_empty() {
            self.trace_states.push(row, trace_state);
        }
        push_count(&mut self.dropped_attributes, row, dropped_attributes);
        push_count(&mut self.dropped_events, row, dropped_events);
        push_count(&mut self.dropped_links, row, dropped_links);
        if !exact {
            self.raw.push(row, message);
        }
        Some(())
    }

    fn status(&mut self, row: u32, mut rest: &[u8]) -> Option<bool> {
        const MESSAGE: u32 = key_of(2, BYTES);
        const CODE: u32 = key_of(3, VARINT);
        let mut once = Once::default();
        let mut exact = true;
        let (mut text, mut code): (&[u8], _) = (&[], 0);
        while !rest.is_empty() {
            let key = key(&mut rest)?;
            match key {
                MESSAGE => text = bytes(&mut rest)?,
                CODE => code = varint(&mut rest)? as i32,
                key => {
                    skip(&mut rest, key)?;
                    exact = false;
                }
            }
            exact &= once.first(key);
        }
        self.status_codes.push(row, code);
        if !text.is_empty() {
            self.status_messages.push(row, text);
        }
        Some(exact)
    }

    fn event(&mut self, row: u32, mut rest: &[u8]) -> Option<bool> {
        const TIME: u32 = key_of(1, FIXED64);
        const NAME: u32 = key_of(2, BYTES);
        const ATTRIBUTE: u32 = key_of(3, BYTES);
        const DROPPED_ATTRIBUTES: u32 = key_of(4, VARINT);
        let at = self.events.next();
        let mut once = Once::default();
        let mut exact = true;
        let (mut time, mut name, mut dropped): (_, &[u8], _) = (0, &[], 0);
        while !rest.is_empty() {
            let key = key(&mut rest)?;
            match key {
                ATTRIBUTE => {
                    let pair = pair::read(bytes(&mut rest)?)?;
                    self.events.attributes.push(at, pair.key, pair.value);
                    exact &= !pair.odd;
                    continue;
                }
                TIME => time = fixed64(&mut rest)?,
                NAME => name = bytes(&mut rest)?,
                DROPPED_ATTRIBUTES => dropped = varint(&mut rest)? as u32,
                key => {
                    skip(&mut rest, key)?;
                    exact = false;
                }
            }
            exact &= once.first(key);
        }
        self.events.push(row, time as i64, name, dropped);
        Some(exact)
    }

    fn link(&mut self, row: u32, mut rest: &[u8]) -> Option<bool> {
        const TRACE_ID: u32 = key_of(1, BYTES);
        const SPAN_ID: u32 = key_of(2, BYTES);
        const TRACE_STATE: u32 = key_of(3, BYTES);
        const ATTRIBUTE: u32 = key_of(4, BYTES);
        const DROPPED_ATTRIBUTES: u32 = key_of(5, VARINT);
        const FLAGS: u32 = key_of(6, FIXED32);
        let at = self.links.next();
        let mut once = Once::default();
        let mut exact = true;
        let mut link = Link::default();
        let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
        while !rest.is_empty() {
            let key = key(&mut rest)?;
            match key {
                ATTRIBUTE => {
                    let pair = pair::read(bytes(&mut rest)?)?;
                    self.links.attributes.push(at, pair.key, pair.value);
                    exact &= !pair.odd;
                    continue;
                }
                TRACE_ID => trace_id = bytes(&mut rest)?,
                SPAN_ID => span_id = bytes(&mut rest)?,
                TRACE_STATE => link.state = bytes(&mut rest)?,
                DROPPED_ATTRIBUTES => link.dropped = varint(&mut rest)? as u32,
                FLAGS => link.flags = fixed32(&mut rest)?,
                key => {
                    skip(&mut rest, key)?;
                    exact = false;
                }
            }
            exact &= once.first(key);
        }
        link.trace = trace_id.try_into().ok();
        link.span = span_id.try_into().ok();
        exact &= link.trace.is_some() || trace_id.is_empty();
        exact &= link.span.is_some() || span_id.is_empty();
        self.links.push(row, &link);
        Some(exact)
    }
}

/// Counts are nearly always 0.
#[inline(always)]
fn push_count(column: &mut Sparse<u32>, row: u32, count: u32) {
    if count != 0 {
        column.push(row, count);
    }
}

#[inline(always)]
fn fixed64(rest: &mut &[u8]) -> Option<u64> {
    take(rest, 8)?.try_into().ok().map(u64::from_le_bytes)
}

#[inline(always)]
fn fixed32(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)
}
