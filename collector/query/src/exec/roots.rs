//! The roots of traces: what spans are told by that lie elsewhere in the trace.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use arrow_array::{Array, cast::AsArray};
use arrow_buffer::BooleanBuffer;
use clew_common::ids::TraceId;
use clew_storage::{
    block::{Block, BlockError},
    schema::core,
};

use super::{
    cache::{Cache, Key},
    coded,
    codes::Codes,
    field::Source,
    part::{Part, traces_of},
    scope::Scope,
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

/// The rows that have no parent. Blocking.
pub fn parentless(part: &Part, cache: &Cache) -> Result<BooleanBuffer, BlockError> {
    let mut none = BooleanBuffer::new_set(part.rows);
    for column in [core::PARENT_SPAN_ID, core::PARENT_ROW] {
        if let Some(array) = part.column(cache, column)? {
            none = match array.nulls() {
                Some(nulls) => &none & &!nulls.inner(),
                None => BooleanBuffer::new_unset(part.rows),
            };
        }
    }
    Ok(none)
}

impl Scope {
    /// What a field is of the root of each row's trace, of a part. Blocking.
    pub(super) fn of_roots(&self, field: &Field, part: u32) -> Source {
        let rows = self.parts[part as usize].part.rows;
        let column = self.parts[part as usize].part.column(&self.cache, core::TRACE_ID).unwrap_or_else(|error| {
            self.failed(&error);
            None
        });
        let ids = column.as_ref().and_then(|ids| ids.as_fixed_size_binary_opt());
        let ids = ids.map_or(&[][..], |ids| ids.value_data().as_chunks::<16>().0);
        let mut places: HashMap<coded::Key, u32> = HashMap::new();
        let mut values = Vec::new();
        let mut last: Option<(&[u8; 16], u32)> = None;
        let mut codes = Vec::with_capacity(rows);
        for id in ids {
            let code = match last {
                Some((same, code)) if same == id => code,
                _ => {
                    let root = self.root(id);
                    let value = root.map_or(Value::Nil, |root| self.value(field, root.part, root.row));
                    *places.entry(coded::Key(value)).or_insert_with_key(|key| {
                        values.push(key.0.clone());
                        values.len() as u32 - 1
                    })
                }
            };
            last = Some((id, code));
            codes.push(code);
        }
        Source::Codes(Arc::new(Codes { codes, values: Vec::new() }), values)
    }

    /// The root of a trace: the first span without a parent. Blocking.
    fn root(&self, trace: &[u8; 16]) -> Option<Root> {
        let id = TraceId::new(*trace)?;
        let blocks = self.blocks.iter().filter(|(block, _)| block.may_hold(&id));
        let stored = blocks.filter_map(|(block, parts)| {
            let row = self.root_of_block(block, parts.start, trace).unwrap_or_else(|error| {
                self.failed(&error);
                None
            })?;
            let (part, row) = self.place_of(parts.clone(), row)?;
            self.root_at(part, row)
        });
        let memory = self.roots_in_memory().get(trace).copied();
        stored.chain(memory).min()
    }

    fn root_at(&self, part: u32, row: u32) -> Option<Root> {
        let links = self.links(part)?;
        Some(Root { start: links.starts.value(row as usize) as u64, id: links.id(row), part, row })
    }

    /// The row of a trace's root, counted through all row groups.
    fn root_of_block(&self, block: &Block, first: usize, trace: &[u8; 16]) -> Result<Option<u32>, BlockError> {
        let traces = traces_of(&self.cache, block)?;
        let Some(place) = traces.find(trace) else { return Ok(None) };
        let roots = self.cache.roots(Key::Roots(block.meta().id), || {
            let mut roots = vec![NONE; traces.len()];
            let (mut before, mut place) = (0, 0);
            for opened in self.parts[first..].iter().take(block.groups()?.len()) {
                for row in parentless(&opened.part, &self.cache)?.set_indices() {
                    let row = before + row as u32;
                    place = traces.at(row, place);
                    // Rows of a trace are in order of their start.
                    roots[place] = roots[place].min(row);
                }
                before += opened.part.rows as u32;
            }
            Ok(roots)
        })?;
        Ok(roots.get(place).copied().filter(|row| *row != NONE))
    }

    fn roots_in_memory(&self) -> &HashMap<[u8; 16], Root> {
        self.memory_roots.get_or_init(|| {
            let mut roots: HashMap<[u8; 16], Root> = HashMap::new();
            for part in self.memory.iter().flat_map(|(_, parts)| parts.clone()) {
                let opened = &self.parts[part].part;
                // What is in memory can be read.
                let (Ok(none), Ok(Some(ids))) =
                    (parentless(opened, &self.cache), opened.column(&self.cache, core::TRACE_ID))
                else {
                    continue;
                };
                let Some(ids) = ids.as_fixed_size_binary_opt() else { continue };
                for row in none.set_indices() {
                    let Some(root) = self.root_at(part as u32, row as u32) else { continue };
                    let trace = ids.value(row).try_into().unwrap_or_default();
                    roots.entry(trace).and_modify(|first| *first = root.min(*first)).or_insert(root);
                }
            }
            roots
        })
    }
}
