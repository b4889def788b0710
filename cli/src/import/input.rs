//! Opens what is imported, and finds out what it is.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use clew_common::world::World;
use clew_storage::store::{self, Store};
use flate2::read::MultiGzDecoder;

use super::error::{ReadError, What};
use crate::export::{Format, by_name};

/// Read of a file at a time.
const BUFFER_BYTES: usize = 1 << 18;

/// Something to import.
pub(crate) enum Input {
    /// JSON, a message a line.
    Lines(Box<dyn BufRead>),
    /// Protobuf, each message after its length.
    Delimited {
        bytes: Box<dyn BufRead>,
        /// Nobody said that it is.
        guessed: bool,
    },
    /// Blocks of Parquet.
    Blocks(Arc<dyn Store>),
}

impl Input {
    /// Opens a file, a folder, a place of blocks (`s3://...`), or standard input (`-`). `read` counts the bytes that were read
    /// of it, before decompression.
    pub(crate) fn open(path: &Path, format: Option<Format>, read: Arc<AtomicU64>) -> Result<Self, ReadError> {
        let failed = |error| What::Open(error).of(path);
        let is_blocks = format == Some(Format::Parquet) || path.is_dir() || path.to_string_lossy().contains("://");
        if is_blocks {
            if path.is_file() {
                return Err(What::ParquetFile.of(path));
            }
            let utf8 = || io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8");
            let place = path.to_str().ok_or_else(|| failed(utf8()))?;
            return Ok(Self::Blocks(store::open(place, &World::real()).map_err(failed)?));
        }
        let file: Box<dyn Read> =
            if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path).map_err(failed)?) };
        Self::of(Box::new(Counted { file, read }), path, format)
    }

    /// Looks at the first bytes.
    fn of(file: Box<dyn Read>, path: &Path, format: Option<Format>) -> Result<Self, ReadError> {
        let failed = |error| What::Open(error).of(path);
        let (start, file) = peek(file).map_err(failed)?;
        let (start, bytes): (_, Box<dyn Read>) = match start {
            [0x1F, 0x8B, ..] => peek(Box::new(MultiGzDecoder::new(file))).map_err(failed)?,
            [0x28, 0xB5, 0x2F, 0xFD] => {
                let decoder = zstd::Decoder::new(file).map_err(failed)?;
                peek(Box::new(decoder)).map_err(failed)?
            }
            _ => (start, file),
        };
        let guessed = format.is_none();
        let format = match (format, start) {
            (Some(format), _) => format,
            (None, [b'P', b'A', b'R', b'1']) => return Err(What::ParquetFile.of(path)),
            // A message of 123 bytes has this length, too; then its first field follows, whose key is a line's end.
            (None, [b'{', b'\n', ..]) => by_name(path).0.unwrap_or(Format::Protobuf),
            (None, [b'{', ..]) => Format::Json,
            (None, _) => Format::Protobuf,
        };
        let bytes = Box::new(BufReader::with_capacity(BUFFER_BYTES, bytes));
        Ok(match format {
            Format::Json => Self::Lines(bytes),
            Format::Protobuf | Format::Parquet => Self::Delimited { bytes, guessed },
        })
    }
}

/// The first four bytes, zeros where there are none, and all of them again.
fn peek(mut file: Box<dyn Read>) -> io::Result<([u8; 4], Box<dyn Read>)> {
    let mut start = Vec::new();
    file.by_ref().take(4).read_to_end(&mut start)?;
    let mut four = [0; 4];
    four[..start.len()].copy_from_slice(&start);
    Ok((four, Box::new(Cursor::new(start).chain(file))))
}

struct Counted {
    file: Box<dyn Read>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(buffer)?;
        self.read.fetch_add(bytes as u64, Relaxed);
        Ok(bytes)
    }
}
