//! The columns of some row groups, one after the other.

use std::ops::Range;

use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray,
    cast::AsArray,
    new_null_array,
    types::{Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type},
};
use parquet::schema::types::ColumnDescPtr;

use super::{
    WriteError,
    attributes::{Attributes, Loaded},
    chunk::{Chunk, ChunkWriter},
    flat::{Flat, gather_keys},
    levels::{Levels, Validity},
    lists::{Entry, Events, Links, Value},
    nested::Slots,
    parents::Parents,
    shapes::{Column, Shapes},
    strings::{FlatStrings, Table},
    summary::Summary,
    values::Values,
    wrong,
};
use crate::{
    merge::{Inputs, is_null, locate, starts},
    schema::{self, Type, core},
};

/// Some rows on their way into row groups.
pub struct Columns<'a> {
    pub chunks: &'a mut ChunkWriter,
    /// Each with the column that it is of.
    pub leaves: &'a [(usize, ColumnDescPtr)],
    pub inputs: &'a mut dyn Inputs,
    /// Counted through all inputs.
    pub rows: &'a [u32],
    /// Parts of `rows`.
    pub groups: &'a [Range<usize>],
    /// For each row group, its columns so far.
    pub done: Vec<Vec<Chunk>>,
    /// What rows have several columns by.
    pub shapes: Option<&'a mut Shapes>,
    /// The shapes of `rows`, when there are any.
    pub numbers: Vec<u32>,
}

/// What a bound is good for is skipping pages: of random ids and of hashes there is none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bounds {
    Yes,
    No,
}

