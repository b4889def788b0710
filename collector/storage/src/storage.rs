//! The store as a whole: append, take snapshots, and the work that goes on by itself.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use clew_common::{
    ids::Tenant,
    log::{self, Log, Record, WhenFull},
    otlp::{
        pack::RETRY_WINDOW,
        record::{BatchKey, Codec, Head, SPANS},
    },
    ranges::SeqRanges,
    shutdown::Drain,
    threads::Threads,
    world::World,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::{
    batches::{Batches, Claim},
    block::{Cache, Layout, WalRange},
    catalogue::{self, Catalogue},
    checkpoint::{self, Checkpoint},
    compact::{CompactError, Compactor, Room, Sizes},
    contents::{Contents, Instant},
    decode::{DecodeError, Decoded, Decoder, Encoded},
    errors::{AppendError, OpenError, TooManyTenants},
    flush::Flusher,
    identity::Identity,
    maintain::{self, MaintainError},
    memtable::Arrival,
    owner::Owner,
    place::Place,
    recent::Recent,
    refresh::Refresher,
    replay::{self, InBlocks},
    retention,
    retention::SteadyClock,
    snapshot::Snapshot,
    stats::{Counts, Stats},
    store::{Store, StoreError},
    sweep::Sweeper,
    tail::{Cursor, Tail, TailError},
    wal::{self, Notes, Objects, Wal},
};

/// How large the store may get.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder, for what is kept there. Not touched when the WAL is in the store.
    pub data: PathBuf,
    /// How the WAL is kept in the store, with the identity and the checkpoint. None: in the folder. Its sizes are those below.
    pub wal: Option<wal::Options>,
    /// Size of the WAL's files.
    pub segment_bytes: u64,
    /// Disk for the WAL. Past it appends are refused, and succeed again when there is room.
    pub max_wal_bytes: u64,
    /// The largest record.
    pub max_record_bytes: u32,
    /// Spans become a block when they take so much memory.
    pub flush_bytes: usize,
    /// Or when the oldest of them is so old.
    pub flush_age: Duration,
    /// Memory for spans that are in no block yet. Past it appends are refused.
    pub max_memory_bytes: usize,
    /// Tenants that have spans here. Those of further ones are not admitted.
    pub max_tenants: usize,
    /// How the files of blocks are cut.
    pub layout: Layout,
    /// Memory for what was read of blocks.
    pub cache_bytes: usize,
    /// Files of blocks are deleted so long after they are no longer listed: longer than any query takes.
    pub sweep_delay: Duration,
    /// How much merges, and what a start leaves to be done, give way to those who take spans in: see [`Threads::new`].
    pub merge_nice: u8,
    /// What is kept.
    pub retention: retention::Limits,
    /// No other collector uses the store of blocks: all that is there is this one's. False: each changes its own blocks only.
    pub sole: bool,
    /// Collectors that are gone for good: their blocks are this one's now.
    pub heir_of: Vec<Uuid>,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) wal: Wal,
    pub(crate) contents: Arc<Contents>,
    pub(crate) batches: Batches,
    pub(crate) decoder: Arc<Decoder>,
    pub(crate) recent: Recent,
    pub(crate) world: World,
    pub(crate) options: Options,
    pub(crate) compactor: Compactor,
    /// For merges.
    pub(crate) merging: Threads,
    /// Makes blocks of what is in memory, one at a time.
    pub(crate) flushing: Threads,
    pub(crate) flusher: Flusher,
    pub(crate) refresher: Refresher,
    pub(crate) counts: Arc<Counts>,
    /// Records whose blocks are no longer kept: see [`Checkpoint::expired`].
    expired: Mutex<checkpoint::Expired>,
    /// Held while the replay makes room.
    pub(crate) room: Mutex<()>,
    /// What ages are reckoned with.
    pub(crate) clock: Arc<Mutex<SteadyClock>>,
    checkpoint: checkpoint::File,
    /// There may be something to flush.
    pub(crate) grown: Notify,
    /// Memory that is kept for spans which are coming.
    pub(crate) coming_bytes: Mutex<usize>,
}

/// An opened store.
pub struct Opened {
    /// The store.
    pub storage: Storage,
    /// Names its data.
    pub collector_id: Uuid,
    /// For the hashes of requests.
    pub salt: u64,
    /// Requests that were accepted over OTLP lately.
    pub known: Vec<(u64, u128)>,
    /// Spans that were in the WAL and in no block.
    pub spans: u64,
}

