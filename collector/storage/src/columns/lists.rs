//! The lists of a span: attributes without a column, events, links.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array, ListArray, StructArray,
    TimestampNanosecondArray, UInt32Array, new_null_array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};

use super::{pair::Value, sparse::Sparse, strings::Texts};
use crate::schema;

/// Lists of attributes: of spans, of events or of links.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// Whose each one is, ascending.
    owners: Vec<u32>,
    keys: Texts,
    kinds: Vec<Kind>,
    /// The value of those that are numbers: its bits.
    numbers: Vec<u64>,
    /// The value of those that are not: text, or an AnyValue.
    texts: Texts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Empty,
    String,
    Int,
    Double,
    Bool,
    Other,
}

impl Pairs {
    /// Adds an attribute of `owner`, which is none before the last one's.
    pub(super) fn push(&mut self, owner: u32, key: &[u8], value: Value<'_>) {
        let (kind, number, text): (_, _, &[u8]) = match value {
            Value::Empty => (Kind::Empty, 0, &[]),
            Value::String(text) => (Kind::String, 0, text),
            Value::Int(value) => (Kind::Int, value as u64, &[]),
            Value::Double(value) => (Kind::Double, value.to_bits(), &[]),
            Value::Bool(value) => (Kind::Bool, value.into(), &[]),
            Value::Other(message) => (Kind::Other, 0, message),
        };
        self.owners.push(owner);
        self.keys.push(key);
        self.kinds.push(kind);
        self.numbers.push(number);
        self.texts.push(text);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8], Value<'_>)> {
        (0u32..).zip(&self.owners).zip(&self.kinds).zip(&self.numbers).map(|(((at, owner), kind), number)| {
            let text = self.texts.get(at);
            let value = match kind {
                Kind::Empty => Value::Empty,
                Kind::String => Value::String(text),
                Kind::Int => Value::Int(*number as i64),
                Kind::Double => Value::Double(f64::from_bits(*number)),
                Kind::Bool => Value::Bool(*number != 0),
                Kind::Other => Value::Other(text),
            };
            (*owner, self.keys.get(at), value)
        })
    }

    pub(super) fn clear(&mut self) {
        self.owners.clear();
        self.keys.clear();
        self.kinds.clear();
        self.numbers.clear();
        self.texts.clear();
    }

    /// A list for each of `count` owners.
    pub(super) fn dense(&self, count: usize) -> Result<ArrayRef, ArrowError> {
        let data_type = &schema::ATTRIBUTE_LIST;
        if self.owners.is_empty() {
            return Ok(new_null_array(data_type, count));
        }
        let of = |kind| BooleanBuffer::collect_bool(self.kinds.len(), |at| self.kinds[at] == kind);
        let nulls = |kind| Some(NullBuffer::new(of(kind)));
        let ints: Vec<i64> = self.numbers.iter().map(|bits| *bits as i64).collect();
        let doubles: Vec<f64> = self.numbers.iter().map(|bits| f64::from_bits(*bits)).collect();
        let bools = BooleanBuffer::collect_bool(self.numbers.len(), |at| self.numbers[at] != 0);
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(self.keys.strings(None)?),
            Arc::new(self.texts_of(Kind::String).strings(nulls(Kind::String))?),
            Arc::new(Int64Array::try_new(ints.into(), nulls(Kind::Int))?),
            Arc::new(Float64Array::try_new(doubles.into(), nulls(Kind::Double))?),
            Arc::new(BooleanArray::new(bools, nulls(Kind::Bool))),
            Arc::new(self.texts_of(Kind::Other).binary(nulls(Kind::Other))?),
        ];
        let values = StructArray::try_new(schema::ATTRIBUTE.clone(), arrays, None)?;
        lists(data_type, &self.owners, count, Arc::new(values))
    }

    fn texts_of(&self, kind: Kind) -> Texts {
        let mut texts = Texts::default();
        for (at, of) in (0u32..).zip(&self.kinds) {
            texts.push(if *of == kind { self.texts.get(at) } else { &[] });
        }
        texts
    }
}

/// Events of spans.
#[derive(Debug, Default)]
pub(super) struct Events {
    rows: Vec<u32>,
    times: Vec<i64>,
    names: Texts,
    pub(super) attributes: Pairs,
    dropped: Sparse<u32>,
}

impl Events {
    /// The number of the next event: the owner of its attributes, which are added before it.
    pub(super) fn next(&self) -> u32 {
        self.rows.len() as u32
    }

    pub(super) fn push(&mut self, row: u32, time: i64, name: &[u8], dropped: u32) {
        if dropped != 0 {
            self.dropped.push(self.next(), dropped);
        }
        self.rows.push(row);
        self.times.push(time);
        self.names.push(name);
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.times.clear();
        self.names.clear();
        self.attributes.clear();
        self.dropped.clear();
    }

