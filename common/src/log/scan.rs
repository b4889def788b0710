//! Finding records in a segment file: walking from one to the next, and searching for the next one behind damage.

use std::io;
use std::ops::RangeInclusive;

use super::WEIGH_BYTES;
use super::disk::{DiskFile, read_full};
use super::segment::{HEAD_BYTES, HEADER_BYTES, Head, Seal};

const CHUNK_BYTES: usize = 1 << 20;
// After a record longer than this, the next head is read alone instead of with what lies between.
const NEAR_BYTES: u64 = 16 << 10;
// A disk fails by its sectors, which are not larger than this.
const BLOCK_BYTES: usize = 4096;

/// A record whose checksum was not looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Believed {
    pub(super) offset: u64,
    pub(super) seq: u64,
    pub(super) len: usize,
}

impl Believed {
    /// Whether its checksum is right after all.
    pub(super) fn holds(&self, file: &dyn DiskFile) -> io::Result<bool> {
        let mut record = vec![0; self.len];
        let (read, _) = read_tolerant(file, &mut record, self.offset)?;
        Ok(Head::parse(&record[..read]).is_some_and(|head| head.verify(&record[..read])))
    }
}

/// Walks along a segment's records. Within a segment, sequence numbers are contiguous: the writer starts a new segment
/// where they jump, so that anything else at the next record's place is damage.
pub(super) struct Walk<'a> {
    file: &'a dyn DiskFile,
    /// Where the next record starts.
    pub(super) offset: u64,
    /// The next record's sequence number.
    pub(super) seq: u64,
    end: u64,
    /// Checksums are looked at (and everything is read), or heads only.
    verify: bool,
    /// The last record that was taken at its head's word.
    pub(super) believed: Option<Believed>,
    buf: Vec<u8>,
    buf_offset: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(file: &'a dyn DiskFile, base: u64, end: u64, verify: bool) -> Walk<'a> {
        Walk::from(file, HEADER_BYTES as u64, base, end, verify)
    }

    /// Starts in the middle, where the record `seq` should be.
    pub(super) fn from(file: &'a dyn DiskFile, offset: u64, seq: u64, end: u64, verify: bool) -> Walk<'a> {
        Walk { file, offset, seq, end, verify, believed: None, buf: Vec::new(), buf_offset: 0 }
    }

    /// The record at `offset`: its head, where it starts, its payload's first bytes. `None` if there is none, or its
    /// checksum is wrong: then the walk stays where it is.
    pub(super) fn step(&mut self) -> io::Result<Option<(Head, u64, &[u8])>> {
        let offset = self.offset;
        let start = self.bytes(offset, HEAD_BYTES + WEIGH_BYTES)?;
        let Some(head) = Head::parse(start) else { return Ok(None) };
        let next = offset + head.record_len() as u64;
        if head.seq != self.seq || next > self.end {
            return Ok(None);
        }
        if self.verify && !head.verify(self.bytes(offset, head.record_len())?) {
            return Ok(None);
        }
        self.believed = (!self.verify).then_some(Believed { offset, seq: self.seq, len: head.record_len() });
        self.offset = next;
        self.seq += 1;
        let start = self.bytes(offset, head.record_len().min(HEAD_BYTES + WEIGH_BYTES))?;
        Ok(Some((head, offset, &start[HEAD_BYTES..])))
    }

    /// Goes on behind damage.
    pub(super) fn jump(&mut self, offset: u64, seq: u64) {
        self.offset = offset;
        self.seq = seq;
        self.believed = None;
    }

    /// Up to `len` bytes at `offset`: fewer only at the end.
    pub(super) fn bytes(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        // A segment whose making was cut short can be shorter than its header.
        let left = self.end.saturating_sub(offset) as usize;
        let len = len.min(left);
        if len == 0 {
            return Ok(&[]);
        }
        let have = self.buf_offset..self.buf_offset + self.buf.len() as u64;
        if offset < have.start || offset + len as u64 > have.end {
            let near = offset >= have.start && offset - have.start <= self.buf.len() as u64 + NEAR_BYTES;
            let ahead = if self.verify || near { CHUNK_BYTES } else { len };
            let want = len.max(ahead.min(left));
            self.buf.resize(want, 0);
            self.buf_offset = offset;
            let (read, _) = read_tolerant(self.file, &mut self.buf, offset)?;
            self.buf.truncate(read);
        }
        let from = (offset - self.buf_offset) as usize;
        let to = (from + len).min(self.buf.len());
        Ok(self.buf.get(from..to).unwrap_or_default())
    }
}

/// What lies at and behind a place where a record should be and none is.
pub(super) struct Past {
    /// Where the last byte that is not zero ends.
    pub(super) nonzero_end: u64,
    /// The next valid record: where it starts and its number.
    pub(super) next: Option<(u64, u64)>,
    /// Blocks that the disk could not read.
    pub(super) unreadable: bool,
}

/// Searches `offset..end` for the next valid record whose number is one of `seqs`.
pub(super) fn look_past(file: &dyn DiskFile, offset: u64, end: u64, seqs: RangeInclusive<u64>) -> io::Result<Past> {
    if nonzero(file, offset, end)? == Some(false) {
        return Ok(Past { nonzero_end: offset, next: None, unreadable: false });
    }
    let mut bytes = vec![0; end.saturating_sub(offset) as usize];
    let (read, unreadable) = read_tolerant(file, &mut bytes, offset)?;
    bytes.truncate(read);
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let next = find_record(&bytes, used, &seqs).map(|(at, seq)| (offset + at as u64, seq));
    Ok(Past { nonzero_end: offset + used as u64, next, unreadable: unreadable > 0 })
}

/// A valid record behind damage.
struct Candidate {
    at: usize,
    seq: u64,
    end: usize,
}

/// `used` is where the bytes that are not zero end; the record that should be at the start has the number `seqs.start()`.
fn find_record(bytes: &[u8], used: usize, seqs: &RangeInclusive<u64>) -> Option<(usize, u64)> {
    let lost = *seqs.start();
    let valid_at = |at: usize, seqs: RangeInclusive<u64>| {
        let head = Head::parse(bytes.get(at..)?).filter(|head| seqs.contains(&head.seq))?;
        let end = at + head.record_len();
        head.verify(bytes.get(at..end)?).then_some(Candidate { at, seq: head.seq, end })
    };
    // Most damage is in a payload and leaves the head as it was. Believing it finds the next record without searching the
    // payload, whose bytes a sender chose and which may look like a record.
    if let Some(head) = Head::parse(bytes).filter(|head| head.seq == lost) {
        let hop = head.record_len();
        if hop == used || hop == bytes.len() {
            return None;
        }
        if let Some(next) = valid_at(hop, lost + 1..=lost + 1) {
            return Some((next.at, next.seq));
        }
    }
    // One that is followed by its successor, or by the end, is where the walk goes on for sure. One that is not stands
    // between two damages, unless it is a stray copy or a sender's bytes: then its number is not between theirs.
    let mut lone: Vec<Candidate> = Vec::new();
    for at in 1..used {
        // The damaged bytes cannot have held more records than fit in them.
        let last = lost.saturating_add((at / HEAD_BYTES) as u64).min(*seqs.end());
        let Some(found) = valid_at(at, lost + 1..=last) else { continue };
        let followed = found.end >= used
            || Seal::parse(&bytes[found.end..]).is_some()
            || valid_at(found.end, found.seq + 1..=found.seq + 1).is_some();
        if followed {
            let before = lone.iter().find(|lone| lone.seq < found.seq && lone.end <= found.at);
            let first = before.unwrap_or(&found);
            return Some((first.at, first.seq));
        }
        lone.push(found);
    }
    lone.first().map(|first| (first.at, first.seq))
}

/// Whether there is a byte that is not zero; `None` when the disk cannot tell.
pub(super) fn nonzero(file: &dyn DiskFile, offset: u64, end: u64) -> io::Result<Option<bool>> {
    let mut chunk = vec![0; CHUNK_BYTES.min(end.saturating_sub(offset) as usize)];
    let mut at = offset;
    while at < end {
        let want = chunk.len().min((end - at) as usize);
        let (read, unreadable) = read_tolerant(file, &mut chunk[..want], at)?;
        if unreadable > 0 {
            return Ok(None);
        }
        if chunk[..read].iter().any(|byte| *byte != 0) {
            return Ok(Some(true));
        }
        if read < want {
            break;
        }
        at += read as u64;
    }
    Ok(Some(false))
}

/// Reads as [`read_full`] does, but puts 0xFF (which is no record) where the disk cannot read. Gives how much there is and
/// how many bytes of it could not be read.
pub(super) fn read_tolerant(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<(usize, usize)> {
    match read_full(file, buf, offset) {
        Err(error) if is_media_error(&error) => {}
        read => return Ok((read?, 0)),
    }
    let (mut done, mut unreadable) = (0, 0);
    for block in buf.chunks_mut(BLOCK_BYTES) {
        match read_full(file, block, offset + done as u64) {
            Ok(read) if read < block.len() => {
                done += read;
                break;
            }
            Ok(read) => done += read,
            Err(error) if is_media_error(&error) => {
                block.fill(0xFF);
                done += block.len();
                unreadable += block.len();
            }
            Err(error) => return Err(error),
        }
    }
    // What could not be read may lie behind the file's end.
    let len = file.len()?.saturating_sub(offset) as usize;
    Ok((done.min(len), unreadable.min(len)))
}

fn is_media_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}
