//! A model: the log lives several lives, each of which ends in its own way, beside a map of what it acked.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Records of these lengths, appended together and waited for.
    Append(Vec<usize>),
    /// Everything below this share (in 256ths) of what was acked.
    Free(u8),
    Read,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Close,
    /// The process dies, the system lives on.
    Kill,
    /// The power goes.
    Power(u64),
}

#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) ops: Vec<Op>,
    /// Appended last and not waited for, while the writer gets so many turns.
    pub(super) in_flight: (Vec<usize>, usize),
    /// Everything fails from this change to the disk on.
    pub(super) crash_at: Option<u64>,
    pub(super) end: End,
}

/// What must be true of the log: the ten lines that it is held against.
#[derive(Default)]
pub(super) struct Model {
    tried: u64,
    acked: BTreeMap<u64, Bytes>,
    /// Every content that a number was ever seen with, acked or not.
    seen: BTreeMap<u64, Bytes>,
    freed_before: u64,
    /// Whether the power ever went: without that there is nothing torn and no damage.
    lost_power: bool,
}

impl Model {
    fn payload(&mut self, len: usize) -> Bytes {
        self.tried += 1;
        payload(self.tried, len.max(8))
    }

    fn ack(&mut self, seq: u64, payload: Bytes) {
        assert!(self.seen.last_key_value().is_none_or(|(last, _)| seq > *last), "{seq} was used before");
        assert!(self.seen.insert(seq, payload.clone()).is_none());
        assert!(self.acked.insert(seq, payload).is_none());
    }

    fn check(&mut self, disk: &SimDisk, log: &Log, evicts: bool) {
        let first = log.reader.first_seq();
        let read = match try_read_from(log, 0) {
            Ok(entries) => seqs_and_payloads(&entries),
            // Keeping a copy of a damaged segment can be where the crash comes.
            Err(error) => return assert!(disk.is_down(), "{error}"),
        };
        let tags: std::collections::BTreeSet<&[u8]> = read.iter().map(|(_, payload)| &payload[..8]).collect();
        assert_eq!(tags.len(), read.len(), "a record came twice");
        assert!(read.is_sorted_by(|a, b| a.0 < b.0), "out of order");
        let next_seq = *log.reader.committed().borrow();
        for (seq, bytes) in &read {
            assert!((first..next_seq).contains(seq), "{seq} is not in {first}..{next_seq}");
            let tag = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert_eq!(*bytes, payload(tag, bytes.len()), "{seq} has bytes that were never appended");
            assert_eq!(self.seen.entry(*seq).or_insert_with(|| bytes.clone()), bytes, "{seq} changed");
        }
        assert!(evicts || first <= self.freed_before.max(1), "{first} is first, {} was freed", self.freed_before);
        let read: BTreeMap<u64, Bytes> = read.into_iter().collect();
        for (seq, payload) in self.acked.range(first.max(self.freed_before)..) {
            assert_eq!(read.get(seq), Some(payload), "{seq} was acked");
        }
        assert!(self.seen.last_key_value().is_none_or(|(last, _)| *last < next_seq));
        let used = stat(log, |stats| &stats.used_bytes);
        let files = segments(disk).into_iter().map(|base| disk.open(&segment_path(base)).unwrap().len().unwrap());
        let files: Vec<u64> = files.collect();
        let quarantined = stat(log, |stats| &stats.quarantined_bytes);
        assert!(used <= options_of(evicts).max_bytes, "{used} bytes: {quarantined} of copies, and {files:?}");
    }
}

pub(super) fn options_of(evicts: bool) -> Options {
    let when_full = if evicts { WhenFull::EvictOldest } else { WhenFull::Refuse };
    Options { max_bytes: 10 << 10, max_record_bytes: 2000, when_full, ..options() }
}

/// Lives one life. Gives how many changes to the disk it took.
pub(super) fn live(disk: &SimDisk, model: &mut Model, life: &Life, evicts: bool) -> u64 {
    let before = disk.changes();
    if let Some(n) = life.crash_at {
        disk.crash_at(n);
    }
    // With its own runtime, so that nothing of this life is left when it ends.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let Ok(log) = try_open(disk, options_of(evicts)) else {
            assert!(disk.is_down(), "a log opens whatever happened");
            return;
        };
        if !model.lost_power {
            assert_eq!((log.recovery.torn_bytes, log.recovery.damaged_ranges), (0, 0));
        }
        for op in &life.ops {
            if disk.is_down() {
                break;
            }
            match op {
                Op::Append(lens) => {
                    let payloads: Vec<Bytes> = lens.iter().map(|len| model.payload(*len)).collect();
                    for (outcome, payload) in append_together(&log, &payloads).await.into_iter().zip(payloads) {
                        match outcome {
                            Ok(appended) => model.ack(appended.seq, payload),
                            Err(AppendError::Full { .. }) if !evicts => {}
                            Err(AppendError::Failed(_)) if disk.is_down() => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                Op::Free(share) => {
                    let below = model.acked.len() * usize::from(*share) / 256;
                    let seq = model.acked.keys().nth(below).copied().unwrap_or(0);
                    model.freed_before = model.freed_before.max(seq);
                    log.appender.free_before(seq);
                    tokio::task::yield_now().await;
                }
                Op::Read => model.check(disk, &log, evicts),
            }
        }
        let (lens, turns) = &life.in_flight;
        let pending: Vec<_> = lens.iter().map(|len| log.appender.append(record(&model.payload(*len)))).collect();
        for _ in 0..*turns {
            tokio::task::yield_now().await;
        }
        if !disk.is_down() {
            model.check(disk, &log, evicts);
        }
        if matches!(life.end, End::Close) {
            log.appender.close().await;
        }
        drop(pending);
    });
    drop(runtime);
    let changes = disk.changes() - before;
    let down = disk.is_down();
    match life.end {
        // Also at a certain step: the process dies there, and the system lives on.
        End::Kill => return kill(disk, changes),
        End::Close if !down => return kill(disk, changes),
        End::Close => disk.crash(model.tried),
        End::Power(seed) => disk.crash(seed),
    }
    model.lost_power = true;
    changes
}

fn kill(disk: &SimDisk, changes: u64) -> u64 {
    disk.kill();
    changes
}

fn lengths(max: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![6 => 8..300_usize, 1 => 300..2000_usize], 1..max)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![8 => lengths(8).prop_map(Op::Append), 2 => any::<u8>().prop_map(Op::Free), 1 => Just(Op::Read)]
}

fn life() -> impl Strategy<Value = Life> {
    let end = prop_oneof![1 => Just(End::Close), 1 => Just(End::Kill), 3 => any::<u64>().prop_map(End::Power)];
    let in_flight = prop_oneof![Just((Vec::new(), 0)), (lengths(12), 0..4_usize)];
    (prop::collection::vec(op(), 0..8), in_flight, prop::option::of(1..60_u64), end)
        .prop_map(|(ops, in_flight, crash_at, end)| Life { ops, in_flight, crash_at, end })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1500), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_ends_its_lives_the_log_gives_back_what_it_acked(
        lives in prop::collection::vec(life(), 1..8),
        evicts in any::<bool>(),
    ) {
        let disk = SimDisk::new();
        let mut model = Model::default();
        for each in &lives {
            live(&disk, &mut model, each, evicts);
        }
        let last = Life { ops: vec![Op::Append(vec![8]), Op::Read], in_flight: (vec![], 0), crash_at: None, end: End::Close };
        live(&disk, &mut model, &last, evicts);
    }
}