impl Storage {
    /// Opens the store, or makes it, and replays its WAL. Blocking. Blocks are kept in `store`.
    ///
    /// # Errors
    /// When the folder is another process's, or cannot be read or written. Damage is no error: it is set aside and counted.
    pub fn open(options: Options, store: Arc<dyn Store>, world: World) -> Result<Opened, OpenError> {
        let (wal, Identity { collector_id, salt, unsure_before, is_new, .. }) = open_wal(&options, &store, &world)?;
        let checkpoint = checkpoint::File::new(wal.notes());
        let Checkpoint { agents, requests, expired } = checkpoint.read().map_err(OpenError::Checkpoint)?;
        let batches = Batches::default();
        batches.import(agents);

        let counts = Arc::new(Counts::default());
        let cache = Arc::new(Cache::counting(options.cache_bytes, counts.clone()));
        let owner = Owner::new(collector_id, options.heir_of.clone(), options.sole);
        let Catalogue { blocks, leftovers, in_doubt } = catalogue::open(&store, &cache, &owner, &world)?;
        // Blocks speak of the WAL by its collector's name: of one that was lost they cannot be asked.
        let in_blocks = InBlocks::of(&blocks, &expired, in_doubt || is_new, unsure_before);
        let contents = Arc::new(Contents::new(blocks));
        let recently_ms = world.clock.unix_ms().saturating_sub(RETRY_WINDOW.as_millis() as u64);
        let requests = requests.into_iter().filter(|(accepted_ms, _)| *accepted_ms >= recently_ms);
        let sweeper = Sweeper::new(store.clone(), options.sweep_delay);
        sweeper.later(leftovers);
        let compactor = Compactor {
            contents: contents.clone(),
            store: store.clone(),
            cache: cache.clone(),
            sweeper,
            world: world.clone(),
            owner: owner.clone(),
            sizes: Sizes { layout: options.layout, ..Sizes::default() },
            unsettled: Arc::default(),
            left_out: Arc::default(),
            counts: counts.clone(),
            // Two files of the WAL: taking spans in comes first.
            room: Room::beside(2 * options.segment_bytes),
        };
        let all = contents.blocks();
        let newest = all.iter().flat_map(|(_, blocks)| blocks.whole.iter()).map(|block| block.meta().created_ms).max();
        let clock = Arc::new(Mutex::new(SteadyClock::start(world.clock, newest)));
        let refresher =
            Refresher::new(contents.clone(), store.clone(), cache.clone(), owner.clone(), compactor.sweeper.clone());
        let flusher = Flusher {
            contents: contents.clone(),
            store,
            cache,
            wal: wal.clone(),
            world: world.clone(),
            owner,
            layout: options.layout,
            counts: counts.clone(),
            clock: clock.clone(),
        };
        let merging = Threads::new("merge", world.work, 1, options.merge_nice);
        let flushing = Threads::new("flush", world.work, 1, 0);
        let inner = Arc::new(Inner {
            wal,
            contents,
            batches,
            decoder: Arc::default(),
            recent: Recent::new(requests),
            world,
            options,
            compactor,
            merging,
            flushing,
            flusher,
            refresher,
            counts,
            room: Mutex::default(),
            expired: Mutex::new(expired),
            clock,
            checkpoint,
            grown: Notify::new(),
            coming_bytes: Mutex::default(),
        });
        let spans = replay::replay(&inner, &in_blocks, recently_ms)?;
        // A request may be in the checkpoint and in the WAL.
        let known = inner.recent.settle();
        Ok(Opened { storage: Self(inner), collector_id, salt, known, spans })
    }

    /// Whether a tenant's spans may be stored.
    ///
    /// # Errors
    /// When it has none here, and too many others have.
    pub fn admit(&self, tenant: &Tenant) -> Result<(), TooManyTenants> {
        let max = self.0.options.max_tenants;
        if self.0.contents.admits(tenant, max) { Ok(()) } else { Err(TooManyTenants(max)) }
    }

