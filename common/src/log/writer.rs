//! The one writer: groups of records become durable, segments are made, sealed, evicted and freed.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::oneshot;

use super::appender::Evicted;
use super::disk::{DiskFile, is_no_space};
use super::error::{AppendError, Failure};
use super::segment::{HEAD_BYTES, HEADER_BYTES, SEAL_BYTES, Seal, header, record_head};
use super::shared::{Segment, Shared};
use super::stats::{add, set, sub};
use super::survey::survey;
use super::{Appended, Options, Position, Record, WEIGH_BYTES, WhenFull};

// Parts shorter than this are copied together: a buffer of the vectored write costs about as much as copying it.
const COPY_BYTES: usize = 4096;

/// A record that waits to be written, and who waits for it.
pub(super) struct Queued {
    pub(super) record: Record,
    pub(super) reply: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Queued {
    fn record_len(&self) -> u64 {
        HEAD_BYTES as u64 + self.payload_len()
    }

    fn payload_len(&self) -> u64 {
        self.record.head.len() as u64 + self.record.body.len() as u64
    }

    pub(super) fn refuse(self, error: AppendError) {
        // The caller may have dropped the future.
        let _ = self.reply.send(Err(error));
    }
}

/// The segment that records are written to.
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) file: Arc<dyn DiskFile>,
    /// Where the next record goes.
    pub(super) end: u64,
    /// Records and the seal end before this.
    pub(super) capacity: u64,
    /// Whether the disk has set aside room up to `capacity`.
    pub(super) preallocated: bool,
    pub(super) records: u64,
    pub(super) weight: u64,
}

impl Active {
    fn fits(&self, bytes: u64) -> bool {
        self.end + bytes + SEAL_BYTES as u64 <= self.capacity
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    options: Options,
    next_seq: u64,
    active: Option<Active>,
    /// The last segment that recovery found, if it is not gone on with: cut and sealed once there is a newer one, because
    /// until then its bytes are all that tells which numbers may have been used.
    left: Option<Active>,
    /// Written and not yet synced.
    staged: Vec<(Queued, Appended)>,
    freed_before: u64,
    _lock: Box<dyn Any + Send + Sync>,
}

/// Why a segment could not be made.
enum Stop {
    /// Nothing is lost: this group is refused.
    Refuse(AppendError),
    Fail(Failure),
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        options: Options,
        next_seq: u64,
        lock: Box<dyn Any + Send + Sync>,
    ) -> Writer {
        Writer { shared, options, next_seq, active: None, left: None, staged: Vec::new(), freed_before: 0, _lock: lock }
    }

    /// Goes on in a segment that recovery found to be in order.
    pub(super) fn go_on(&mut self, active: Active) {
        self.active = Some(active);
    }

    /// Leaves the last segment as it is until there is a newer one. With `None`, it stays as it is for good.
    pub(super) fn leave(&mut self, left: Option<Active>) {
        self.left = left;
    }

    /// Makes the first segment if there is none to write to. A full disk or budget is no error: it is tried again with the
    /// first append.
    pub(super) fn prepare(&mut self) -> Result<(), Failure> {
        if self.active.is_some() {
            return Ok(());
        }
        match self.roll(0) {
            Ok(()) | Err(Stop::Refuse(_)) => Ok(()),
            Err(Stop::Fail(failure)) => Err(failure),
        }
    }

    pub(super) fn max_record_bytes(&self) -> u64 {
        let frame = (HEADER_BYTES + HEAD_BYTES + SEAL_BYTES) as u64;
        let room = self.options.max_bytes - self.options.segment_bytes;
        u64::from(self.options.max_record_bytes).min(room.saturating_sub(frame))
    }

    /// Writes a group; gives whether there is something to [`sync`](Writer::sync). A segment that is left on the way is
    /// synced first.
    pub(super) fn write(&mut self, group: Vec<Queued>) -> bool {
        let mut batch = Vec::with_capacity(group.len());
        let mut bytes = 0;
        let mut group = group.into_iter();
        while let Some(queued) = group.next() {
            let needs = queued.record_len();
            if !self.active.as_ref().is_some_and(|active| active.fits(bytes + needs)) {
                self.write_batch(std::mem::take(&mut batch));
                self.sync();
                bytes = 0;
                if let Err(stop) = self.grow_or_roll(needs) {
                    // Those behind it are refused with it, so that a later record is never taken before an earlier one.
                    let rest = std::iter::once(queued).chain(group).collect();
                    self.stop(rest, stop);
                    return false;
                }
            }
            bytes += needs;
            batch.push(queued);
        }
        self.write_batch(batch);
        !self.staged.is_empty()
    }

