//! Spans as they are compared: by their bytes, each with its resource and scope.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use clew_common::otlp::wire::{BYTES, bytes, key, key_of, put_varint, skip};

/// A span and what it is in, as bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flat {
    pub resource: Option<Vec<u8>>,
    pub resource_schema_url: Vec<u8>,
    pub scope: Option<Vec<u8>>,
    pub scope_schema_url: Vec<u8>,
    /// Its fields; attributes are a map, whose order is not kept: they are sorted.
    pub span: Vec<Vec<u8>>,
}

const FIRST: u32 = key_of(1, BYTES);
const SECOND: u32 = key_of(2, BYTES);
const THIRD: u32 = key_of(3, BYTES);
const ATTRIBUTE: u32 = key_of(9, BYTES);

/// A key, the value of it when that is bytes, and both as they are.
type Field<'a> = (u32, &'a [u8], &'a [u8]);

/// The fields of a message.
fn fields(mut message: &[u8]) -> Result<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let whole = message;
        let key = key(&mut message).context("a key")?;
        let mut value = message;
        skip(&mut message, key).context("a value")?;
        let field = &whole[..whole.len() - message.len()];
        let value = if key & 7 == BYTES { bytes(&mut value).context("bytes")? } else { &[] };
        fields.push((key, value, field));
    }
    Ok(fields)
}

/// Adds the spans of TracesData, decoded no further than it takes: values may be nested deeper than prost goes.
pub fn flatten(message: &[u8], all: &mut BTreeMap<Flat, usize>) -> Result<()> {
    let one = |fields: &[Field<'_>], wanted: u32| {
        fields.iter().find(|(key, ..)| *key == wanted).map(|(_, value, _)| value.to_vec())
    };
    for (key, resource_spans, _) in fields(message)? {
        ensure!(key == FIRST, "a field of TracesData that is not known");
        let outer = fields(resource_spans)?;
        for (_, scope_spans, _) in outer.iter().filter(|(key, ..)| *key == SECOND) {
            let inner = fields(scope_spans)?;
            for (_, span, _) in inner.iter().filter(|(key, ..)| *key == SECOND) {
                let fields = fields(span)?;
                let (mut attributes, others): (Vec<_>, Vec<_>) =
                    fields.into_iter().partition(|(key, ..)| *key == ATTRIBUTE);
                attributes.sort_unstable();
                let flat = Flat {
                    resource: one(&outer, FIRST),
                    resource_schema_url: one(&outer, THIRD).unwrap_or_default(),
                    scope: one(&inner, FIRST),
                    scope_schema_url: one(&inner, THIRD).unwrap_or_default(),
                    span: others.into_iter().chain(attributes).map(|(_, _, field)| field.to_vec()).collect(),
                };
                *all.entry(flat).or_default() += 1;
            }
        }
    }
    Ok(())
}

/// The spans of messages.
pub fn of(messages: &[Vec<u8>]) -> Result<BTreeMap<Flat, usize>> {
    let mut all = BTreeMap::new();
    messages.iter().try_for_each(|message| flatten(message, &mut all))?;
    Ok(all)
}

/// The spans of messages that have their lengths before them.
pub fn of_delimited(mut rest: &[u8]) -> Result<BTreeMap<Flat, usize>> {
    let mut all = BTreeMap::new();
    while !rest.is_empty() {
        flatten(bytes(&mut rest).context("a message that is cut short")?, &mut all)?;
    }
    Ok(all)
}

/// Messages with their lengths before them.
pub fn delimited(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        put_varint(&mut out, message.len() as u64);
        out.extend_from_slice(message);
    }
    out
}

/// How many spans there are.
pub fn count(all: &BTreeMap<Flat, usize>) -> usize {
    all.values().sum()
}

/// Checks that two are the same; says what is not, in short.
pub fn same(found: &BTreeMap<Flat, usize>, expected: &BTreeMap<Flat, usize>) -> Result<()> {
    for (from, to, what) in [(expected, found, "missing"), (found, expected, "more")] {
        let different = from.iter().filter(|(flat, times)| to.get(*flat) != Some(*times));
        let different: Vec<_> = different.collect();
        if let Some((flat, times)) = different.first() {
            let shown: Vec<String> = flat.span.iter().map(|field| shorten(field)).collect();
            let (resource, scope) = (flat.resource.as_deref(), flat.scope.as_deref());
            let around = [resource, scope].map(|message| message.map(shorten));
            let count = different.len();
            anyhow::bail!("{count} {what} (or as often), such as {times} times {shown:?} in {around:?}");
        }
    }
    Ok(())
}

fn shorten(bytes: &[u8]) -> String {
    let text: String =
        bytes.iter().take(60).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
    if bytes.len() > 60 { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}
