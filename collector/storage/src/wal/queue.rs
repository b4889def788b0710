//! What was appended and is not yet durable: records that wait for an object, and objects on their way to the store.
//!
//! A group is whatever came while earlier objects were under way. Several objects may be under way; a record is acked once
//! its object and all before it are durable, so that nothing that was acked lies behind a hole.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use clew_common::log::{AppendError, Failure, Record, Stats};
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::{
    sync::{Notify, oneshot, watch},
    time::Instant,
};

use std::sync::atomic::Ordering::Relaxed;

/// How much may wait, and when an object is begun.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of records in memory that are not durable. Past it appends are refused.
    pub max_waiting_bytes: u64,
    /// Bytes of objects on the store. Past it appends are refused.
    pub max_bytes: u64,
    /// The largest record.
    pub max_record_bytes: u64,
    /// An object is not made larger, except by one record that is.
    pub object_bytes: usize,
    /// So many bytes are worth an object while others are under way.
    pub worth_bytes: usize,
    /// With less than that, an object is begun so long after the last one: a store is paid by the request.
    pub pace: Duration,
    /// After so long without success, appends are refused until there is one.
    pub away: Duration,
    /// How long a close waits for a store that fails.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_waiting_bytes: 128 << 20,
            max_bytes: 32 << 30,
            max_record_bytes: 16 << 20,
            object_bytes: 8 << 20,
            worth_bytes: 1 << 20,
            pace: Duration::from_millis(50),
            away: Duration::from_secs(5),
            patience: Duration::from_secs(3),
        }
    }
}

/// Tells whoever appended a record what became of it.
type Reply = oneshot::Sender<Result<u64, AppendError>>;

/// The records of one object.
pub struct Group {
    /// The first one's number.
    pub base: u64,
    /// In order.
    pub records: Vec<Record>,
}

impl Group {
    /// The number after the last one's.
    pub fn end(&self) -> u64 {
        self.base + self.records.len() as u64
    }
}

/// What an uploader has to do.
pub enum Next {
    /// This.
    Put(Group),
    /// Look again when something has changed, or at this time.
    Wait(Option<Instant>),
    /// Nothing any more.
    End,
}

/// See the module.
pub struct Queue {
    limits: Limits,
    state: Mutex<State>,
    /// For threads that wait for a change.
    changed: Condvar,
    /// For tasks that do.
    woken: Notify,
    committed: watch::Sender<u64>,
    failed: watch::Sender<Option<Arc<Failure>>>,
    stats: Arc<Stats>,
}

struct State {
    waiting: VecDeque<(Record, Reply)>,
    waiting_bytes: u64,
    /// The number that the next record gets when it goes into an object.
    next_seq: u64,
    flying: VecDeque<Flight>,
    flying_bytes: u64,
    last_begun: Option<Instant>,
    /// Since when no object came through though one was tried, and how the last one failed.
    failing: Option<(Instant, Arc<Failure>)>,
    phase: Phase,
}

/// An object under way.
struct Flight {
    base: u64,
    end: u64,
    bytes: u64,
    replies: Vec<Reply>,
    durable: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Since when. What waits is still made durable.
    Closing(Instant),
    /// Nothing is done any more.
    Ended,
}

