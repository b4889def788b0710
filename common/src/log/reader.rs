//! Reading committed records, by number and by position. Readers hold no lock while they read, and the writer never waits
//! for one.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::disk::{DiskFile, read_full};
use super::error::ReadError;
use super::scan::{Believed, Walk, read_tolerant};
use super::segment::{HEAD_BYTES, HEADER_BYTES, Head};
use super::shared::{Damage, Segment, Shared};
use super::survey::{Missing, pass};
use super::{DamagedRange, Entry, Position, Start};

/// Reads records. Cheap to clone; every method but [`Reader::committed`], [`Reader::cursor`] and [`Reader::first_seq`]
/// blocks.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// A place in the log. Goes on over evicted, freed and damaged records.
pub struct Cursor {
    /// The next record's number, or a lower one.
    seq: u64,
    place: Option<Place>,
    // Heads that were read ahead by `next_start`.
    ahead: Bytes,
    ahead_offset: u64,
}

impl Cursor {
    /// No record below this will be given.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// Where in which segment the record `seq` starts.
#[derive(Clone)]
struct Place {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    offset: u64,
    seq: u64,
    /// The record before, if its checksum was not looked at.
    believed: Option<Believed>,
}

/// A place with committed records, and where those end.
struct Range {
    place: Place,
    end: u64,
    /// The highest number that can be in the segment.
    last_seq: u64,
}

// How far ahead `next_start` reads when records are so short that the next head is not far.
const AHEAD_BYTES: usize = 64 << 10;
const NEAR_BYTES: usize = 8 << 10;

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Reader {
        Reader { shared }
    }

