//! Reads the rows of a batch.

use std::ops::Range;

use arrow_array::{
    Array, BinaryArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, StructArray, TimestampNanosecondArray, UInt32Array, UInt64Array,
    types::UInt32Type,
};

use super::pair::Value;
use crate::schema::{self, core};

/// A batch cannot be read as spans.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// A column is missing or of another type.
    #[error("column {0} of the spans is missing or not of its type")]
    Column(String),
    /// There are fewer rows.
    #[error("row {row} of {rows} spans was asked for")]
    Row {
        /// Which one.
        row: usize,
        /// How many there are.
        rows: usize,
    },
}

/// The columns of a batch in memory form, by their types.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) trace_id: &'a FixedSizeBinaryArray,
    pub(super) span_id: &'a FixedSizeBinaryArray,
    pub(super) parent_span_id: &'a FixedSizeBinaryArray,
    pub(super) start_time: &'a TimestampNanosecondArray,
    pub(super) duration: &'a Int64Array,
    pub(super) kind: &'a Int32Array,
    pub(super) status_code: &'a Int32Array,
    pub(super) status_message: Text<'a>,
    pub(super) name: Text<'a>,
    pub(super) resource_id: &'a UInt64Array,
    pub(super) scope_name: Text<'a>,
    pub(super) scope_version: Text<'a>,
    pub(super) scope_fields: &'a BinaryArray,
    pub(super) scope_schema_url: Text<'a>,
    pub(super) trace_state: Text<'a>,
    pub(super) flags: &'a UInt32Array,
    pub(super) dropped_attributes: &'a UInt32Array,
    pub(super) dropped_events: &'a UInt32Array,
    pub(super) dropped_links: &'a UInt32Array,
    pub(super) events: Events<'a>,
    pub(super) links: Links<'a>,
    pub(super) attributes: Pairs<'a>,
    pub(super) raw: &'a BinaryArray,
    /// The attributes with a column.
    pub(super) columns: Vec<(&'a str, Column<'a>)>,
}

/// A column of strings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    keys: &'a UInt32Array,
    values: &'a StringArray,
}

/// The column of an attribute.
#[derive(Debug)]
pub(super) enum Column<'a> {
    String(Text<'a>),
    Int(&'a Int64Array),
    Double(&'a Float64Array),
    Bool(&'a BooleanArray),
}

/// Lists of attributes.
#[derive(Debug)]
pub(super) struct Pairs<'a> {
    lists: &'a ListArray,
    key: &'a StringArray,
    string: &'a StringArray,
    int: &'a Int64Array,
    double: &'a Float64Array,
    bool: &'a BooleanArray,
    other: &'a BinaryArray,
}

/// Lists of events.
#[derive(Debug)]
pub(super) struct Events<'a> {
    lists: &'a ListArray,
    pub(super) time: &'a TimestampNanosecondArray,
    pub(super) name: &'a StringArray,
    pub(super) attributes: Pairs<'a>,
    pub(super) dropped: &'a UInt32Array,
}

/// Lists of links.
#[derive(Debug)]
pub(super) struct Links<'a> {
    lists: &'a ListArray,
    pub(super) trace_id: &'a FixedSizeBinaryArray,
    pub(super) span_id: &'a FixedSizeBinaryArray,
    pub(super) trace_state: &'a StringArray,
    pub(super) attributes: Pairs<'a>,
    pub(super) dropped: &'a UInt32Array,
    pub(super) flags: &'a UInt32Array,
}

impl<'a> View<'a> {
    pub(super) fn new(batch: &'a RecordBatch) -> Result<Self, ViewError> {
        let schema = batch.schema_ref();
        let columns = schema::attributes(schema).map(|(key, _, at)| {
            let array = batch.column(at).as_ref();
            let column = Column::new(array).ok_or_else(|| ViewError::Column(schema.field(at).name().clone()))?;
            Ok((key, column))
        });
        Ok(Self {
            trace_id: typed(batch, core::TRACE_ID)?,
            span_id: typed(batch, core::SPAN_ID)?,
            parent_span_id: typed(batch, core::PARENT_SPAN_ID)?,
            start_time: typed(batch, core::START_TIME)?,
            duration: typed(batch, core::DURATION)?,
            kind: typed(batch, core::KIND)?,
            status_code: typed(batch, core::STATUS_CODE)?,
            status_message: text(batch, core::STATUS_MESSAGE)?,
            name: text(batch, core::NAME)?,
            resource_id: typed(batch, core::RESOURCE_ID)?,
            scope_name: text(batch, core::SCOPE_NAME)?,
            scope_version: text(batch, core::SCOPE_VERSION)?,
            scope_fields: typed(batch, core::SCOPE_FIELDS)?,
            scope_schema_url: text(batch, core::SCOPE_SCHEMA_URL)?,
            trace_state: text(batch, core::TRACE_STATE)?,
            flags: typed(batch, core::FLAGS)?,
            dropped_attributes: typed(batch, core::DROPPED_ATTRIBUTES)?,
            dropped_events: typed(batch, core::DROPPED_EVENTS)?,
            dropped_links: typed(batch, core::DROPPED_LINKS)?,
            events: Events::new(typed(batch, core::EVENTS)?).ok_or_else(|| wrong(core::EVENTS))?,
            links: Links::new(typed(batch, core::LINKS)?).ok_or_else(|| wrong(core::LINKS))?,
            attributes: Pairs::new(typed(batch, core::ATTRIBUTES)?).ok_or_else(|| wrong(core::ATTRIBUTES))?,
            raw: typed(batch, core::RAW)?,
            columns: columns.collect::<Result<_, _>>()?,
        })
    }
}

