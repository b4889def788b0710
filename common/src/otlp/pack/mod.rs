//! Packs waiting requests into groups: one compression, one record, one sync for all of them. Knows a retry by its bytes.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::FuturesUnordered};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::sync::{mpsc, oneshot};

use super::admission::Permit;
use crate::{ids::Tenant, world::World};

/// A byte-identical request within this time is a retry.
pub const RETRY_WINDOW: Duration = Duration::from_secs(60);
/// Retries are known among this many latest requests: 32 bytes each.
pub const RETRY_REQUESTS: usize = 200_000;
/// A group takes no further request past this many bytes.
const GROUP_BYTES: usize = 1 << 20;
/// While one group is stored the next one is compressed.
const GROUPS_AT_ONCE: usize = 2;

/// A checked request that waits to be stored.
#[derive(Debug)]
pub struct Request {
    /// Whose it is.
    pub tenant: Tenant,
    /// An ExportTraceServiceRequest without bad spans, with at least one span.
    pub body: Bytes,
    /// How many spans it has.
    pub spans: u32,
    /// Their traces, in order, runs of the same one once.
    pub traces: Vec<[u8; 16]>,
    /// Its share of the memory for requests.
    pub permit: Permit,
}

/// Requests of one tenant that are stored as one.
#[derive(Debug)]
pub struct Pack {
    /// Whose they are.
    pub tenant: Tenant,
    /// How many spans they have.
    pub spans: u32,
    /// Their bytes, one after the other: again an ExportTraceServiceRequest.
    pub raw: Bytes,
    /// `raw` as one zstd frame.
    pub payload: Bytes,
    /// Their traces.
    pub traces: Vec<[u8; 16]>,
    /// Hashes of the single requests.
    pub hashes: Vec<u128>,
    /// Unix time in milliseconds.
    pub accepted_ms: u64,
}

/// Why a pack was not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no room now. Retry.
    #[error("{0}")]
    Busy(String),
    /// The store is broken or closed; the program is about to stop. Retry (elsewhere).
    #[error("the store is closed: {0}")]
    Closed(String),
    /// It is not wanted. Final.
    #[error("{0}")]
    Refused(String),
    /// It never fits. Final.
    #[error("packed, it is larger than the {max} bytes that the store takes")]
    TooLarge {
        /// The limit.
        max: u64,
    },
}

impl From<crate::log::AppendError> for StoreError {
    fn from(error: crate::log::AppendError) -> Self {
        match error {
            crate::log::AppendError::TooLarge { max, .. } => Self::TooLarge { max },
            error if error.is_retryable() => Self::Busy(error.to_string()),
            error => Self::Closed(error.to_string()),
        }
    }
}

/// Makes packs durable.
pub trait Store: Send + Sync + 'static {
    /// Returns when the pack is durable (and, at a collector, can be found).
    fn store(&self, pack: Pack) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;
}

type Reply = oneshot::Sender<Result<(), StoreError>>;

/// Hands requests to the packing thread. Cheap to clone; when the last clone goes, the thread finishes and ends.
#[derive(Clone, Debug)]
pub struct Packer {
    requests: mpsc::UnboundedSender<(Request, Reply)>,
}

/// What the packer counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    groups: Counter,
    retries: Counter,
    raw_bytes: Counter,
    packed_bytes: Counter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("stored_groups", "Groups of requests that were stored with one sync", metrics.groups.clone());
        registry.register(
            "suppressed_retries",
            "Byte-identical requests that were acked and not stored again",
            metrics.retries.clone(),
        );
        registry.register("packed_raw_bytes", "Bytes of requests before compression", metrics.raw_bytes.clone());
        registry.register("packed_bytes", "Bytes of requests after compression", metrics.packed_bytes.clone());
        metrics
    }
}

