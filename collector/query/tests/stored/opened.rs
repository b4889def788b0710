//! Stores in folders that go with them.

use std::time::Duration;

use bytes::Bytes;
use clew_common::{
    ids::Tenant,
    otlp::record::{Codec, Head},
    world::World,
};
use clew_storage::{Opened, Options, Snapshot, Storage, block::Layout, retention, store};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, TracesData};
use prost::Message;

/// How a store has its spans: in so many blocks and in memory.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub blocks: usize,
    /// Of the blocks.
    pub layout: Layout,
}

/// As a collector has them: what is small is one row group.
impl From<usize> for Kept {
    fn from(blocks: usize) -> Self {
        Self { blocks, layout: Layout::default() }
    }
}

impl Kept {
    /// Cut into row groups of so many rows, of which each has several pages.
    pub fn cut(blocks: usize, group_rows: usize) -> Self {
        let page_rows = (group_rows / 4 / 8 * 8).max(8);
        Self {
            blocks,
            layout: Layout { group_rows, page_rows, least_page_rows: page_rows / 2, level: 1, shape_bytes: Some(0) },
        }
    }
}

/// A store.
pub struct TestStore {
    storage: Storage,
    appended: u128,
    /// For its threads.
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl TestStore {
    /// An empty one.
    pub fn open(layout: Layout) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inside = runtime.enter();
        let options = Options {
            data: folder.path().to_owned(),
            wal: None,
            segment_bytes: 4 << 20,
            max_wal_bytes: 64 << 20,
            max_record_bytes: 4 << 20,
            flush_bytes: 64 << 20,
            flush_age: Duration::from_secs(300),
            max_memory_bytes: 64 << 20,
            max_tenants: 100,
            layout,
            cache_bytes: 1 << 20,
            sweep_delay: Duration::from_secs(600),
            merge_nice: 0,
            retention: retention::Limits::default(),
            sole: true,
            heir_of: Vec::new(),
        };
        let blocks = store::open(&folder.path().join("blocks").display().to_string(), &World::real()).unwrap();
        let Opened { storage, .. } = Storage::open(options, blocks, World::real()).unwrap();
        drop(inside);
        Self { storage, appended: 0, runtime, _folder: folder }
    }

    /// Takes spans in; another collector may have them too.
    pub fn append(&mut self, spans: Vec<ResourceSpans>, may_duplicate: bool) {
        let scopes = spans.iter().flat_map(|resource| &resource.scope_spans);
        let count = scopes.map(|scope| scope.spans.len() as u32).sum();
        let payload = Bytes::from(TracesData { resource_spans: spans }.encode_to_vec());
        let raw_bytes = payload.len() as u32;
        let decoded = self.storage.decode(Codec::Identity, payload.clone(), raw_bytes, count).unwrap();
        let head = Head {
            codec: Codec::Identity,
            spans: count,
            raw_bytes,
            accepted_ms: 1_000_000,
            tenant: Tenant::default(),
            batch: None,
            redelivery: may_duplicate,
            hashes: vec![self.appended],
            marks: vec![],
        };
        self.appended += 1;
        let append = async {
            let place = self.storage.room(raw_bytes as usize, Duration::ZERO).await?;
            self.storage.append(place, head, payload, decoded).await
        };
        self.runtime.block_on(append).unwrap();
    }

    /// Makes a block of what is in memory.
    pub fn flush(&self) {
        let _inside = self.runtime.enter();
        self.storage.flush().unwrap();
    }

    /// All that is there now.
    pub fn snapshot(&self) -> Snapshot {
        self.storage.snapshot(&Tenant::default())
    }
}
