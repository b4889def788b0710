//! What is acked and not yet in a block: generations of batches, findable by trace id.
//!
//! Batches are published into the active generation. Once that is large or old enough it is sealed and a new one begins;
//! a sealed one goes when its blocks are committed. Both happen under the lock of `contents`.
//!
//! A start only checks what the WAL holds and notes its traces: such a batch becomes columns when somebody looks at it.

mod batch;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use clew_common::ids::Tenant;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

pub use batch::{Arrival, Packed, open_all};
pub use table::Table;

/// The batches that will become blocks together.
pub struct Generation {
    tables: RwLock<HashMap<Tenant, Arc<Table>>>,
    bytes: Arc<AtomicUsize>,
    batches: AtomicUsize,
    /// The lowest number of a WAL record in it.
    first_seq: Mutex<Option<u64>>,
    begun: Instant,
}

impl Generation {
    /// An empty one.
    pub fn begin() -> Self {
        Self {
            tables: RwLock::default(),
            bytes: Arc::default(),
            batches: AtomicUsize::new(0),
            first_seq: Mutex::new(None),
            begun: Instant::now(),
        }
    }

    /// A tenant's batches; None when it has none.
    pub fn table(&self, tenant: &Tenant) -> Option<Arc<Table>> {
        self.tables.read().get(tenant).cloned()
    }

    /// All tenants' batches.
    pub fn tables(&self) -> Vec<(Tenant, Arc<Table>)> {
        self.tables.read().iter().map(|(tenant, table)| (tenant.clone(), table.clone())).collect()
    }

    /// Adds those tenants that have batches and are `wanted`.
    pub fn tenants(&self, all: &mut HashSet<Tenant>, wanted: impl Fn(&Tenant) -> bool) {
        let tables = self.tables.read();
        all.extend(tables.keys().filter(|tenant| wanted(tenant)).cloned());
    }

    /// Publishes the spans of the WAL record `seq`: from now on they can be found.
    pub fn publish(&self, tenant: &Tenant, seq: u64, redelivery: bool, arrival: Arrival) {
        let begin = || Arc::new(Table::new(self.bytes.clone()));
        let table = self.table(tenant);
        let table = table.unwrap_or_else(|| self.tables.write().entry(tenant.clone()).or_insert_with(begin).clone());
        table.insert(seq, redelivery, arrival);
        self.batches.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first_seq.lock();
        *first = Some(first.map_or(seq, |first| first.min(seq)));
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many batches.
    pub fn batches(&self) -> usize {
        self.batches.load(Ordering::Relaxed)
    }

    /// The lowest number of a WAL record in it; None when it is empty.
    pub fn first_seq(&self) -> Option<u64> {
        *self.first_seq.lock()
    }

    /// How long ago it was begun.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Takes a tenant's batches out: they are in a block. Says whether none are left of any tenant.
    pub fn remove(&self, tenant: &Tenant) -> bool {
        let mut tables = self.tables.write();
        if let Some(table) = tables.remove(tenant) {
            self.bytes.fetch_sub(table.bytes(), Ordering::Relaxed);
            self.batches.fetch_sub(table.len(), Ordering::Relaxed);
        }
        tables.is_empty()
    }
}
