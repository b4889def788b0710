//! Columns of spans, for those who have a query language of their own.

use std::{collections::HashMap, ops::Range as Numbers};

use arrow_array::{ArrayRef, cast::AsArray};
use arrow_buffer::BooleanBuffer;
use clew_common::ids::TraceId;
use clew_storage::{
    Snapshot,
    block::BlockError,
    columns::Resource,
    schema::{self, Type, core},
};

use super::{
    budget::{Budget, Stopped},
    cache::Cache,
    candidates::units,
    field::{Source, sources, sparse},
    mask::{Mask, Masks},
    part::{Part, Place, traces_of},
    scope::Scope,
    search::Range,
};
use crate::traceql::{
    ast::{Expr, Field, Intrinsic},
    value::Value,
};

/// The spans of a snapshot: parts, of which columns are read one by one. Each span is there once.
pub struct Spans {
    scope: Scope,
    /// What is left of each part where spans are stored twice; None where no spans are of interest.
    masks: Vec<Option<Mask>>,
    /// Why spans may be missing; empty when none are.
    pub missing: Vec<String>,
}

/// Which spans are read. The answer may hold more.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// They start within.
    pub range: Range,
    /// They are of this trace.
    pub trace: Option<[u8; 16]>,
    /// They are kept by it.
    pub filter: Option<Expr>,
}

impl Wanted {
    /// All spans.
    pub const ALL: Self = Self { range: Range::ALL, trace: None, filter: None };
}

impl Spans {
    /// Of all that was stored at an instant. Blocking.
    ///
    /// # Errors
    /// When the budget is spent, or what may be stored twice cannot be read.
    pub fn open(snapshot: &Snapshot, cache: &Cache, budget: &Budget) -> Result<Self, SpansError> {
        let mut scope = Scope::open(snapshot, &cache.within(budget))?;
        // Spans without their resources would be told as those of nobody.
        scope.keep_blocks(|block| block.resources().map(drop));
        let missing = std::mem::take(&mut *scope.missing.lock());
        let mut masks: Vec<Option<Mask>> = scope.parts.iter().map(|_| None).collect();
        let kept = scope.blocks.iter().map(|(_, parts)| parts).chain(scope.memory.iter().map(|(_, parts)| parts));
        kept.flat_map(Numbers::clone).for_each(|part| masks[part] = Some(Mask::All));
        scope.drop_repeats(&mut masks)?;
        let spans = Self { scope, masks, missing };
        spans.whole()?;
        Ok(spans)
    }

    /// How many parts there are.
    pub fn parts(&self) -> usize {
        self.scope.parts.len()
    }

    /// The parts that may have spans which are wanted, the newest first.
    pub fn parts_with(&self, wanted: &Wanted) -> Vec<usize> {
        let parts = units(&self.scope, wanted.range).into_iter().flat_map(|unit| unit.parts);
        let Some(trace) = wanted.trace else { return parts.collect() };
        let Some(id) = TraceId::new(trace) else { return Vec::new() };
        let blocks = self.scope.blocks.iter().filter(|(block, _)| block.may_hold(&id));
        let held: Vec<Numbers<usize>> = blocks
            .map(|(_, parts)| parts.clone())
            .chain(self.scope.memory.iter().map(|(_, parts)| parts.clone()))
            .collect();
        parts.filter(|part| held.iter().any(|parts| parts.contains(part))).collect()
    }

    /// How many spans a part has.
    pub fn len(&self, part: usize) -> usize {
        match &self.masks[part] {
            None | Some(Mask::None) => 0,
            Some(Mask::All) => self.scope.parts[part].part.rows,
            Some(Mask::Some(bits)) => bits.count_set_bits(),
        }
    }

    /// The rows of a part that may be wanted. Blocking.
    ///
    /// # Errors
    /// When a column cannot be read.
    pub fn rows(&self, part: usize, wanted: &Wanted) -> Result<Rows, SpansError> {
        let opened = &self.scope.parts[part].part;
        let mut kept = self.masks[part].clone().unwrap_or(Mask::None);
        if let Some(trace) = &wanted.trace {
            let ids = opened.column(&self.scope.cache, core::TRACE_ID)?;
            let ids = ids.as_ref().and_then(|ids| ids.as_fixed_size_binary_opt());
            let ids = ids.map_or(&[][..], |ids| ids.value_data().as_chunks::<16>().0);
            let of_trace = ids.iter().zip(0u32..).filter(|(id, _)| *id == trace).map(|(_, row)| row);
            kept = kept.and(Mask::of(sparse(opened.rows, of_trace)));
        }
        if let Some(filter) = &wanted.filter
            && !matches!(kept, Mask::None)
        {
            kept = kept.and(Masks::of(&self.scope, part).kept(filter)?.mask);
            self.scope.check()?;
        }
        if wanted.range != Range::ALL && !matches!(kept, Mask::None) {
            let starts = &self.scope.links(part as u32).map(|links| links.starts.clone());
            self.whole()?;
            if let Some(starts) = starts {
                let within = |row: usize| wanted.range.has(starts.value(row));
                kept = kept.and(Mask::of(BooleanBuffer::collect_bool(opened.rows, within)));
            }
        }
        Ok(Rows { all: opened.rows, kept })
    }

