//! The roots of traces: what spans are told by that lie elsewhere in the trace.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, OnceLock},
};

use arrow_array::{Array, ArrayRef, cast::AsArray, types::TimestampNanosecondType};
use arrow_buffer::BooleanBuffer;
use clew_common::ids::TraceId;
use clew_storage::{
    block::{Block, BlockError},
    schema::core,
};

use super::{
    cache::Key,
    coded::{self, Coded},
    codes::Codes,
    field::Source,
    part::{Part, traces_of},
    scope::{Opened, Scope},
};
use crate::traceql::{ast::Field, value::Value};

/// A span that has no parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    start: u64,
    id: [u8; 8],
    pub part: u32,
    pub row: u32,
}

/// The roots in memory, by trace: of several the first.
pub type InMemory = OnceLock<HashMap<[u8; 16], Root>>;

/// No root.
const NONE: u32 = u32::MAX;

/// The root of a trace among its spans in a block.
#[derive(Clone, Copy)]
pub struct InBlock {
    start: u64,
    id: [u8; 8],
    /// Counted through all row groups; [`NONE`] when there is no root.
    row: u32,
}

/// Those of so many rows that have no parent, of columns that are read when they are needed.
pub fn parentless(
    rows: usize,
    column: impl Fn(usize) -> Result<Option<ArrayRef>, BlockError>,
) -> Result<BooleanBuffer, BlockError> {
    let mut none = BooleanBuffer::new_set(rows);
    for parent in [core::PARENT_SPAN_ID, core::PARENT_ROW] {
        if let Some(array) = column(parent)? {
            none = match array.nulls() {
                Some(nulls) => &none & &!nulls.inner(),
                None => BooleanBuffer::new_unset(rows),
            };
        }
    }
    Ok(none)
}

/// The spans without a parent: their rows, starts and ids.
fn parentless_spans(
    part: &Part,
    column: impl Fn(usize) -> Result<Option<ArrayRef>, BlockError>,
) -> Result<Vec<(u32, u64, [u8; 8])>, BlockError> {
    let none = parentless(part.rows, &column)?;
    let (Some(starts), Some(ids)) = (column(core::START_TIME)?, column(core::SPAN_ID)?) else { return Ok(Vec::new()) };
    let (Some(starts), Some(ids)) =
        (starts.as_primitive_opt::<TimestampNanosecondType>(), ids.as_fixed_size_binary_opt())
    else {
        return Ok(Vec::new());
    };
    let span = |row| (row as u32, starts.value(row) as u64, ids.value(row).try_into().unwrap_or_default());
    Ok(none.set_indices().map(span).collect())
}

/// What a field is of roots, as numbers.
struct OfRoots<'a> {
    scope: &'a Scope,
    field: &'a Field,
    /// For the parts that have roots, the field's numbers there, and for each of those the one among all values.
    parts: HashMap<u32, (Coded, Vec<u32>)>,
    numbered: Numbered,
}

/// Values, each once.
#[derive(Default)]
struct Numbered {
    numbers: HashMap<coded::Key, u32>,
    values: Vec<Value>,
}

impl OfRoots<'_> {
    /// The number of a root's value, of the part and row where it is.
    fn code(&mut self, root: Option<(u32, u32)>) -> u32 {
        let Some((part, row)) = root else { return self.numbered.number(Value::Nil) };
        let (coded, numbers) = self.parts.entry(part).or_insert_with(|| {
            let rows = self.scope.parts[part as usize].part.rows;
            let coded = Coded::of(&self.scope.sources(self.field, part), rows);
            let numbers = vec![NONE; coded.values.len()];
            (coded, numbers)
        });
        let code = coded.codes[row as usize] as usize;
        if numbers[code] == NONE {
            numbers[code] = self.numbered.number(coded.values[code].clone());
        }
        numbers[code]
    }
}

impl Numbered {
    fn number(&mut self, value: Value) -> u32 {
        *self.numbers.entry(coded::Key(value)).or_insert_with_key(|key| {
            self.values.push(key.0.clone());
            self.values.len() as u32 - 1
        })
    }
}

impl Scope {
    /// What a field is of the root of each row's trace, of a part. Blocking.
    pub(super) fn of_roots(&self, field: &Field, part: u32) -> Source {
        let of_block = self.blocks.iter().find(|(_, parts)| parts.contains(&(part as usize)));
        let mut roots = OfRoots { scope: self, field, parts: HashMap::new(), numbered: Numbered::default() };
        let codes = match of_block {
            Some((block, parts)) => self.root_codes(block, parts, part, &mut roots),
            None => self.root_codes_by_id(part, &mut roots),
        };
        let mut codes = codes.unwrap_or_else(|error| {
            self.failed(&error);
            Vec::new()
        });
        let rows = self.parts[part as usize].part.rows;
        if codes.len() < rows {
            codes.resize(rows, roots.code(None));
        }
        Source::Codes(Arc::new(Codes { codes, values: Vec::new() }), roots.numbered.values)
    }

