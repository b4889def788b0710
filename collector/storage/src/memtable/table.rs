//! One tenant's batches of a generation.

use std::{collections::HashMap, ops::Range, sync::OnceLock};

use arrow_array::{FixedSizeBinaryArray, RecordBatch, cast::AsArray};
use clew_common::{ids::TraceId, ranges::SeqRanges};
use parking_lot::RwLock;
use uuid::Uuid;

use crate::{
    columns::{Resource, Spans},
    schema::core,
};

/// A batch of spans in memory. Never changes.
#[derive(Clone)]
pub struct Batch {
    columns: RecordBatch,
    /// The number of the WAL record that it came from.
    seq: u64,
}

impl Batch {
    /// Its columns, in memory form.
    pub fn columns(&self) -> &RecordBatch {
        &self.columns
    }

    /// The rows of a trace.
    pub fn rows_of(&self, trace: &TraceId) -> Vec<usize> {
        let Some(ids) = self.trace_ids() else { return Vec::new() };
        ids.value_data()
            .chunks_exact(16)
            .enumerate()
            .filter(|(_, id)| id == trace.as_bytes())
            .map(|(row, _)| row)
            .collect()
    }

    fn trace_ids(&self) -> Option<&FixedSizeBinaryArray> {
        self.columns.column(core::TRACE_ID).as_fixed_size_binary_opt()
    }
}

/// One tenant's batches. Readers look at those that were there when they came: `len`.
#[derive(Default)]
pub struct Table {
    inner: RwLock<Inner>,
    /// The block that they become, once its writing has begun: its id, and when it was begun.
    block: OnceLock<(Uuid, u64)>,
}

#[derive(Default)]
struct Inner {
    batches: Vec<Batch>,
    resources: HashMap<u64, Resource>,
    /// First and last link of the chain of a trace's batches.
    traces: hashbrown::HashMap<[u8; 16], Chain>,
    links: Vec<Link>,
    seqs: SeqRanges,
    may_duplicate: bool,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
}

/// A batch that holds spans of a trace, and where the next one of that trace is.
#[derive(Clone, Copy)]
struct Link {
    batch: u32,
    next: u32,
}

const END: u32 = u32::MAX;
/// What a trace and a link cost in the index.
const TRACE_BYTES: usize = 40;
const LINK_BYTES: usize = 8;

impl Table {
    /// Adds the spans of the WAL record `seq`; returns by how many bytes the table grew, about.
    pub fn insert(&self, seq: u64, redelivery: bool, spans: Spans) -> usize {
        let Spans { batch, resources } = spans;
        let mut grown = batch.get_array_memory_size();
        let batch = Batch { columns: batch, seq };
        let mut inner = self.inner.write();
        let inner = &mut *inner;
        inner.seqs.insert(seq);
        inner.may_duplicate |= redelivery;
        for resource in resources {
            inner.resources.entry(resource.id).or_insert_with(|| {
                grown += resource.message.as_ref().map_or(0, |message| message.len()) + 96;
                resource
            });
        }
        let number = inner.batches.len() as u32;
        let mut before: Option<[u8; 16]> = None;
        for id in batch.trace_ids().into_iter().flat_map(|ids| ids.value_data().as_chunks::<16>().0) {
            if before == Some(*id) {
                continue;
            }
            before = Some(*id);
            let link = inner.links.len() as u32;
            match inner.traces.entry(*id) {
                hashbrown::hash_map::Entry::Vacant(entry) => {
                    entry.insert(Chain { first: link, last: link });
                    grown += TRACE_BYTES;
                }
                hashbrown::hash_map::Entry::Occupied(mut entry) => {
                    let last = &mut inner.links[entry.get().last as usize];
                    if last.batch == number {
                        continue;
                    }
                    last.next = link;
                    entry.get_mut().last = link;
                }
            }
            inner.links.push(Link { batch: number, next: END });
            grown += LINK_BYTES;
        }
        inner.batches.push(batch);
        inner.bytes += grown;
        grown
    }

    /// The block that the batches become: its id and its time, which are the same in every attempt to write it. The second value
    /// tells whether there was one before.
    pub fn block(&self, begin: impl FnOnce() -> (Uuid, u64)) -> ((Uuid, u64), bool) {
        let before = self.block.get().copied();
        (*self.block.get_or_init(begin), before.is_some())
    }

    /// How many batches there are now: a reader that looks no further sees one consistent instant.
    pub fn len(&self) -> usize {
        self.inner.read().batches.len()
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        self.inner.read().bytes
    }

    /// Those of the batches at some places that hold spans of a trace.
    pub fn find(&self, trace: &TraceId, places: &Range<usize>) -> Vec<Batch> {
        let inner = self.inner.read();
        inner.places(trace, places).map(|place| inner.batches[place].clone()).collect()
    }

    /// Their places.
    pub fn find_places(&self, trace: &TraceId, places: &Range<usize>) -> Vec<usize> {
        self.inner.read().places(trace, places).collect()
    }

    /// The batches at some places.
    pub fn batches(&self, places: &Range<usize>) -> Vec<Batch> {
        self.inner.read().batches.get(places.clone()).unwrap_or_default().to_vec()
    }

    /// All batches.
    pub fn all(&self) -> Vec<Batch> {
        self.inner.read().batches.clone()
    }

    /// The place of the first batch from a WAL record whose number is as said.
    pub fn first_where(&self, is: impl Fn(u64) -> bool) -> Option<usize> {
        self.inner.read().batches.iter().position(|batch| is(batch.seq))
    }

    /// A resource of one of the batches.
    pub fn resource(&self, id: u64) -> Option<Resource> {
        self.inner.read().resources.get(&id).cloned()
    }

    /// All resources of the batches.
    pub fn resources(&self) -> Vec<Resource> {
        self.inner.read().resources.values().cloned().collect()
    }

    /// The numbers of the WAL records that the batches came from.
    pub fn seqs(&self) -> SeqRanges {
        self.inner.read().seqs.clone()
    }

    /// Whether another collector may hold some of the batches too.
    pub fn may_duplicate(&self) -> bool {
        self.inner.read().may_duplicate
    }
}

impl Inner {
    fn places(&self, trace: &TraceId, within: &Range<usize>) -> impl Iterator<Item = usize> {
        let mut at = self.traces.get(trace.as_bytes()).map_or(END, |chain| chain.first);
        let places = std::iter::from_fn(move || {
            let link = self.links.get(at as usize)?;
            at = link.next;
            Some(link.batch as usize)
        });
        // They are in order.
        places.skip_while(|place| *place < within.start).take_while(|place| *place < within.end)
    }
}