impl Columns<'_> {
    /// Writes all columns but those of shapes. `traces` are those of `rows`.
    pub fn write(
        &mut self,
        traces: &[[u8; 16]],
        attributes: &[(String, Type)],
        parents: &mut Parents,
        summary: &mut Summary,
    ) -> Result<(), WriteError> {
        summary.traces(traces);
        let loaded = Loaded::of(self.inputs, attributes)?;
        let attributes = Attributes::of(&loaded, attributes)?;
        if let Some(shapes) = &mut self.shapes {
            self.numbers = shapes.number(self.inputs, &attributes, self.rows)?;
        }
        self.required(Bounds::Yes, traces, Values::Ids)?;
        let spans: Vec<[u8; 8]> = self.flat(core::SPAN_ID, Flat::append_ids)?.gather_all(self.rows);
        self.required(Bounds::No, &spans, Values::Random)?;
        self.parents(traces, &spans, parents)?;
        drop(spans);
        let starts = self.flat(core::START_TIME, Flat::append::<TimestampNanosecondType>)?;
        let starts = starts.gather_all(self.rows);
        self.required(Bounds::Yes, &starts, Values::I64)?;
        let durations = self.flat(core::DURATION, Flat::append::<Int64Type>)?.gather_all(self.rows);
        self.required(Bounds::Yes, &durations, Values::I64)?;
        summary.times(&starts, &durations);
        drop((starts, durations));
        if self.own(Column::Core(core::KIND)) {
            let kinds = self.flat(core::KIND, Flat::append::<Int32Type>)?.gather_all(self.rows);
            self.required(Bounds::Yes, &kinds, Values::I32)?;
        }
        let codes = self.flat(core::STATUS_CODE, Flat::append::<Int32Type>)?;
        self.optional(&codes, Bounds::Yes, |values| Values::I32(values))?;
        self.strings(core::STATUS_MESSAGE)?;
        let pieces = [core::NAME, core::SERVICE_NAME].map(|at| self.inputs.core(at));
        let [names, services] = pieces;
        let (names, services) = (names?, services?);
        let (names, services) = (FlatStrings::of(&names, core::NAME)?, FlatStrings::of(&services, core::SERVICE_NAME)?);
        let (keys, _) = gather_keys(&names.keys, self.rows);
        if keys.len() != self.rows.len() {
            return Err(wrong(core::NAME));
        }
        if self.own(Column::Core(core::NAME)) {
            self.required(Bounds::Yes, &keys, |keys| Values::Keys { keys, table: names.table.values() })?;
        }
        if self.own(Column::Core(core::SERVICE_NAME)) {
            self.keys(&services, Bounds::Yes)?;
        }
        summary.operations(&names, &services, self.rows);
        drop((names, services, keys));
        let resources = self.flat(core::RESOURCE_ID, Flat::append::<UInt64Type>)?.gather_all(self.rows);
        summary.resources(&resources);
        let resources: Vec<i64> = resources.into_iter().map(u64::cast_signed).collect();
        self.required(Bounds::No, &resources, Values::I64)?;
        for column in [core::SCOPE_NAME, core::SCOPE_VERSION] {
            if self.own(Column::Core(column)) {
                self.strings(column)?;
            }
        }
        self.binary(core::SCOPE_FIELDS)?;
        if self.own(Column::Core(core::SCOPE_SCHEMA_URL)) {
            self.strings(core::SCOPE_SCHEMA_URL)?;
        }
        self.strings(core::TRACE_STATE)?;
        if self.own(Column::Core(core::FLAGS)) {
            let flags = self.unsigned(core::FLAGS)?.gather_all(self.rows);
            self.required(Bounds::No, &flags, Values::I32)?;
        }
        for column in [core::DROPPED_ATTRIBUTES, core::DROPPED_EVENTS, core::DROPPED_LINKS] {
            let counts = self.unsigned(column)?;
            self.optional(&counts, Bounds::No, |values| Values::I32(values))?;
        }
        self.events()?;
        self.links()?;
        self.lists(&attributes)?;
        self.binary(core::RAW)?;
        if self.shapes.is_some() {
            let numbers: Vec<i32> = self.numbers.iter().copied().map(u32::cast_signed).collect();
            self.required(Bounds::No, &numbers, Values::Numbers)?;
        }
        for at in 0..attributes.columns().len() {
            if self.own(Column::Attribute(at)) {
                self.attribute(&attributes, at)?;
            }
        }
        Ok(())
    }

    /// Whether the file of spans has a column.
    fn own(&self, column: Column) -> bool {
        self.shapes.as_ref().is_none_or(|shapes| !shapes.have(column))
    }

    fn parents(&mut self, traces: &[[u8; 16]], spans: &[[u8; 8]], parents: &mut Parents) -> Result<(), WriteError> {
        let ids = self.flat(core::PARENT_SPAN_ID, Flat::append_ids)?;
        let ids: Vec<Option<[u8; 8]>> = self.rows.iter().map(|row| ids.get(*row as usize)).collect();
        let found = parents.find(traces, spans, &ids);
        // Those that are found need no id.
        let elsewhere = ids.iter().zip(&found).map(|(id, found)| id.filter(|_| found.is_none()));
        let elsewhere: Vec<_> = elsewhere.collect();
        self.each_group(|rows, write| {
            let (values, validity) = compact(&elsewhere[rows]);
            write.chunk(&Levels::Optional(&validity), &Values::Random(&values), Bounds::No)
        })?;
        self.each_group(|rows, write| {
            let (values, validity) = compact(&found[rows]);
            let values: Vec<i32> = values.into_iter().map(u32::cast_signed).collect();
            write.chunk(&Levels::Optional(&validity), &Values::I32(&values), Bounds::No)
        })
    }

    /// A core column.
    fn flat<T: Copy + Default>(
        &mut self,
        at: usize,
        append: impl Fn(&mut Flat<T>, &dyn Array) -> Option<()>,
    ) -> Result<Flat<T>, WriteError> {
        Flat::of(&self.inputs.core(at)?, at, append)
    }

    /// As the signed numbers that Parquet has.
    fn unsigned(&mut self, at: usize) -> Result<Flat<i32>, WriteError> {
        self.flat(at, |flat, array| {
            let array = array.as_primitive_opt::<UInt32Type>()?;
            flat.append_with(array, u32::cast_signed);
            Some(())
        })
    }

    /// Writes a column of strings that may be null.
    fn strings(&mut self, at: usize) -> Result<(), WriteError> {
        let pieces = self.inputs.core(at)?;
        self.keys(&FlatStrings::of(&pieces, at)?, Bounds::Yes)
    }

    fn keys(&mut self, flat: &FlatStrings<'_>, bounds: Bounds) -> Result<(), WriteError> {
        let rows = self.rows;
        self.each_group(|group, write| {
            let (keys, validity) = gather_keys(&flat.keys, &rows[group]);
            let values = Values::Keys { keys: &keys, table: flat.table.values() };
            write.chunk(&Levels::Optional(&validity), &values, bounds)
        })
    }

    /// Writes a column of bytes that may be null.
    fn binary(&mut self, at: usize) -> Result<(), WriteError> {
        let pieces = self.inputs.core(at)?;
        let mut flat = FlatStrings::new(self.inputs.all_rows());
        for piece in &pieces {
            if is_null(piece) || piece.null_count() == piece.len() {
                flat.nulls(piece.len());
            } else {
                let array = piece.as_binary_opt::<i32>().ok_or_else(|| wrong(at))?;
                flat.keys.reserve(array.len());
                for value in array {
                    match value {
                        Some(value) => {
                            let key = flat.table.key(value);
                            flat.keys.push(key);
                        }
                        None => flat.nulls(1),
                    }
                }
            }
        }
        self.keys(&flat, Bounds::No)
    }

    /// Writes values that are already in order.
    fn required<'v, T>(
        &mut self,
        bounds: Bounds,
        values: &'v [T],
        of: impl Fn(&'v [T]) -> Values<'v>,
    ) -> Result<(), WriteError> {
        self.each_group(|rows, write| write.chunk(&Levels::Required { rows: rows.len() }, &of(&values[rows]), bounds))
    }

    /// Writes a column that may be null.
    fn optional<T: Copy + Default>(
        &mut self,
        flat: &Flat<T>,
        bounds: Bounds,
        of: impl Fn(&[T]) -> Values<'_>,
    ) -> Result<(), WriteError> {
        let rows = self.rows;
        self.each_group(|group, write| {
            let (values, validity) = flat.gather(&rows[group]);
            write.chunk(&Levels::Optional(&validity), &of(&values), bounds)
        })
    }

    fn attribute(&mut self, attributes: &Attributes<'_>, at: usize) -> Result<(), WriteError> {
        let pieces = attributes.read(self.inputs, at)?;
        match attributes.columns()[at].1 {
            Type::String => self.keys(&attributes.strings(at, &pieces)?, Bounds::Yes),
            Type::Int => self.optional(&attributes.ints(at, &pieces)?, Bounds::Yes, |values| Values::I64(values)),
            Type::Double => self.optional(&attributes.doubles(at, &pieces)?, Bounds::Yes, |values| Values::F64(values)),
            Type::Bool => self.optional(&attributes.bools(at, &pieces)?, Bounds::Yes, |values| Values::Bool(values)),
        }
    }

    fn events(&mut self) -> Result<(), WriteError> {
        let pieces = typed(self.inputs.core(core::EVENTS)?, core::EVENTS);
        let inputs = pieces.iter().map(|piece| Events::new(piece).ok_or_else(|| wrong(core::EVENTS)));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let (starts, rows) = (starts(pieces.iter().map(|piece| piece.len())), self.rows);
        self.each_group(|group, write| {
            let rows = Slots::rows(rows[group].iter().map(|row| locate(&starts, *row)));
            let events = rows.list(|(input, row)| {
                let input = *input;
                Some(inputs[input].row(*row)?.map(move |at| (input, at)))
            });
            write.required(&events, |values| Values::I64(values), |(input, at)| inputs[*input].time.value(*at))?;
            write.strings(&events, |(input, at)| inputs[*input].name.value(*at).as_bytes())?;
            write.pairs(&events.list(|(input, at)| inputs[*input].attributes.row(*at)))?;
            write.optional(
                &events,
                |values| Values::I32(values),
                |(input, at)| {
                    let dropped = inputs[*input].dropped;
                    dropped.is_valid(*at).then(|| dropped.value(*at).cast_signed())
                },
            )
        })
    }

    fn links(&mut self) -> Result<(), WriteError> {
        let pieces = typed(self.inputs.core(core::LINKS)?, core::LINKS);
        let inputs = pieces.iter().map(|piece| Links::new(piece).ok_or_else(|| wrong(core::LINKS)));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let (starts, rows) = (starts(pieces.iter().map(|piece| piece.len())), self.rows);
        self.each_group(|group, write| {
            let rows = Slots::rows(rows[group].iter().map(|row| locate(&starts, *row)));
            let links = rows.list(|(input, row)| {
                let input = *input;
                Some(inputs[input].row(*row)?.map(move |at| (input, at)))
            });
            write.optional(&links, |values| Values::Ids(values), |(input, at)| id(inputs[*input].trace_id, *at))?;
            write.optional(&links, |values| Values::Random(values), |(input, at)| id(inputs[*input].span_id, *at))?;
            write.optional_strings(&links, |(input, at)| {
                let states = inputs[*input].trace_state;
                states.is_valid(*at).then(|| states.value(*at).as_bytes())
            })?;
            write.pairs(&links.list(|(input, at)| inputs[*input].attributes.row(*at)))?;
            write.optional(
                &links,
                |values| Values::I32(values),
                |(input, at)| {
                    let dropped = inputs[*input].dropped;
                    dropped.is_valid(*at).then(|| dropped.value(*at).cast_signed())
                },
            )?;
            write.required(
                &links,
                |values| Values::I32(values),
                |(input, at)| inputs[*input].flags.value(*at).cast_signed(),
            )
        })
    }

    /// Writes the attributes without columns.
    fn lists(&mut self, attributes: &Attributes<'_>) -> Result<(), WriteError> {
        let rows = self.rows;
        self.each_group(|group, write| {
            let rows = Slots::rows(rows[group].iter().map(|row| *row as usize));
            write.pairs(&rows.list(|row| Some(attributes.list(*row)?.iter().copied())))
        })
    }

    /// Lets each row group have its next columns.
    fn each_group(
        &mut self,
        mut each: impl FnMut(Range<usize>, &mut Leaves<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.done.resize_with(self.groups.len(), Vec::new);
        for (group, done) in self.groups.iter().zip(&mut self.done) {
            let shapes = self.shapes.as_deref_mut().map(|shapes| (shapes, &self.numbers[group.clone()]));
            each(group.clone(), &mut Leaves { chunks: self.chunks, leaves: self.leaves, done, shapes })?;
        }
        Ok(())
    }
}

