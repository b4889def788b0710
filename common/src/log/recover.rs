//! Making sense of a folder at start.
//!
//! Only the last segment is read whole. If it ends in zeros after its last record, the writer goes on in it. If there is
//! anything else in it, the writer goes on in a fresh segment whose base is past every number that a record among those
//! bytes can have had: a reader may have seen one before it was damaged, and no number ever names two records.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Options;
use super::disk::{Disk, DiskFile, read_full};
use super::error::OpenError;
use super::quarantine;
use super::scan::{Walk, look_past, nonzero, read_tolerant};
use super::segment::{self, HEAD_BYTES, HEADER_BYTES, Header, SEAL_BYTES, Seal, VERSION};
use super::shared::{Damage, Segment, Shared};
use super::stats::set;
use super::survey::survey;
use super::writer::{Active, Writer};

// Behind damage in the last segment, records with numbers up to this much higher are taken for the log's own.
const PLAUSIBLE_SEQS: u64 = 1 << 20;
const MAX_RECORD_BYTES: u32 = 1 << 30;
const MIN_SEGMENT_BYTES: u64 = 256;

/// What was found at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The lowest sequence number that may still be here.
    pub first_seq: u64,
    /// What the next record gets. The first record of all gets 1.
    pub next_seq: u64,
    pub segments: u64,
    /// Records, freed ones included as long as their segment is here.
    pub records: u64,
    /// Their weight by [`Options::weigh`].
    pub weight: u64,
    /// Bytes of records whose writing was cut short: nobody was told that they are durable.
    pub torn_bytes: u64,
    /// Damage that was met at start; what is met later is in [`Stats`](super::Stats).
    pub damaged_ranges: u64,
    pub damaged_bytes: u64,
}

/// A segment file as it was found.
struct Found {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    len: u64,
    header: Header,
}

pub(super) fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Writer, Arc<Shared>, Recovery), OpenError> {
    check(&options)?;
    let dir = options.dir.clone();
    disk.create_dir_all(&dir).map_err(|error| failed("create", &dir, error))?;
    let lock = lock(&*disk, &dir)?;
    let shared = Arc::new(Shared::new(Arc::clone(&disk), &options));
    let found = find(&*disk, &dir)?;

    let quarantined = quarantine::used_bytes(&*disk, &dir);
    set(&shared.stats.quarantined_bytes, quarantined);
    if let Some(last) = found.last() {
        // Its room counts even if a crash undid its preallocation: it is set aside again with the first write.
        last.segment.disk_bytes.fetch_max(options.segment_bytes, Relaxed);
    }
    let used: u64 = found.iter().map(|found| found.segment.disk_bytes.load(Relaxed)).sum();
    set(&shared.stats.used_bytes, quarantined + used);
    let mut recovery = Recovery::default();
    for (at, each) in found.iter().enumerate() {
        shared.insert(Arc::clone(&each.segment));
        if let Some(next) = found.get(at + 1) {
            recover_ended(&shared, &options, each, next.segment.base, &mut recovery)
                .map_err(|error| failed("read", &each.segment.path, error))?;
        }
    }
    // The process before may have been killed between a write and its sync: what is shown must also be durable. Of the
    // segments before the last, only the newest can have been being sealed.
    for Found { segment, file, .. } in found.iter().rev().take(2) {
        file.sync_data().map_err(|error| failed("sync", &segment.path, error))?;
    }
    disk.sync_dir(&dir).map_err(|error| failed("sync", &dir, error))?;
    let writer = match found.into_iter().next_back() {
        Some(last) => recover_last(&shared, &options, last, lock, &mut recovery)?,
        None => Writer::new(Arc::clone(&shared), options, 1, lock),
    };
    start(writer, shared, recovery)
}

fn start(
    mut writer: Writer,
    shared: Arc<Shared>,
    mut recovery: Recovery,
) -> Result<(Writer, Arc<Shared>, Recovery), OpenError> {
    shared.commit(recovery.next_seq.max(1));
    writer.prepare()?;
    recovery.next_seq = shared.committed();
    recovery.first_seq = shared.first_seq();
    recovery.segments = shared.stats.segments.load(Relaxed);
    recovery.damaged_ranges = shared.stats.damaged_ranges.load(Relaxed);
    recovery.damaged_bytes = shared.stats.damaged_bytes.load(Relaxed);
    Ok((writer, shared, recovery))
}