    fn write_batch(&mut self, batch: Vec<Queued>) {
        if batch.is_empty() {
            return;
        }
        if let Err(stop) = self.try_write(&batch) {
            return self.stop(batch, stop);
        }
        let Some(active) = self.active.as_mut() else { return };
        for queued in batch {
            let len = queued.payload_len() as u32;
            let position = Position { segment: active.segment.base, offset: active.end, len };
            active.end += queued.record_len();
            active.records += 1;
            active.weight += weigh(&self.options, &queued.record);
            let appended = Appended { seq: self.next_seq, position };
            self.next_seq += 1;
            self.staged.push((queued, appended));
        }
    }

    /// One vectored write. When the disk is full, nothing of it stays.
    fn try_write(&mut self, batch: &[Queued]) -> Result<(), Stop> {
        self.check_failed()?;
        self.preallocate()?;
        let Some(active) = self.active.as_ref() else { return Ok(()) };
        let (copied, parts) = lay_out(batch, self.next_seq);
        let bufs: Vec<&[u8]> = parts
            .iter()
            .map(|part| match part {
                Part::Copied(from, to) => &copied[*from..*to],
                Part::Whole(bytes) => bytes,
            })
            .collect();
        let written = active.file.write_all_at(&bufs, active.end);
        let Err(error) = written else { return Ok(()) };
        let path = &active.segment.path;
        if !is_no_space(&error) {
            return Err(fail("write to", path, error));
        }
        // Whole records of the refused group may be there: they must be gone, durably, before anybody hears of the refusal.
        active.file.set_len(active.end).map_err(|error| fail("cut a refused write off", path, error))?;
        active.file.sync_data().map_err(|error| fail("sync", path, error))?;
        self.resized(active.end);
        Err(Stop::Refuse(AppendError::NoSpace))
    }

    /// Sets room aside again, when it is not yet or no longer.
    fn preallocate(&mut self) -> Result<(), Stop> {
        let Some(active) = self.active.as_ref().filter(|active| !active.preallocated) else { return Ok(()) };
        active.file.preallocate(active.capacity).map_err(|error| classify("extend", &active.segment.path, error))?;
        self.resized(active.capacity);
        Ok(())
    }

    fn resized(&mut self, len: u64) {
        if let Some(active) = self.active.as_mut() {
            active.preallocated = len >= active.capacity;
            let before = active.segment.disk_bytes.swap(len, Relaxed);
            add(&self.shared.stats.used_bytes, len);
            sub(&self.shared.stats.used_bytes, before);
        }
    }

    /// Makes what was written durable and tells those who wait.
    pub(super) fn sync(&mut self) {
        let Some(active) = self.active.as_ref().filter(|_| !self.staged.is_empty()) else { return };
        if let Err(error) = active.file.sync_data() {
            let stop = fail("sync", &active.segment.path, error);
            let staged = self.staged.drain(..).map(|(queued, _)| queued).collect();
            return self.stop(staged, stop);
        }
        active.segment.set_end(active.end);
        self.shared.commit(self.next_seq);
        let stats = &self.shared.stats;
        add(&stats.synced_groups, 1);
        add(&stats.appended_records, self.staged.len() as u64);
        for (queued, appended) in self.staged.drain(..) {
            add(&stats.appended_bytes, u64::from(appended.position.len));
            // The caller may have dropped the future.
            let _ = queued.reply.send(Ok(appended));
        }
    }

    pub(super) fn simulated_sync(&self) -> Duration {
        self.shared.disk.simulated_sync()
    }

    pub(super) fn timed(&self, took: Duration) {
        set(&self.shared.stats.last_sync_micros, took.as_micros() as u64);
    }

    /// Refuses records, and all later ones if this is a failure.
    fn stop(&mut self, refused: Vec<Queued>, stop: Stop) {
        let stats = &self.shared.stats;
        let error = match stop {
            Stop::Refuse(error) => {
                let counter = match error {
                    AppendError::Full { .. } => Some(&stats.refused_full),
                    AppendError::NoSpace | AppendError::Unavailable(_) => Some(&stats.refused_nospace),
                    _ => None,
                };
                if let Some(counter) = counter {
                    add(counter, refused.len() as u64);
                }
                error
            }
            Stop::Fail(failure) => AppendError::Failed(self.fail(failure)),
        };
        for queued in refused {
            queued.refuse(error.clone());
        }
    }

    fn fail(&mut self, failure: Failure) -> Arc<Failure> {
        tracing::error!(error = %failure, "the log has failed and takes nothing more");
        let failure = Arc::new(failure);
        self.shared.failed.send_replace(Some(Arc::clone(&failure)));
        // After a failed sync the system may hold bytes that it will never write and yet shows to whoever reads the file.
        // Cut, they cannot be taken for durable by the process that comes next. Nothing depends on this working.
        if let Some(active) = &self.active {
            let _ = active.file.set_len(active.segment.end());
        }
        failure
    }