    /// Waits until there is memory for spans of about so many bytes, for `patience` at most. Until they are appended, it is kept for them.
    ///
    /// # Errors
    /// When there is none until then.
    pub async fn room(&self, bytes: usize, patience: Duration) -> Result<Place, AppendError> {
        Place::wait(&self.0, bytes, patience).await
    }

    /// Opens the payload of a batch that says to have `spans` spans in `raw_bytes` bytes. Work for a processor.
    ///
    /// # Errors
    /// When it is not what it says. All are final.
    pub fn decode(&self, codec: Codec, payload: Bytes, raw_bytes: u32, spans: u32) -> Result<Decoded, DecodeError> {
        self.0.decoder.decode(&Encoded { codec, payload, raw_bytes, spans })
    }

    /// Appends a batch: `head` and `payload` as they will lie in the WAL, and what `payload` decodes to. When the future
    /// returns, the batch is durable and can be found. The WAL's order is that of the calls.
    pub fn append(
        &self,
        place: Place,
        head: Head,
        payload: Bytes,
        decoded: Decoded,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + 'static {
        let inner = self.0.clone();
        let ticket = inner.contents.announce(inner.wal.committed());
        let appended = inner.wal.append(Record { kind: SPANS, head: head.encode(), body: payload });
        async move {
            let (_ticket, _place) = (ticket, place);
            let seq = appended.await?;
            inner.contents.publish(&head.tenant, seq, head.redelivery, Arrival::Open(decoded.spans), || {
                if let Some(batch) = head.batch {
                    inner.batches.note(batch);
                }
                inner.recent.add(head.accepted_ms, &head.hashes);
            });
            if inner.contents.active().bytes() >= inner.options.flush_bytes {
                inner.grown.notify_one();
            }
            Ok(())
        }
    }

    /// Does what goes on by itself, until `drain` begins: spans become blocks, their WAL goes, small blocks become large ones,
    /// old ones go.
    ///
    /// # Errors
    /// When the disk under it fails: the process has to stop. What may go better later is tried again.
    pub async fn maintain(self, drain: Drain) -> Result<(), MaintainError> {
        maintain::run(self.0, drain).await
    }

    /// Makes blocks of everything that is in memory. Blocking.
    ///
    /// # Errors
    /// Those of the store.
    pub fn flush(&self) -> Result<(), MaintainError> {
        self.0.contents.seal();
        self.0.flush()
    }

    /// Merges blocks until there is nothing to merge. Blocking.
    ///
    /// # Errors
    /// Those of the store.
    pub fn compact(&self) -> Result<(), CompactError> {
        while self.0.compactor.step(|| Ok(()))? {}
        Ok(())
    }

    /// Deletes the files of blocks that were merged or have expired long enough ago; gives how many blocks. Blocking.
    pub fn sweep(&self) -> usize {
        self.0.compactor.sweeper.sweep()
    }

    /// Looks what other collectors have in the store now. Blocking.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn refresh(&self) -> Result<(), StoreError> {
        self.0.refresher.refresh()
    }

    /// Asks for the right to store an agent's batch.
    pub fn claim(&self, key: BatchKey) -> Claim {
        self.0.batches.claim(key)
    }

    /// What is durable of an agent's batches, and a watch that changes when more is. It will never send one below
    /// `first_seq` again.
    pub fn agent(&self, agent: Uuid, first_seq: u64) -> (SeqRanges, watch::Receiver<()>) {
        self.0.batches.agent(agent, first_seq)
    }

    /// Takes note that a stream of an agent has ended, whose watch was `news`.
    pub fn leave(&self, agent: Uuid, news: watch::Receiver<()>) {
        self.0.batches.leave(agent, news);
    }

    /// How many agents are remembered.
    pub fn agents(&self) -> usize {
        self.0.batches.agents()
    }

    /// What is durable of an agent's batches.
    pub fn durable(&self, agent: Uuid) -> SeqRanges {
        self.0.batches.durable(agent)
    }

    /// Takes note that an agent will never send a batch below `first_seq` again.
    pub fn forget_below(&self, agent: Uuid, first_seq: u64) {
        self.0.batches.forget_below(agent, first_seq);
    }

    /// This instant, for a query.
    pub fn snapshot(&self, tenant: &Tenant) -> Snapshot {
        self.0.snapshot(self.0.contents.instant(tenant))
    }

    /// Follows a tenant's spans: from now on, or from where another tail was.
    ///
    /// # Errors
    /// When the cursor is none of this collector's.
    pub fn tail(&self, tenant: &Tenant, after: Option<Cursor>) -> Result<Tail, TailError> {
        Tail::start(self.0.clone(), tenant.clone(), after)
    }

    /// What the store takes.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.0.contents, &self.0.wal, self.0.compactor.room.missing_bytes())
    }

    /// What happened seldom, by reason.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// The WAL's writer, for those who wait for its failure or its end.
    pub fn wal(&self) -> &Wal {
        &self.0.wal
    }
}

