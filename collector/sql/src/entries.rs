//! The tables `events` and `links`: a row for each event and each link of spans.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, UInt64Array, cast::AsArray, new_empty_array, types::Int64Type};
use arrow_cast::cast;
use arrow_schema::{Field, Schema, SchemaRef};
use arrow_select::take::take;
use clew_query::exec::{Rows, Spans};
use clew_storage::schema::core;
use datafusion::common::Result;

use crate::{
    columns::{Kind, SpanColumn},
    error::{damaged, external},
    maps,
    values::{self, only},
};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    Events,
    Links,
}

/// A column: of the span, or a field of what the span has several of.
enum Of {
    /// The column of `spans` with this name.
    Span(&'static str),
    /// By its place in the struct; a null for each 0 if `true`.
    Field(usize, bool),
    Id(usize),
    Attributes(usize),
}

const EVENTS: [(&str, Kind, Of); 8] = [
    ("trace_id", Kind::Text, Of::Span("trace_id")),
    ("span_id", Kind::Text, Of::Span("span_id")),
    ("service_name", Kind::Text, Of::Span("service_name")),
    ("span_name", Kind::Text, Of::Span("name")),
    ("time", Kind::Time, Of::Field(0, false)),
    ("name", Kind::Text, Of::Field(1, false)),
    ("attributes", Kind::Map, Of::Attributes(2)),
    ("dropped_attributes_count", Kind::Int, Of::Field(3, true)),
];

const LINKS: [(&str, Kind, Of); 10] = [
    ("trace_id", Kind::Text, Of::Span("trace_id")),
    ("span_id", Kind::Text, Of::Span("span_id")),
    ("service_name", Kind::Text, Of::Span("service_name")),
    ("span_name", Kind::Text, Of::Span("name")),
    ("linked_trace_id", Kind::Text, Of::Id(0)),
    ("linked_span_id", Kind::Text, Of::Id(1)),
    ("trace_state", Kind::Text, Of::Field(2, false)),
    ("attributes", Kind::Map, Of::Attributes(3)),
    ("dropped_attributes_count", Kind::Int, Of::Field(4, true)),
    ("flags", Kind::Int, Of::Field(5, false)),
];

impl Entries {
    fn columns(self) -> &'static [(&'static str, Kind, Of)] {
        match self {
            Self::Events => &EVENTS,
            Self::Links => &LINKS,
        }
    }

    fn place(self) -> usize {
        match self {
            Self::Events => core::EVENTS,
            Self::Links => core::LINKS,
        }
    }

    /// The columns of the table.
    pub fn schema(self) -> SchemaRef {
        let columns = self.columns().iter().map(|(name, kind, _)| Field::new(*name, kind.data_type(), true));
        Arc::new(Schema::new(columns.collect::<Vec<_>>()))
    }

    /// The column of `spans` that a column is.
    pub fn of_span(self, name: &str) -> Option<&'static str> {
        self.columns().iter().find_map(|(column, _, of)| match of {
            Of::Span(span) if *column == name => Some(*span),
            _ => None,
        })
    }

    /// Columns of what the rows of a part have, by their places, and how many rows these are. Blocking.
    pub fn read(
        self,
        spans: &Spans,
        part: usize,
        rows: &Rows,
        columns: &[usize],
        of_spans: &[SpanColumn],
    ) -> Result<(Vec<ArrayRef>, usize)> {
        let empty = |at: &usize| new_empty_array(&self.columns()[*at].1.data_type());
        let Some(lists) = spans.core(part, self.place()).map_err(external)? else {
            return Ok((columns.iter().map(empty).collect(), 0));
        };
        let lists = only(&lists, rows)?;
        let wrong = || damaged("events or links are no list of them");
        let lists = lists.as_list_opt::<i32>().ok_or_else(wrong)?;
        let offsets = lists.value_offsets();
        let (first, end) = (offsets[0] as usize, offsets[lists.len()] as usize);
        let entries = lists.values().slice(first, end - first);
        let entries = entries.as_struct_opt().ok_or_else(wrong)?;
        // The span of each.
        let owners = offsets.windows(2).enumerate();
        let owners = owners.flat_map(|(row, ends)| std::iter::repeat_n(row as u64, (ends[1] - ends[0]) as usize));
        let owners = UInt64Array::from_iter_values(owners);
        let array = |at: &usize| -> Result<ArrayRef> {
            let (_, kind, of) = &self.columns()[*at];
            Ok(match of {
                Of::Span(name) => {
                    let column = of_spans.iter().find(|column| column.name == *name).ok_or_else(wrong)?;
                    take(&values::column(spans, part, rows, column, of_spans)?, &owners, None)?
                }
                Of::Field(field, false) => cast(entries.column(*field), &kind.data_type())?,
                Of::Field(field, true) => {
                    let counts = cast(entries.column(*field), &kind.data_type())?;
                    let counts = counts.as_primitive::<Int64Type>();
                    Arc::new(counts.iter().map(|count| Some(count.unwrap_or(0))).collect::<Int64Array>())
                }
                Of::Id(field) => {
                    values::hex_column(entries.column(*field).as_fixed_size_binary_opt().ok_or_else(wrong)?)
                }
                Of::Attributes(field) => maps::of_lists(entries.column(*field))?,
            })
        };
        let arrays = columns.iter().map(array).collect::<Result<Vec<_>>>()?;
        Ok((arrays, owners.len()))
    }
}