    fn check_failed(&self) -> Result<(), Stop> {
        match &*self.shared.failed.borrow() {
            Some(failure) => Err(Stop::Refuse(AppendError::Failed(Arc::clone(failure)))),
            None => Ok(()),
        }
    }

    /// Makes room for a record of `needs` bytes which the active segment does not fit.
    fn grow_or_roll(&mut self, needs: u64) -> Result<(), Stop> {
        self.check_failed()?;
        // An empty segment has the name that the new one would get.
        let Some(active) = self.active.as_mut().filter(|active| active.segment.base == self.next_seq) else {
            return self.roll(needs);
        };
        let capacity = HEADER_BYTES as u64 + needs + SEAL_BYTES as u64;
        let more = capacity.saturating_sub(active.segment.disk_bytes.load(Relaxed));
        self.make_room(more)?;
        if let Some(active) = self.active.as_mut() {
            active.capacity = capacity;
            active.preallocated = false;
        }
        self.preallocate()
    }

    /// Starts a new segment, durable before anything is written to it, and seals the one before.
    fn roll(&mut self, needs: u64) -> Result<(), Stop> {
        let capacity = self.options.segment_bytes.max(HEADER_BYTES as u64 + needs + SEAL_BYTES as u64);
        self.make_room(capacity)?;
        let segment = Arc::new(Segment::new(&self.options.dir, self.next_seq, capacity));
        let file = self.create(&segment, capacity)?;
        segment.keep(&file);
        add(&self.shared.stats.used_bytes, capacity);
        self.shared.insert(Arc::clone(&segment));
        let end = HEADER_BYTES as u64;
        let active = Active { segment, file, end, capacity, preallocated: true, records: 0, weight: 0 };
        if let Some(before) = self.active.replace(active).or(self.left.take()) {
            self.seal(before)?;
        }
        self.free()
    }

    fn create(&self, segment: &Segment, capacity: u64) -> Result<Arc<dyn DiskFile>, Stop> {
        let (disk, path) = (&self.shared.disk, &segment.path);
        let file = match disk.create(path, capacity) {
            // Left by an attempt that ran out of space: no record ever was in it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(path).map_err(|error| fail("remove", path, error))?;
                disk.create(path, capacity)
            }
            made => made,
        };
        let file = file.map_err(|error| classify("create", path, error))?;
        if let Err(error) = file.write_all_at(&[&header(segment.base)], 0) {
            disk.remove(path).map_err(|error| fail("remove", path, error))?;
            return Err(classify("write to", path, error));
        }
        // The header becomes durable with the first records; the name alone tells as much until then.
        disk.sync_dir(&self.options.dir).map_err(|error| fail("sync", &self.options.dir, error))?;
        Ok(file)
    }

    /// Ends a segment that is no longer the last: what is behind its records is cut.
    fn seal(&mut self, ended: Active) -> Result<(), Stop> {
        let next_seq = self.active.as_ref().map_or(self.next_seq, |active| active.segment.base);
        let seal = Seal { next_seq, records: ended.records, weight: ended.weight };
        let path = &ended.segment.path;
        let len = ended.end + SEAL_BYTES as u64;
        match ended.file.write_all_at(&[&seal.encode()], ended.end).and_then(|()| ended.file.set_len(len)) {
            // Only a hint: without it the next start walks along the records.
            Err(error) if is_no_space(&error) => return Ok(()),
            sealed => sealed.map_err(|error| fail("seal", path, error))?,
        }
        ended.file.sync_data().map_err(|error| fail("sync", path, error))?;
        let before = ended.segment.disk_bytes.swap(len, Relaxed);
        add(&self.shared.stats.used_bytes, len);
        sub(&self.shared.stats.used_bytes, before);
        Ok(())
    }

    /// Refuses, or evicts, when `bytes` more would pass the budget.
    fn make_room(&mut self, bytes: u64) -> Result<(), Stop> {
        loop {
            let used = self.shared.stats.used_bytes.load(Relaxed);
            let budget = self.options.max_bytes;
            // With one segment left there is always a way on, also if the budget was made smaller.
            let oldest = self.shared.oldest().filter(|oldest| self.shared.after(oldest.base).is_some());
            let Some(oldest) = oldest.filter(|_| used + bytes > budget) else { return Ok(()) };
            match self.options.when_full {
                WhenFull::Refuse => return Err(Stop::Refuse(AppendError::Full { used, budget })),
                WhenFull::EvictOldest => self.evict(&oldest)?,
            }
        }
    }

    fn evict(&mut self, oldest: &Segment) -> Result<(), Stop> {
        let mut records = Vec::new();
        let last_seq = self.shared.after(oldest.base).map_or(self.next_seq, |after| after.base) - 1;
        let listed = oldest.open(&*self.shared.disk).and_then(|file| {
            survey(&self.shared, oldest, &*file, oldest.end(), last_seq, |seq, kind, start| {
                let weight = (self.options.weigh)(kind, start);
                records.push((seq, weight));
                weight
            })
        });
        if let Err(error) = listed {
            tracing::warn!(path = %oldest.path.display(), %error, "an evicted segment's records could not all be counted");
        }
        self.remove(oldest).map_err(|error| fail("evict", &oldest.path, error))?;
        self.sync_dir()?;
        let weight = records.iter().map(|(_, weight)| weight).sum();
        add(&self.shared.stats.evicted_records, records.len() as u64);
        add(&self.shared.stats.evicted_weight, weight);
        let listener = self.shared.evictions.lock();
        if let Some(listener) = &*listener {
            // The listener may be gone.
            let _ = listener.send(Evicted { records });
        }
        Ok(())
    }

    /// Deletes the segments, except the last, whose every record is below `seq` or any earlier such number.
    pub(super) fn free_before(&mut self, seq: Option<u64>) {
        self.freed_before = self.freed_before.max(seq.unwrap_or(0));
        let freed = self.check_failed().and_then(|()| self.free());
        if let Err(stop) = freed {
            self.stop(Vec::new(), stop);
        }
    }

    fn free(&mut self) -> Result<(), Stop> {
        let mut removed = false;
        while let Some(oldest) = self.shared.oldest() {
            if self.shared.after(oldest.base).is_none_or(|after| after.base > self.freed_before) {
                break;
            }
            if let Err(error) = self.remove(&oldest) {
                // Tried again when more is freed.
                tracing::warn!(path = %oldest.path.display(), %error, "a segment that is free could not be removed");
                break;
            }
            add(&self.shared.stats.freed_segments, 1);
            removed = true;
        }
        if removed { self.sync_dir() } else { Ok(()) }
    }

    fn remove(&self, segment: &Segment) -> io::Result<()> {
        match self.shared.disk.remove(&segment.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        self.shared.remove(segment.base);
        sub(&self.shared.stats.used_bytes, segment.disk_bytes.load(Relaxed));
        Ok(())
    }

    fn sync_dir(&self) -> Result<(), Stop> {
        let dir = &self.options.dir;
        self.shared.disk.sync_dir(dir).map_err(|error| fail("sync", dir, error))
    }
}

