//! What the results of functions take, as long as somebody holds them.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow_array::{Array, ArrayRef};
use arrow_buffer::Buffer;
use datafusion::{
    arrow::array::ArrayData,
    common::{DataFusionError, Result},
    execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation},
};
use parking_lot::Mutex;

/// Buffers that are too short to be kept in mind: at most so many rows of a batch times few bytes.
const SHORT_BYTES: usize = 4 << 10;

/// What a query's functions have made.
#[derive(Debug)]
pub struct Account {
    pool: Arc<dyn MemoryPool>,
    made: Mutex<Made>,
    /// What may still be made of constants.
    constants: AtomicUsize,
}

#[derive(Debug)]
struct Made {
    reservation: MemoryReservation,
    /// One that nobody else holds is gone when the next ones are counted.
    held: Vec<Buffer>,
}

impl Account {
    pub fn new(pool: &Arc<dyn MemoryPool>) -> Self {
        let reservation = MemoryConsumer::new("results of functions").register(pool);
        let made = Mutex::new(Made { reservation, held: Vec::new() });
        Self { pool: pool.clone(), made, constants: AtomicUsize::new(0) }
    }

    /// So much may be made of constants from now on.
    pub fn allow_constants(&self, bytes: usize) {
        self.constants.store(bytes, Ordering::Relaxed);
    }

    /// A value that was made of constants.
    ///
    /// # Errors
    /// When that is too much.
    pub fn constant(&self, bytes: usize) -> Result<()> {
        let left = self.constants.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        let refused = |left| {
            DataFusionError::Plan(format!(
                "functions make {bytes} bytes of constants; {left} are left of what they may"
            ))
        };
        left.map(drop).map_err(refused)
    }

    /// Room for a result, until it is dropped.
    ///
    /// # Errors
    /// When there is none.
    pub fn room(&self, bytes: usize) -> Result<MemoryReservation> {
        let room = MemoryConsumer::new("a result").register(&self.pool);
        if room.try_grow(bytes).is_err() {
            // What was let go since the last result makes room.
            self.made.lock().settle([])?;
            room.try_grow(bytes)?;
        }
        Ok(room)
    }

    /// Counts a result for as long as somebody holds it; what it has of its arguments is counted, or was not made here.
    ///
    /// # Errors
    /// When there is no memory left for it.
    pub fn count(&self, result: &dyn Array, arguments: &[ArrayRef]) -> Result<()> {
        let (mut buffers, mut given) = (Vec::new(), Vec::new());
        collect(&result.to_data(), &mut buffers);
        if buffers.is_empty() {
            return Ok(());
        }
        arguments.iter().for_each(|argument| collect(&argument.to_data(), &mut given));
        let given: HashSet<_> = given.iter().map(Buffer::data_ptr).collect();
        buffers.retain(|buffer| !given.contains(&buffer.data_ptr()));
        if buffers.is_empty() {
            return Ok(());
        }
        self.made.lock().settle(buffers)
    }
}

impl Made {
    fn settle(&mut self, more: impl IntoIterator<Item = Buffer>) -> Result<()> {
        self.held.extend(more);
        // The same buffer may be part of several results: as often as it is held here, nobody else holds it.
        let mut seen = HashSet::new();
        self.held.retain(|buffer| seen.insert(buffer.data_ptr()) && buffer.strong_count() > 1);
        self.reservation.try_resize(self.held.iter().map(Buffer::capacity).sum())
    }
}

fn collect(data: &ArrayData, buffers: &mut Vec<Buffer>) {
    let long = |buffer: &&Buffer| buffer.capacity() > SHORT_BYTES;
    buffers.extend(data.buffers().iter().filter(long).cloned());
    data.child_data().iter().for_each(|child| collect(child, buffers));
}