    /// A core column of a part, by its place in [`clew_storage::schema::core`], with all its rows; None when none has a value.
    /// Blocking.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn core(&self, part: usize, column: usize) -> Result<Option<ArrayRef>, SpansError> {
        Ok(self.scope.parts[part].part.column(&self.scope.cache, column)?)
    }

    /// What a field is in each row of a part. Blocking.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn field(&self, part: usize, field: &Field) -> Result<Vec<Source>, SpansError> {
        if matches!(field, Field::Intrinsic(Intrinsic::RootName | Intrinsic::RootService)) {
            let found = self.scope.sources(field, part as u32).to_vec();
            self.whole()?;
            return Ok(found);
        }
        Ok(sources(&self.scope.parts[part].part, &self.scope.cache, field)?)
    }

    /// The ids of the parents of a part's spans. Blocking.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn parents(&self, part: usize) -> Result<Vec<Option<[u8; 8]>>, SpansError> {
        let opened = &self.scope.parts[part].part;
        let links = self.scope.links(part as u32);
        let (Some(links), Place::Block { block, .. }) = (links, &opened.place) else {
            self.whole()?;
            return Ok((0..opened.rows).map(|row| links.and_then(|links| links.parent_id(row as u32))).collect());
        };
        let traces = traces_of(&self.scope.cache, block)?;
        let parts = self.scope.blocks.iter().find(|(_, parts)| parts.contains(&part)).map(|(_, parts)| parts.clone());
        let parts = parts.unwrap_or(part..part + 1);
        let before: usize = self.scope.parts[parts.start..part].iter().map(|opened| opened.part.rows).sum();
        let mut place = 0;
        let parent = |row: u32| {
            let Some(of_trace) = links.parent_row(row) else { return links.parent_id(row) };
            let here = before as u32 + row;
            place = traces.at(here, place);
            let (part, row) = self.scope.place_of(parts.clone(), traces.rows(place).start.checked_add(of_trace)?)?;
            Some(self.scope.links(part)?.id(row))
        };
        let parents = (0..opened.rows as u32).map(parent).collect();
        self.whole()?;
        Ok(parents)
    }

    /// The attributes of spans that have columns of their own somewhere or are listed in the metas of blocks, with the types that
    /// their values have.
    pub fn attributes(&self) -> HashMap<String, Vec<Type>> {
        let mut found: HashMap<String, Vec<Type>> = HashMap::new();
        let mut add = |key: &str, kind: Type| {
            let kinds = match found.get_mut(key) {
                Some(kinds) => kinds,
                None => found.entry(key.to_owned()).or_default(),
            };
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        };
        for (block, _) in &self.scope.blocks {
            block.meta().attributes.iter().for_each(|attribute| add(&attribute.key, attribute.kind));
        }
        for (_, parts) in &self.scope.memory {
            for part in parts.clone() {
                let Part { schema, place: Place::Memory { batch, .. }, .. } = &self.scope.parts[part].part else {
                    continue;
                };
                schema::attributes(schema).for_each(|(key, kind, _)| add(key, kind));
                for listed in super::field::listed_entries(Some(batch.column(core::ATTRIBUTES).clone()), |_| true) {
                    let kind = match listed.value {
                        Value::String(_) => Type::String,
                        Value::Int(_) => Type::Int,
                        Value::Float(_) => Type::Double,
                        Value::Bool(_) => Type::Bool,
                        _ => continue,
                    };
                    add(&listed.key, kind);
                }
            }
        }
        found
    }

    /// All resources, each once. Blocking.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn resources(&self) -> Result<Vec<Resource>, SpansError> {
        let mut found: HashMap<u64, Resource> = HashMap::new();
        for (block, _) in &self.scope.blocks {
            found.extend(block.resources()?.iter().map(|(id, resource)| (*id, resource.clone())));
        }
        for (memory, _) in &self.scope.memory {
            found.extend(memory.resources().into_iter().map(|resource| (resource.id, resource)));
        }
        let mut found: Vec<Resource> = found.into_values().collect();
        found.sort_unstable_by_key(|resource| resource.id);
        Ok(found)
    }

    /// Takes back what a query filter has read of a part.
    pub fn forget(&self, part: usize) {
        self.scope.forget(part);
    }

    /// An error once something could not be read.
    fn whole(&self) -> Result<(), SpansError> {
        match self.scope.missing.lock().first() {
            Some(why) => Err(SpansError::Damaged(why.clone())),
            None => Ok(()),
        }
    }
}

/// Some rows of a part.
#[derive(Clone, Debug)]
pub struct Rows {
    all: usize,
    kept: Mask,
}

impl Rows {
    /// How many.
    pub fn len(&self) -> usize {
        match &self.kept {
            Mask::None => 0,
            Mask::All => self.all,
            Mask::Some(bits) => bits.count_set_bits(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which; None when it is all.
    pub fn bits(&self) -> Option<BooleanBuffer> {
        match &self.kept {
            Mask::None => Some(BooleanBuffer::new_unset(self.all)),
            Mask::All => None,
            Mask::Some(bits) => Some(bits.clone()),
        }
    }
}

/// Spans cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpansError {
    /// The budget is spent.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A block cannot be read.
    #[error("some spans cannot be read: {0}")]
    Damaged(String),
}

impl From<BlockError> for SpansError {
    fn from(error: BlockError) -> Self {
        Self::Damaged(error.to_string())
    }
}
