//! The store as a whole: append, and take snapshots.

use std::{future::Future, path::PathBuf, sync::Arc};

use bytes::Bytes;
use clew_common::{
    ids::Tenant,
    log::{self, Appender, Log, Reader, Record, WhenFull},
    otlp::{
        pack::RETRY_WINDOW,
        record::{BatchKey, Head, SPANS},
    },
    ranges::SeqRanges,
    world::World,
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    batches::{Batches, Claim},
    decode::{Decoded, decode},
    identity::Identity,
    memtable::{Memory, Memtable},
    snapshot::Snapshot,
};

/// How large the store may get.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder.
    pub data: PathBuf,
    /// Size of the WAL's files.
    pub segment_bytes: u64,
    /// Disk for the WAL. Past it appends are refused, and succeed again when there is room.
    pub max_wal_bytes: u64,
    /// The largest record.
    pub max_record_bytes: u32,
    /// Memory for spans and their index, half each. Past the first half old spans are read from disk; past the second
    /// appends are refused.
    pub max_memory_bytes: usize,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    appender: Appender,
    reader: Reader,
    memtable: Arc<Memtable>,
    batches: Batches,
    max_index_bytes: usize,
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
    /// Spans in the WAL.
    pub spans: u64,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The WAL says no.
    #[error("cannot open the WAL: {0}")]
    Wal(#[from] log::OpenError),
    /// The WAL cannot be read.
    #[error("cannot read the WAL: {0}")]
    Replay(#[from] log::ReadError),
    /// The identity file cannot be read or written.
    #[error("cannot open the identity file: {0}")]
    Identity(std::io::Error),
}

/// Why an append did not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The WAL says no.
    #[error("WAL: {0}")]
    Wal(#[from] log::AppendError),
    /// The index has no room. Retry later.
    #[error("the memory for the index is full: {used} of {budget} bytes")]
    Memory {
        /// Bytes in use.
        used: usize,
        /// Bytes allowed.
        budget: usize,
    },
}

impl AppendError {
    /// Whether it may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Wal(error) => error.is_retryable(),
            Self::Memory { .. } => true,
        }
    }

    /// Whether it never will.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Wal(log::AppendError::TooLarge { .. }))
    }
}

/// What the store takes.
#[derive(Clone, Debug)]
pub struct Stats {
    /// The memtable.
    pub memory: Memory,
    /// The WAL.
    pub wal: Arc<log::Stats>,
}

impl Storage {
    /// Opens the store, or makes it, and replays its WAL. Blocking.
    ///
    /// # Errors
    /// When the folder is another process's, or cannot be read or written. Damage is no error: it is set aside and counted.
    pub fn open(options: Options, world: World) -> Result<Opened, OpenError> {
        let wal = Log::open(
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
        )?;
        let identity = Identity::open(&world, &options.data.join("identity")).map_err(OpenError::Identity)?;
        let storage = Self {
            appender: wal.appender,
            reader: wal.reader,
            memtable: Arc::new(Memtable::new(options.max_memory_bytes / 2)),
            batches: Batches::default(),
            max_index_bytes: options.max_memory_bytes / 2,
        };
        let recently = world.clock.unix_ms().saturating_sub(RETRY_WINDOW.as_millis() as u64);
        let (spans, known) = storage.replay(recently)?;
        Ok(Opened { storage, collector_id: identity.collector_id, salt: identity.salt, known, spans })
    }

    fn replay(&self, recently_ms: u64) -> Result<(u64, Vec<(u64, u128)>), OpenError> {
        const READ_BYTES: usize = 4 << 20;
        let (mut spans, mut known) = (0, Vec::new());
        let mut cursor = self.reader.cursor(self.reader.first_seq());
        loop {
            let entries = self.reader.next(&mut cursor, READ_BYTES)?;
            if entries.is_empty() {
                return Ok((spans, known));
            }
            for entry in entries.into_iter().filter(|entry| entry.kind == SPANS) {
                let (head, spans_at) = match Head::decode(&entry.payload) {
                    Ok(decoded) => decoded,
                    Err(error) => {
                        tracing::error!(seq = entry.seq, %error, "a WAL record was left out");
                        continue;
                    }
                };
                match decode(head.codec, entry.payload.slice(spans_at..), head.raw_bytes, head.spans) {
                    Ok(decoded) => {
                        self.memtable.publish(&head.tenant, entry.position, decoded);
                        spans += u64::from(head.spans);
                        if let Some(batch) = head.batch {
                            self.batches.note(batch);
                        }
                        if head.accepted_ms >= recently_ms {
                            known.extend(head.hashes.iter().map(|hash| (head.accepted_ms, *hash)));
                        }
                    }
                    Err(error) => tracing::error!(seq = entry.seq, %error, "a WAL record was left out"),
                }
            }
        }
    }

    /// Appends a batch: `head` and `payload` as they will lie in the WAL, and what `payload` decodes to. When the future
    /// returns, the batch is durable and can be found. The WAL's order is that of the calls.
    pub fn append(
        &self,
        head: Head,
        payload: Bytes,
        decoded: Decoded,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + 'static {
        let used = self.memtable.memory().index_bytes;
        let appended = (used < self.max_index_bytes)
            .then(|| self.appender.append(Record { kind: SPANS, head: head.encode(), body: payload }));
        let (memtable, budget) = (self.memtable.clone(), self.max_index_bytes);
        async move {
            let Some(appended) = appended else { return Err(AppendError::Memory { used, budget }) };
            let appended = appended.await?;
            memtable.publish(&head.tenant, appended.position, decoded);
            Ok(())
        }
    }

    /// Asks for the right to store an agent's batch.
    pub fn claim(&self, key: BatchKey) -> Claim {
        self.batches.claim(key)
    }

    /// What is durable of an agent's batches, and a watch that changes when more is. It will never send one below
    /// `first_seq` again.
    pub fn agent(&self, agent: Uuid, first_seq: u64) -> (SeqRanges, watch::Receiver<()>) {
        self.batches.agent(agent, first_seq)
    }

    /// Takes note that a stream of an agent has ended, whose watch was `news`.
    pub fn leave(&self, agent: Uuid, news: watch::Receiver<()>) {
        self.batches.leave(agent, news);
    }

    /// What is durable of an agent's batches.
    pub fn durable(&self, agent: Uuid) -> SeqRanges {
        self.batches.durable(agent)
    }

    /// Takes note that an agent will never send a batch below `first_seq` again.
    pub fn forget_below(&self, agent: Uuid, first_seq: u64) {
        self.batches.forget_below(agent, first_seq);
    }

    /// This instant, for a query.
    pub fn snapshot(&self, tenant: &Tenant) -> Snapshot {
        let memtable = self.memtable.table(tenant).map(|table| {
            let upto = table.len();
            (table, upto)
        });
        Snapshot { memtable, wal: self.reader.clone() }
    }

    /// What the store takes.
    pub fn stats(&self) -> Stats {
        Stats { memory: self.memtable.memory(), wal: self.appender.stats() }
    }

    /// The WAL's writer, for those who wait for its failure or its end.
    pub fn wal(&self) -> &Appender {
        &self.appender
    }
}
