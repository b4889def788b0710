//! Opens a batch: decompresses it, checks it, and lists its traces.

use std::ops::Range;

use bytes::Bytes;
use clew_common::otlp::{
    record::Codec,
    walk::{self, Checked},
    wire::{BYTES, Reader, key_of},
};

/// A batch that is fit to be stored.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// An ExportTraceServiceRequest without bad spans.
    pub raw: Bytes,
    /// How many spans it has.
    pub spans: u32,
    /// The places in it that a lookup goes through one by one.
    pub parts: Vec<Part>,
}

/// A part of a batch: some of its ResourceSpans, which are again an ExportTraceServiceRequest.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where in the batch.
    pub range: Range<usize>,
    /// The traces of its spans, in order, runs of the same one once.
    pub traces: Vec<[u8; 16]>,
}

/// A part is no smaller than this, if the batch has more: about 130 spans. A lookup goes through all spans of the parts with
/// its trace, and in a batch of several requests most have no span of it.
const PART_BYTES: usize = 64 << 10;

/// Why a batch is not fit to be stored. All are final.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It cannot be decompressed to what it says.
    #[error("cannot decompress the batch to the {raw_bytes} bytes that it should have: {why}")]
    Compression {
        /// What it says.
        raw_bytes: u32,
        /// What is wrong.
        why: String,
    },
    /// It is not an ExportTraceServiceRequest.
    #[error("the batch is no OTLP: {0}")]
    Malformed(#[from] walk::Malformed),
    /// Some of its spans are bad.
    #[error("{count} spans of the batch are bad, the first: {first}")]
    BadSpans {
        /// How many.
        count: usize,
        /// What is wrong with the first one.
        first: walk::Reason,
    },
    /// It does not have as many spans as it says.
    #[error("the batch has {found} spans and says that it has {said}")]
    Count {
        /// What it has.
        found: u32,
        /// What it says.
        said: u32,
    },
}

/// Opens the payload of a batch that says to have `spans` spans in `raw_bytes` bytes. Never inflates further than that.
///
/// # Errors
/// When it is not what it says.
pub fn decode(codec: Codec, payload: Bytes, raw_bytes: u32, spans: u32) -> Result<Decoded, DecodeError> {
    let compression = |why: String| DecodeError::Compression { raw_bytes, why };
    let raw = match codec {
        Codec::Identity => payload,
        Codec::Zstd => {
            // What the frame itself says is checked first, so that a lie costs no memory.
            match zstd::zstd_safe::get_frame_content_size(&payload) {
                Ok(Some(size)) if size == u64::from(raw_bytes) => {}
                other => return Err(compression(format!("its frame declares {other:?}"))),
            }
            let raw = zstd::bulk::decompress(&payload, raw_bytes as usize);
            Bytes::from(raw.map_err(|error| compression(error.to_string()))?)
        }
    };
    if raw.len() != raw_bytes as usize {
        return Err(compression(format!("it has {} bytes", raw.len())));
    }
    let (mut parts, mut found) = (Vec::new(), 0);
    for range in ranges(&raw)? {
        let mut traces: Vec<[u8; 16]> = Vec::new();
        let Checked { spans, bad } = walk::check(&raw[range.clone()], |trace| {
            if traces.last() != Some(trace) {
                traces.push(*trace);
            }
        })?;
        if let Some(first) = bad.first() {
            return Err(DecodeError::BadSpans { count: bad.len(), first: first.reason });
        }
        found += spans;
        parts.push(Part { range, traces });
    }
    if found != spans {
        return Err(DecodeError::Count { found, said: spans });
    }
    Ok(Decoded { raw, spans, parts })
}

/// Cuts a request between ResourceSpans.
fn ranges(raw: &[u8]) -> Result<Vec<Range<usize>>, DecodeError> {
    let (mut ranges, mut start) = (Vec::new(), 0);
    let mut rest = Reader::new(raw);
    while !rest.is_empty() {
        if rest.field(key_of(1, BYTES)).is_none() {
            // The check says what is wrong, and where.
            walk::check(raw, |_| ())?;
            break;
        }
        if rest.at() - start >= PART_BYTES || rest.is_empty() {
            ranges.push(start..rest.at());
            start = rest.at();
        }
    }
    Ok(ranges)
}
