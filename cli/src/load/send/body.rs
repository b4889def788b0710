//! The bytes of a request as they go out: compressed, and with the five bytes that gRPC puts before a message.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzEncoder;

/// One byte that says whether the message is compressed, four with its length.
const FRAME_BYTES: usize = 5;

/// How requests are compressed. The fastest level each: the generator shares the machine with what it measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Its name in headers; none for no compression.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// Room for the frame, to which the message is to be appended.
pub(crate) fn begin() -> Vec<u8> {
    vec![0; FRAME_BYTES]
}

/// Compresses a message that was appended to [`begin`], and fills in the frame.
pub(crate) fn finish(mut framed: Vec<u8>, compression: Compression) -> io::Result<Bytes> {
    match compression {
        Compression::None => {}
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(begin(), flate2::Compression::fast());
            encoder.write_all(&framed[FRAME_BYTES..])?;
            framed = encoder.finish()?;
        }
        Compression::Zstd => {
            let mut compressed = begin();
            compressed.extend(zstd::bulk::compress(&framed[FRAME_BYTES..], 1)?);
            framed = compressed;
        }
    }
    framed[0] = u8::from(compression != Compression::None);
    let length = (framed.len() - FRAME_BYTES) as u32;
    framed[1..FRAME_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(framed.into())
}

/// The message without its frame.
pub(crate) fn without_frame(framed: Bytes) -> Bytes {
    framed.slice(FRAME_BYTES..)
}

/// The message as [`begin`] and the reader left it.
pub(crate) fn message_mut(framed: &mut [u8]) -> &mut [u8] {
    &mut framed[FRAME_BYTES..]
}