impl Queue {
    /// An empty one, whose first record gets the number `first_seq`.
    pub fn new(limits: Limits, first_seq: u64, stats: Arc<Stats>) -> Self {
        Self {
            limits,
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                waiting_bytes: 0,
                next_seq: first_seq,
                flying: VecDeque::new(),
                flying_bytes: 0,
                last_begun: None,
                failing: None,
                phase: Phase::Open,
            }),
            changed: Condvar::new(),
            woken: Notify::new(),
            committed: watch::channel(first_seq).0,
            failed: watch::channel(None).0,
            stats,
        }
    }

    /// The number of the next record that will be acked: every one below is durable.
    pub fn committed(&self) -> u64 {
        *self.committed.borrow()
    }

    /// Becomes `Some` when nothing more is taken.
    pub fn failed(&self) -> watch::Receiver<Option<Arc<Failure>>> {
        self.failed.subscribe()
    }

    /// Queues a record.
    ///
    /// # Errors
    /// When there is no room for it, the store is away, or nothing more is taken.
    pub fn push(&self, record: Record) -> Result<oneshot::Receiver<Result<u64, AppendError>>, AppendError> {
        let Limits { max_record_bytes: max, max_waiting_bytes, max_bytes, away, .. } = self.limits;
        let bytes = bytes_of(&record);
        if bytes > max {
            return Err(AppendError::TooLarge { bytes, max });
        }
        let mut state = self.state.lock();
        if let Some(failure) = self.failed.borrow().clone() {
            return Err(AppendError::Failed(failure));
        }
        if state.phase != Phase::Open {
            return Err(AppendError::Closed);
        }
        if let Some(failure) = state.away(away) {
            self.stats.refused_nospace.fetch_add(1, Relaxed);
            return Err(AppendError::Unavailable(failure));
        }
        let (unsynced, stored) = (state.waiting_bytes + state.flying_bytes, self.stats.used_bytes.load(Relaxed));
        for (used, budget) in [(unsynced, max_waiting_bytes), (stored + unsynced, max_bytes)] {
            if used > 0 && used + bytes > budget {
                self.stats.refused_full.fetch_add(1, Relaxed);
                return Err(AppendError::Full { used, budget });
            }
        }
        let (reply, outcome) = oneshot::channel();
        state.waiting.push_back((record, reply));
        state.waiting_bytes += bytes;
        self.wake();
        Ok(outcome)
    }

    /// What to do now. For tasks; wait with [`Queue::woken`].
    pub fn next(&self) -> Next {
        self.next_in(&mut self.state.lock())
    }

    /// A future that is done at the next change after this call.
    pub fn woken(&self) -> impl Future<Output = ()> {
        self.woken.notified()
    }

    /// What to do, once there is something; None at the end. For threads.
    pub fn next_blocking(&self) -> Option<Group> {
        let mut state = self.state.lock();
        loop {
            match self.next_in(&mut state) {
                Next::Put(group) => return Some(group),
                Next::End => return None,
                Next::Wait(until) => self.wait(&mut state, until),
            }
        }
    }

    fn wait(&self, state: &mut MutexGuard<'_, State>, until: Option<Instant>) {
        match until {
            None => self.changed.wait(state),
            Some(until) => {
                self.changed.wait_for(state, until.saturating_duration_since(Instant::now()));
            }
        }
    }

    fn next_in(&self, state: &mut State) -> Next {
        match state.phase {
            Phase::Ended => return Next::End,
            Phase::Closing(_) if state.waiting.is_empty() => return Next::End,
            Phase::Open | Phase::Closing(_) => {}
        }
        if state.waiting.is_empty() {
            return Next::Wait(None);
        }
        if state.waiting_bytes < self.limits.worth_bytes as u64 {
            if !state.flying.is_empty() {
                return Next::Wait(None);
            }
            let paced = state.last_begun.map(|begun| begun + self.limits.pace).filter(|at| *at > Instant::now());
            if paced.is_some() && state.phase == Phase::Open {
                return Next::Wait(paced);
            }
        }
        Next::Put(self.begin(state))
    }

    fn begin(&self, state: &mut State) -> Group {
        let (mut records, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some((record, _)) = state.waiting.front() {
            let grown = bytes + bytes_of(record);
            if !records.is_empty() && grown > self.limits.object_bytes as u64 {
                break;
            }
            bytes = grown;
            if let Some((record, reply)) = state.waiting.pop_front() {
                records.push(record);
                replies.push(reply);
            }
        }
        let group = Group { base: state.next_seq, records };
        state.next_seq = group.end();
        state.waiting_bytes -= bytes;
        state.flying_bytes += bytes;
        state.last_begun = Some(Instant::now());
        state.flying.push_back(Flight { base: group.base, end: group.end(), bytes, replies, durable: false });
        group
    }

    /// Takes note that the object that begins with `base` is durable. Whoever waits for it and for those after it, up to the
    /// first that is still under way, is told; `settled` runs before.
    pub fn durable(&self, base: u64, took: Duration, settled: impl FnOnce()) {
        let mut state = self.state.lock();
        state.failing = None;
        if let Some(flight) = state.flying.iter_mut().find(|flight| flight.base == base) {
            flight.durable = true;
        }
        settled();
        self.stats.synced_groups.fetch_add(1, Relaxed);
        self.stats.last_sync_micros.store(took.as_micros() as u64, Relaxed);
        let mut acks = Vec::new();
        while let Some(flight) = state.flying.pop_front_if(|flight| flight.durable) {
            state.flying_bytes -= flight.bytes;
            self.stats.appended_records.fetch_add(flight.end - flight.base, Relaxed);
            self.stats.appended_bytes.fetch_add(flight.bytes, Relaxed);
            self.stats.next_seq.store(flight.end, Relaxed);
            self.committed.send_replace(flight.end);
            acks.extend((flight.base..).zip(flight.replies));
        }
        self.wake();
        drop(state);
        for (seq, reply) in acks {
            // Whoever appended it may have gone.
            let _ = reply.send(Ok(seq));
        }
    }

    /// Takes note that an object could not be put; says whether to try again.
    pub fn failing(&self, failure: Failure) -> bool {
        let mut state = self.state.lock();
        let (since, failure) =
            (state.failing.as_ref().map_or_else(Instant::now, |(since, _)| *since), Arc::new(failure));
        state.failing = Some((since, failure));
        if let Some(failure) = state.away(self.limits.away) {
            // In no object yet: their senders may try elsewhere.
            state.waiting_bytes = 0;
            for (_, reply) in std::mem::take(&mut state.waiting) {
                self.stats.refused_nospace.fetch_add(1, Relaxed);
                let _ = reply.send(Err(AppendError::Unavailable(failure.clone())));
            }
        }
        match state.phase {
            Phase::Open => true,
            Phase::Closing(since) => {
                let goes_on = since.elapsed() < self.limits.patience;
                if !goes_on {
                    self.end_in(&mut state);
                }
                goes_on
            }
            Phase::Ended => false,
        }
    }

    /// Waits for `pause`, or for the end. For threads.
    pub fn pause(&self, pause: Duration) {
        let (mut state, until) = (self.state.lock(), Instant::now() + pause);
        while state.phase != Phase::Ended && Instant::now() < until {
            self.wait(&mut state, Some(until));
        }
    }

    /// Takes nothing more. What waits is still made durable.
    pub fn close(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing(Instant::now());
        }
        self.wake();
    }

    /// Whether everything that was taken is settled and nothing more will be taken.
    pub fn is_drained(&self) -> bool {
        self.state.lock().is_drained()
    }

    /// Waits for so long at most until that is so; says whether it is. For threads.
    pub fn wait_drained(&self, longest: Duration) -> bool {
        let (mut state, until) = (self.state.lock(), Instant::now() + longest);
        while !state.is_drained() && Instant::now() < until {
            self.wait(&mut state, Some(until));
        }
        state.is_drained()
    }

    /// Whether it was closed, and everything that was taken is durable.
    pub fn closed_well(&self) -> bool {
        let state = self.state.lock();
        state.phase != Phase::Ended && state.is_drained()
    }

    /// Ends at once. What is under way may become durable or not.
    pub fn end(&self) {
        self.end_in(&mut self.state.lock());
    }

    /// Ends at once, because of this.
    pub fn fail(&self, doing: &'static str, path: &str, error: io::Error) {
        let failure = Arc::new(Failure { doing, path: path.into(), error });
        tracing::error!(error = %failure, "the WAL takes nothing more");
        self.failed.send_replace(Some(failure));
        self.end();
    }

    fn end_in(&self, state: &mut State) {
        state.phase = Phase::Ended;
        let error = self.failed.borrow().clone().map_or(AppendError::Closed, AppendError::Failed);
        let waiting = std::mem::take(&mut state.waiting).into_iter().map(|(_, reply)| reply);
        let flying = std::mem::take(&mut state.flying).into_iter().flat_map(|flight| flight.replies);
        for reply in waiting.chain(flying) {
            let _ = reply.send(Err(error.clone()));
        }
        (state.waiting_bytes, state.flying_bytes) = (0, 0);
        self.wake();
    }

    fn wake(&self) {
        self.changed.notify_all();
        self.woken.notify_waiters();
    }
}

impl State {
    fn is_drained(&self) -> bool {
        match self.phase {
            Phase::Open => false,
            Phase::Closing(_) => self.waiting.is_empty() && self.flying.is_empty(),
            Phase::Ended => true,
        }
    }

    fn away(&self, away: Duration) -> Option<Arc<Failure>> {
        let (since, failure) = self.failing.as_ref()?;
        (since.elapsed() >= away).then(|| failure.clone())
    }
}

fn bytes_of(record: &Record) -> u64 {
    record.head.len() as u64 + record.body.len() as u64
}
