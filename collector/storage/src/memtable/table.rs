//! One tenant's batches of a generation.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use clew_common::{ids::TraceId, ranges::SeqRanges};
use parking_lot::RwLock;
use uuid::Uuid;

use super::batch::{Arrival, Batch, Packed, ids};
use crate::columns::{Resource, Spans};

/// One tenant's batches. Readers look at those that were there when they came: `len`.
pub struct Table {
    inner: RwLock<Inner>,
    opened: Arc<Opened>,
    /// The block that they become, once its writing has begun: its id, and when it was begun.
    block: OnceLock<(Uuid, u64)>,
}

#[derive(Default)]
struct Inner {
    batches: Vec<Batch>,
    /// First and last link of the chain of a trace's batches.
    traces: hashbrown::HashMap<[u8; 16], Chain>,
    links: Vec<Link>,
    seqs: SeqRanges,
    may_duplicate: bool,
}

/// What batches have besides their columns. Those that are opened later still come to it.
#[derive(Default)]
struct Opened {
    resources: RwLock<HashMap<u64, Resource>>,
    /// Bytes of memory of this table, and of all tables of its generation.
    bytes: AtomicUsize,
    of_all: Arc<AtomicUsize>,
}

impl Opened {
    /// Keeps the resources of some spans; gives about how many bytes these and their columns take.
    fn keep(&self, Spans { batch, resources }: &Spans) -> usize {
        let mut bytes = batch.get_array_memory_size();
        let mut known = self.resources.write();
        for resource in resources {
            known.entry(resource.id).or_insert_with(|| {
                bytes += resource.message.as_ref().map_or(0, |message| message.len()) + 96;
                resource.clone()
            });
        }
        bytes
    }

    fn grow(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.of_all.fetch_add(bytes, Ordering::Relaxed);
    }

    /// By bytes that were added.
    fn shrink(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.of_all.fetch_sub(bytes, Ordering::Relaxed);
    }
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
    /// Without any. It counts its bytes in `of_all` too.
    pub fn new(of_all: Arc<AtomicUsize>) -> Self {
        Self {
            inner: RwLock::default(),
            opened: Arc::new(Opened { of_all, ..Opened::default() }),
            block: OnceLock::new(),
        }
    }

    /// Adds the spans of the WAL record `seq`.
    pub fn insert(&self, seq: u64, redelivery: bool, arrival: Arrival) {
        match arrival {
            Arrival::Open(spans) => {
                let bytes = self.opened.keep(&spans);
                let batch = Batch::new(spans.batch, seq);
                self.add(&batch, ids(batch.columns()), bytes, redelivery);
            }
            Arrival::Packed(Packed { traces, bytes, open }) => {
                let opened = self.opened.clone();
                let open = move || {
                    let spans = open()?;
                    opened.grow(opened.keep(&spans));
                    opened.shrink(bytes);
                    Some(spans.batch)
                };
                self.add(&Batch::packed(Box::new(open), seq), &traces, bytes, redelivery);
            }
        }
    }

    fn add(&self, batch: &Batch, traces: &[[u8; 16]], bytes: usize, redelivery: bool) {
        // First: whoever finds it may open it, and then knows better.
        self.opened.grow(bytes);
        let mut inner = self.inner.write();
        inner.seqs.insert(batch.seq());
        inner.may_duplicate |= redelivery;
        let number = inner.batches.len() as u32;
        let indexed = inner.index(number, traces);
        inner.batches.push(batch.clone());
        drop(inner);
        self.opened.grow(indexed);
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
        self.opened.bytes.load(Ordering::Relaxed)
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
        self.inner.read().batches.iter().position(|batch| is(batch.seq()))
    }

    /// A resource of one of the batches whose columns were looked at.
    pub fn resource(&self, id: u64) -> Option<Resource> {
        self.opened.resources.read().get(&id).cloned()
    }

    /// All resources of the batches whose columns were looked at.
    pub fn resources(&self) -> Vec<Resource> {
        self.opened.resources.read().values().cloned().collect()
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
    /// Notes the traces of batch `number`; gives about how many bytes that takes.
    fn index(&mut self, number: u32, traces: &[[u8; 16]]) -> usize {
        let mut grown = 0;
        for id in traces.chunk_by(|a, b| a == b).filter_map(|run| run.first()) {
            let link = self.links.len() as u32;
            match self.traces.entry(*id) {
                hashbrown::hash_map::Entry::Vacant(entry) => {
                    entry.insert(Chain { first: link, last: link });
                    grown += TRACE_BYTES;
                }
                hashbrown::hash_map::Entry::Occupied(mut entry) => {
                    let last = &mut self.links[entry.get().last as usize];
                    if last.batch == number {
                        continue;
                    }
                    last.next = link;
                    entry.get_mut().last = link;
                }
            }
            self.links.push(Link { batch: number, next: END });
            grown += LINK_BYTES;
        }
        grown
    }

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