impl Inner {
    /// Flushes all sealed generations. After each the WAL below what is in memory is freed: under load there is always a next one.
    pub(crate) fn flush(&self) -> Result<(), MaintainError> {
        while self.flusher.flush_oldest()? {
            self.free()?;
        }
        Ok(())
    }

    fn free(&self) -> Result<(), MaintainError> {
        // In this order: what is committed later is not freed, what is freed is in the checkpoint.
        let committed = self.wal.committed();
        let first_needed = self.contents.first_needed(committed);
        self.write_checkpoint()?;
        self.wal.free_before(first_needed);
        Ok(())
    }

    fn write_checkpoint(&self) -> Result<(), MaintainError> {
        let mut expired = self.expired.lock();
        expired.retain(|(_, log), records| {
            *records = self.wal.kept(*log, records);
            records.ranges().next().is_some()
        });
        let (agents, requests) = (self.batches.export(), self.recent.all());
        let checkpoint = Checkpoint { agents, requests, expired: expired.clone() };
        self.checkpoint.write(&checkpoint).map_err(MaintainError::Checkpoint)
    }

    /// Takes note of records whose blocks are deleted, before these go: a start would take for lost what it finds in no block.
    pub(crate) fn has_expired(&self, records: Vec<(Tenant, WalRange)>) {
        let mut expired = self.expired.lock();
        for (tenant, WalRange { collector, ranges }) in records {
            let of_log = expired.entry((tenant, collector)).or_default();
            ranges.into_iter().for_each(|(first, end)| of_log.insert_range(first..end));
        }
        drop(expired);
        if let Err(error) = self.write_checkpoint() {
            tracing::warn!(%error, "spans that are no longer kept may come back with a restart before the next flush");
        }
    }

    pub(crate) fn snapshot(&self, instant: Instant) -> Snapshot {
        Snapshot { instant, counts: self.counts.clone(), work: self.world.work }
    }

    /// Whether there is memory for more spans, besides those that are coming.
    pub(crate) fn has_room(&self, coming: usize) -> Result<(), AppendError> {
        let (used, budget) = (self.contents.memory().0 + coming, self.options.max_memory_bytes);
        if used < budget { Ok(()) } else { Err(AppendError::Memory { used, budget }) }
    }
}

/// Opens the WAL, and reads the identity that lies beside it. The WAL first: it refuses when another process has it.
fn open_wal(options: &Options, store: &Arc<dyn Store>, world: &World) -> Result<(Wal, Identity), OpenError> {
    if let Some(in_store) = &options.wal {
        let mut in_store = in_store.clone();
        in_store.limits.max_bytes = options.max_wal_bytes;
        in_store.limits.max_record_bytes = options.max_record_bytes.into();
        let wal = Objects::open(store.clone(), world.clone(), in_store)?;
        // Records of a store have the names of their epochs, and numbers that are of this process only.
        let identity = Identity::open(world, &wal.notes(), 0).map_err(OpenError::Identity)?;
        return Ok((Wal::Objects(wal), identity));
    }
    let log = Log::open(
        world.disk.clone(),
        log::Options {
            dir: options.data.join("wal"),
            segment_bytes: options.segment_bytes,
            max_bytes: options.max_wal_bytes,
            max_record_bytes: options.max_record_bytes,
            when_full: WhenFull::Refuse,
            weigh: Head::weigh,
        },
        world.work,
    );
    let log = log.map_err(wal::OpenError::from)?;
    let notes = Notes::on_disk(world.disk.clone(), options.data.clone());
    let next = *log.reader.committed().borrow();
    let identity = Identity::open(world, &notes, next).map_err(OpenError::Identity)?;
    Ok((Wal::on_disk(log, identity.collector_id, notes), identity))
}