impl Packer {
    /// Starts the packing thread (a task when work is inline). `known` are the hashes of requests stored lately, with
    /// the Unix time in milliseconds of their acceptance, oldest first. `salt` must stay the same over restarts.
    /// The future returns when the thread has ended, after the last clone of the handle has gone.
    pub fn start(
        store: Arc<dyn Store>,
        world: World,
        salt: u64,
        known: Vec<(u64, u128)>,
        metrics: Metrics,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (requests, queue) = mpsc::unbounded_channel();
        let (ended, end) = oneshot::channel::<()>();
        let starter = world.clone();
        let packing = async move {
            match zstd::bulk::Compressor::new(1) {
                Ok(compressor) => Packing::new(store, world, salt, known, metrics, compressor).run(queue).await,
                Err(error) => tracing::error!(%error, "cannot start zstd"),
            }
            drop(ended);
        };
        starter.start("clew-pack", packing);
        let end = async move {
            // It is only ever dropped.
            let _ = end.await;
        };
        (Self { requests }, end)
    }

    /// Stores a request; returns when it is durable.
    ///
    /// # Errors
    /// When it is not: the sender should retry.
    pub async fn store(&self, request: Request) -> Result<(), StoreError> {
        let closed = || StoreError::Closed("the packing thread has ended".to_owned());
        let (reply, replied) = oneshot::channel();
        self.requests.send((request, reply)).map_err(|_| closed())?;
        replied.await.map_err(|_| closed())?
    }
}

struct Waiting {
    request: Request,
    hash: u128,
}

/// A group that is being stored.
struct Group {
    hashes: Vec<u128>,
    accepted_ms: u64,
    result: Result<(), StoreError>,
}

struct Packing {
    store: Arc<dyn Store>,
    world: World,
    salt: u64,
    metrics: Metrics,
    compressor: zstd::bulk::Compressor<'static>,
    scratch: Vec<u8>,
    waiting: VecDeque<Waiting>,
    storing: FuturesUnordered<Pin<Box<dyn Future<Output = Group> + Send>>>,
    /// Who is told what becomes of a request that waits or is being stored: its sender, and those of identical ones.
    replies: HashMap<u128, Vec<Reply>>,
    /// Requests that were stored lately, also in the order of their acceptance.
    stored: HashSet<u128>,
    stored_order: VecDeque<(u64, u128)>,
}

