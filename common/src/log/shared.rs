//! What the writer and the readers share: the table of segments and what is committed. No lock here is held during I/O.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};

use super::Options;
use super::appender::Evicted;
use super::disk::{Disk, DiskFile};
use super::error::Failure;
use super::segment::{HEADER_BYTES, file_name};
use super::stats::{Stats, set};

/// A segment file that holds, or held, committed records.
pub(super) struct Segment {
    pub(super) base: u64,
    pub(super) path: PathBuf,
    /// Where its committed records end.
    end: AtomicU64,
    /// Its size on disk.
    pub(super) disk_bytes: AtomicU64,
    // Kept open by whoever uses it: a long log would otherwise need a descriptor a segment.
    file: Mutex<Option<Weak<dyn DiskFile>>>,
    /// By where they start: damaged ranges that were found and counted.
    damage: Mutex<BTreeMap<u64, Damage>>,
}

/// Bytes that hold no valid record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Damage {
    /// The number of the record that should start there.
    pub(super) seq: u64,
    /// Where the next valid record starts, or the segment's end.
    pub(super) to: u64,
    /// That record's number; at the segment's end, any that comes after the lost ones.
    pub(super) next_seq: u64,
}

impl Segment {
    pub(super) fn new(dir: &Path, base: u64, disk_bytes: u64) -> Segment {
        Segment {
            base,
            path: dir.join(file_name(base)),
            end: AtomicU64::new(HEADER_BYTES as u64),
            disk_bytes: AtomicU64::new(disk_bytes),
            file: Mutex::new(None),
            damage: Mutex::new(BTreeMap::new()),
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Acquire)
    }

    /// Everything before `end` is on disk.
    pub(super) fn set_end(&self, end: u64) {
        self.end.store(end, Release);
    }

    pub(super) fn keep(&self, file: &Arc<dyn DiskFile>) {
        *self.file.lock() = Some(Arc::downgrade(file));
    }

    pub(super) fn open(&self, disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.file.lock().as_ref().and_then(Weak::upgrade) {
            return Ok(file);
        }
        let file = disk.open(&self.path)?;
        self.keep(&file);
        Ok(file)
    }

    /// The damaged ranges that were found, by where they start.
    pub(super) fn damage(&self) -> Vec<(u64, Damage)> {
        self.damage.lock().iter().map(|(offset, damage)| (*offset, *damage)).collect()
    }

    pub(super) fn damage_at(&self, offset: u64) -> Option<Damage> {
        self.damage.lock().get(&offset).copied()
    }

    /// Remembers a damaged range; gives whether it is news, and whether it is the segment's first.
    pub(super) fn add_damage(&self, offset: u64, damage: Damage) -> (bool, bool) {
        let mut known = self.damage.lock();
        let first = known.is_empty();
        (known.insert(offset, damage).is_none(), first)
    }
}

pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    /// By base. The highest is the one being written, if one is.
    segments: RwLock<BTreeMap<u64, Arc<Segment>>>,
    /// The next record's number: every record below is durable, and readable unless it is gone.
    pub(super) committed: watch::Sender<u64>,
    pub(super) failed: watch::Sender<Option<Arc<Failure>>>,
    pub(super) evictions: Mutex<Option<mpsc::UnboundedSender<Evicted>>>,
    pub(super) stats: Arc<Stats>,
    /// The disk budget, and the part of it that quarantined copies may take.
    pub(super) max_bytes: u64,
    pub(super) quarantine_max_bytes: u64,
}

impl Shared {
    pub(super) fn new(disk: Arc<dyn Disk>, options: &Options) -> Shared {
        Shared {
            disk,
            dir: options.dir.clone(),
            segments: RwLock::default(),
            committed: watch::Sender::new(0),
            failed: watch::Sender::new(None),
            evictions: Mutex::new(None),
            stats: Arc::default(),
            max_bytes: options.max_bytes,
            // Half of what two segments leave, so that copies cannot keep the log from going on.
            quarantine_max_bytes: (options.max_bytes - 2 * options.segment_bytes) / 2,
        }
    }

    pub(super) fn commit(&self, next_seq: u64) {
        set(&self.stats.next_seq, next_seq);
        self.committed.send_replace(next_seq);
    }

    pub(super) fn committed(&self) -> u64 {
        *self.committed.borrow()
    }

    pub(super) fn insert(&self, segment: Arc<Segment>) {
        self.segments.write().insert(segment.base, segment);
        self.count();
    }

    pub(super) fn remove(&self, base: u64) {
        self.segments.write().remove(&base);
        self.count();
    }

    fn count(&self) {
        let segments = self.segments.read();
        set(&self.stats.segments, segments.len() as u64);
        set(&self.stats.first_seq, segments.keys().next().copied().unwrap_or_else(|| self.committed()));
    }

    /// The lowest number that may still be here.
    pub(super) fn first_seq(&self) -> u64 {
        self.segments.read().keys().next().copied().unwrap_or_else(|| self.committed())
    }

    pub(super) fn get(&self, base: u64) -> Option<Arc<Segment>> {
        self.segments.read().get(&base).cloned()
    }

    /// The segment that `seq` is in if it is here, else the first one after it.
    pub(super) fn holding(&self, seq: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        segments.range(..=seq).next_back().or_else(|| segments.iter().next()).map(|(_, segment)| Arc::clone(segment))
    }

    /// The segment after this one.
    pub(super) fn after(&self, base: u64) -> Option<Arc<Segment>> {
        self.segments.read().range(base + 1..).next().map(|(_, segment)| Arc::clone(segment))
    }

    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.segments.read().values().cloned().collect()
    }

    pub(super) fn oldest(&self) -> Option<Arc<Segment>> {
        self.segments.read().values().next().cloned()
    }
}
