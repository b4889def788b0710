//! All that a query looks at: the parts of a snapshot, and what was read of them.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow_array::{Array, FixedSizeBinaryArray, Int32Array, Int64Array, TimestampNanosecondArray, cast::AsArray};
use clew_common::ids::TraceId;
use clew_storage::{
    Memory, Snapshot,
    block::{Block, BlockError},
    schema::core,
};
use parking_lot::{Mutex, RwLock};

use super::{
    budget::{Pace, Stopped},
    cache::Cache,
    coded::Coded,
    field::{Source, cast, first, needs_trace, sources},
    mask::Mask,
    parallel,
    part::{Part, traces_of},
    roots::InMemory,
    trace::Trace,
};
use crate::traceql::{
    ast::{Field, Intrinsic, Scope as Of},
    value::Value,
};

/// The parts of a snapshot.
pub struct Scope {
    pub cache: Cache,
    pub parts: Vec<Opened>,
    /// Blocks, and which parts are theirs.
    pub blocks: Vec<(Arc<Block>, Range<usize>)>,
    /// Tables in memory, and which parts are theirs.
    pub memory: Vec<(Memory, Range<usize>)>,
    /// Why spans may be missing.
    pub missing: Mutex<Vec<String>>,
    /// What fields take that were read and not forgotten, about.
    kept_bytes: AtomicUsize,
    pub(super) memory_roots: InMemory,
}

/// What a query keeps of fields whether the cache has room for them or not: 128 fields of parts of 128 k rows.
const MAX_KEPT_BYTES: usize = 256 << 20;

/// A part with the columns that tell how its spans belong together.
pub struct Opened {
    pub part: Part,
    links: OnceLock<Links>,
    fields: RwLock<HashMap<Field, Arc<Vec<Source>>>>,
}

/// How spans belong together.
pub struct Links {
    pub ids: FixedSizeBinaryArray,
    pub parent_ids: Option<FixedSizeBinaryArray>,
    /// Places among the rows of the trace in the block.
    pub parent_rows: Option<Int32Array>,
    pub starts: TimestampNanosecondArray,
    pub durations: Int64Array,
}

impl Scope {
    /// Of all that was stored at an instant; what is read goes on the budget of the cache. Blocking.
    ///
    /// # Errors
    /// When the budget is spent before all that is in memory was opened.
    pub fn open(snapshot: &Snapshot, cache: &Cache) -> Result<Self, Stopped> {
        let mut scope = Self {
            cache: cache.clone(),
            parts: Vec::new(),
            blocks: Vec::new(),
            memory: Vec::new(),
            missing: Mutex::default(),
            kept_bytes: AtomicUsize::new(0),
            memory_roots: InMemory::new(),
        };
        for memory in snapshot.memory() {
            let may_go_on = || scope.check().is_ok();
            let parts = Part::of_memory(&memory, &may_go_on);
            let parts = scope.add(parts);
            scope.memory.push((memory, parts));
        }
        scope.check()?;
        scope.missing.lock().extend(snapshot.damaged().map(|error| error.to_string()));
        for block in snapshot.blocks() {
            match Part::of_block(block) {
                Ok(parts) => {
                    let parts = scope.add(parts);
                    scope.blocks.push((block.clone(), parts));
                }
                Err(error) => scope.failed(&error),
            }
        }
        Ok(scope)
    }