    /// The values of a part's rows, by their traces' ids.
    fn root_codes_by_id(&self, part: u32, values: &mut OfRoots<'_>) -> Result<Vec<u32>, BlockError> {
        let opened = &self.parts[part as usize].part;
        let column = opened.column(&self.cache, core::TRACE_ID)?;
        let ids = column.as_ref().and_then(|ids| ids.as_fixed_size_binary_opt());
        let ids = ids.map_or(&[][..], |ids| ids.value_data().as_chunks::<16>().0);
        let mut codes = Vec::with_capacity(opened.rows);
        for traces in ids.chunk_by(|a, b| a == b) {
            let code = values.code(self.root(&traces[0]).map(|root| (root.part, root.row)));
            codes.resize(codes.len() + traces.len(), code);
        }
        Ok(codes)
    }

    /// The same in a block, which knows the roots of its traces: only those that are elsewhere too are looked for.
    fn root_codes(
        &self,
        block: &Block,
        parts: &Range<usize>,
        part: u32,
        values: &mut OfRoots<'_>,
    ) -> Result<Vec<u32>, BlockError> {
        let (traces, roots) = (traces_of(&self.cache, block)?, self.roots_of(block, parts.start)?);
        let rows = |part: &Opened| part.part.rows as u32;
        let first: u32 = self.parts[parts.start..part as usize].iter().map(rows).sum();
        let end = first + rows(&self.parts[part as usize]);
        let others: Vec<&Block> =
            self.blocks.iter().map(|(other, _)| &**other).filter(|other| !std::ptr::eq(*other, block)).collect();
        let in_memory = self.roots_in_memory();
        let (mut codes, mut row, mut place) = (Vec::with_capacity((end - first) as usize), first, traces.at(first, 0));
        while row < end && place < traces.len() {
            let bytes = traces.id(place);
            let is_elsewhere = TraceId::new(bytes).is_some_and(|id| others.iter().any(|other| other.may_hold(&id)))
                || in_memory.contains_key(&bytes);
            let root = match roots[place].row {
                _ if is_elsewhere => self.root(&bytes).map(|root| (root.part, root.row)),
                NONE => None,
                row => self.place_of(parts.clone(), row),
            };
            let until = traces.rows(place).end.min(end);
            let code = values.code(root);
            codes.resize(codes.len() + (until - row) as usize, code);
            (row, place) = (until, place + 1);
        }
        Ok(codes)
    }

    /// The root of a trace: the first span without a parent. Blocking.
    fn root(&self, trace: &[u8; 16]) -> Option<Root> {
        let id = TraceId::new(*trace)?;
        let blocks = self.blocks.iter().filter(|(block, _)| block.may_hold(&id));
        let stored = blocks.filter_map(|(block, parts)| {
            let InBlock { start, id, row } = self.root_of_block(block, parts.start, trace).unwrap_or_else(|error| {
                self.failed(&error);
                None
            })?;
            let (part, row) = self.place_of(parts.clone(), row)?;
            Some(Root { start, id, part, row })
        });
        let memory = self.roots_in_memory().get(trace).copied();
        stored.chain(memory).min()
    }

    fn root_of_block(&self, block: &Block, first: usize, trace: &[u8; 16]) -> Result<Option<InBlock>, BlockError> {
        let traces = traces_of(&self.cache, block)?;
        let Some(place) = traces.find(trace) else { return Ok(None) };
        Ok(self.roots_of(block, first)?.get(place).copied().filter(|root| root.row != NONE))
    }

    /// The roots of a block's traces. `first` is the block's first part.
    fn roots_of(&self, block: &Block, first: usize) -> Result<Arc<Vec<InBlock>>, BlockError> {
        let traces = traces_of(&self.cache, block)?;
        self.cache.roots(Key::Roots(block.meta().id), || {
            let mut roots = vec![InBlock { start: 0, id: [0; 8], row: NONE }; traces.len()];
            let (mut before, mut place) = (0, 0);
            for opened in self.parts[first..].iter().take(block.groups()?.len()) {
                let part = &opened.part;
                for (row, start, id) in parentless_spans(part, |column| part.read(&self.cache, column))? {
                    let row = before + row;
                    place = traces.at(row, place);
                    // Rows of a trace are in order of their start.
                    if row < roots[place].row {
                        roots[place] = InBlock { start, id, row };
                    }
                }
                before += part.rows as u32;
            }
            Ok(roots)
        })
    }

    fn roots_in_memory(&self) -> &HashMap<[u8; 16], Root> {
        self.memory_roots.get_or_init(|| {
            let mut roots: HashMap<[u8; 16], Root> = HashMap::new();
            for part in self.memory.iter().flat_map(|(_, parts)| parts.clone()) {
                let opened = &self.parts[part].part;
                // What is in memory can be read.
                let column = |column| opened.column(&self.cache, column);
                let (Ok(spans), Ok(Some(ids))) = (parentless_spans(opened, column), column(core::TRACE_ID)) else {
                    continue;
                };
                let Some(ids) = ids.as_fixed_size_binary_opt() else { continue };
                for (row, start, id) in spans {
                    let root = Root { start, id, part: part as u32, row };
                    let trace = ids.value(row as usize).try_into().unwrap_or_default();
                    roots.entry(trace).and_modify(|first| *first = root.min(*first)).or_insert(root);
                }
            }
            roots
        })
    }
}
