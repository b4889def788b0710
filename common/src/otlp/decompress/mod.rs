//! Decompresses request bodies, never past a limit.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status, bufread::MultiGzDecoder};
use zstd::zstd_safe::{
    DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, find_frame_compressed_size, get_error_name,
    get_frame_content_size,
};

/// Windows up to 128 MiB, the most that `zstd --ultra -22` makes. Of a window, only what was written to is resident, and
/// that ends at the size limit.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// How a zstd frame starts, and a skippable one but for its lowest four bits (RFC 8878, sections 3.1.1 and 3.1.2).
const ZSTD_MAGIC: u32 = 0xFD2F_B528;
const ZSTD_SKIPPABLE_MAGIC: u32 = 0x184D_2A50;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952; several members count as one.
    Gzip,
    /// RFC 1950, which HTTP calls deflate, or the bare RFC 1951, which some senders take it for.
    Deflate,
    /// RFC 8878; several frames count as one.
    Zstd,
}

impl Encoding {
    /// By its name in `content-encoding` and `grpc-encoding`.
    pub fn parse(name: &str) -> Option<Self> {
        let names = [
            ("identity", Self::Identity),
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("deflate", Self::Deflate),
            ("zstd", Self::Zstd),
        ];
        names.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name.trim())).map(|(_, encoding)| encoding)
    }

    /// Its name in headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a body was not decompressed. Final.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It would be larger.
    #[error("more than {max} bytes after decompression, which is the limit")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// It is cut short, followed by something else, or not what it says.
    #[error("the {encoding} body is corrupt: {detail}")]
    Corrupt {
        /// As which it was read.
        encoding: Encoding,
        /// What is wrong with it.
        detail: String,
    },
}

/// Decompresses `body` into at most `max_bytes`. Memory stays within about `max_bytes` for what comes out, plus the same
/// again for the window of a zstd frame that does not tell its size, whatever the body claims.
///
/// # Errors
/// When more would come out, and when the body is not whole.
pub fn inflate(encoding: Encoding, body: &[u8], max_bytes: usize) -> Result<Vec<u8>, InflateError> {
    Inflater::default().inflate(encoding, body, max_bytes)
}

/// Decompresses bodies one after the other and keeps zstd's context, which takes longer to make than a small body to read.
#[derive(Default)]
pub struct Inflater {
    zstd: Option<DCtx<'static>>,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

impl Inflater {
    /// As the function `inflate`.
    ///
    /// # Errors
    /// When more than `max_bytes` would come out, and when the body is not whole.
    pub fn inflate(&mut self, encoding: Encoding, body: &[u8], max_bytes: usize) -> Result<Vec<u8>, InflateError> {
        let mut out = Growing { bytes: Vec::new(), max: max_bytes };
        let done = match encoding {
            Encoding::Identity => identity(body, &mut out),
            Encoding::Gzip => gzip(body, &mut out),
            Encoding::Deflate => deflate(body, &mut out),
            Encoding::Zstd => self.zstd(body, &mut out),
        };
        match done {
            Ok(()) if out.bytes.len() > max_bytes => Err(InflateError::TooLarge { max: max_bytes }),
            Ok(()) => Ok(out.bytes),
            Err(Stop::Full) => Err(InflateError::TooLarge { max: max_bytes }),
            Err(Stop::Corrupt(detail)) => Err(InflateError::Corrupt { encoding, detail }),
        }
    }

    fn zstd(&mut self, body: &[u8], out: &mut Growing) -> Result<(), Stop> {
        let total = zstd_content(body)?;
        let context = match &mut self.zstd {
            Some(context) => context,
            none => none.insert(new_zstd_context()?),
        };
        context.reset(ResetDirective::SessionOnly).map_err(zstd_error)?;
        if let Some(total) = total {
            // Every frame says how much it holds: no window is needed. If it lies, zstd finds out.
            out.reserve_to(total)?;
            return context.decompress(&mut out.bytes, body).map(drop).map_err(zstd_error);
        }
        let mut input = InBuffer::around(body);
        loop {
            out.make_room(body.len())?;
            let start = out.bytes.len();
            let (left, read_before) = {
                let read_before = input.pos();
                let mut output = OutBuffer::around_pos(&mut out.bytes, start);
                (context.decompress_stream(&mut output, &mut input).map_err(zstd_error)?, read_before)
            };
            let stalled = out.bytes.len() == start && input.pos() == read_before;
            match left {
                // A frame ended.
                0 if input.pos() == body.len() => return Ok(()),
                0 => {}
                _ if stalled => return Err(Stop::Corrupt("cut short".into())),
                _ => {}
            }
        }
    }
}

fn new_zstd_context() -> Result<DCtx<'static>, Stop> {
    let mut context = DCtx::try_create().ok_or_else(|| Stop::Corrupt("no memory for a zstd context".into()))?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(zstd_error)?;
    Ok(context)
}

