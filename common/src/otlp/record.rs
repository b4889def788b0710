//! The head of a span record, in the agent's queue and in the collector's WAL. `docs/formats.md` has it to the byte.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::{
    ids::{Tenant, TraceId},
    otlp::pack::Pack,
};

/// The log record kind of spans.
pub const SPANS: u8 = 1;

const VERSION: u8 = 1;
const FIXED_BYTES: usize = 28;
const REDELIVERY: u8 = 1;
const ORIGIN: u8 = 2;

/// How the spans of a record are compressed. The numbers are those of clew.v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// Not at all.
    Identity = 1,
    /// One zstd frame that declares its content size.
    Zstd = 2,
}

impl TryFrom<i32> for Codec {
    type Error = i32;

    fn try_from(number: i32) -> Result<Self, i32> {
        match number {
            1 => Ok(Self::Identity),
            2 => Ok(Self::Zstd),
            _ => Err(number),
        }
    }
}

/// The batch that a record holds: an agent and the position in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchKey {
    /// The queue.
    pub agent: Uuid,
    /// The position.
    pub seq: u64,
}

/// What stands before the spans of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// How the spans are compressed.
    pub codec: Codec,
    /// How many there are.
    pub spans: u32,
    /// Bytes after decompression.
    pub raw_bytes: u32,
    /// When they were accepted: Unix time in milliseconds.
    pub accepted_ms: u64,
    /// Whose they are.
    pub tenant: Tenant,
    /// Which batch of which agent; none when they came over OTLP.
    pub batch: Option<BatchKey>,
    /// The batch may also be durable at another collector.
    pub redelivery: bool,
    /// Hashes of the requests that the record holds, to know a retry when it comes.
    pub hashes: Vec<u128>,
    /// Sorted marks of the traces in the record: see [`mark`].
    pub marks: Vec<u32>,
}

/// Why a head cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It ends before it should.
    #[error("the record's head is cut short")]
    Short,
    /// It was written by a version that this one does not know.
    #[error("the record's head has version {0}, this program knows 1")]
    Version(u8),
    /// A field holds what it cannot.
    #[error("the record's head has a bad {0}")]
    Bad(&'static str),
}

/// 32 bits of a trace id's hash. A record whose marks lack it does not hold the trace; one that has it almost surely does.
pub fn mark(trace: &[u8; 16]) -> u32 {
    xxhash_rust::xxh3::xxh3_64(trace) as u32
}

impl Head {
    /// The head of packed requests.
    pub fn of(pack: &Pack) -> Self {
        Self {
            codec: Codec::Zstd,
            spans: pack.spans,
            raw_bytes: pack.raw.len() as u32,
            accepted_ms: pack.accepted_ms,
            tenant: pack.tenant.clone(),
            batch: None,
            redelivery: false,
            hashes: pack.hashes.clone(),
            marks: Vec::new(),
        }
    }

    /// Adds the marks of these traces.
    pub fn with_marks(mut self, traces: &[[u8; 16]]) -> Self {
        self.marks = traces.iter().map(mark).collect();
        self.marks.sort_unstable();
        self.marks.dedup();
        self
    }

