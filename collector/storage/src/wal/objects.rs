//! A log in a store: one process's handle to it, and the threads that put its objects.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use clew_common::{
    backoff::Backoff,
    ids::Tenant,
    log::{AppendError, Failure, Record, Stats, Work},
    ranges::SeqRanges,
    world::World,
};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use super::{
    Entries, Limits, Notes, OpenError,
    entries::Left,
    epochs::{self, Epoch, NOTE},
    object,
    owner::Owner,
    place::Place,
    queue::{Group, Next, Queue},
    sources::Sources,
};
use crate::store::Store;

/// The longest pause between two tries of a PUT.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How a log in a store is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names it. One process at a time may have it open.
    pub name: String,
    /// How large things may get.
    pub limits: Limits,
    /// Objects that may be on their way at once.
    pub uploads: usize,
    /// The time between two heartbeats.
    pub beat: Duration,
    /// A start watches for so long whether the last process that had this name still lives: longer than a few beats.
    pub watch: Duration,
}

impl Options {
    /// With usual values.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            limits: Limits::default(),
            uploads: 4,
            beat: Duration::from_secs(2),
            watch: Duration::from_secs(5),
        }
    }
}

/// A log in a store. Cheap to clone. It ends when the last clone goes, or is closed.
#[derive(Clone)]
pub struct Objects(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    /// What the replay reads.
    left: Mutex<Vec<Left>>,
    sources: Sources,
    notes: Notes,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.end();
    }
}

/// What the handle and its threads share.
struct Shared {
    place: Place,
    epoch: Uuid,
    /// This process's number of the epoch's first record.
    first: u64,
    queue: Queue,
    stats: Arc<Stats>,
    /// Objects on the store, of all epochs.
    kept: Mutex<Vec<Kept>>,
    /// Earlier epochs whose notes are on the store, oldest first.
    earlier: Mutex<Vec<Uuid>>,
    failed_puts: AtomicU64,
    beat: Duration,
    closed: watch::Sender<bool>,
}

/// An object on the store.
struct Kept {
    epoch: Uuid,
    /// Its name: the epoch's number of its first record.
    base: u64,
    /// This process's number after its last record.
    end: u64,
    bytes: u64,
}

impl Objects {
    /// Opens the log of this name: finds what earlier processes left in it and begins a new epoch. Blocking; the replay comes
    /// after, by [`Objects::entries`].
    ///
    /// # Errors
    /// When the name is in use or makes no sense, when something is of an unknown version, and those of the store.
    pub fn open(store: Arc<dyn Store>, world: World, options: Options) -> Result<Self, OpenError> {
        let Options { name, limits, uploads, beat, watch } = options;
        // The same form: it is a part of a path, too.
        if Tenant::new(&name).is_err() {
            return Err(OpenError::Name { name });
        }
        let place = Place::new(store, world, &name);
        let last = Owner::last(&place, watch)?;
        let epoch = place.world.random.uuid(place.world.clock);
        let owner = Owner::new(epoch);
        place.persist(|| owner.write(&place))?;
        let earlier = epochs::find(&place, last.as_ref())?;
        epochs::note(&place, epoch, &earlier)?;
        // Another process may have started at the same time.
        match Owner::read(&place)? {
            Some(other) if other.epoch != epoch => return Err(OpenError::owned(&place, &other)),
            _ => {}
        }
        let stats = Arc::new(Stats::default());
        let mut sources = Sources::default();
        let (mut left, mut kept) = (Vec::new(), Vec::new());
        for found @ Epoch { id, objects } in &earlier {
            let Some((lowest, highest)) = objects.first().zip(objects.last()) else { continue };
            let first = sources.add(*id, lowest.base, highest.end);
            for (object, next) in found.followed() {
                let number = |theirs: u64| first + (theirs - lowest.base);
                left.push(Left { epoch: *id, first: number(object.base), object: object.clone(), next });
                kept.push(Kept { epoch: *id, base: object.base, end: number(object.end), bytes: object.bytes });
                stats.used_bytes.fetch_add(object.bytes, Relaxed);
            }
        }
        stats.segments.store(kept.len() as u64, Relaxed);
        let first = sources.add(epoch, 1, u64::MAX);
        stats.first_seq.store(if kept.is_empty() { first } else { 1 }, Relaxed);
        stats.next_seq.store(first, Relaxed);
        let earlier: Vec<Uuid> = earlier.into_iter().map(|epoch| epoch.id).collect();
        let notes = Notes::in_store(place.clone(), epoch, earlier.clone());
        let shared = Arc::new(Shared {
            place,
            epoch,
            first,
            queue: Queue::new(limits, first, stats.clone()),
            stats,
            kept: Mutex::new(kept),
            earlier: Mutex::new(earlier),
            failed_puts: AtomicU64::new(0),
            beat,
            closed: watch::channel(false).0,
        });
        start(&shared, owner, uploads)?;
        Ok(Self(Arc::new(Handle { shared, left: Mutex::new(left), sources, notes })))
    }

