//! The columns of the tables.

use std::{collections::HashMap, sync::Arc};

use arrow_schema::{DataType, Field as Column, Schema, SchemaRef, TimeUnit};
use clew_query::{
    exec::{Spans, SpansError},
    traceql::ast::{Field, Intrinsic, Scope},
};
use clew_storage::schema::{Type, core};

use crate::{maps::map_type, resources};

/// Attributes of spans, and of resources, that have columns of their own at most: those that come first by name. All others are in
/// the column `attributes`.
const MAX_ATTRIBUTES: usize = 4096;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int,
    Unsigned,
    Double,
    Bool,
    Time,
    Map,
}

/// Where a column's values are.
#[derive(Clone, Debug, PartialEq)]
pub enum Of {
    /// What TraceQL calls so. `exact`: all values are of the column's kind, so that a condition can be looked for as TraceQL does.
    Field { field: Field, exact: bool },
    /// A core column, as it is.
    Core(usize),
    /// A core column with a null for each 0.
    Count(usize),
    /// The parent's id.
    Parent,
    /// Start plus duration.
    End,
    /// The attributes that no other column has.
    Attributes,
}

/// A column of the table `spans`.
#[derive(Clone, Debug)]
pub struct SpanColumn {
    pub name: String,
    pub kind: Kind,
    pub of: Of,
    pub nullable: bool,
}

impl Kind {
    /// As Arrow has it.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8View,
            Self::Int => DataType::Int64,
            Self::Unsigned => DataType::UInt64,
            Self::Double => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Time => DataType::Timestamp(TimeUnit::Nanosecond, None),
            Self::Map => map_type(),
        }
    }

    /// The kind that can hold values of all these types, and whether it holds them as they are.
    pub fn of(types: &[Type]) -> (Self, bool) {
        match types {
            [] | [Type::String] => (Self::Text, true),
            [Type::Int] => (Self::Int, true),
            [Type::Double] => (Self::Double, true),
            [Type::Bool] => (Self::Bool, true),
            several if several.iter().all(|kind| matches!(kind, Type::Int | Type::Double)) => (Self::Double, false),
            _ => (Self::Text, false),
        }
    }
}

/// The columns of `spans`. Blocking.
///
/// # Errors
/// When the resources cannot be read.
pub fn of_spans(spans: &Spans, resources: &resources::Resources) -> Result<Vec<SpanColumn>, SpansError> {
    let column =
        |name: &str, kind: Kind, nullable: bool, of: Of| SpanColumn { name: name.to_owned(), kind, of, nullable };
    let intrinsic = |intrinsic: Intrinsic| Of::Field { field: Field::Intrinsic(intrinsic), exact: true };
    let mut columns = vec![
        column("trace_id", Kind::Text, false, intrinsic(Intrinsic::TraceId)),
        column("span_id", Kind::Text, false, intrinsic(Intrinsic::SpanId)),
        column("parent_span_id", Kind::Text, true, Of::Parent),
        column("name", Kind::Text, false, intrinsic(Intrinsic::Name)),
        column("kind", Kind::Text, false, intrinsic(Intrinsic::Kind)),
        column("start_time", Kind::Time, false, Of::Core(core::START_TIME)),
        column("end_time", Kind::Time, false, Of::End),
        column("duration", Kind::Int, false, Of::Core(core::DURATION)),
        column("status", Kind::Text, false, intrinsic(Intrinsic::Status)),
        column("status_message", Kind::Text, false, intrinsic(Intrinsic::StatusMessage)),
        column("service_name", Kind::Text, true, Of::Core(core::SERVICE_NAME)),
        column("root_service_name", Kind::Text, true, intrinsic(Intrinsic::RootService)),
        column("root_name", Kind::Text, true, intrinsic(Intrinsic::RootName)),
        column("resource_id", Kind::Unsigned, false, Of::Core(core::RESOURCE_ID)),
        column("scope_name", Kind::Text, false, intrinsic(Intrinsic::InstrumentationName)),
        column("scope_version", Kind::Text, false, intrinsic(Intrinsic::InstrumentationVersion)),
        column("trace_state", Kind::Text, true, Of::Core(core::TRACE_STATE)),
        column("flags", Kind::Int, false, Of::Core(core::FLAGS)),
        column("dropped_attributes_count", Kind::Int, false, Of::Count(core::DROPPED_ATTRIBUTES)),
        column("dropped_events_count", Kind::Int, false, Of::Count(core::DROPPED_EVENTS)),
        column("dropped_links_count", Kind::Int, false, Of::Count(core::DROPPED_LINKS)),
        column("attributes", Kind::Map, true, Of::Attributes),
    ];
    let attributes = |scope: Scope, prefix: &str, types: HashMap<String, Vec<Type>>| {
        let mut types: Vec<(String, Vec<Type>)> = types.into_iter().collect();
        types.sort_unstable();
        types.truncate(MAX_ATTRIBUTES);
        let column = |(key, types): (String, Vec<Type>)| {
            let (kind, exact) = Kind::of(&types);
            let of = Of::Field { field: Field::attribute(scope, &key), exact };
            SpanColumn { name: format!("{prefix}{key}"), kind, of, nullable: true }
        };
        types.into_iter().map(column).collect::<Vec<_>>()
    };
    columns.extend(attributes(Scope::Span, "span.", spans.attributes()));
    columns.extend(attributes(Scope::Resource, "resource.", resources.types.clone()));
    Ok(columns)
}

/// The schema of columns.
pub fn schema<'a>(columns: impl IntoIterator<Item = &'a SpanColumn>) -> SchemaRef {
    let column = |column: &SpanColumn| Column::new(&column.name, column.kind.data_type(), column.nullable);
    Arc::new(Schema::new(columns.into_iter().map(column).collect::<Vec<_>>()))
}