enum Part<'a> {
    /// From and to, in what was copied together.
    Copied(usize, usize),
    Whole(&'a [u8]),
}

fn lay_out(batch: &[Queued], first_seq: u64) -> (Vec<u8>, Vec<Part<'_>>) {
    let mut copied = Vec::new();
    let mut parts = Vec::new();
    let mut from = 0;
    for (seq, Queued { record, .. }) in (first_seq..).zip(batch) {
        copied.extend_from_slice(&record_head(seq, record.kind, [&record.head, &record.body]));
        for bytes in [&record.head, &record.body] {
            if bytes.len() < COPY_BYTES {
                copied.extend_from_slice(bytes);
            } else {
                parts.push(Part::Copied(from, copied.len()));
                from = copied.len();
                parts.push(Part::Whole(bytes));
            }
        }
    }
    parts.push(Part::Copied(from, copied.len()));
    (copied, parts)
}

fn weigh(options: &Options, record: &Record) -> u64 {
    let (head, body) = (&record.head, &record.body);
    if head.len() >= WEIGH_BYTES || body.is_empty() {
        return (options.weigh)(record.kind, &head[..head.len().min(WEIGH_BYTES)]);
    }
    let mut start = [0; WEIGH_BYTES];
    let from_body = body.len().min(WEIGH_BYTES - head.len());
    start[..head.len()].copy_from_slice(head);
    start[head.len()..head.len() + from_body].copy_from_slice(&body[..from_body]);
    (options.weigh)(record.kind, &start[..head.len() + from_body])
}

fn fail(doing: &'static str, path: &Path, error: io::Error) -> Stop {
    Stop::Fail(Failure { doing, path: path.to_owned(), error })
}

/// For errors before anything was put at risk: want of space, descriptors or memory passes.
fn classify(doing: &'static str, path: &Path, error: io::Error) -> Stop {
    if is_no_space(&error) {
        return Stop::Refuse(AppendError::NoSpace);
    }
    let passes = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(|errno| Some(errno.raw_os_error()));
    if passes.contains(&error.raw_os_error()) {
        let failure = Failure { doing, path: path.to_owned(), error };
        return Stop::Refuse(AppendError::Unavailable(Arc::new(failure)));
    }
    fail(doing, path, error)
}