    /// See [`super::Wal::append`].
    pub fn append(&self, record: Record) -> impl Future<Output = Result<u64, AppendError>> + Send + use<> {
        let queued = self.0.shared.queue.push(record);
        async move {
            match queued?.await {
                Ok(outcome) => outcome,
                Err(_) => Err(AppendError::Closed),
            }
        }
    }

    /// See [`super::Wal::committed`].
    pub fn committed(&self) -> u64 {
        self.0.shared.queue.committed()
    }

    /// What earlier processes left. To be read once.
    pub fn entries(&self) -> Entries {
        let left = std::mem::take(&mut *self.0.left.lock());
        Entries::of_objects(self.0.shared.place.clone(), left, self.stats())
    }

    /// See [`super::Wal::name`].
    pub fn name(&self, seq: u64) -> Option<(Uuid, u64)> {
        self.0.sources.name(seq)
    }

    /// See [`super::Wal::sources`].
    pub fn sources(&self, seqs: &SeqRanges) -> Vec<(Uuid, SeqRanges)> {
        self.0.sources.of(seqs)
    }

    /// See [`super::Wal::free_before`].
    pub fn free_before(&self, seq: u64) {
        self.0.shared.free_before(seq);
    }

    /// See [`super::Wal::failed`].
    pub fn failed(&self) -> watch::Receiver<Option<Arc<Failure>>> {
        self.0.shared.queue.failed()
    }

    /// See [`super::Wal::close`].
    pub async fn close(&self) {
        self.0.shared.queue.close();
        // The thread that says so is gone only when its runtime is.
        let _ = self.0.shared.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// See [`super::Wal::stats`].
    pub fn stats(&self) -> Arc<Stats> {
        self.0.shared.stats.clone()
    }

    /// See [`super::Wal::failed_puts`].
    pub fn failed_puts(&self) -> u64 {
        self.0.shared.failed_puts.load(Relaxed)
    }

    /// The small files of this name.
    pub fn notes(&self) -> Notes {
        self.0.notes.clone()
    }
}

fn start(shared: &Arc<Shared>, owner: Owner, uploads: usize) -> Result<(), OpenError> {
    let own = shared.clone();
    if shared.place.world.work == Work::Inline {
        (0..uploads).for_each(|_| drop(tokio::spawn(upload_inline(shared.clone()))));
        tokio::spawn(own_inline(own, owner));
        return Ok(());
    }
    let thread = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        started.map(drop).map_err(|error| {
            shared.queue.end();
            OpenError::Thread(error)
        })
    };
    for _ in 0..uploads {
        let shared = shared.clone();
        thread("clew-wal-put", Box::new(move || upload_on_thread(&shared)))?;
    }
    thread("clew-wal-own", Box::new(move || own_on_thread(&own, owner)))
}

/// An object that is being put.
struct Upload {
    base: u64,
    end: u64,
    path: String,
    bytes: Bytes,
    begun: Instant,
    backoff: Backoff,
}

impl Shared {
    fn upload(&self, group: Group) -> Upload {
        let base = 1 + (group.base - self.first);
        Upload {
            base: group.base,
            end: group.end(),
            path: self.place.object(self.epoch, base),
            bytes: object::encode(self.epoch, base, &group.records),
            begun: Instant::now(),
            backoff: Backoff::new(Duration::from_millis(100), MAX_PAUSE),
        }
    }

    /// Tries once; gives the pause before the next try if there is to be one. A PUT that failed may have been applied: the next
    /// one has the same name and the same bytes.
    fn try_put(&self, upload: &mut Upload) -> Option<Duration> {
        let Err(error) = self.place.store.put(&upload.path, upload.bytes.clone()) else {
            let bytes = upload.bytes.len() as u64;
            self.queue.durable(upload.base, upload.begun.elapsed(), || {
                let base = 1 + (upload.base - self.first);
                self.kept.lock().push(Kept { epoch: self.epoch, base, end: upload.end, bytes });
                self.stats.used_bytes.fetch_add(bytes, Relaxed);
                self.stats.segments.fetch_add(1, Relaxed);
            });
            return None;
        };
        self.failed_puts.fetch_add(1, Relaxed);
        tracing::warn!(%error, "cannot put an object of the WAL: trying again");
        let failure = Failure { doing: error.doing, path: error.path.into(), error: error.error };
        self.queue.failing(failure).then(|| upload.backoff.next(&self.place.world.random))
    }