fn wrong(at: usize) -> ViewError {
    ViewError::Column(schema::CORE[at].name().clone())
}

fn typed<T: Array + 'static>(batch: &RecordBatch, at: usize) -> Result<&T, ViewError> {
    batch.columns().get(at).and_then(|array| array.as_any().downcast_ref()).ok_or_else(|| wrong(at))
}

fn text(batch: &RecordBatch, at: usize) -> Result<Text<'_>, ViewError> {
    batch.columns().get(at).and_then(|array| Text::new(array.as_ref())).ok_or_else(|| wrong(at))
}

/// A field of a struct.
fn field<T: Array + 'static>(values: &StructArray, at: usize) -> Option<&T> {
    values.columns().get(at)?.as_any().downcast_ref()
}

/// The values of a list, empty when it is null.
fn range(lists: &ListArray, row: usize) -> Range<usize> {
    if lists.is_null(row) {
        return 0..0;
    }
    let offsets = lists.value_offsets();
    // The offsets of an array never go down and are not negative: whoever made it has checked them.
    offsets[row] as usize..offsets[row + 1] as usize
}

impl<'a> Text<'a> {
    pub(super) fn new(array: &'a dyn Array) -> Option<Self> {
        let array = array.as_any().downcast_ref::<DictionaryArray<UInt32Type>>()?;
        Some(Self { keys: array.keys(), values: array.values().as_any().downcast_ref()? })
    }

    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        self.keys.is_valid(row).then(|| self.values.value(self.keys.value(row) as usize))
    }
}

impl<'a> Column<'a> {
    fn new(array: &'a dyn Array) -> Option<Self> {
        let any = array.as_any();
        Text::new(array)
            .map(Self::String)
            .or_else(|| any.downcast_ref().map(Self::Int))
            .or_else(|| any.downcast_ref().map(Self::Double))
            .or_else(|| any.downcast_ref().map(Self::Bool))
    }

    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<Value<'a>> {
        match self {
            Self::String(column) => column.get(row).map(|text| Value::String(text.as_bytes())),
            Self::Int(column) => column.is_valid(row).then(|| Value::Int(column.value(row))),
            Self::Double(column) => column.is_valid(row).then(|| Value::Double(column.value(row))),
            Self::Bool(column) => column.is_valid(row).then(|| Value::Bool(column.value(row))),
        }
    }
}

impl<'a> Pairs<'a> {
    pub(super) fn new(lists: &'a ListArray) -> Option<Self> {
        let values = lists.values().as_any().downcast_ref()?;
        Some(Self {
            lists,
            key: field(values, 0)?,
            string: field(values, 1)?,
            int: field(values, 2)?,
            double: field(values, 3)?,
            bool: field(values, 4)?,
            other: field(values, 5)?,
        })
    }

    pub(super) fn of(&self, row: usize) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        range(self.lists, row).map(|at| (self.key.value(at), self.value(at)))
    }

    fn value(&self, at: usize) -> Value<'a> {
        if self.string.is_valid(at) {
            Value::String(self.string.value(at).as_bytes())
        } else if self.int.is_valid(at) {
            Value::Int(self.int.value(at))
        } else if self.double.is_valid(at) {
            Value::Double(self.double.value(at))
        } else if self.bool.is_valid(at) {
            Value::Bool(self.bool.value(at))
        } else if self.other.is_valid(at) {
            Value::Other(self.other.value(at))
        } else {
            Value::Empty
        }
    }
}

impl<'a> Events<'a> {
    fn new(lists: &'a ListArray) -> Option<Self> {
        let values = lists.values().as_any().downcast_ref()?;
        Some(Self {
            lists,
            time: field(values, 0)?,
            name: field(values, 1)?,
            attributes: Pairs::new(field(values, 2)?)?,
            dropped: field(values, 3)?,
        })
    }

    pub(super) fn of(&self, row: usize) -> Range<usize> {
        range(self.lists, row)
    }
}

impl<'a> Links<'a> {
    fn new(lists: &'a ListArray) -> Option<Self> {
        let values = lists.values().as_any().downcast_ref()?;
        Some(Self {
            lists,
            trace_id: field(values, 0)?,
            span_id: field(values, 1)?,
            trace_state: field(values, 2)?,
            attributes: Pairs::new(field(values, 3)?)?,
            dropped: field(values, 4)?,
            flags: field(values, 5)?,
        })
    }

    pub(super) fn of(&self, row: usize) -> Range<usize> {
        range(self.lists, row)
    }
}
