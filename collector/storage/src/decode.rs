//! Opens a batch: decompresses it, checks it, and turns it into columns.

use bytes::Bytes;
use clew_common::otlp::{
    record::{Codec, Head},
    walk::{self, Checked},
};
use parking_lot::Mutex;
use zstd::bulk::Decompressor;

use crate::{
    columns::{Builder, Spans},
    side_by_side::processors,
};

/// A batch that is fit to be stored.
pub struct Decoded {
    /// Its columns.
    pub spans: Spans,
    /// How many spans it has.
    pub count: u32,
    /// Bytes after decompression.
    pub raw_bytes: u32,
}

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
    /// It cannot be turned into columns.
    #[error("the batch cannot be stored: {0}")]
    Columns(#[from] arrow_schema::ArrowError),
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

/// A batch as it came.
pub struct Encoded {
    /// How the payload is compressed.
    pub codec: Codec,
    /// An ExportTraceServiceRequest.
    pub payload: Bytes,
    /// Its bytes after decompression, as it says itself.
    pub raw_bytes: u32,
    /// How many spans it has, as it says itself.
    pub spans: u32,
}

impl Encoded {
    /// The payload of a record of the WAL.
    pub fn of(head: &Head, payload: Bytes) -> Self {
        Self { codec: head.codec, payload, raw_bytes: head.raw_bytes, spans: head.spans }
    }
}

/// Opens batches, many at once. What that takes is kept for the next ones.
#[derive(Default)]
pub struct Decoder {
    desks: Mutex<Vec<Desk>>,
}

/// What opening a batch takes.
#[derive(Default)]
struct Desk {
    zstd: Option<Decompressor<'static>>,
    raw: Vec<u8>,
    /// It has learned which keys services use.
    builder: Builder,
}

/// Room for a batch is kept up to so many bytes: agents join requests up to 1 MiB, before compression.
const KEPT_RAW_BYTES: usize = 2 << 20;

impl Decoder {
    /// Checks a batch and opens it. Never inflates it to more than it says, but for what fits into room that is there.
    ///
    /// # Errors
    /// When it is not what it says.
    pub fn decode(&self, encoded: &Encoded) -> Result<Decoded, DecodeError> {
        let spans = self.at_a_desk(encoded, |raw, builder| {
            check(raw, encoded.spans, |_| ())?;
            build(raw, builder)
        });
        Ok(Decoded { spans: spans?, count: encoded.spans, raw_bytes: encoded.raw_bytes })
    }

    /// Checks a batch, which then can be opened; gives the traces of its spans, in their order, none twice in a row.
    ///
    /// # Errors
    /// When it is not what it says.
    pub fn check(&self, encoded: &Encoded) -> Result<Vec<[u8; 16]>, DecodeError> {
        self.at_a_desk(encoded, |raw, _| {
            let mut traces: Vec<[u8; 16]> = Vec::new();
            check(raw, encoded.spans, |trace| {
                if traces.last() != Some(trace) {
                    traces.push(*trace);
                }
            })?;
            Ok(traces)
        })
    }

    /// Opens a batch that has passed the check.
    ///
    /// # Errors
    /// When it has not.
    pub fn open(&self, encoded: &Encoded) -> Result<Spans, DecodeError> {
        self.at_a_desk(encoded, build)
    }

    fn at_a_desk<T>(
        &self,
        encoded: &Encoded,
        work: impl FnOnce(&[u8], &mut Builder) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let mut desk = self.desks.lock().pop().unwrap_or_default();
        let Desk { zstd, raw, builder } = &mut desk;
        let done = inflate(encoded, zstd, raw).and_then(|raw| work(raw, builder));
        if raw.capacity() > KEPT_RAW_BYTES {
            *raw = Vec::new();
        }
        let mut desks = self.desks.lock();
        if desks.len() < processors() {
            desks.push(desk);
        }
        drop(desks);
        done
    }
}

fn check(raw: &[u8], said: u32, on_span: impl FnMut(&[u8; 16])) -> Result<(), DecodeError> {
    let Checked { spans: found, bad } = walk::check_batch(raw, on_span)?;
    if let Some(first) = bad.first() {
        return Err(DecodeError::BadSpans { count: bad.len(), first: first.reason });
    }
    if found == said { Ok(()) } else { Err(DecodeError::Count { found, said }) }
}

fn build(raw: &[u8], builder: &mut Builder) -> Result<Spans, DecodeError> {
    builder.add(raw)?;
    Ok(builder.finish()?)
}

/// The request in a batch; `room` is overwritten.
fn inflate<'a>(
    encoded: &'a Encoded,
    zstd: &mut Option<Decompressor<'static>>,
    room: &'a mut Vec<u8>,
) -> Result<&'a [u8], DecodeError> {
    let Encoded { codec, payload, raw_bytes, .. } = encoded;
    let compression = |why: String| DecodeError::Compression { raw_bytes: *raw_bytes, why };
    let raw = match codec {
        Codec::Identity => &payload[..],
        Codec::Zstd => {
            // What the frame itself says is checked first, so that a lie costs no memory.
            match zstd::zstd_safe::get_frame_content_size(payload) {
                Ok(Some(size)) if size == u64::from(*raw_bytes) => {}
                other => return Err(compression(format!("its frame declares {other:?}"))),
            }
            let failed = |error: std::io::Error| compression(error.to_string());
            let zstd = match zstd {
                Some(zstd) => zstd,
                None => zstd.insert(Decompressor::new().map_err(failed)?),
            };
            room.clear();
            room.reserve_exact(*raw_bytes as usize);
            zstd.decompress_to_buffer(payload, room).map_err(failed)?;
            &room[..]
        }
    };
    if raw.len() != *raw_bytes as usize {
        return Err(compression(format!("it has {} bytes", raw.len())));
    }
    Ok(raw)
}