    /// A list for each of `count` spans.
    pub(super) fn dense(&self, count: usize) -> Result<ArrayRef, ArrowError> {
        let data_type = schema::CORE[schema::core::EVENTS].data_type();
        if self.rows.is_empty() {
            return Ok(new_null_array(data_type, count));
        }
        let events = self.rows.len();
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::try_new(self.times.clone().into(), None)?),
            Arc::new(self.names.strings(None)?),
            self.attributes.dense(events)?,
            numbers(&self.dropped, events)?,
        ];
        let values = StructArray::try_new(schema::EVENT.clone(), arrays, None)?;
        lists(data_type, &self.rows, count, Arc::new(values))
    }
}

/// Links of spans.
#[derive(Debug, Default)]
pub(super) struct Links {
    rows: Vec<u32>,
    traces: Sparse<[u8; 16]>,
    spans: Sparse<[u8; 8]>,
    states: Texts,
    pub(super) attributes: Pairs,
    dropped: Sparse<u32>,
    flags: Vec<u32>,
}

/// A link, but for its attributes.
#[derive(Debug, Default)]
pub(super) struct Link<'a> {
    pub(super) trace: Option<[u8; 16]>,
    pub(super) span: Option<[u8; 8]>,
    pub(super) state: &'a [u8],
    pub(super) dropped: u32,
    pub(super) flags: u32,
}

impl Links {
    /// The number of the next link: the owner of its attributes, which are added before it.
    pub(super) fn next(&self) -> u32 {
        self.rows.len() as u32
    }

    pub(super) fn push(&mut self, row: u32, link: &Link<'_>) {
        let at = self.next();
        if let Some(trace) = link.trace {
            self.traces.push(at, trace);
        }
        if let Some(span) = link.span {
            self.spans.push(at, span);
        }
        if link.dropped != 0 {
            self.dropped.push(at, link.dropped);
        }
        self.states.push(link.state);
        self.flags.push(link.flags);
        self.rows.push(row);
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.traces.clear();
        self.spans.clear();
        self.states.clear();
        self.attributes.clear();
        self.dropped.clear();
        self.flags.clear();
    }

    /// A list for each of `count` spans.
    pub(super) fn dense(&self, count: usize) -> Result<ArrayRef, ArrowError> {
        let data_type = schema::CORE[schema::core::LINKS].data_type();
        if self.rows.is_empty() {
            return Ok(new_null_array(data_type, count));
        }
        let links = self.rows.len();
        let has_state = BooleanBuffer::collect_bool(links, |at| !self.states.get(at as u32).is_empty());
        let arrays: Vec<ArrayRef> = vec![
            fixed(self.traces.dense(links))?,
            fixed(self.spans.dense(links))?,
            Arc::new(self.states.strings(Some(NullBuffer::new(has_state)))?),
            self.attributes.dense(links)?,
            numbers(&self.dropped, links)?,
            Arc::new(UInt32Array::try_new(self.flags.clone().into(), None)?),
        ];
        let values = StructArray::try_new(schema::LINK.clone(), arrays, None)?;
        lists(data_type, &self.rows, count, Arc::new(values))
    }
}

/// A column of ids.
pub(super) fn fixed<const N: usize>((ids, nulls): (Vec<[u8; N]>, Option<NullBuffer>)) -> Result<ArrayRef, ArrowError> {
    let ids = Buffer::from_vec(ids.into_flattened());
    Ok(Arc::new(FixedSizeBinaryArray::try_new(N as i32, ids, nulls)?))
}

/// A column of numbers.
pub(super) fn numbers(numbers: &Sparse<u32>, count: usize) -> Result<ArrayRef, ArrowError> {
    let (values, nulls) = numbers.dense(count);
    Ok(Arc::new(UInt32Array::try_new(values.into(), nulls)?))
}

/// For each of `count` owners the list of its values; null without any.
fn lists(data_type: &DataType, owners: &[u32], count: usize, values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let DataType::List(item) = data_type else {
        return Err(ArrowError::SchemaError(format!("{data_type} is no list")));
    };
    let mut ends = Vec::with_capacity(count + 1);
    ends.push(0);
    let mut at = 0;
    for owner in 0..count as u32 {
        at += owners[at..].iter().take_while(|of| **of == owner).count();
        ends.push(at as i32);
    }
    let filled = BooleanBuffer::collect_bool(count, |row| ends[row] < ends[row + 1]);
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(Arc::new(ListArray::try_new(item.clone(), offsets, values, Some(NullBuffer::new(filled)))?))
}