fn check(options: &Options) -> Result<(), OpenError> {
    let reason = if options.segment_bytes < MIN_SEGMENT_BYTES {
        format!("segment_bytes is {}, and must be at least {MIN_SEGMENT_BYTES}", options.segment_bytes)
    } else if options.max_bytes / 2 < options.segment_bytes {
        format!("max_bytes is {}, and must be at least two segments of {}", options.max_bytes, options.segment_bytes)
    } else if options.max_record_bytes > MAX_RECORD_BYTES {
        format!("max_record_bytes is {}, and must be at most {MAX_RECORD_BYTES}", options.max_record_bytes)
    } else {
        return Ok(());
    };
    Err(OpenError::Options { reason })
}

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Any + Send + Sync>, OpenError> {
    let path = dir.join("lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { dir: dir.to_owned() },
        _ => failed("lock", &path, error),
    })
}

/// Looks at every segment's header before anything is changed.
fn find(disk: &dyn Disk, dir: &Path) -> Result<Vec<Found>, OpenError> {
    let names = disk.list(dir).map_err(|error| failed("list", dir, error))?;
    let mut bases: Vec<u64> = names.iter().filter_map(|name| segment::base_of(name)).collect();
    bases.sort_unstable();
    let mut found = Vec::with_capacity(bases.len());
    for base in bases {
        let segment = Arc::new(Segment::new(dir, base, 0));
        let read = || -> io::Result<_> {
            let file = segment.open(disk)?;
            let mut bytes = [0; HEADER_BYTES];
            let (read, _) = read_tolerant(&*file, &mut bytes, 0)?;
            let len = file.len()?;
            Ok((file, len, segment::check_header(&bytes[..read.min(HEADER_BYTES)], base)))
        };
        let (file, len, header) = read().map_err(|error| failed("read", &segment.path, error))?;
        if let Header::Unknown(version) = header {
            return Err(OpenError::Version { path: segment.path.clone(), version, known: VERSION });
        }
        segment.disk_bytes.store(len, Relaxed);
        found.push(Found { segment, file, len, header });
    }
    Ok(found)
}

/// A segment with another one after it: nothing is written to it any more, and its seal tells what is in it.
fn recover_ended(
    shared: &Shared,
    options: &Options,
    found: &Found,
    next_base: u64,
    recovery: &mut Recovery,
) -> io::Result<()> {
    let Found { segment, file, len, header } = found;
    note_header(shared, found, *header == Header::Damaged);
    let mut bytes = [0; SEAL_BYTES];
    let seal_at = len.saturating_sub(SEAL_BYTES as u64).max(HEADER_BYTES as u64);
    let read = read_full(&**file, &mut bytes, seal_at).unwrap_or(0);
    let seal = Seal::parse(&bytes[..read]).filter(|seal| (segment.base..=next_base).contains(&seal.next_seq));
    if let Some(seal) = seal {
        segment.set_end(seal_at);
        recovery.records += seal.records;
        recovery.weight += seal.weight;
        return Ok(());
    }
    let weigh = |_, kind, start: &[u8]| (options.weigh)(kind, start);
    let survey = survey(shared, segment, &**file, *len, next_base - 1, weigh)?;
    segment.set_end(survey.end);
    recovery.records += survey.records;
    recovery.weight += survey.weight;
    Ok(())
}

fn note_header(shared: &Shared, found: &Found, damaged: bool) {
    if damaged {
        let base = found.segment.base;
        let damage = Damage { seq: base, to: HEADER_BYTES as u64, next_seq: base };
        quarantine::note(shared, &found.segment, &*found.file, 0, damage);
    }
}

/// How the last segment ends.
enum Tail {
    /// In zeros.
    Clean,
    /// In a seal, though there is no segment after it.
    Sealed,
    /// In bytes that are no record.
    Torn { bytes: u64 },
    /// In bytes that the disk cannot read now. They may be records: nothing is cut.
    Unreadable { bytes: u64 },
}