    /// Leaves out the blocks that cannot be read so. Blocking.
    pub fn keep_blocks(&mut self, read: impl Fn(&Block) -> Result<(), BlockError>) {
        for (block, parts) in std::mem::take(&mut self.blocks) {
            match read(&block) {
                Ok(()) => self.blocks.push((block, parts)),
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Adds parts, which no block or table has.
    pub fn add(&mut self, parts: Vec<Part>) -> Range<usize> {
        let first = self.parts.len();
        let opened = |part| Opened { part, links: OnceLock::new(), fields: RwLock::default() };
        self.parts.extend(parts.into_iter().map(opened));
        first..self.parts.len()
    }

    /// For loops over what one part or one trace has.
    pub(super) fn pace(&self) -> Pace<'_> {
        Pace::of(self.cache.budget())
    }

    /// An error once the query may not go on: then masks and traces may lack spans.
    pub fn check(&self) -> Result<(), Stopped> {
        self.cache.budget().map_or(Ok(()), |budget| budget.check())
    }

    /// Notes that spans may be missing.
    pub fn failed(&self, error: &BlockError) {
        let why = error.to_string();
        let mut missing = self.missing.lock();
        if !missing.contains(&why) {
            missing.push(why);
        }
    }

    /// The rows of a trace: part and row, in blocks in order of their start. Blocking.
    pub fn find(&self, trace: &[u8; 16]) -> Vec<(u32, u32)> {
        let Some(id) = TraceId::new(*trace) else { return Vec::new() };
        let mut found = Vec::new();
        for (block, parts) in self.blocks.iter().filter(|(block, _)| block.may_hold(&id)) {
            let rows = traces_of(&self.cache, block).map(|traces| traces.find(trace).map(|place| traces.rows(place)));
            match rows {
                Ok(Some(rows)) => self.rows_of(parts.clone(), rows, &mut found),
                Ok(None) => {}
                Err(error) => self.failed(&error),
            }
        }
        for (memory, parts) in &self.memory {
            for number in memory.find(&id) {
                let part = parts.start + number;
                let Ok(Some(ids)) = self.parts[part].part.column(&self.cache, core::TRACE_ID) else { continue };
                let Some(ids) = ids.as_fixed_size_binary_opt() else { continue };
                let rows = ids.value_data().as_chunks::<16>().0.iter().enumerate().filter(|(_, id)| *id == trace);
                found.extend(rows.map(|(row, _)| (part as u32, row as u32)));
            }
        }
        found
    }

    /// Rows of a block, counted through all its row groups, as part and row.
    fn rows_of(&self, parts: Range<usize>, rows: Range<u32>, found: &mut Vec<(u32, u32)>) {
        let mut first = 0;
        for part in parts {
            let end = first + self.parts[part].part.rows as u32;
            let (from, to) = (rows.start.max(first), rows.end.min(end));
            found.extend((from..to).map(|row| (part as u32, row - first)));
            first = end;
        }
    }

    /// The part and row of a row of a block, counted through all its row groups.
    pub fn place_of(&self, mut parts: Range<usize>, mut row: u32) -> Option<(u32, u32)> {
        let part = parts.find(|part| {
            let rows = self.parts[*part].part.rows as u32;
            let here = row < rows;
            if !here {
                row -= rows;
            }
            here
        })?;
        Some((part as u32, row))
    }

    /// How the spans of a part belong together; None when that cannot be read. Blocking.
    pub fn links(&self, part: u32) -> Option<&Links> {
        let opened = &self.parts[part as usize];
        if let Some(links) = opened.links.get() {
            return Some(links);
        }
        match read_links(&opened.part, &self.cache) {
            Ok(links) => links.map(|links| opened.links.get_or_init(|| links)),
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    /// What a field is in a row; nil when it cannot be read. Blocking.
    pub fn value(&self, field: &Field, part: u32, row: u32) -> Value {
        first(&self.sources(field, part), row as usize)
    }

    /// A field of a part as small numbers. What needs the whole trace is read trace by trace, of rows in the mask. Blocking.
    pub fn coded(&self, field: &Field, part: u32, mask: &Mask) -> Coded {
        let rows = self.parts[part as usize].part.rows;
        if !needs_trace(field) {
            return Coded::of(&self.sources(field, part), rows);
        }
        let mut values: Vec<Value> = vec![Value::Nil; rows];
        let pace = self.pace();
        for id in self.traces_of(part, mask).into_iter().take_while(|_| pace.goes_on()) {
            let trace = Trace::read(self, id);
            let here = trace.spans.iter().enumerate().filter(|(_, span)| span.part == part);
            here.for_each(|(at, span)| values[span.row as usize] = trace.value(field, at as u32));
        }
        Coded::of_values(values.into_iter())
    }

    /// The traces of some rows of a part, each once. Blocking.
    pub fn traces_of(&self, part: u32, mask: &Mask) -> Vec<[u8; 16]> {
        let opened = &self.parts[part as usize].part;
        let column = opened.column(&self.cache, core::TRACE_ID).unwrap_or_else(|error| {
            self.failed(&error);
            None
        });
        let ids = column.as_ref().and_then(|ids| ids.as_fixed_size_binary_opt());
        let ids = ids.map_or(&[][..], |ids| ids.value_data().as_chunks::<16>().0);
        let mut traces: Vec<[u8; 16]> = mask.rows(ids.len()).map(|row| ids[row]).collect();
        traces.dedup();
        traces.sort_unstable();
        traces.dedup();
        traces
    }

    /// Takes spans out that are counted elsewhere too. Only what may have come over two collectors is compared. Blocking.
    ///
    /// # Errors
    /// When the budget is spent.
    pub fn drop_repeats(&self, masks: &mut [Option<Mask>]) -> Result<(), Stopped> {
        let traces = self.twofold(masks)?;
        const TOGETHER: usize = 64;
        let chunks: Vec<&[[u8; 16]]> = traces.chunks(TOGETHER).collect();
        let found = parallel::map(0..chunks.len(), |at| {
            let mut repeats: Vec<(u32, u32)> = Vec::new();
            for id in chunks[at] {
                let rows = self.find(id);
                let trace = Trace::read(self, *id);
                if trace.spans.len() < rows.len() {
                    let kept: HashSet<(u32, u32)> = trace.spans.iter().map(|span| (span.part, span.row)).collect();
                    repeats.extend(rows.into_iter().filter(|row| !kept.contains(row)));
                }
            }
            // What was read of a trace after the budget was spent is not all of it.
            self.check().map(|()| repeats)
        });
        let mut repeats: Vec<Vec<u32>> = masks.iter().map(|_| Vec::new()).collect();
        for found in found {
            found?.into_iter().for_each(|(part, row)| repeats[part as usize].push(row));
        }
        for (part, repeats) in repeats.into_iter().enumerate().filter(|(_, repeats)| !repeats.is_empty()) {
            if let Some(mask) = &mut masks[part] {
                *mask = std::mem::replace(mask, Mask::None).without(repeats, self.parts[part].part.rows);
            }
        }
        Ok(())
    }

    /// The traces of which spans may be stored twice, each once: they have some that came over two collectors, and lie in more than
    /// one block or batch.
    fn twofold(&self, masks: &[Option<Mask>]) -> Result<Vec<[u8; 16]>, Stopped> {
        let blocks = self.blocks.iter().filter(|(block, _)| block.meta().may_duplicate).map(|(_, parts)| parts);
        let memory = self.memory.iter().filter(|(memory, _)| memory.may_duplicate()).map(|(_, parts)| parts);
        let parts: Vec<usize> = blocks.chain(memory).flat_map(Range::clone).collect();
        // Spans that are the same start at the same time: those in other blocks have no double here.
        let looked_at = |parts: &Range<usize>| parts.clone().any(|part| masks[part].is_some());
        let blocks = self.blocks.iter().filter(|(_, parts)| looked_at(parts)).map(|(block, _)| &**block);
        let blocks: Vec<&Block> = blocks.collect();
        let found = parallel::map(0..parts.len(), |at| {
            self.check()?;
            let Some(mask) = &masks[parts[at]] else { return Ok(Vec::new()) };
            let mut traces = self.traces_of(parts[at] as u32, mask);
            traces.retain(|trace| self.is_spread(trace, &blocks));
            Ok::<_, Stopped>(traces)
        });
        let mut traces = Vec::new();
        for found in found {
            traces.extend(found?);
        }
        traces.sort_unstable();
        traces.dedup();
        Ok(traces)
    }

    /// Whether a trace lies in more than one of these blocks and the batches. A block has no span twice.
    fn is_spread(&self, trace: &[u8; 16], blocks: &[&Block]) -> bool {
        let Some(id) = TraceId::new(*trace) else { return false };
        let blocks = blocks.iter().filter(|block| block.may_hold(&id)).map(|_| 1);
        let places = blocks.chain(self.memory.iter().map(|(memory, _)| memory.find(&id).len()));
        places.filter(|places| *places > 0).take(2).sum::<usize>() > 1
    }

    /// Where a field's values are in a part; nowhere when they cannot be read. Blocking.
    pub fn sources(&self, field: &Field, part: u32) -> Arc<Vec<Source>> {
        let opened = &self.parts[part as usize];
        if let Some(sources) = opened.fields.read().get(field) {
            return sources.clone();
        }
        let read = match field {
            Field::Intrinsic(Intrinsic::RootName) => vec![self.of_roots(&Field::Intrinsic(Intrinsic::Name), part)],
            Field::Intrinsic(Intrinsic::RootService) => {
                vec![self.of_roots(&Field::attribute(Of::Resource, "service.name"), part)]
            }
            field => sources(&opened.part, &self.cache, field).unwrap_or_else(|error| {
                self.failed(&error);
                Vec::new()
            }),
        };
        if self.kept_bytes.load(Ordering::Relaxed) > MAX_KEPT_BYTES {
            // Traces are gone through in order of their ids, as blocks have them: what was read some time ago is done with.
            (0..self.parts.len()).for_each(|part| self.forget(part));
        }
        let insert = || {
            self.kept_bytes.fetch_add(opened.bytes_of_field(), Ordering::Relaxed);
            Arc::new(read)
        };
        opened.fields.write().entry(field.clone()).or_insert_with(insert).clone()
    }

    /// Forgets what was read of the fields of a part: what the cache has room for is there still.
    pub fn forget(&self, part: usize) {
        let opened = &self.parts[part];
        let fields = std::mem::take(&mut *opened.fields.write()).len();
        self.kept_bytes.fetch_sub(fields * opened.bytes_of_field(), Ordering::Relaxed);
    }
}

fn read_links(part: &Part, cache: &Cache) -> Result<Option<Links>, BlockError> {
    let column = |at: usize| part.column(cache, at);
    let (Some(ids), Some(starts), Some(durations)) =
        (column(core::SPAN_ID)?, column(core::START_TIME)?, column(core::DURATION)?)
    else {
        return Ok(None);
    };
    let links = || {
        Some(Links {
            ids: cast(&ids)?,
            parent_ids: None,
            parent_rows: None,
            starts: cast(&starts)?,
            durations: cast(&durations)?,
        })
    };
    let Some(links) = links() else { return Ok(None) };
    Ok(Some(Links {
        parent_ids: column(core::PARENT_SPAN_ID)?.and_then(|ids| cast(&ids)),
        parent_rows: column(core::PARENT_ROW)?.and_then(|rows| cast(&rows)),
        ..links
    }))
}

impl Opened {
    /// What a field of it takes, about.
    fn bytes_of_field(&self) -> usize {
        16 * self.part.rows
    }
}

impl Links {
    /// The id of a span.
    pub fn id(&self, row: u32) -> [u8; 8] {
        self.ids.value(row as usize).try_into().unwrap_or_default()
    }

    /// The parent's place among the trace's rows in the block.
    pub fn parent_row(&self, row: u32) -> Option<u32> {
        let rows = self.parent_rows.as_ref()?;
        rows.is_valid(row as usize).then(|| rows.value(row as usize)).and_then(|row| u32::try_from(row).ok())
    }

    /// The parent's id, where it is not a row.
    pub fn parent_id(&self, row: u32) -> Option<[u8; 8]> {
        let ids = self.parent_ids.as_ref()?;
        ids.is_valid(row as usize).then(|| ids.value(row as usize)).and_then(|id| id.try_into().ok())
    }
}
