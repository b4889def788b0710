//! The bytes of an object of the WAL: header, records as the log lays them out, trailer. `docs/formats.md` has the tables.

use std::ops::Range;

use bytes::Bytes;
use clew_common::log::{RECORD_HEAD_BYTES, Record, RecordHead, record_head};
use crc32c::crc32c;
use uuid::Uuid;

/// The format version that this code writes and reads.
pub const VERSION: u32 = 1;
/// Bytes before the first record.
pub const HEADER_BYTES: usize = 40;
/// Bytes after the last one.
pub const TRAILER_BYTES: usize = 24;

const MAGIC: &[u8; 8] = b"CLEWWALO";
const TRAILER_MAGIC: &[u8; 8] = b"CLEWWALE";
const SUFFIX: &str = ".wal";

/// The name of the object whose first record is `base`.
pub fn file_name(base: u64) -> String {
    format!("{base:020}{SUFFIX}")
}

/// The first record's number in an object's name; None for files that are not ours.
pub fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok().filter(|base| *base > 0) } else { None }
}

/// The object with these records, the first of which is number `base` of the epoch.
pub fn encode(epoch: Uuid, base: u64, records: &[Record]) -> Bytes {
    let payload: usize = records.iter().map(|record| record.head.len() + record.body.len()).sum();
    let mut out = Vec::with_capacity(HEADER_BYTES + payload + records.len() * RECORD_HEAD_BYTES + TRAILER_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(epoch.as_bytes());
    out.extend_from_slice(&base.to_le_bytes());
    let crc = crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    for (seq, Record { kind, head, body }) in (base..).zip(records) {
        out.extend_from_slice(&record_head(seq, *kind, [head, body]));
        out.extend_from_slice(head);
        out.extend_from_slice(body);
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(TRAILER_MAGIC);
    out.extend_from_slice(&(base + records.len() as u64).to_le_bytes());
    let crc = crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.into()
}

/// The number after the last record of an object of `bytes` bytes, as its last bytes say; None when they are no trailer.
/// Whether the checksum is right shows when the whole object is read.
pub fn end_of(last_bytes: &[u8], base: u64, bytes: u64) -> Option<u64> {
    let trailer = last_bytes.last_chunk::<TRAILER_BYTES>()?;
    let is_trailer = trailer[..4] == [0; 4] && trailer[4..12] == TRAILER_MAGIC[..];
    let most = bytes / RECORD_HEAD_BYTES as u64;
    Some(u64_at(trailer, 12))
        .filter(|end| is_trailer && end.checked_sub(base).is_some_and(|count| (1..=most).contains(&count)))
}

/// What an object holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Number, kind and payload of each record whose checksum is right, in order.
    pub records: Vec<(u64, u8, Bytes)>,
    /// Bytes where a valid record or the trailer should be and none is.
    pub damaged_bytes: usize,
    /// The number after the last record that it had, as its trailer says.
    pub end: Option<u64>,
    /// Bytes behind the last valid record that are no trailer.
    rest: usize,
}

impl Parsed {
    /// The numbers of the records that it had and that are lost, as far as can be told. `next` is the number that the next object
    /// begins with.
    pub fn lost(&self, base: u64, next: Option<u64>) -> Vec<Range<u64>> {
        if self.damaged_bytes == 0 {
            return Vec::new();
        }
        let seen = self.records.last().map_or(base, |(seq, ..)| seq + 1);
        // Without a trailer nobody knows whether the last one had one more behind it.
        let most = seen + (self.rest / RECORD_HEAD_BYTES) as u64 + 1;
        let end = self.end.or(next).unwrap_or(most).min(next.unwrap_or(u64::MAX));
        let firsts = std::iter::once(base).chain(self.records.iter().map(|(seq, ..)| seq + 1));
        let ends = self.records.iter().map(|(seq, ..)| *seq).chain([end]);
        firsts.zip(ends).map(|(first, end)| first..end).filter(|gap| !gap.is_empty()).collect()
    }
}

/// An object was written by a newer program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownVersion(pub u32);

/// Takes an object apart. Damage costs the records that it hit.
///
/// # Errors
/// When it is of an unknown version.
pub fn parse(bytes: &Bytes, epoch: Uuid, base: u64) -> Result<Parsed, UnknownVersion> {
    let mut parsed = Parsed::default();
    let header =
        bytes.get(..HEADER_BYTES).filter(|header| &header[..8] == MAGIC && u32_at(header, 36) == crc32c(&header[..36]));
    match header {
        Some(header) if u32_at(header, 8) != VERSION => return Err(UnknownVersion(u32_at(header, 8))),
        Some(header) if header[12..28] == epoch.as_bytes()[..] && u64_at(header, 28) == base => {}
        _ => parsed.damaged_bytes += HEADER_BYTES.min(bytes.len()),
    }
    let trailer_at = bytes.len().saturating_sub(TRAILER_BYTES);
    let said = end_of(bytes, base, bytes.len() as u64);
    let whole = said.filter(|_| u32_at(bytes, trailer_at + 20) == crc32c(&bytes[..trailer_at + 20]));
    // Cut short, the object may have records up to its last byte.
    let records_end = if said.is_some() { trailer_at } else { bytes.len() };
    let (mut at, mut seq) = (HEADER_BYTES.min(bytes.len()), base);
    while at < records_end {
        let Some((found_at, head)) = next_record(&bytes[..records_end], at, seq) else { break };
        parsed.damaged_bytes += found_at - at;
        at = found_at + head.record_len();
        parsed.records.push((head.seq, head.kind, bytes.slice(found_at + RECORD_HEAD_BYTES..at)));
        seq = head.seq + 1;
    }
    parsed.damaged_bytes += records_end - at;
    if whole != Some(seq) && parsed.damaged_bytes == 0 {
        // Cut off between two records, or one is missing though all that is there proves right.
        parsed.damaged_bytes = TRAILER_BYTES;
    }
    parsed.end = said.filter(|said| *said >= seq);
    parsed.rest = records_end - at;
    Ok(parsed)
}

/// The first valid record from `from` on whose number is `seq`, or a higher one that the bytes passed over can account for.
fn next_record(bytes: &[u8], from: usize, seq: u64) -> Option<(usize, RecordHead)> {
    (from..bytes.len()).find_map(|at| {
        let head = RecordHead::parse(&bytes[at..])?;
        let skipped = (at - from).div_ceil(RECORD_HEAD_BYTES) as u64;
        let fits = head.seq >= seq && head.seq - seq <= skipped && head.record_len() <= bytes.len() - at;
        (fits && head.verify(&bytes[at..at + head.record_len()])).then_some((at, head))
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Uuid = Uuid::from_bytes([9; 16]);

    fn records(count: u8) -> Vec<Record> {
        let record = |n: u8| Record { kind: n, head: vec![n; 3].into(), body: vec![n; usize::from(n) * 5].into() };
        (1..=count).map(record).collect()
    }

    fn expected(seqs: impl IntoIterator<Item = u64>) -> Vec<(u64, u8, Bytes)> {
        seqs.into_iter()
            .map(|seq| (seq, (seq - 6) as u8, vec![(seq - 6) as u8; 3 + 5 * (seq - 6) as usize].into()))
            .collect()
    }

    #[test]
    fn an_object_comes_back_as_it_was_put() {
        let bytes = encode(EPOCH, 7, &records(4));
        assert_eq!(
            parse(&bytes, EPOCH, 7),
            Ok(Parsed { records: expected(7..11), damaged_bytes: 0, end: Some(11), rest: 0 })
        );
        assert_eq!(end_of(&bytes, 7, bytes.len() as u64), Some(11));
        assert_eq!(base_of(&file_name(7)), Some(7));
        assert_eq!(base_of("00000000000000000000.wal"), None);
    }

    #[test]
    fn a_flipped_bit_costs_one_record_at_most_and_never_goes_unnoticed() {
        let bytes = encode(EPOCH, 7, &records(4));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(parsed) = parse(&flipped.into(), EPOCH, 7) else { continue };
            let whole = expected(7..11);
            let lost: Vec<u64> =
                whole.iter().filter(|record| !parsed.records.contains(record)).map(|one| one.0).collect();
            assert_eq!(parsed.lost(7, Some(11)).into_iter().flatten().collect::<Vec<_>>(), lost, "bit {bit}");
            let alone: Vec<u64> = parsed.lost(7, None).into_iter().flatten().collect();
            let in_trailer = bit / 8 >= bytes.len() - TRAILER_BYTES;
            assert!(if in_trailer { alone.starts_with(&lost) } else { alone == lost }, "bit {bit}: {alone:?}");
            let Parsed { records, damaged_bytes, .. } = parsed;
            assert!(damaged_bytes > 0, "bit {bit}");
            assert!(records.len() >= 3, "bit {bit}: {records:?}");
            assert!(records.iter().all(|record| whole.contains(record)), "bit {bit}: {records:?}");
        }
    }

    #[test]
    fn an_object_that_is_cut_short_gives_the_records_before_the_cut() {
        let bytes = encode(EPOCH, 7, &records(4));
        for len in 0..bytes.len() {
            let parsed = parse(&bytes.slice(..len), EPOCH, 7).unwrap();
            let lost = |next| parsed.lost(7, next).into_iter().flatten().collect::<Vec<u64>>();
            let seen = 7 + parsed.records.len() as u64;
            assert_eq!(lost(Some(11)), Vec::from_iter(seen..11), "cut at {len}");
            assert_eq!(lost(None).first(), Some(&seen), "cut at {len}");
            let Parsed { records, damaged_bytes, .. } = parsed;
            assert_eq!(records, expected(7..7 + records.len() as u64), "cut at {len}");
            assert!(damaged_bytes > 0, "cut at {len}");
        }
    }

    #[test]
    fn another_epochs_object_is_damaged_and_an_unknown_version_is_named() {
        let bytes = encode(EPOCH, 7, &records(1));
        assert!(parse(&bytes, Uuid::from_bytes([8; 16]), 7).unwrap().damaged_bytes > 0);
        assert!(parse(&bytes, EPOCH, 6).unwrap().damaged_bytes > 0);
        let mut newer = bytes.to_vec();
        newer[8] = 9;
        let crc = crc32c(&newer[..36]);
        newer[36..40].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(parse(&newer.into(), EPOCH, 7), Err(UnknownVersion(9)));
    }
}