fn recover_last(
    shared: &Arc<Shared>,
    options: &Options,
    found: Found,
    lock: Box<dyn Any + Send + Sync>,
    recovery: &mut Recovery,
) -> Result<Writer, OpenError> {
    let path = found.segment.path.clone();
    let (mut active, tail, next_seq, damaged) =
        read_last(shared, options, &found).map_err(|error| failed("read", &path, error))?;
    recovery.records += active.records;
    recovery.weight += active.weight;
    active.segment.set_end(active.end);

    // A segment whose making was cut short: nothing was ever in it.
    let unborn = found.header == Header::Damaged && active.records == 0 && !damaged && matches!(tail, Tail::Clean);
    if unborn {
        let header = segment::header(active.segment.base);
        let written = active.file.write_all_at(&[&header], 0).and_then(|()| active.file.sync_data());
        match written {
            Ok(()) => {}
            // The file is only a name then, which is all that is needed until there is space again.
            Err(error) if super::disk::is_no_space(&error) => {}
            Err(error) => return Err(failed("write to", &path, error)),
        }
    }
    note_header(shared, &found, found.header == Header::Damaged && !unborn);
    let in_order = !damaged && (found.header == Header::Valid || unborn);

    // A record takes at least its head: no more than this many can have been in so many bytes.
    let hidden = |bytes: u64| bytes / HEAD_BYTES as u64 + 2;
    let (next_seq, left) = match tail {
        Tail::Clean if in_order => {
            recovery.next_seq = next_seq;
            active.preallocated = active.capacity == found.len;
            let mut writer = Writer::new(Arc::clone(shared), options.clone(), next_seq, lock);
            writer.go_on(active);
            return Ok(writer);
        }
        Tail::Clean | Tail::Sealed => (next_seq, Some(active)),
        Tail::Torn { bytes } => {
            recovery.torn_bytes = bytes;
            (next_seq + hidden(bytes), Some(active))
        }
        Tail::Unreadable { bytes } => {
            let damage = Damage { seq: next_seq, to: active.end + bytes, next_seq: next_seq + hidden(bytes) };
            quarantine::note(shared, &active.segment, &*active.file, active.end, damage);
            (damage.next_seq, None)
        }
    };
    recovery.next_seq = next_seq.max(found.segment.base + 1);
    let mut writer = Writer::new(Arc::clone(shared), options.clone(), recovery.next_seq, lock);
    writer.leave(left);
    Ok(writer)
}

/// Reads the last segment whole: its records, how it ends, the next number, and whether there is damage among its records.
fn read_last(shared: &Shared, options: &Options, found: &Found) -> io::Result<(Active, Tail, u64, bool)> {
    let Found { segment, file, len, .. } = found;
    let mut walk = Walk::new(&**file, segment.base, *len, true);
    let (mut records, mut weight, mut damaged) = (0, 0, false);
    let tail = loop {
        if let Some((head, _, start)) = walk.step()? {
            records += 1;
            weight += (options.weigh)(head.kind, start);
            continue;
        }
        let end = walk.offset;
        if Seal::parse(walk.bytes(end, SEAL_BYTES)?).is_some() {
            break Tail::Sealed;
        }
        if nonzero(&**file, end, *len)? == Some(false) {
            break Tail::Clean;
        }
        let past = look_past(&**file, end, *len, walk.seq..=walk.seq.saturating_add(PLAUSIBLE_SEQS))?;
        let bytes = past.nonzero_end - end;
        match past.next {
            Some((offset, seq)) => {
                damaged = true;
                let damage = Damage { seq: walk.seq, to: offset, next_seq: seq };
                quarantine::note(shared, segment, &**file, end, damage);
                walk.jump(offset, seq);
            }
            None if past.unreadable => break Tail::Unreadable { bytes },
            None => break Tail::Torn { bytes },
        }
    };
    let active = Active {
        segment: Arc::clone(segment),
        file: Arc::clone(file),
        end: walk.offset,
        capacity: options.segment_bytes.max(*len),
        preallocated: false,
        records,
        weight,
    };
    Ok((active, tail, walk.seq, damaged))
}

fn failed(doing: &'static str, path: &Path, error: io::Error) -> OpenError {
    OpenError::Io { doing, path: path.to_owned(), error }
}