/// Checks that the body is whole frames and nothing else. How much they hold, if all of them say so.
fn zstd_content(body: &[u8]) -> Result<Option<usize>, Stop> {
    let mut rest = body;
    let mut total = Some(0usize);
    if rest.is_empty() {
        return Err(Stop::Corrupt("empty".into()));
    }
    while !rest.is_empty() {
        let magic = rest.first_chunk().map(|magic| u32::from_le_bytes(*magic));
        let size = find_frame_compressed_size(rest).map_err(zstd_error)?;
        match magic {
            Some(ZSTD_MAGIC) => {
                let content = get_frame_content_size(rest).map_err(|error| Stop::Corrupt(error.to_string()))?;
                total =
                    total.zip(content).and_then(|(total, content)| total.checked_add(usize::try_from(content).ok()?));
            }
            Some(magic) if magic & !0xF == ZSTD_SKIPPABLE_MAGIC => {}
            _ => return Err(Stop::Corrupt("not a zstd frame".into())),
        }
        rest = rest.get(size..).filter(|_| size > 0).ok_or_else(|| Stop::Corrupt("cut short".into()))?;
    }
    Ok(total)
}

fn zstd_error(code: usize) -> Stop {
    Stop::Corrupt(get_error_name(code).into())
}

fn identity(body: &[u8], out: &mut Growing) -> Result<(), Stop> {
    out.reserve_to(body.len())?;
    out.bytes.extend_from_slice(body);
    Ok(())
}

fn gzip(body: &[u8], out: &mut Growing) -> Result<(), Stop> {
    let mut decoder = MultiGzDecoder::new(body);
    loop {
        out.make_room(body.len())?;
        let start = out.bytes.len();
        out.bytes.resize(out.bytes.capacity(), 0);
        let read = decoder.read(&mut out.bytes[start..]).map_err(|error| Stop::Corrupt(error.to_string()))?;
        out.bytes.truncate(start + read);
        if read == 0 {
            return Ok(());
        }
    }
}

fn deflate(body: &[u8], out: &mut Growing) -> Result<(), Stop> {
    // RFC 1950, section 2.2: the method 8, and a check that makes the first two bytes a multiple of 31.
    let zlib =
        matches!(body, [first, second, ..] if first & 0xF == 8 && u16::from_be_bytes([*first, *second]) % 31 == 0);
    let mut decoder = Decompress::new(zlib);
    let mut rest = body;
    loop {
        out.make_room(body.len())?;
        let (read_before, start) = (decoder.total_in(), out.bytes.len());
        let status = decoder
            .decompress_vec(rest, &mut out.bytes, FlushDecompress::None)
            .map_err(|error| Stop::Corrupt(error.to_string()))?;
        let read = (decoder.total_in() - read_before) as usize;
        rest = &rest[read..];
        match status {
            Status::StreamEnd if rest.is_empty() => return Ok(()),
            Status::StreamEnd => return Err(Stop::Corrupt(format!("{} bytes follow its end", rest.len()))),
            _ if read == 0 && out.bytes.len() == start => return Err(Stop::Corrupt("cut short".into())),
            _ => {}
        }
    }
}

enum Stop {
    Full,
    Corrupt(String),
}

/// Output that grows up to one byte over its limit, which tells that there is more.
struct Growing {
    bytes: Vec<u8>,
    max: usize,
}

impl Growing {
    /// Makes room for all of `total` bytes.
    fn reserve_to(&mut self, total: usize) -> Result<(), Stop> {
        if total > self.max {
            return Err(Stop::Full);
        }
        self.bytes.reserve_exact(total);
        Ok(())
    }

    /// Makes room for at least one byte. `compressed` is the size of the body, for a first guess.
    fn make_room(&mut self, compressed: usize) -> Result<(), Stop> {
        if self.bytes.len() > self.max {
            return Err(Stop::Full);
        }
        if self.bytes.len() == self.bytes.capacity() {
            // OTLP is compressed to a fifth to a tenth.
            let wanted = (self.bytes.len() * 2).max(compressed.saturating_mul(5)).max(4096);
            let capacity = wanted.min(self.max.saturating_add(1));
            self.bytes.reserve_exact(capacity.saturating_sub(self.bytes.len()).max(1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