    fn free_before(&self, seq: u64) {
        let goes: Vec<Kept> = self.kept.lock().extract_if(.., |kept| kept.end <= seq).collect();
        let deleted = self.place.each(&goes, |kept| self.place.store.delete(&self.place.object(kept.epoch, kept.base)));
        let mut stuck = None;
        for (gone, deleted) in goes.into_iter().zip(deleted) {
            match deleted {
                Ok(()) => {
                    self.stats.used_bytes.fetch_sub(gone.bytes, Relaxed);
                    self.stats.segments.fetch_sub(1, Relaxed);
                    self.stats.freed_segments.fetch_add(1, Relaxed);
                }
                Err(error) => {
                    stuck = Some(error);
                    self.kept.lock().push(gone);
                }
            }
        }
        self.stats.first_seq.store(seq.min(self.queue.committed()), Relaxed);
        if stuck.is_none() {
            stuck = self.forget_epochs().err();
        }
        if let Some(error) = stuck {
            tracing::warn!(%error, "cannot delete what is no longer needed of the WAL: trying again later");
        }
    }

    /// Deletes the notes of earlier epochs of which nothing is left, the oldest first: as long as one is there, those that
    /// came after it are, and tell what they found.
    fn forget_epochs(&self) -> Result<(), crate::store::StoreError> {
        loop {
            let Some(oldest) = self.earlier.lock().first().copied() else { return Ok(()) };
            if self.kept.lock().iter().any(|kept| kept.epoch == oldest) {
                return Ok(());
            }
            for file in Notes::files_of_epoch().chain([NOTE.to_owned()]) {
                self.place.store.delete(&self.place.of_epoch(oldest, file))?;
            }
            self.earlier.lock().retain(|epoch| *epoch != oldest);
        }
    }

    /// Shows that this process lives; says whether it goes on.
    fn beat(&self, owner: &mut Owner) -> bool {
        match Owner::read(&self.place) {
            Ok(Some(other)) if other.epoch != owner.epoch => {
                let text = format!("process {} on {} has taken the name; give it another one", other.pid, other.host);
                self.queue.fail("keep", self.place.root(), std::io::Error::other(text));
                return false;
            }
            Ok(_) => {
                let kept = self.kept.lock();
                let own = kept.iter().filter(|kept| kept.epoch == self.epoch).map(|kept| kept.base).min();
                drop(kept);
                owner.beat += 1;
                owner.first = own.unwrap_or(1 + (self.queue.committed() - self.first));
                if let Err(error) = owner.write(&self.place) {
                    tracing::warn!(%error, "cannot write the owner file");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot read the owner file"),
        }
        true
    }

    fn say_closed(&self, owner: &mut Owner) {
        owner.closed = true;
        if let Err(error) = owner.write(&self.place) {
            tracing::warn!(%error, "cannot write the owner file: the next start will watch for a while");
        }
    }
}

fn upload_on_thread(shared: &Shared) {
    while let Some(group) = shared.queue.next_blocking() {
        let mut upload = shared.upload(group);
        while let Some(pause) = shared.try_put(&mut upload) {
            shared.queue.pause(pause);
        }
    }
}

async fn upload_inline(shared: Arc<Shared>) {
    loop {
        let woken = shared.queue.woken();
        match shared.queue.next() {
            Next::End => return,
            Next::Wait(None) => woken.await,
            Next::Wait(Some(until)) => drop(tokio::time::timeout_at(until, woken).await),
            Next::Put(group) => {
                let mut upload = shared.upload(group);
                // Others run in between, as they do with threads: groups form, and crashes fall here.
                tokio::task::yield_now().await;
                while let Some(pause) = shared.try_put(&mut upload) {
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

fn own_on_thread(shared: &Shared, mut owner: Owner) {
    while !shared.queue.wait_drained(shared.beat) {
        if !shared.beat(&mut owner) {
            break;
        }
    }
    if shared.queue.closed_well() {
        shared.say_closed(&mut owner);
    }
    shared.closed.send_replace(true);
}

async fn own_inline(shared: Arc<Shared>, mut owner: Owner) {
    let mut next_beat = Instant::now() + shared.beat;
    loop {
        let woken = shared.queue.woken();
        if shared.queue.is_drained() {
            break;
        }
        tokio::select! {
            biased;
            () = woken => {}
            () = tokio::time::sleep_until(next_beat) => {
                if !shared.beat(&mut owner) {
                    break;
                }
                next_beat = Instant::now() + shared.beat;
            }
        }
    }
    if shared.queue.closed_well() {
        shared.say_closed(&mut owner);
    }
    shared.closed.send_replace(true);
}
