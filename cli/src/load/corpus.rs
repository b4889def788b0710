//! The corpus file: requests, ready to be sent.
//!
//! All integers are little-endian.
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 8 | magic `CLEWLOAD` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | length of this header, 80 |
//! | 16 | 8 | seed |
//! | 24 | 8 | start of the corpus, nanoseconds since 1970 |
//! | 32 | 8 | spans |
//! | 40 | 8 | traces |
//! | 48 | 8 | requests |
//! | 56 | 8 | bytes of all requests, without their record headers |
//! | 64 | 8 | nanoseconds from the start to the start of the last trace |
//! | 72 | 8 | zeros |
//!
//! Then a record for each request: `u32 length | u32 spans | length bytes of one ExportTraceServiceRequest`. In every
//! span of it the trace id is the first field, so that it can be changed in place without looking into the span.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const MAGIC: [u8; 8] = *b"CLEWLOAD";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 80;
const RECORD_HEADER_BYTES: usize = 8;

/// Longest request that is read: far above anything that `write` makes, far below what could hurt.
const MAX_REQUEST_BYTES: u32 = 256 << 20;

/// What a corpus holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) seed: u64,
    /// Nanoseconds since 1970.
    pub(crate) start_ns: u64,
    pub(crate) spans: u64,
    pub(crate) traces: u64,
    pub(crate) requests: u64,
    /// Of all requests.
    pub(crate) bytes: u64,
    /// From the start to the start of the last trace.
    pub(crate) length_ns: u64,
}

/// A corpus or truth file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{path} is not {what}: make one with `clew load write`")]
    Foreign { path: PathBuf, what: &'static str },
    #[error("{path} has format version {version}, this program knows {known}: make it again with `clew load write`")]
    Version { path: PathBuf, version: u32, known: u32 },
    #[error("{path} is damaged at byte {offset}: {reason}")]
    Damaged { path: PathBuf, offset: u64, reason: &'static str },
}

impl FileError {
    /// For `map_err`: an I/O error at `path`.
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::Io { path: path.to_owned(), error }
    }
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        let words = [self.seed, self.start_ns, self.spans, self.traces, self.requests, self.bytes, self.length_ns];
        for (place, word) in bytes[16..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER_BYTES], path: &Path) -> Result<Self, FileError> {
        let (magic, rest) = bytes.split_at(8);
        if magic != MAGIC {
            return Err(FileError::Foreign { path: path.to_owned(), what: "a corpus" });
        }
        let version = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
        if version != VERSION {
            return Err(FileError::Version { path: path.to_owned(), version, known: VERSION });
        }
        let mut words =
            bytes[16..].chunks_exact(8).map(|word| word.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)));
        let mut next = || words.next().unwrap_or_default();
        Ok(Self {
            seed: next(),
            start_ns: next(),
            spans: next(),
            traces: next(),
            requests: next(),
            bytes: next(),
            length_ns: next(),
        })
    }
}

/// Writes a corpus. Without `finish`, its header says that it is empty.
#[derive(Debug)]
pub(crate) struct Writer {
    file: BufWriter<File>,
    path: PathBuf,
    header: Header,
}

impl Writer {
    /// Creates the file, or empties it.
    pub(crate) fn create(path: &Path, header: Header) -> Result<Self, FileError> {
        let file = File::create(path).map_err(FileError::io(path))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&Header::default().to_bytes()).map_err(FileError::io(path))?;
        Ok(Self { file, path: path.to_owned(), header })
    }

    /// Appends one request.
    pub(crate) fn append(&mut self, request: &[u8], spans: u32) -> Result<(), FileError> {
        self.header.requests += 1;
        self.header.spans += u64::from(spans);
        self.header.bytes += request.len() as u64;
        let length = (request.len() as u32).to_le_bytes();
        [length.as_slice(), &spans.to_le_bytes(), request]
            .into_iter()
            .try_for_each(|part| self.file.write_all(part))
            .map_err(FileError::io(&self.path))
    }

    /// Writes the counts into the header.
    pub(crate) fn finish(mut self, traces: u64, length_ns: u64) -> Result<Header, FileError> {
        self.header.traces = traces;
        self.header.length_ns = length_ns;
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&self.header.to_bytes()))
            .and_then(|()| self.file.flush())
            .map_err(FileError::io(&self.path))?;
        Ok(self.header)
    }
}

/// Reads a corpus from its first request to its last, as often as wanted.
#[derive(Debug)]
pub(crate) struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    offset: u64,
    /// What the corpus holds.
    pub(crate) header: Header,
}

impl Reader {
    /// Opens a corpus and checks its header.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let mut file = File::open(path).map_err(FileError::io(path))?;
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact(&mut bytes).map_err(|_| FileError::Foreign { path: path.to_owned(), what: "a corpus" })?;
        let header = Header::from_bytes(&bytes, path)?;
        if header.requests == 0 {
            let reason = "its header says that it is empty; was `clew load write` interrupted?";
            return Err(FileError::Damaged { path: path.to_owned(), offset: 48, reason });
        }
        let file = BufReader::with_capacity(1 << 16, file);
        Ok(Self { file, path: path.to_owned(), offset: HEADER_BYTES as u64, header })
    }

    /// Back to the first request.
    pub(crate) fn rewind(&mut self) -> Result<(), FileError> {
        self.offset = HEADER_BYTES as u64;
        self.file.seek(SeekFrom::Start(self.offset)).map(|_| ()).map_err(FileError::io(&self.path))
    }

    /// Passes over one request. False at the end.
    pub(crate) fn skip(&mut self) -> Result<bool, FileError> {
        let Some((length, _)) = self.record()? else { return Ok(false) };
        self.file.seek_relative(i64::from(length)).map_err(FileError::io(&self.path))?;
        self.offset += u64::from(length);
        Ok(true)
    }

    /// Appends the next request to `to` and returns its number of spans; none at the end.
    pub(crate) fn next(&mut self, to: &mut Vec<u8>) -> Result<Option<u32>, FileError> {
        let Some((length, spans)) = self.record()? else { return Ok(None) };
        let at = to.len();
        to.resize(at + length as usize, 0);
        self.file.read_exact(&mut to[at..]).map_err(|_| self.damaged("the file ends within a request"))?;
        self.offset += u64::from(length);
        Ok(Some(spans))
    }

    /// Length and spans of the next record.
    fn record(&mut self) -> Result<Option<(u32, u32)>, FileError> {
        let mut header = [0; RECORD_HEADER_BYTES];
        let mut filled = 0;
        while filled < header.len() {
            match self.file.read(&mut header[filled..]).map_err(FileError::io(&self.path))? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(self.damaged("the file ends within a record header")),
                read => filled += read,
            }
        }
        let [a, b, c, d, e, f, g, h] = header;
        let length = u32::from_le_bytes([a, b, c, d]);
        if length > MAX_REQUEST_BYTES {
            return Err(self.damaged("a request of more than 256 MiB"));
        }
        self.offset += RECORD_HEADER_BYTES as u64;
        Ok(Some((length, u32::from_le_bytes([e, f, g, h]))))
    }

    fn damaged(&self, reason: &'static str) -> FileError {
        FileError::Damaged { path: self.path.clone(), offset: self.offset, reason }
    }
}