impl Packing {
    fn new(
        store: Arc<dyn Store>,
        world: World,
        salt: u64,
        known: Vec<(u64, u128)>,
        metrics: Metrics,
        compressor: zstd::bulk::Compressor<'static>,
    ) -> Self {
        let mut packing = Self {
            store,
            world,
            salt,
            metrics,
            compressor,
            scratch: Vec::new(),
            waiting: VecDeque::new(),
            storing: FuturesUnordered::new(),
            replies: HashMap::new(),
            stored: HashSet::new(),
            stored_order: VecDeque::new(),
        };
        known.into_iter().for_each(|(accepted_ms, hash)| packing.remember(accepted_ms, hash));
        packing
    }

    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<(Request, Reply)>) {
        let mut open = true;
        while open || !self.storing.is_empty() {
            tokio::select! {
                biased;
                Some(group) = self.storing.next(), if !self.storing.is_empty() => self.finish(group),
                request = queue.recv(), if open && self.storing.len() < GROUPS_AT_ONCE => match request {
                    Some((request, reply)) => self.take(request, reply),
                    None => open = false,
                },
            }
            while let Ok((request, reply)) = queue.try_recv() {
                self.take(request, reply);
            }
            while self.storing.len() < GROUPS_AT_ONCE && !self.waiting.is_empty() {
                self.pack();
            }
        }
    }

    /// Queues a request, or lets it share the fate of an identical one.
    fn take(&mut self, request: Request, reply: Reply) {
        let seed = self.salt ^ xxhash_rust::xxh3::xxh3_64(request.tenant.as_field().as_bytes());
        let hash = xxhash_rust::xxh3::xxh3_128_with_seed(&request.body, seed);
        self.forget(self.world.clock.unix_ms());
        if self.stored.contains(&hash) {
            self.metrics.retries.inc();
            let _ = reply.send(Ok(()));
        } else if let Some(replies) = self.replies.get_mut(&hash) {
            self.metrics.retries.inc();
            replies.push(reply);
        } else {
            self.replies.insert(hash, vec![reply]);
            self.waiting.push_back(Waiting { request, hash });
        }
    }

    /// Makes one group of what waits for the first one's tenant, and begins to store it.
    fn pack(&mut self) {
        let Some(first) = self.waiting.pop_front() else { return };
        let tenant = first.request.tenant.clone();
        let mut bytes = first.request.body.len();
        let mut members = vec![first];
        let mut others = VecDeque::new();
        while bytes < GROUP_BYTES
            && let Some(next) = self.waiting.pop_front()
        {
            if next.request.tenant == tenant && bytes + next.request.body.len() <= GROUP_BYTES {
                bytes += next.request.body.len();
                members.push(next);
            } else {
                others.push_back(next);
            }
        }
        others.append(&mut self.waiting);
        self.waiting = others;

        let raw = match &members[..] {
            [only] => only.request.body.clone(),
            several => {
                let mut raw = BytesMut::with_capacity(bytes);
                several.iter().for_each(|member| raw.extend_from_slice(&member.request.body));
                raw.freeze()
            }
        };
        let mut pack = Pack {
            tenant,
            spans: members.iter().map(|member| member.request.spans).sum(),
            payload: Bytes::new(),
            raw,
            traces: Vec::new(),
            hashes: members.iter().map(|member| member.hash).collect(),
            accepted_ms: self.world.clock.unix_ms(),
        };
        self.metrics.groups.inc();
        let mut permits = Vec::with_capacity(members.len());
        for Waiting { request, .. } in members {
            permits.push(request.permit);
            pack.traces.extend(request.traces);
        }
        let (hashes, accepted_ms) = (pack.hashes.clone(), pack.accepted_ms);
        let storing = match self.compress(&pack.raw) {
            Ok(payload) => {
                pack.payload = payload;
                self.store.store(pack)
            }
            Err(error) => Box::pin(std::future::ready(Err(StoreError::Closed(format!("zstd: {error}"))))),
        };
        self.storing.push(Box::pin(async move {
            let result = storing.await;
            drop(permits);
            Group { hashes, accepted_ms, result }
        }));
    }

    fn compress(&mut self, raw: &[u8]) -> std::io::Result<Bytes> {
        self.scratch.clear();
        self.scratch.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        self.compressor.compress_to_buffer(raw, &mut self.scratch)?;
        self.metrics.raw_bytes.inc_by(raw.len() as u64);
        self.metrics.packed_bytes.inc_by(self.scratch.len() as u64);
        // Copied, so that what waits in memory is no larger than it must be.
        let payload = Bytes::copy_from_slice(&self.scratch);
        if self.scratch.capacity() > 4 * GROUP_BYTES {
            self.scratch = Vec::new();
        }
        Ok(payload)
    }

    fn finish(&mut self, mut group: Group) {
        if let Err(error @ StoreError::TooLarge { .. }) = &group.result
            && group.hashes.len() > 1
        {
            // Together they are; each alone may fit.
            group.result = Err(StoreError::Busy(error.to_string()));
        }
        for hash in group.hashes {
            if group.result.is_ok() {
                self.remember(group.accepted_ms, hash);
            }
            for reply in self.replies.remove(&hash).unwrap_or_default() {
                // A sender that has gone will retry; its request is stored.
                let _ = reply.send(group.result.clone());
            }
        }
    }

    fn remember(&mut self, accepted_ms: u64, hash: u128) {
        self.stored.insert(hash);
        self.stored_order.push_back((accepted_ms, hash));
    }

    fn forget(&mut self, now_ms: u64) {
        let window_ms = RETRY_WINDOW.as_millis() as u64;
        while let Some(&(accepted_ms, hash)) = self.stored_order.front()
            && (accepted_ms.saturating_add(window_ms) < now_ms || self.stored_order.len() > RETRY_REQUESTS)
        {
            self.stored_order.pop_front();
            self.stored.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests;
