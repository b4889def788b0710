//! The bytes of a segment file: its name, header, records and seal. `docs/formats.md` has the tables.

use crc32c::{crc32c, crc32c_append};

/// The format version that this code writes and reads.
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 24;
/// A record's bytes before its payload.
pub const HEAD_BYTES: usize = 17;
pub(super) const SEAL_BYTES: usize = 40;

const MAGIC: &[u8; 8] = b"CLEWSEGM";
const SEAL_MAGIC: &[u8; 8] = b"CLEWSEAL";
const SUFFIX: &str = ".seg";
/// The bytes that `length` covers besides the payload: sequence number and kind.
const COVERED_HEAD_BYTES: u32 = 9;

pub(super) fn file_name(base: u64) -> String {
    format!("{base:020}{SUFFIX}")
}

/// The base sequence number in a segment file's name; `None` for files that are not ours.
pub(super) fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|base| *base > 0)
}

pub(super) fn header(base: u64) -> [u8; HEADER_BYTES] {
    header_of_version(VERSION, base)
}

pub(super) fn header_of_version(version: u32, base: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    bytes[12..20].copy_from_slice(&base.to_le_bytes());
    let crc = crc32c(&bytes[..20]);
    bytes[20..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    Valid,
    /// A version that is not ours, under a right checksum: written by another program, not damaged.
    Unknown(u32),
    Damaged,
}

/// Looks at a file's first bytes, which should be the header of a segment of this base.
pub(super) fn check_header(bytes: &[u8], base: u64) -> Header {
    if bytes.len() < HEADER_BYTES || &bytes[..8] != MAGIC || u32_at(bytes, 20) != crc32c(&bytes[..20]) {
        return Header::Damaged;
    }
    match u32_at(bytes, 8) {
        VERSION if u64_at(bytes, 12) == base => Header::Valid,
        VERSION => Header::Damaged,
        version => Header::Unknown(version),
    }
}

/// A record's first bytes, taken at their word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    length: u32,
    crc: u32,
    /// The record's sequence number.
    pub seq: u64,
    /// What whoever appended it said.
    pub kind: u8,
}

impl Head {
    /// Reads the head at the start of `bytes`; `None` when there are too few bytes, or their length says that no record
    /// is here.
    pub fn parse(bytes: &[u8]) -> Option<Head> {
        if bytes.len() < HEAD_BYTES || u32_at(bytes, 0) < COVERED_HEAD_BYTES {
            return None;
        }
        Some(Head { length: u32_at(bytes, 0), crc: u32_at(bytes, 4), seq: u64_at(bytes, 8), kind: bytes[16] })
    }

    /// Bytes of payload.
    pub fn payload_len(&self) -> u32 {
        self.length - COVERED_HEAD_BYTES
    }

    /// The record's size in the file.
    pub fn record_len(&self) -> usize {
        HEAD_BYTES + self.payload_len() as usize
    }

    /// Whether the checksum is right. `record` is the whole record, head included.
    pub fn verify(&self, record: &[u8]) -> bool {
        record.len() == self.record_len() && crc32c_append(crc32c(&record[..4]), &record[8..]) == self.crc
    }
}

/// The head of a record with this payload, which comes in parts. The payload must be shorter than 4 GiB - 9.
pub fn record_head(seq: u64, kind: u8, payload: [&[u8]; 2]) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    let length = COVERED_HEAD_BYTES + (payload[0].len() + payload[1].len()) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[8..16].copy_from_slice(&seq.to_le_bytes());
    bytes[16] = kind;
    let crc = crc32c_append(crc32c(&bytes[..4]), &bytes[8..]);
    let crc = crc32c_append(crc32c_append(crc, payload[0]), payload[1]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What a finished segment says about itself after its last record, so that opening a long log reads one block a segment.
/// Its absence (a crash came first) costs a walk along the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    /// One more than the last record's sequence number.
    pub(super) next_seq: u64,
    pub(super) records: u64,
    pub(super) weight: u64,
}

impl Seal {
    /// Starts with a zero length: to a walk along the records it is the end.
    pub(super) fn encode(&self) -> [u8; SEAL_BYTES] {
        let mut bytes = [0; SEAL_BYTES];
        bytes[4..12].copy_from_slice(SEAL_MAGIC);
        bytes[12..20].copy_from_slice(&self.next_seq.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.records.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.weight.to_le_bytes());
        let crc = crc32c(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Seal> {
        if bytes.len() < SEAL_BYTES
            || u32_at(bytes, 0) != 0
            || &bytes[4..12] != SEAL_MAGIC
            || u32_at(bytes, 36) != crc32c(&bytes[..36])
        {
            return None;
        }
        Some(Seal { next_seq: u64_at(bytes, 12), records: u64_at(bytes, 20), weight: u64_at(bytes, 28) })
    }
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
