//! Opens a batch: decompresses it, checks it, and turns it into columns.

use bytes::Bytes;
use clew_common::otlp::{
    record::Codec,
    walk::{self, Checked},
};
use parking_lot::Mutex;

use crate::columns::{Builder, Spans};

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

/// Opens batches, many at once. Builders are kept: they have learned which keys services use.
#[derive(Default)]
pub struct Decoder {
    builders: Mutex<Vec<Builder>>,
}

impl Decoder {
    /// Opens the payload of a batch that says to have `spans` spans in `raw_bytes` bytes. Never inflates further than that.
    ///
    /// # Errors
    /// When it is not what it says.
    pub fn decode(&self, codec: Codec, payload: Bytes, raw_bytes: u32, spans: u32) -> Result<Decoded, DecodeError> {
        let raw = inflate(codec, payload, raw_bytes)?;
        let Checked { spans: found, bad } = walk::check_batch(&raw, |_| ())?;
        if let Some(first) = bad.first() {
            return Err(DecodeError::BadSpans { count: bad.len(), first: first.reason });
        }
        if found != spans {
            return Err(DecodeError::Count { found, said: spans });
        }
        let mut builder = self.builders.lock().pop().unwrap_or_default();
        builder.add(&raw)?;
        let spans = builder.finish()?;
        self.builders.lock().push(builder);
        Ok(Decoded { spans, count: found, raw_bytes })
    }
}

fn inflate(codec: Codec, payload: Bytes, raw_bytes: u32) -> Result<Bytes, DecodeError> {
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
    Ok(raw)
}