    /// Whether the record may hold spans of a trace.
    pub fn may_hold(&self, trace: &TraceId) -> bool {
        self.marks.binary_search(&mark(trace.as_bytes())).is_ok()
    }

    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let tenant = self.tenant.as_field().as_bytes();
        let mut out =
            BytesMut::with_capacity(FIXED_BYTES + 24 + tenant.len() + 16 * self.hashes.len() + 4 * self.marks.len());
        let flags = if self.redelivery { REDELIVERY } else { 0 } | if self.batch.is_some() { ORIGIN } else { 0 };
        out.put_slice(&[VERSION, self.codec as u8, flags, tenant.len() as u8]);
        out.put_u32_le(self.spans);
        out.put_u32_le(self.raw_bytes);
        out.put_u64_le(self.accepted_ms);
        out.put_u32_le(self.hashes.len() as u32);
        out.put_u32_le(self.marks.len() as u32);
        if let Some(BatchKey { agent, seq }) = self.batch {
            out.put_slice(agent.as_bytes());
            out.put_u64_le(seq);
        }
        out.put_slice(tenant);
        self.hashes.iter().for_each(|hash| out.put_u128_le(*hash));
        self.marks.iter().for_each(|mark| out.put_u32_le(*mark));
        out.freeze()
    }

    /// Reads a head from the start of a record's payload; also says how long it is: the spans follow.
    ///
    /// # Errors
    /// When it is cut short, of an unknown version, or nonsense.
    pub fn decode(payload: &[u8]) -> Result<(Self, usize), HeadError> {
        let mut rest = Input(payload);
        let [version, codec, flags, tenant_bytes] = rest.array()?;
        if version != VERSION {
            return Err(HeadError::Version(version));
        }
        let codec = Codec::try_from(i32::from(codec)).map_err(|_| HeadError::Bad("codec"))?;
        let (spans, raw_bytes, accepted_ms) = (rest.u32()?, rest.u32()?, rest.u64()?);
        let (hashes, marks) = (rest.u32()? as usize, rest.u32()? as usize);
        let batch = match flags & ORIGIN {
            0 => None,
            _ => Some(BatchKey { agent: Uuid::from_bytes(rest.array()?), seq: rest.u64()? }),
        };
        let tenant = std::str::from_utf8(rest.take(tenant_bytes.into())?).map_err(|_| HeadError::Bad("tenant"))?;
        let tenant = Tenant::from_field(tenant).map_err(|_| HeadError::Bad("tenant"))?;
        // Taken whole before anything is allocated for it.
        let hashes = rest.take(hashes.checked_mul(16).ok_or(HeadError::Short)?)?.as_chunks().0;
        let marks = rest.take(marks.checked_mul(4).ok_or(HeadError::Short)?)?.as_chunks().0;
        let head = Self {
            codec,
            spans,
            raw_bytes,
            accepted_ms,
            tenant,
            batch,
            redelivery: flags & REDELIVERY != 0,
            hashes: hashes.iter().map(|bytes| u128::from_le_bytes(*bytes)).collect(),
            marks: marks.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
        };
        Ok((head, payload.len() - rest.0.len()))
    }

    /// The number of spans, from the first bytes of a payload; 0 when they are too few. For the log's accounts.
    pub fn weigh(kind: u8, start: &[u8]) -> u64 {
        match start.get(4..8) {
            Some(&[a, b, c, d]) if kind == SPANS => u32::from_le_bytes([a, b, c, d]).into(),
            _ => 0,
        }
    }

    /// How many bytes the head has, from the first 28 bytes of a payload; None when they are too few.
    pub fn bytes(start: &[u8]) -> Option<usize> {
        let mut rest = Input(start.get(..FIXED_BYTES)?);
        let [_, _, flags, tenant] = rest.array().ok()?;
        rest.take(16).ok()?;
        let (hashes, marks) = (rest.u32().ok()? as usize, rest.u32().ok()? as usize);
        let batch = if flags & ORIGIN == 0 { 0 } else { 24 };
        Some(FIXED_BYTES + batch + usize::from(tenant) + 16 * hashes + 4 * marks)
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], HeadError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(HeadError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeadError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(HeadError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, HeadError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, HeadError> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            codec: Codec::Zstd,
            spans: 500,
            raw_bytes: 240_000,
            accepted_ms: 1_790_000_000_000,
            tenant: Tenant::new("team-a").unwrap(),
            batch: Some(BatchKey { agent: Uuid::from_bytes([7; 16]), seq: 42 }),
            redelivery: true,
            hashes: vec![1, u128::MAX],
            marks: vec![],
        }
        .with_marks(&[[1; 16], [2; 16], [1; 16]])
    }

    #[test]
    fn a_head_comes_back_as_it_was_written() {
        let head = head();
        let mut payload = head.encode().to_vec();
        let length = payload.len();
        payload.extend_from_slice(b"spans");
        assert_eq!(Head::decode(&payload), Ok((head.clone(), length)));
        assert_eq!(Head::weigh(SPANS, &payload), 500);
        assert_eq!(Head::bytes(&payload[..28]), Some(length));
        assert_eq!(head.marks.len(), 2);
        assert!(head.may_hold(&TraceId::new([2; 16]).unwrap()));
        assert!(!head.may_hold(&TraceId::new([3; 16]).unwrap()));
    }

    #[test]
    fn a_head_that_is_cut_short_anywhere_is_refused() {
        let bytes = head().encode();
        for end in 0..bytes.len() {
            assert_eq!(Head::decode(&bytes[..end]), Err(HeadError::Short), "cut at {end}");
        }
    }

    #[test]
    fn a_flipped_bit_never_panics_and_an_unknown_version_is_named() {
        let bytes = head().encode().to_vec();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = Head::decode(&bytes);
        }
        let mut newer = bytes;
        newer[0] = 9;
        assert_eq!(Head::decode(&newer), Err(HeadError::Version(9)));
    }
}