    /// The next record's number, whenever it changes: every record below it is durable.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.shared.committed.subscribe()
    }

    /// A cursor before the record `from_seq`, or the first one after it that is here.
    pub fn cursor(&self, from_seq: u64) -> Cursor {
        Cursor { seq: from_seq, place: None, ahead: Bytes::new(), ahead_offset: 0 }
    }

    /// The lowest number that may still be here.
    pub fn first_seq(&self) -> u64 {
        self.shared.first_seq()
    }

    /// The damage that was found so far in what is here.
    pub fn damage(&self) -> Vec<DamagedRange> {
        let of = |segment: Arc<Segment>| {
            let damage = segment.damage().into_iter();
            damage.map(move |(offset, Damage { seq, to, next_seq })| {
                // Each takes a head at least: bytes between two segments with far numbers were not that many records.
                let most = seq.saturating_add((to - offset) / HEAD_BYTES as u64 + 1);
                let seqs = seq..next_seq.min(most).max(seq);
                DamagedRange { path: segment.path.clone(), offset, bytes: to - offset, seqs }
            })
        };
        self.shared.all().into_iter().flat_map(of).collect()
    }

    /// Committed records at the cursor, in order, of about `max_bytes` together; at least one if there is one, and not
    /// all that there are. Empty at the end of what is committed. Damage is passed over and counted.
    pub fn next(&self, cursor: &mut Cursor, max_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        while let Some(range) = self.range(cursor)? {
            let entries = self.read_entries(&range, max_bytes)?;
            if let Some(last) = entries.last() {
                let (offset, seq) = (end_of(last.position), last.seq + 1);
                let place = Place { offset, seq, believed: None, ..range.place };
                cursor.seq = place.seq;
                cursor.place = Some(place);
                return Ok(entries);
            }
            self.pass(cursor, range)?;
        }
        Ok(Vec::new())
    }

    /// The first `start_bytes` bytes of the payload of the record at the cursor. Reads little and looks at no checksum:
    /// for going through a long log quickly.
    pub fn next_start(&self, cursor: &mut Cursor, start_bytes: usize) -> Result<Option<Start>, ReadError> {
        while let Some(range) = self.range(cursor)? {
            let Range { place, end, .. } = &range;
            let bytes = self.ahead(cursor, place, *end, HEAD_BYTES + start_bytes)?;
            let head = Head::parse(&bytes)
                .filter(|head| head.seq == place.seq && place.offset + head.record_len() as u64 <= *end);
            let Some(head) = head else {
                self.pass(cursor, range)?;
                continue;
            };
            let start = bytes.slice(HEAD_BYTES..bytes.len().min(head.record_len()).min(HEAD_BYTES + start_bytes));
            let position = Position { segment: place.segment.base, offset: place.offset, len: head.payload_len() };
            let believed = Some(Believed { offset: place.offset, seq: head.seq, len: head.record_len() });
            let next = Place { offset: end_of(position), seq: head.seq + 1, believed, ..range.place };
            cursor.seq = next.seq;
            cursor.place = Some(next);
            return Ok(Some(Start { seq: head.seq, kind: head.kind, start, position }));
        }
        Ok(None)
    }

    /// The record at a position that an append or a read gave.
    pub fn load(&self, position: Position) -> Result<Entry, ReadError> {
        let Position { segment: base, offset, len } = position;
        let segment = self.shared.get(base).ok_or(ReadError::Gone { segment: base })?;
        let file = match segment.open(&*self.shared.disk) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ReadError::Gone { segment: base }),
            opened => opened.map_err(|error| failed(&segment, error))?,
        };
        let damaged = ReadError::Damaged { segment: base, offset };
        let bytes = HEAD_BYTES + len as usize;
        if offset < HEADER_BYTES as u64 || offset + bytes as u64 > segment.end() {
            return Err(damaged);
        }
        let mut record = vec![0; bytes];
        let (read, _) = read_tolerant(&*file, &mut record, offset).map_err(|error| failed(&segment, error))?;
        match Head::parse(&record[..read]).filter(|head| head.verify(&record[..read])) {
            Some(head) => {
                let payload = Bytes::from(record).slice(HEAD_BYTES..);
                Ok(Entry { seq: head.seq, kind: head.kind, payload, position })
            }
            None => Err(damaged),
        }
    }

    /// Where the cursor's next committed record should be; `None` at the end of what is committed.
    fn range(&self, cursor: &mut Cursor) -> Result<Option<Range>, ReadError> {
        loop {
            let committed = self.shared.committed();
            let Some(place) = self.place(cursor)?.filter(|_| cursor.seq < committed) else { return Ok(None) };
            // In this order: once there is a segment after it, a segment's end no longer moves.
            let after = self.shared.after(place.segment.base);
            let end = place.segment.end();
            let last_seq = after.as_ref().map_or(committed, |after| after.base).saturating_sub(1);
            if place.offset >= end {
                let Some(after) = after else { return Ok(None) };
                cursor.seq = cursor.seq.max(after.base);
                cursor.place = self.enter(after)?;
                continue;
            }
            if place.seq >= cursor.seq {
                return Ok(Some(Range { place, end, last_seq }));
            }
            cursor.place = Some(self.skip_to(cursor.seq, Range { place, end, last_seq })?);
        }
    }

    /// The cursor's place, if its segment is still here, else the start of the segment to go on in.
    fn place(&self, cursor: &mut Cursor) -> Result<Option<Place>, ReadError> {
        loop {
            if let Some(place) = cursor.place.take() {
                let here = self.shared.get(place.segment.base);
                if here.is_some_and(|segment| Arc::ptr_eq(&segment, &place.segment)) {
                    cursor.place = Some(place.clone());
                    return Ok(Some(place));
                }
            }
            cursor.ahead = Bytes::new();
            let Some(segment) = self.shared.holding(cursor.seq) else { return Ok(None) };
            let base = segment.base;
            // It may have been freed since: then the next look at the table finds another one.
            cursor.place = self.enter(segment.clone())?;
            let still = || self.shared.get(base).is_some_and(|now| Arc::ptr_eq(&now, &segment));
            if cursor.place.is_none() && still() {
                return Err(ReadError::Gone { segment: base });
            }
        }
    }

    /// The start of a segment; `None` if it went in the meantime.
    fn enter(&self, segment: Arc<Segment>) -> Result<Option<Place>, ReadError> {
        match segment.open(&*self.shared.disk) {
            Ok(file) => {
                let (offset, seq) = (HEADER_BYTES as u64, segment.base);
                Ok(Some(Place { segment, file, offset, seq, believed: None }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&segment, error)),
        }
    }

    /// Goes along a segment's heads up to the record `seq`, or the first one after it.
    fn skip_to(&self, seq: u64, range: Range) -> Result<Place, ReadError> {
        let Range { place, end, last_seq } = range;
        let mut walk = Walk::from(&*place.file, place.offset, place.seq, end, false);
        let io_failed = |error| failed(&place.segment, error);
        while walk.seq < seq && walk.offset < end {
            if walk.step().map_err(io_failed)?.is_none() {
                let missing = Missing { offset: walk.offset, seq: walk.seq, believed: walk.believed };
                let damage =
                    pass(&self.shared, &place.segment, &*place.file, missing, end, last_seq).map_err(io_failed)?;
                walk.jump(damage.to, damage.next_seq);
            }
        }
        let (offset, seq, believed) = (walk.offset, walk.seq, walk.believed);
        Ok(Place { offset, seq, believed, ..place })
    }

    /// Whole, right records from the range's start on; none if the first is damaged.
    fn read_entries(&self, range: &Range, max_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        let Range { place, end, .. } = range;
        let left = (end - place.offset) as usize;
        let mut want = max_bytes.max(HEAD_BYTES).min(left);
        loop {
            let mut buf = vec![0; want];
            let (read, _) =
                read_tolerant(&*place.file, &mut buf, place.offset).map_err(|error| failed(&place.segment, error))?;
            buf.truncate(read);
            let buf = Bytes::from(buf);
            let mut entries = Vec::new();
            let (mut at, mut seq) = (0, place.seq);
            while let Some(head) = Head::parse(&buf[at..]).filter(|head| head.seq == seq) {
                let next = at + head.record_len();
                if next > buf.len() {
                    if entries.is_empty() && next <= left && want < next {
                        want = next;
                    }
                    break;
                }
                if !head.verify(&buf[at..next]) {
                    break;
                }
                let offset = place.offset + at as u64;
                let position = Position { segment: place.segment.base, offset, len: head.payload_len() };
                entries.push(Entry { seq, kind: head.kind, payload: buf.slice(at + HEAD_BYTES..next), position });
                at = next;
                seq += 1;
            }
            if !entries.is_empty() || want <= buf.len() || read < buf.len() {
                return Ok(entries);
            }
        }
    }

    /// Moves the cursor over the damage at the start of a range.
    fn pass(&self, cursor: &mut Cursor, range: Range) -> Result<(), ReadError> {
        let Range { place, end, last_seq } = range;
        let missing = Missing { offset: place.offset, seq: place.seq, believed: place.believed };
        let Damage { to, next_seq, .. } = pass(&self.shared, &place.segment, &*place.file, missing, end, last_seq)
            .map_err(|error| failed(&place.segment, error))?;
        cursor.seq = cursor.seq.max(next_seq);
        cursor.place = Some(Place { offset: to, seq: next_seq, believed: None, ..place });
        Ok(())
    }

    /// `len` bytes at a place, from what was read ahead if possible; fewer at the end.
    fn ahead(&self, cursor: &mut Cursor, place: &Place, end: u64, len: usize) -> Result<Bytes, ReadError> {
        let left = (end - place.offset) as usize;
        let len = len.min(left);
        let skipped = place.offset.checked_sub(cursor.ahead_offset).map(|skipped| skipped as usize);
        if let Some(from) = skipped.filter(|from| from + len <= cursor.ahead.len()) {
            return Ok(cursor.ahead.slice(from..from + len));
        }
        let near = skipped.is_some_and(|from| !cursor.ahead.is_empty() && from <= cursor.ahead.len() + NEAR_BYTES);
        let mut buf = vec![0; if near { len.max(AHEAD_BYTES).min(left) } else { len }];
        let read = read_full(&*place.file, &mut buf, place.offset).map_err(|error| failed(&place.segment, error))?;
        buf.truncate(read);
        cursor.ahead = Bytes::from(buf);
        cursor.ahead_offset = place.offset;
        Ok(cursor.ahead.slice(..len.min(read)))
    }
}

fn end_of(position: Position) -> u64 {
    position.offset + HEAD_BYTES as u64 + u64::from(position.len)
}

fn failed(segment: &Segment, error: io::Error) -> ReadError {
    ReadError::Io { path: segment.path.clone(), error }
}