/// Writes the next columns of a row group.
struct Leaves<'a> {
    chunks: &'a mut ChunkWriter,
    leaves: &'a [(usize, ColumnDescPtr)],
    done: &'a mut Vec<Chunk>,
    /// With those of the rows.
    shapes: Option<(&'a mut Shapes, &'a [u32])>,
}

impl Leaves<'_> {
    fn chunk(&mut self, levels: &Levels<'_>, values: &Values<'_>, bounds: Bounds) -> Result<(), WriteError> {
        let at = self.done.len();
        let (column, leaf) = &self.leaves[at];
        // The first leaf of a list tells for all of them.
        let is_first = at == 0 || self.leaves[at - 1].0 != *column;
        if let Some((shapes, numbers)) = self.shapes.as_mut().filter(|_| is_first) {
            shapes.note(*column, numbers, levels);
        }
        self.done.push(self.chunks.write(leaf, levels, values, bounds == Bounds::Yes)?);
        Ok(())
    }

    fn required<I, T>(
        &mut self,
        slots: &Slots<I>,
        of: impl Fn(&[T]) -> Values<'_>,
        value: impl Fn(&I) -> T,
    ) -> Result<(), WriteError> {
        let values: Vec<T> = slots.items().iter().map(value).collect();
        self.chunk(&slots.required(), &of(&values), Bounds::No)
    }

    fn optional<I, T>(
        &mut self,
        slots: &Slots<I>,
        of: impl Fn(&[T]) -> Values<'_>,
        value: impl Fn(&I) -> Option<T>,
    ) -> Result<(), WriteError> {
        let (definitions, values) = slots.optional(value);
        self.chunk(&slots.levels(&definitions), &of(&values), Bounds::No)
    }

    fn strings<'s, I>(&mut self, slots: &'s Slots<I>, value: impl Fn(&'s I) -> &'s [u8]) -> Result<(), WriteError> {
        let mut table = Table::new();
        let keys: Vec<u32> = slots.items().iter().map(|item| table.key(value(item))).collect();
        self.chunk(&slots.required(), &Values::Keys { keys: &keys, table: table.values() }, Bounds::No)
    }

    fn optional_strings<'s, I>(
        &mut self,
        slots: &'s Slots<I>,
        value: impl Fn(&'s I) -> Option<&'s [u8]>,
    ) -> Result<(), WriteError> {
        let mut table = Table::new();
        let (definitions, values) = slots.optional(value);
        let keys: Vec<u32> = values.into_iter().map(|value| table.key(value)).collect();
        let values = Values::Keys { keys: &keys, table: table.values() };
        self.chunk(&slots.levels(&definitions), &values, Bounds::No)
    }

    fn pairs(&mut self, slots: &Slots<Entry<'_>>) -> Result<(), WriteError> {
        self.strings(slots, |entry| entry.key.as_bytes())?;
        self.optional_strings(slots, |entry| match entry.value {
            Value::String(value) => Some(value.as_bytes()),
            _ => None,
        })?;
        self.optional(
            slots,
            |values| Values::I64(values),
            |entry| match entry.value {
                Value::Int(value) => Some(value),
                _ => None,
            },
        )?;
        self.optional(
            slots,
            |values| Values::F64(values),
            |entry| match entry.value {
                Value::Double(value) => Some(value),
                _ => None,
            },
        )?;
        self.optional(
            slots,
            |values| Values::Bool(values),
            |entry| match entry.value {
                Value::Bool(value) => Some(u8::from(value)),
                _ => None,
            },
        )?;
        self.optional_strings(slots, |entry| match entry.value {
            Value::Other(value) => Some(value),
            _ => None,
        })
    }
}

/// Pieces of a core column, also where it has no values.
fn typed(pieces: Vec<ArrayRef>, at: usize) -> Vec<ArrayRef> {
    let typed = |piece: ArrayRef| match is_null(&piece) {
        true => new_null_array(schema::CORE[at].data_type(), piece.len()),
        false => piece,
    };
    pieces.into_iter().map(typed).collect()
}

/// The values that are there.
fn compact<T: Copy>(values: &[Option<T>]) -> (Vec<T>, Validity) {
    let bits = values
        .chunks(8)
        .map(|eight| eight.iter().enumerate().fold(0, |byte, (at, value)| byte | u8::from(value.is_some()) << at));
    let bits = bits.collect();
    let there: Vec<T> = values.iter().copied().flatten().collect();
    let validity = Validity { bits, rows: values.len() };
    (there, validity)
}

/// None for a null.
fn id<const N: usize>(ids: &FixedSizeBinaryArray, row: usize) -> Option<[u8; N]> {
    ids.is_valid(row).then(|| ids.value(row))?.try_into().ok()
}
